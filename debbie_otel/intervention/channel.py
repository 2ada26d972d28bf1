"""The way from an intervention to a live session's server: what a transport has to offer."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import msgspec

from debbie_otel.session.message import JsonRpcId
from debbie_otel.session.model import Call


class Answer(msgspec.Struct, frozen=True):
    """A server's answer to a request of ours.

    Attributes:
        result: Decoded; None with an error.
        error: Code and message of a JSON-RPC error; None without one.
        raw: The response as it came.

    """

    result: Any = None
    error: str | None = None
    raw: bytes = b""


class Channel(Protocol):
    """A live connection that can be acted on.

    A client never sees the answers to what is sent here. A message goes out between two messages
    of the client's, never inside a fragmented one, and never waits for the answer to another.
    """

    @property
    def key(self) -> str:
        """The connection's key."""

    @property
    def ended(self) -> str | None:
        """Why nothing can be sent any more; None while it can."""

    @property
    def no_restart(self) -> str:
        """Why its server cannot be reached a second time; empty where that can be tried."""

    def request(self, method: str, params: Any, *, replaces: Call | None = None) -> Request:
        """Send a request on the session's own connection.

        Args:
            method: JSON-RPC method.
            params: JSON.
            replaces: An open request of the client's. The answer to ours is passed to the client
                as the answer to this one, and the server's own answer to it is held back; unless
                ours fails, which lets that one through.

        Raises:
            ChannelError: The connection is gone, or cannot be followed.

        """

    def notify(self, method: str, params: Any) -> None:
        """Send a notification on the session's own connection; raises as `request` does."""

    def attend(self) -> None:
        """Let no answer pass from now on before it is known what it answers.

        Inside a program messages are looked at a little later: too late for a `hold`, else.
        """

    def hold(self, call: Call) -> None:
        """Hold back the server's answer to an open request of the client's, until `release`.

        Or until a `request` that `replaces` it is answered. Raises as `request` does.
        """

    def release(self, call: Call) -> None:
        """Let the answer through, at once if it has come; nothing where none is held."""

    def answer(self, call: Call, answer: Answer) -> None:
        """Answer a held request with the answer to another; the server's own is dropped.

        Its bytes are passed on as they came, but for the id.

        Raises as `request` does.
        """

    def fail(self, call: Call, text: str) -> None:
        """Answer a held request with an error in the server's place; raises as `request` does."""

    async def side(self) -> SideChannel:
        """Open another connection to the same server, with the client's own credentials.

        It shows the client nothing, and closes by itself some time after its last answer.
        """

    async def restart(self, plan: RestartPlan) -> Restarted:
        """Put a new connection to the server under the client's living one.

        Raises:
            ChannelError: It failed; the old connection is in place if it still lives, else the
                client has got a proper close.

        """


class SideChannel(Protocol):
    """A connection of our own to the server of a session."""

    def request(self, method: str, params: Any) -> Request:
        """Send a request."""

    def notify(self, method: str, params: Any) -> None:
        """Send a notification."""

    async def close(self) -> None:
        """Close it. Once is enough."""


class Request(msgspec.Struct, frozen=True, eq=False):
    """A request of ours on its way.

    Attributes:
        id: Its JSON-RPC id, which no client's request can have.
        answer: Done when the answer has come; fails with ChannelError if the connection ends.

    """

    id: JsonRpcId
    answer: asyncio.Future[Answer]


class RestartPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a new connection says before the client is put on it.

    Attributes:
        replay: Messages (JSON bytes) as the client once sent them, in order; each request is
            answered before the next message goes out. An id in them is replaced by one of ours.
        start: The message that starts or resumes the session, likewise; None where a connection is
            all that there is.
        session_id: The client's name for the session, and
        session_path: where the answer to `start` names the new one: a path such as
            `result.sessionId`; None if the session keeps its name.
        fresh: Whether the session begins anew, and with it the ids of what it does.
        request: Method and params to send on it at once, once ids are mapped; the answer goes to
        replaces: this open request of the client's, if any. Other open requests of the client's
            are answered with an error.

    """

    replay: tuple[bytes, ...] = ()
    start: bytes | None = None
    session_id: str | None = None
    session_path: str | None = None
    fresh: bool = False
    request: tuple[str, Any] | None = None
    replaces: Call | None = None


class Restarted(msgspec.Struct, frozen=True):
    """What a restart brought.

    Attributes:
        session_id: The server's name for the session now; None where it has none.
        request: That of the plan, on its way.

    """

    session_id: str | None = None
    request: Request | None = None
