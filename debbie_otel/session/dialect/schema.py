"""The schema of a dialect, which is a TOML document.

The built-in ones are in `debbie_otel/session/dialect/`. Rules say which message opens a turn, runs
a tool or carries a chunk of a stream, and where in the message the facts are; for paths and
conditions see `paths`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from debbie_otel.session.dialect.paths import Condition, Paths
from debbie_otel.session.dialect.templates import Act, RestartSpec
from debbie_otel.session.model import Outcome

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
        repeatable: For `tool_list`: what is true of a tool that is safe to call again.
        status: Where the protocol's own status word is, and
        outcomes: what the words mean; words that are not listed end nothing.
        outcome: What a message without a status word means.
        reason: Where a turn's stop reason is.
        error_type: Constant for `error.type`, and where its text is: `error_message`.
        will_retry: Where an error says that the agent tries again by itself.
        text: User input, or a chunk's text; `output`: the agent's answer.
        mode: Whether chunks (usage) carry the difference, or everything so far.
        final: Conditions under which a chunk is the last of its stream.
        key: What distinguishes two streams of one kind.
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
        turn_id: Where messages name their turn.
        trace: Where a request carries a W3C trace context: an object with `traceparent` and
            `tracestate`, or the text of a `traceparent`.
        versioned: Whether messages have a `jsonrpc` member; None where peers differ: then the
            majority of the messages of a connection decides.
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
    trace: list[str] = msgspec.field(default_factory=lambda: ["params._meta"])
    versioned: bool | None = None
    rule: list[Rule] = []
    prompt: list[Act] = []
    cancel: list[Act] = []
    restart: RestartSpec | None = None
    reset: Literal["prompt", "restart"] = "prompt"
