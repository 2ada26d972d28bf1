"""What a session consists of: turns, calls, tool executions and streams.

The objects are written by `Session` and `Connection` alone while they are open; once their
`ended_ns` is set they do not change any more. All times are integer nanoseconds since the epoch.
Two objects are equal only if they are the same object.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import msgspec

from debbie_otel.session.message import InterceptedMessage, JsonRpcId
from debbie_otel.wire.direction import MessageDirection

Clock = Callable[[], int]
"""Returns nanoseconds since the epoch; never runs backwards."""


MAX_CONTENT = 8192
"""Characters of a user's or an agent's words that are kept with a turn."""

NO_ID = msgspec.Raw(b"null")
"""How an id is spelt where a request has none that could be known."""


class Outcome(StrEnum):
    """How a turn, a call or a tool ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ABORTED = "aborted"
    """The connection, the session or the process ended first."""
    INCOMPLETE = "incomplete"
    """A turn that stopped mid-task: tools were called, and no answer followed."""

    __hash__ = str.__hash__  # as in `message`


class SessionInfo(msgspec.Struct, eq=False, kw_only=True, weakref=True):
    """Identity and totals of one session, as others may keep them.

    Attributes:
        id: The id on the wire, else the connection's own.
        dialect: Name of the dialect in force.
        agent: `gen_ai.agent.name`.
        started_ns: None until the session has started.
        ended_ns: None while it lives.
        turns: Turns opened; so for calls, tools, errors, messages.
        resumed: Whether it had lived before on another connection.
        unnamed: Whether the id is the connection's, as the messages name no session.

    """

    id: str
    dialect: str
    agent: str
    started_ns: int | None = None
    ended_ns: int | None = None
    last_ns: int = 0
    turns: int = 0
    calls: int = 0
    tools: int = 0
    errors: int = 0
    messages: int = 0
    resumed: bool = False
    unnamed: bool = False
    agent_id: str | None = None


class TraceContext(msgspec.Struct, frozen=True, gc=False):
    """A W3C trace context that the caller sent (`traceparent`, `tracestate` headers' text)."""

    traceparent: str
    tracestate: str = ""


class Turn(msgspec.Struct, eq=False, kw_only=True, weakref=True):
    """One turn of an agent: from a user's input to the end of the agent's work on it.

    Attributes:
        session: Where it belongs.
        number: 1 for the first turn of the session.
        id: The turn's id on the wire, where the protocol has one.
        call: The request that opened it; None where a notification did.
        method: Method of the message that opened it.
        stop_reason: The protocol's own word for why it ended.
        error_type: As `error.type` of OpenTelemetry; None without an error.
        input: The user's words, and `output`, the agent's: content, cut to a bound.

    """

    session: SessionInfo
    number: int
    started_ns: int
    method: str
    direction: MessageDirection
    id: str | None = None
    call: Call | None = None
    trace: TraceContext | None = None
    ended_ns: int | None = None
    outcome: Outcome | None = None
    stop_reason: str | None = None
    error_type: str | None = None
    error_message: str = ""
    tools: int = 0
    failed_tools: int = 0
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    input: str | None = None
    output: str | None = None


class Call(msgspec.Struct, eq=False, kw_only=True, weakref=True):
    """One JSON-RPC request and its response.

    Attributes:
        direction: That of the request.
        id: Its id, to be compared; `raw_id`, as it was spelt.
        turn: The turn in which it was made, or that it opened; None outside turns.
        opens_turn: Whether `turn` is the turn that this very request opened.
        request: The message itself; None where it was too large to be kept.
        tool: The tool execution that this request is (MCP's tools/call).
        response_bytes: 0 until answered.
        waits_for_user: Whether a person has to answer it.
        error_code: JSON-RPC error code; None without one.
        versioned: Whether the request had a `jsonrpc` member.
        is_rpc_error: Whether its response had an `error` member.
        injected: Whether it is a request of Debbie's own, which no client sent.
        part_of: The open request of the other side in whose course it was made, where that is
            known; for a server that asks its client for something while it runs a tool.

    """

    session: SessionInfo
    direction: MessageDirection
    method: str
    id: JsonRpcId
    started_ns: int
    request_bytes: int
    turn: Turn | None = None
    opens_turn: bool = False
    tool: Tool | None = None
    trace: TraceContext | None = None
    request: InterceptedMessage | None = None
    ended_ns: int | None = None
    response_bytes: int = 0
    outcome: Outcome | None = None
    error_code: int | None = None
    error_type: str | None = None
    error_message: str = ""
    waits_for_user: bool = False
    versioned: bool = False
    raw_id: msgspec.Raw = NO_ID
    is_rpc_error: bool = False
    injected: bool = False
    part_of: Call | None = None

    @property
    def params(self) -> msgspec.Raw | None:
        """The request's `params`; None where it has none, or was too large to be kept."""
        return None if self.request is None else self.request.params


class Tool(msgspec.Struct, eq=False, kw_only=True):
    """One execution of a tool by the agent.

    Attributes:
        id: The tool call's id on the wire, else None.
        arguments: Its arguments, decoded JSON, for loop analysis and (if captured) content.
        result: Its result likewise; None where no message carries it.
        reported: It was reported only after it had ended, without times.
        is_call: It is a request of its own (MCP's tools/call), whose span is its span; and
        injected: that request is Debbie's own, which repeats one of the client's.

    """

    session: SessionInfo
    name: str
    started_ns: int
    id: str | None = None
    kind: str | None = None
    turn: Turn | None = None
    arguments: Any = None
    result: Any = None
    ended_ns: int | None = None
    outcome: Outcome | None = None
    error_type: str | None = None
    error_message: str = ""
    reported: bool = False
    is_call: bool = False
    injected: bool = False


class Stream(msgspec.Struct, eq=False, kw_only=True):
    """A run of stream chunks of one kind.

    Attributes:
        method: Method of the chunks' messages.
        kind: The dialect's name for it: message, thought, output, ...
        count: Chunks so far; `bytes`, their payload bytes.
        first_ns: Time of the first chunk; `since_ns`, of what it answers (the turn's start).
        longest_gap_ns: Longest time between two chunks.

    """

    session: SessionInfo
    method: str
    kind: str
    direction: MessageDirection
    first_ns: int
    last_ns: int
    turn: Turn | None = None
    since_ns: int | None = None
    count: int = 0
    bytes: int = 0
    longest_gap_ns: int = 0
    ended_ns: int | None = None
