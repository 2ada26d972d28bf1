"""Every connection of websockets is observed from its beginning, wherever the program opens it.

All of `websockets.asyncio`, `.sync` and `.trio` make a sans-I/O `Protocol` a connection, and so do
servers that bring their own I/O; each gets a link as soon as it is made. So whatever name the
program has imported `connect`, `serve`, `route` or `broadcast` by, and however long before, is
covered. Connections of `websockets.legacy` are linked when their handshake is done; that package
is never imported for it.

Whether a connection is observed is decided when it is made: there `suppress_instrumentation`
counts.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from websockets.protocol import Protocol

from debbie_otel.transports.program.legacy import LegacyLink
from debbie_otel.transports.program.link import Link
from debbie_otel.transports.program.observed import Watch

_LEGACY = "websockets.legacy.protocol"


class Patches:
    """Links every new connection of the process.

    Args:
        watch: Who observes them.

    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._links: weakref.WeakSet[Link | LegacyLink] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._patches: list[_Patch] = []
        self._finder = _OnImport(_LEGACY, self._patch_legacy)

    def install(self) -> None:
        """Begin."""
        self._patches.append(_Patch(Protocol, "__init__", self._made))
        if (module := sys.modules.get(_LEGACY)) is not None:
            self._patch_legacy(module)
        else:
            sys.meta_path.insert(0, self._finder)

    def remove(self) -> None:
        """Put everything back, also in connections that are open."""
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
        for patch in self._patches:
            patch.remove()
        self._patches.clear()
        with self._lock:
            links = list(self._links)
        for link in links:
            link.release()

    def _patch_legacy(self, module: ModuleType) -> None:
        protocol = module.WebSocketCommonProtocol
        self._patches.append(_Patch(protocol, "connection_open", self._opened))

    def _made(self, protocol: Protocol) -> None:
        if is_instrumentation_enabled() and Link.of(protocol) is None:
            self._keep(Link(protocol, self._watch))

    def _opened(self, connection: Any) -> None:
        if is_instrumentation_enabled() and LegacyLink.of(connection) is None:
            self._keep(LegacyLink(connection, self._watch))

    def _keep(self, link: Link | LegacyLink) -> None:
        with self._lock:
            self._links.add(link)


class _Patch:
    """Has something done after each call of a method, until it is removed."""

    def __init__(self, owner: type, name: str, afterwards: Callable[[Any], None]) -> None:
        self._owner = owner
        self._name = name
        self._original = original = vars(owner)[name]
        self._active = True

        @functools.wraps(original)
        def patched(instance: Any, *arguments: Any, **named: Any) -> Any:
            result = original(instance, *arguments, **named)
            if self._active:
                afterwards(instance)
            return result

        self._patched = patched
        setattr(owner, name, patched)

    def remove(self) -> None:
        """Put the original back, unless somebody else has come to stand before it."""
        self._active = False
        if vars(self._owner).get(self._name) is self._patched:
            setattr(self._owner, self._name, self._original)


class _OnImport(MetaPathFinder):
    """Has something done with a module once it has been imported."""

    def __init__(self, name: str, afterwards: Callable[[ModuleType], None]) -> None:
        self._name = name
        self._afterwards = afterwards

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the other finders look there
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """Return the spec that the other finders find, with a loader that tells of the end."""
        if fullname != self._name or self not in sys.meta_path:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            execute = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                self._afterwards(module)

            loader.exec_module = exec_module
        return spec
