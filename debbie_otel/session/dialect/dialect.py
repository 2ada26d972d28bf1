"""Dialects: what a method means, as data.

A dialect is a TOML document, see `schema`. `Dialect` has checked it, and finds its rules by method.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from debbie_otel.errors import DialectError
from debbie_otel.session.dialect.paths import CONDITION_WORDS, Fields
from debbie_otel.session.dialect.schema import Document, Rule
from debbie_otel.session.dialect.templates import WORDS, words
from debbie_otel.session.message import InterceptedMessage, MessageType
from debbie_otel.session.model import TraceContext

_BIG, _ENDS = 4096, 1024
"""Bytes: of big messages, where a session need not be named, only the ends are searched for it."""

_META = "params._meta"
_REQUEST = MessageType.REQUEST  # as in `message`: members cost time in Python 3.11


class Dialect:
    """A dialect, ready for use: rules by method. Immutable.

    Attributes:
        on_message: method -> rules on that request or notification.
        on_response: method -> rules on its response.
        session_paths: Where messages name their session.
        name_paths: The same, and where answers name the session that they begin.
        kept: Methods whose messages are kept, to be said again on a new connection.
        versioned: Whether messages have a `jsonrpc` member; None where peers differ.

    """

    def __init__(self, document: Document) -> None:
        self.document = document
        self.name = document.name
        self.agent = document.agent or document.name
        self.named_sessions = document.session.named
        self.session_paths = document.session.id
        begun = [rule.id for rule in document.rule if rule.role == "session_start"]
        more = [path for ids in begun for path in ([ids] if isinstance(ids, str) else ids)]
        self.name_paths = tuple(dict.fromkeys([*document.session.id, *more]))
        paths = [path.split(".") for path in document.session.id]
        self._name_paths = [tuple(path[1:]) for path in paths if path[0] == "params" and path[1:]]
        self._decode_names = _names_decoder(self._name_paths)
        self._nameless = self._decode_names(msgspec.Raw(b"{}"))
        keys = [path[-1] for path in self._name_paths] + ["_meta"]
        self._name_keys = re.compile("|".join(f'"{re.escape(key)}"' for key in keys).encode())
        self.turn_paths = document.turn_id
        self.versioned = document.versioned
        self._trace_paths = [path for path in document.trace if path != _META]
        self._trace_keys = [f'"{path.split(".")[-1]}"'.encode() for path in self._trace_paths]
        self._meta_carries_trace = _META in document.trace
        self.on_message: dict[str, tuple[Rule, ...]] = {}
        self.on_response: dict[str, tuple[Rule, ...]] = {}
        for rule in document.rule:
            table = self.on_message if rule.on == "message" else self.on_response
            table[rule.method] = (*table.get(rule.method, ()), rule)
        self.turn_rules = {rule.method: rule for rule in document.rule if rule.role == "turn"}
        self.kept = frozenset() if document.restart is None else frozenset(document.restart.replay)
        for method in self.kept:  # so that the message is not taken for one without a meaning
            self.on_message.setdefault(method, ())

    @classmethod
    def from_toml(cls, text: str, where: str) -> Dialect:
        """Read a dialect.

        Args:
            text: The TOML document.
            where: What to call it in errors, such as the file's name.

        Raises:
            DialectError: Key, line or word that is wrong.

        """
        try:
            document = msgspec.toml.decode(text, type=Document)
        except msgspec.ValidationError as error:
            raise DialectError(where, str(error)) from None
        except msgspec.DecodeError as error:
            raise DialectError(where, f"no valid TOML: {error}") from None
        dialect = cls(document)
        dialect._check(where)
        return dialect

    def _check(self, where: str) -> None:
        conditions = [rule.when for rule in self.document.rule]
        conditions += [rule.final for rule in self.document.rule]
        conditions += [sign.when for sign in self.document.detect]
        for condition in conditions:
            for path, wanted in condition.items():
                if (
                    isinstance(wanted, str)
                    and wanted.startswith("$")
                    and wanted not in CONDITION_WORDS
                ):
                    raise DialectError(
                        where,
                        f"unknown word {wanted} for {path}",
                        "known: " + " ".join(CONDITION_WORDS),
                    )

        acts = [*self.document.prompt, *self.document.cancel]
        restart = self.document.restart
        if restart is not None:
            acts += [act for act in (restart.start, restart.pulse) if act is not None]
        for act in acts:
            for word in words(act.params) - WORDS:
                hint = "known: " + " ".join(sorted(WORDS))
                raise DialectError(where, f"unknown word {word} for {act.method}", hint)

    def names_session_at(self, method: str) -> str | None:
        """Return the path at which the answer to `method` names a session; None where it does not.

        The path begins with `result.`.
        """
        for rule in self.on_response.get(method, ()):
            if rule.role == "session_start":
                paths = [rule.id] if isinstance(rule.id, str) else rule.id
                return next((path for path in paths if path.startswith("result.")), None)
        return None

    def session_and_trace(
        self, message: InterceptedMessage
    ) -> tuple[str | None, TraceContext | None]:
        """Return the session that a message names, and the trace context that it carries."""
        name, trace = self._read_params(message)
        # Few requests carry one: decode those only that have such a member at all.
        if message.type is _REQUEST:
            for key in self._trace_keys:
                if key in message.payload:
                    found = _trace_context(Fields(message).first(self._trace_paths))
                    return name, found or trace
        return name, trace

    def _read_params(self, message: InterceptedMessage) -> tuple[str | None, TraceContext | None]:
        """Read session and trace context from `params`, where MCP and others put them.

        Decodes nothing but the members in question: messages may be large, and most name none.
        """
        if len(message.payload) >= _BIG and self._names_nothing(message):
            return None, None
        if message.params is None:
            return None, None
        try:
            value = self._decode_names(message.params)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            fields = Fields(message)  # a member of another type than expected
            meta = fields.get(_META, None) if self._meta_carries_trace else None
            return fields.text(self.session_paths), _trace_context(meta)
        if value is None or value == self._nameless:
            return None, None
        meta = value._meta if self._meta_carries_trace else None  # noqa: SLF001 - as on the wire
        trace = None if meta is None else _trace_context(meta)
        for path in self._name_paths:
            found: Any = value
            for name in path:
                found = getattr(found, name, None)
            if found:
                return found, trace
        return None, trace

    def _names_nothing(self, message: InterceptedMessage) -> bool:
        """Whether a big message names no session near its ends, where names are not needed."""
        payload = message.payload
        if self.named_sessions or len(payload) < _BIG:
            return False
        return self._name_keys.search(payload[:_ENDS] + payload[-_ENDS:]) is None

    def recognises(self, message: InterceptedMessage) -> bool:
        """Tell whether a message shows one of the signs of this dialect."""
        if message.type not in (MessageType.REQUEST, MessageType.NOTIFICATION):
            return False
        return any(
            message.method in sign.methods
            and (sign.versioned is None or sign.versioned == message.versioned)
            and (not sign.when or Fields(message).holds(sign.when))
            for sign in self.document.detect
        )


def _trace_context(value: Any) -> TraceContext | None:
    """Return the trace context that an object carries, or a text is; else None."""
    state = None
    if isinstance(value, dict):
        value, state = value.get("traceparent"), value.get("tracestate")
    if not isinstance(value, str):
        return None
    return TraceContext(value, state if isinstance(state, str) else "")


def _names_decoder(paths: list[tuple[str, ...]]) -> Callable[[msgspec.Raw], Any]:
    """Return a decoder of `params` that reads the members on `paths` alone, as text."""
    tree: dict[str, Any] = {}
    for path in paths:
        branch = tree
        for name in path[:-1]:
            branch = branch.setdefault(name, {})
        branch[path[-1]] = None
    names = _struct_of(tree, [("_meta", Any, None)])
    return msgspec.json.Decoder(names | None).decode


def _struct_of(tree: dict[str, Any], more: list[Any] | None = None) -> type[msgspec.Struct]:
    fields = [
        (name, (str if branch is None else _struct_of(branch)) | None, None)
        for name, branch in tree.items()
    ]
    return msgspec.defstruct("Names", [*fields, *(more or [])], gc=False)
