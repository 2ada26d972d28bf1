"""Dialects: what a method means, as data.

A dialect is a TOML document (the built-in ones are in `debbie_otel/dialects/`). Its rules say which
message opens a turn, runs a tool, carries a chunk of a stream, and where in the message the facts
are. A place is a path from the envelope: `params.update.toolCallId`, `result.tool_calls`,
`params.input.0.text`; a rule on a response may also name the `params` of its request. Where a field
takes several paths, the first that leads to a value counts.

A condition (`when`, and in `detect`) maps paths to a value, a list of values, or one of the words
$null $absent $present $empty $nonempty $true $integer $string.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from debbie_otel.core.acts import WORDS, Act, RestartSpec, words
from debbie_otel.core.message import InterceptedMessage, MessageType, loads
from debbie_otel.core.model import Outcome, TraceContext
from debbie_otel.errors import DialectError

Role = Literal[
    "session_start",
    "session_stop",
    "turn",
    "turn_started",
    "turn_ended",
    "tool",
    "tools",
    "tool_list",
    "stream",
    "stream_end",
    "usage",
    "fail",
    "incomplete",
    "error",
    "waits_for_user",
    "cancel_call",
    "resolve_call",
    "part_of",
    "agent",
]
_BIG, _ENDS = 4096, 1024
"""Bytes: of big messages, where a session need not be named, only the ends are searched for it."""

Paths = str | list[str]
Condition = dict[str, Any]


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one kind of message means.

    Attributes:
        method: Method of the message; on a response, that of its request.
        role: What it is for the session.
        on: Whether the rule reads the message itself or the response to it.
        when: Conditions, all of which must hold.
        id: Session, turn, tool or request id, by role.
        of: For `part_of`: where an open request has the same value as this message has at `id`;
            without both, the message is part of the one tool call that is open.
        turn: Id of the turn that a tool or chunk belongs to.
        name: Tool's or agent's name; `default_name` where the paths lead nowhere.
        kind: Constant word for a stream: message, thought, output, ...
        tool_kind: Where the kind of a tool is.
        arguments: Tool arguments: paths, or a table of name -> path.
        result: Tool result likewise.
        list: For `tools` and `tool_list`: the list; the other paths are then relative to its
            entries.
        repeatable: For `tool_list`: what is true of a tool that can be called twice for once.
        status: Where the protocol's own status word is, and
        outcomes: what the words mean; words that are not listed end nothing.
        outcome: What a message without a status word means.
        reason: Where a turn's stop reason is.
        error_type: Constant for `error.type`, and where its text is: `error_message`.
        will_retry: Where an error says that the agent tries again by itself.
        text: User input, or a chunk's text; `output`: the agent's answer.
        mode: Whether chunks (usage) tell the difference, or everything so far.
        final: Conditions under which a chunk is the last of its stream.
        key: What tells two streams of one kind apart.
        until: A turn ends with the response to its request, or with a notification.
        replays: While this call runs, the server replays history: no tool runs again.
        input_tokens, output_tokens: Usage.
        duration_ms: How long a tool ran.

    """

    method: str
    role: Role
    on: Literal["message", "response"] = "message"
    when: Condition = {}
    id: Paths = []
    of: Paths = []
    turn: Paths = []
    name: Paths = []
    default_name: str = "unknown"
    kind: str = ""
    tool_kind: Paths = []
    arguments: Paths | dict[str, str] = []
    result: Paths | dict[str, str] = []
    list: str = ""
    repeatable: Paths = []
    status: Paths = []
    outcomes: dict[str, Outcome] = {}
    outcome: Outcome | None = None
    reason: Paths = []
    error_type: str = "error"
    error_message: Paths = []
    will_retry: Paths = []
    text: Paths = []
    output: Paths = []
    mode: Literal["delta", "total"] = "delta"
    final: Condition = {}
    key: Paths = []
    until: Literal["response", "notification"] = "response"
    replays: bool = False
    input_tokens: Paths = []
    output_tokens: Paths = []
    duration_ms: Paths = []


class Detection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One sign by which a dialect is known: a method, conditions, the `jsonrpc` member."""

    methods: list[str]
    when: Condition = {}
    versioned: bool | None = None


class SessionSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where sessions come from.

    Attributes:
        named: A session begins when the server names it; else with the connection.
        id: Where messages name their session.

    """

    named: bool = False
    id: list[str] = []


class Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A dialect as written in TOML.

    Attributes:
        rule: What messages mean.
        prompt: How words are put into a session; the first that suits is used. `cancel`: how what
            runs is ended; all that suit are used.
        restart: How a session begins anew; None where it cannot.
        reset: What follows a cancel: a prompt, or a restart where the session is gone with it.

    """

    name: str
    title: str = ""
    description: str = ""
    agent: str = ""
    rpc_system: Literal["jsonrpc", "mcp"] = "jsonrpc"
    subprotocols: list[str] = []
    detect: list[Detection] = []
    session: SessionSpec = msgspec.field(default_factory=SessionSpec)
    turn_id: list[str] = []
    rule: list[Rule] = []
    prompt: list[Act] = []
    cancel: list[Act] = []
    restart: RestartSpec | None = None
    reset: Literal["prompt", "restart"] = "prompt"


class Fields:
    """Lazy access by path to one message, or to a response and its request."""

    __slots__ = ("_decoded", "_message", "_request_params")

    def __init__(
        self, message: InterceptedMessage, request_params: msgspec.Raw | None = None
    ) -> None:
        self._message = message
        self._request_params = request_params
        self._decoded: dict[str, Any] = {}

    def first(self, paths: Paths) -> Any:
        """Return the first value that is there and not null; else None."""
        if isinstance(paths, str):
            return self.get(paths, None)
        for path in paths:
            value = self.get(path, None)
            if value is not None:
                return value
        return None

    def text(self, paths: Paths) -> str | None:
        """Return the first value as text if it is a string or a number; else None."""
        return as_text(self.first(paths))

    def gather(self, paths: Paths | dict[str, str]) -> Any:
        """Return a value, or for a table of paths an object of those that are there."""
        if isinstance(paths, dict):
            found = {name: self.get(path, None) for name, path in paths.items()}
            return {name: value for name, value in found.items() if value is not None} or None
        return self.first(paths)

    def get(self, path: str, missing: Any) -> Any:
        """Return the value at `path`, `missing` where it leads nowhere."""
        member, _, rest = path.partition(".")
        if member not in self._decoded:
            self._decoded[member] = self._decode(member)
        return descend(self._decoded[member], rest, missing)

    def holds(self, conditions: Condition) -> bool:
        """Tell whether every condition is met."""
        for path, wanted in conditions.items():
            value = self.get(path, msgspec.UNSET)
            if isinstance(wanted, str) and wanted.startswith("$"):
                if not _WORDS[wanted](value):
                    return False
            elif isinstance(wanted, list):
                if value not in wanted:
                    return False
            elif value != wanted:
                return False
        return True

    def _decode(self, member: str) -> Any:
        message = self._message
        if member == "params" and message.params is None:
            request = self._request_params
            return msgspec.UNSET if request is None else loads(request)
        raw = getattr(message, member)
        return msgspec.UNSET if raw is None else message.decoded(member)


_WORDS = {
    "$null": lambda value: value is None,
    "$absent": lambda value: value is msgspec.UNSET,
    "$present": lambda value: value is not msgspec.UNSET and value is not None,
    "$empty": lambda value: value in ("", [], {}),
    "$nonempty": lambda value: value not in ("", [], {}, None, msgspec.UNSET),
    "$true": lambda value: value is True,
    "$integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "$string": lambda value: isinstance(value, str),
}


def descend(value: Any, path: str, missing: Any = None) -> Any:
    """Follow a dotted path through objects and arrays."""
    if not path:
        return missing if value is msgspec.UNSET else value
    for key in path.split("."):
        if isinstance(value, dict):
            if key not in value:
                return missing
            value = value[key]
        elif isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        else:
            return missing
    return value


def params_at(params: msgspec.Raw | None, paths: Paths) -> Any:
    """Return the first value of a request's `params` that is there and not null; else None."""
    value = None if params is None else loads(params)
    for path in [paths] if isinstance(paths, str) else paths:
        found = descend(value, path.removeprefix("params."))
        if found is not None:
            return found
    return None


def as_text(value: Any) -> str | None:
    """Return an id or a name as text: strings as they are, numbers in digits, else None."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return None


class Dialect:
    """A dialect, ready for use: rules by method. Immutable.

    Attributes:
        on_message: method -> rules on that request or notification.
        on_response: method -> rules on its response.
        session_paths: Where messages name their session.
        kept: Methods whose messages are kept, to be said again on a new connection.

    """

    def __init__(self, document: Document) -> None:
        self.document = document
        self.name = document.name
        self.agent = document.agent or document.name
        self.named_sessions = document.session.named
        self.session_paths = document.session.id
        paths = [path.split(".") for path in document.session.id]
        self._name_paths = [tuple(path[1:]) for path in paths if path[0] == "params" and path[1:]]
        self._decode_names = _names_decoder(self._name_paths)
        self._nameless = self._decode_names(msgspec.Raw(b"{}"))
        keys = [path[-1] for path in self._name_paths] + ["_meta"]
        self._name_keys = re.compile("|".join(f'"{re.escape(key)}"' for key in keys).encode())
        self.turn_paths = document.turn_id
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
                if isinstance(wanted, str) and wanted.startswith("$") and wanted not in _WORDS:
                    raise DialectError(
                        where, f"unknown word {wanted} for {path}", "known: " + " ".join(_WORDS)
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

    def read_params(self, message: InterceptedMessage) -> tuple[str | None, TraceContext | None]:
        """Return the session that `params` name, and the trace context that they carry.

        Decodes nothing but the members in question: messages may be large, and most name none. A
        W3C trace context is in `params._meta`, where MCP and others put it.
        """
        if message.params is None or (
            len(message.payload) >= _BIG
            and not self.named_sessions
            and self._names_nothing(message)
        ):
            return None, None
        try:
            value = self._decode_names(message.params)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return Fields(message).text(self.session_paths), None
        if value is None or value == self._nameless:
            return None, None
        meta, trace = value._meta, None  # noqa: SLF001 - the name on the wire
        if meta is not None and isinstance(meta.traceparent, str):
            state = meta.tracestate
            trace = TraceContext(meta.traceparent, state if isinstance(state, str) else "")
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


class _Meta(msgspec.Struct, gc=False):
    traceparent: Any = None
    tracestate: Any = None


def _names_decoder(paths: list[tuple[str, ...]]) -> Callable[[msgspec.Raw], Any]:
    """Return a decoder of `params` that reads the members on `paths` alone, as text."""
    tree: dict[str, Any] = {}
    for path in paths:
        branch = tree
        for name in path[:-1]:
            branch = branch.setdefault(name, {})
        branch[path[-1]] = None
    names = _struct_of(tree, [("_meta", _Meta | None, None)])
    return msgspec.json.Decoder(names | None).decode


def _struct_of(tree: dict[str, Any], more: list[Any] | None = None) -> type[msgspec.Struct]:
    fields = [
        (name, (str if branch is None else _struct_of(branch)) | None, None)
        for name, branch in tree.items()
    ]
    return msgspec.defstruct("Names", [*fields, *(more or [])], gc=False)
