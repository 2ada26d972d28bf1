"""InterceptingWebSocket: a drop-in for a connection of websockets, whose messages are observed."""

from __future__ import annotations

import contextlib
import queue
from collections import deque
from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from websockets.frames import Frame
from websockets.protocol import Protocol
from wrapt import ObjectProxy

from debbie_otel.transports.program.injection import inject
from debbie_otel.transports.program.legacy import LegacyLink
from debbie_otel.transports.program.link import Link
from debbie_otel.transports.program.message_filter import Filter
from debbie_otel.transports.program.observed import MessageObserver, Observed, Opening, Watch

if TYPE_CHECKING:
    _ObjectProxy = ObjectProxy[Any]
else:
    _ObjectProxy = ObjectProxy  # has no type parameter at run time before wrapt 2.2


class InterceptingWebSocket(_ObjectProxy):
    """A connection of websockets - asyncio, threads, trio or legacy, client or server - observed.

    It behaves as the connection in every respect, `isinstance` included, and can take its place;
    the connection itself, where somebody else holds it, is observed all the same. What was
    received before and nobody has read yet counts too. A connection that was observed already is
    from now on observed by this interceptor alone.

    Args:
        connection: To be observed.
        observer: Gets its messages: an interceptor, or what makes one for it.

    Raises:
        TypeError: This is no connection of websockets.

    """

    def __init__(self, connection: Any, observer: MessageObserver | Watch) -> None:
        if isinstance(connection, InterceptingWebSocket):
            connection = connection.__wrapped__
        super().__init__(connection)
        watch = observer if isinstance(observer, Watch) else watch_with(observer)
        self._self_link = link_to(connection, watch)

    async def inject(self, payload: str) -> None:
        """Send a text message between two messages of the program; see `injection.inject`."""
        await inject(self.__wrapped__, payload)

    def set_filter(self, judge: Filter | None) -> None:
        """Have received messages judged before the program gets them; None ends that.

        Args:
            judge: Gets the payload, and returns what the program is to get instead: the same,
                another payload, or None. Then the program goes on waiting, as if nothing had come.
                It is observed in any case. A message that is received in fragments reaches the
                program when it is whole, in the same fragments if it is unchanged.

        """
        self._self_link.incoming.filter = judge

    def release(self) -> None:
        """Observe no more: what was open ends, and the connection is as it was before."""
        interceptor = self._self_link.interceptor
        if interceptor is not None:
            interceptor.close(interceptor.clock(), "released")
        self._self_link.release()

    @property
    def interceptor(self) -> MessageObserver | None:
        """Who observes the connection."""
        found: MessageObserver | None = self._self_link.interceptor
        return found

    # What Python looks up on the type, and must not leave the wrapper or is not in wrapt's.

    async def __aenter__(self) -> Self:
        await self.__wrapped__.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.__wrapped__.__aexit__(kind, error, traceback)

    def __enter__(self) -> Self:
        self.__wrapped__.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__wrapped__.__exit__(kind, error, traceback)

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        messages: AsyncIterator[str | bytes] = aiter(self.__wrapped__)
        return messages


def watch_with(interceptor: MessageObserver) -> Watch:
    """Return a watch by an interceptor that is there already."""

    def opened(opening: Opening) -> MessageObserver:
        interceptor.handshake_received(opening.subprotocol, opening.raw_headers())
        return interceptor

    return Watch(opened, interceptor.clock, interceptor.guard, interceptor.max_message_size)


def link_to(connection: Any, watch: Watch) -> Observed:
    """Observe an open connection.

    Raises:
        TypeError: This is no connection of websockets.

    """
    protocol = getattr(connection, "protocol", None)
    link: Link | LegacyLink | None
    if isinstance(protocol, Protocol):
        link = Link.of(protocol)
        if link is None:
            link = Link(protocol, watch)
            link.catch_up(getattr(connection, "request", None), waiting_frames(connection))
            return link
    elif LegacyLink.fits(connection):
        link = LegacyLink.of(connection)
        if link is None:
            return LegacyLink(connection, watch)
    else:
        raise TypeError(f"no connection of websockets: {type(connection).__name__}")
    link.hand_over(watch)
    return link


def waiting_frames(connection: Any) -> Iterable[Frame]:
    """Return the frames that were received and not read yet; none where that cannot be known."""
    assembler = getattr(connection, "recv_messages", None)
    frames = getattr(assembler, "frames", None)
    if isinstance(frames, queue.SimpleQueue):  # threads
        return _peek(frames, assembler)
    waiting = getattr(frames, "queue", None)  # asyncio
    if waiting is None:  # trio
        channel = getattr(assembler, "recv_frames", None)
        waiting = getattr(getattr(channel, "_state", None), "data", None)
    return list(waiting) if isinstance(waiting, deque) else []


def _peek(frames: queue.SimpleQueue[Frame | None], assembler: Any) -> list[Frame]:
    """Look at a queue that offers no look: nothing is put into it meanwhile."""
    seen: list[Frame | None] = []
    with assembler.mutex:
        with contextlib.suppress(queue.Empty):
            while True:
                seen.append(frames.get(block=False))
        for frame in seen:
            frames.put(frame)
    return [frame for frame in seen if frame is not None]
