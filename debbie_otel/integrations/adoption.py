"""Adoption: a foreign object is observed for a while, and then is as it was before.

Nothing is patched but the one object: it gets a class of its own, derived from its own class, that
stands before some methods and sees attributes as they are set. Giving it its own class back undoes
everything. `isinstance`, `super()`, properties and `__slots__` go on working.
"""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

SeesAttribute = Callable[[str, Any], Any]
"""Gets name and value of an attribute that is being set; returns what is set instead."""

Stands = Callable[[Callable[..., Any]], Callable[..., Any]]
"""Gets a method of the object, bound; returns what is called in its place."""

_CLASS: Any = vars(object)["__class__"]
"""Sets an object's class, whatever the class itself makes of attributes."""


class Adoption:
    """Observes an object until `release`.

    Args:
        target: The object.
        sees: Is shown what is set on it.
        methods: By name, what stands before a method; names that it does not have are left out.

    Raises:
        TypeError: It cannot have another class: one of Python's own, or written in C.

    """

    def __init__(
        self, target: Any, sees: SeesAttribute, methods: Mapping[str, Stands] | None = None
    ) -> None:
        self.target = target
        self._class = type(target)
        stand_ins = {}
        for name, stands in (methods or {}).items():
            method = getattr(target, name, None)
            if callable(method):
                stand_ins[name] = stands(method)
        _set_class(target, _derived(self._class, sees, stand_ins))

    @staticmethod
    def of(target: Any) -> bool:
        """Tell whether an object is adopted already."""
        return "__debbie_adopted__" in vars(type(target))

    def release(self) -> None:
        """Give it its class back, unless it has got yet another one meanwhile."""
        if Adoption.of(self.target):
            _set_class(self.target, self._class)


def attributes(target: Any) -> Iterator[tuple[str, Any]]:
    """Yield what an object holds, by name; asks no property."""
    yield from list(getattr(target, "__dict__", {}).items())
    for kind in type(target).__mro__:
        for name, member in list(vars(kind).items()):
            # A slot; a descriptor of that kind in C code may be anything.
            if isinstance(member, types.MemberDescriptorType):
                with contextlib.suppress(AttributeError):  # not set so far
                    yield name, member.__get__(target)


def _set_class(target: Any, kind: type) -> None:
    _CLASS.__set__(target, kind)


def _derived(kind: Any, sees: SeesAttribute, stand_ins: Mapping[str, Callable[..., Any]]) -> type:
    def set_attribute(self: Any, name: str, value: Any) -> None:
        kind.__setattr__(self, name, sees(name, value))

    def fill(namespace: dict[str, Any]) -> None:
        namespace["__slots__"] = ()  # as the layout must stay
        namespace["__module__"] = kind.__module__
        namespace["__qualname__"] = kind.__qualname__
        namespace["__doc__"] = kind.__doc__
        namespace["__debbie_adopted__"] = True
        namespace["__setattr__"] = set_attribute
        for name, stand_in in stand_ins.items():
            namespace[name] = _method(stand_in)

    return types.new_class(kind.__name__, (kind,), {}, fill)


def _method(stand_in: Callable[..., Any]) -> property:
    """Return what yields it whatever the object itself holds by that name: a property wins."""
    return property(lambda _: stand_in)
