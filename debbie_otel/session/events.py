"""The events of sessions: frozen, produced by `Connection`, in wire order.

Every event has `session` and `time_ns`; `Event` is the union of all. A message yields exactly one
`MessageSeen`, which comes before the events that it caused.
"""

from __future__ import annotations

import msgspec

from debbie_otel.session.message import InterceptedMessage
from debbie_otel.session.model import Call, SessionInfo, Stream, Tool, Turn


class _Event(msgspec.Struct, frozen=True, eq=False, gc=False):  # nothing refers to one
    session: SessionInfo
    time_ns: int


class MessageSeen(_Event, frozen=True, eq=False):
    """A message, counted once. `turn` is the turn it belongs to, if any."""

    message: InterceptedMessage
    turn: Turn | None


class SessionStarted(_Event, frozen=True, eq=False):
    """A session began, or came back on a new connection (`session.resumed`)."""


class SessionEnded(_Event, frozen=True, eq=False):
    """A session was stopped, or its last connection ended; `reason` says which."""

    reason: str


class TurnStarted(_Event, frozen=True, eq=False):
    """A turn began."""

    turn: Turn


class TurnEnded(_Event, frozen=True, eq=False):
    """A turn ended; how is in `turn.outcome`."""

    turn: Turn


class CallStarted(_Event, frozen=True, eq=False):
    """A request was sent."""

    call: Call


class CallEnded(_Event, frozen=True, eq=False):
    """A request was answered, cancelled, or cut off."""

    call: Call


class ToolStarted(_Event, frozen=True, eq=False):
    """A tool began to run."""

    tool: Tool


class ToolEnded(_Event, frozen=True, eq=False):
    """A tool ended, or the wire reported a past execution (`tool.reported`)."""

    tool: Tool


class ToolsListed(_Event, frozen=True, eq=False):
    """The server listed its tools; `repeatable` are those that are safe to call again.

    Not produced where there is no such tool.
    """

    repeatable: tuple[str, ...]


class StreamAdvanced(_Event, frozen=True, eq=False):
    """A chunk arrived; the first one of a run has `stream.count == 1`."""

    stream: Stream
    text: str


class StreamEnded(_Event, frozen=True, eq=False):
    """A run of chunks is over."""

    stream: Stream


class NotificationSeen(_Event, frozen=True, eq=False):
    """A notification that is not a stream chunk; `call` is the open request that it belongs to."""

    message: InterceptedMessage
    turn: Turn | None
    call: Call | None = None


class StraySeen(_Event, frozen=True, eq=False):
    """A response to no known request, or a message that is not JSON-RPC.

    `cancelled` is the method of the request that a response comes too late for: MCP's servers
    answer a cancelled request all the same, with an error.
    """

    message: InterceptedMessage
    turn: Turn | None
    cancelled: str | None = None


class UsageReported(_Event, frozen=True, eq=False):
    """Tokens used since the last report of the session."""

    turn: Turn | None
    input_tokens: int
    output_tokens: int


class ErrorReported(_Event, frozen=True, eq=False):
    """The agent reported an error outside any response, such as a retry of its model call."""

    turn: Turn | None
    error_type: str
    message: str
    will_retry: bool


Event = (
    MessageSeen
    | SessionStarted
    | SessionEnded
    | TurnStarted
    | TurnEnded
    | CallStarted
    | CallEnded
    | ToolStarted
    | ToolEnded
    | ToolsListed
    | StreamAdvanced
    | StreamEnded
    | NotificationSeen
    | StraySeen
    | UsageReported
    | ErrorReported
)
