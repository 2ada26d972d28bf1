"""Messages of our own on a connection of the program, from whatever loop or thread we run on."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Any

from websockets.exceptions import ConcurrencyError
from websockets.frames import Frame, Opcode

from debbie_otel.intervention.event_loop import call_on
from debbie_otel.transports.program.legacy import LegacyLink
from debbie_otel.transports.program.link import Link
from debbie_otel.transports.program.observed import Observed


async def inject(connection: Any, payload: str) -> None:
    """Send a text message between two messages of the program, never inside a fragmented one.

    Args:
        connection: Of websockets: asyncio, threads, trio or legacy.
        payload: Text.

    Raises:
        ConnectionClosed: As `send` of the connection does.

    """
    loop: asyncio.AbstractEventLoop | None = getattr(connection, "loop", None)
    if loop is not None:  # asyncio, new or legacy: its send waits for a fragmented one to end
        if _running() is loop:
            await connection.send(payload)
        else:
            sending = asyncio.run_coroutine_threadsafe(connection.send(payload), loop)
            await asyncio.wrap_future(sending)
    elif hasattr(connection, "protocol_mutex"):
        await asyncio.to_thread(_send_between, connection, payload)
    elif _running() is None:
        await connection.send(payload)  # trio, and so are we
    else:
        await asyncio.to_thread(_send_in_trio, connection, payload)


def deliver(connection: Any, link: Observed, payload: bytes) -> None:
    """Have the program receive a text message that did not come, or was held back.

    Never inside one that it receives in fragments. Nothing happens if the connection is over.

    Args:
        connection: Of websockets: asyncio, threads, trio or legacy.
        link: What stands before it.
        payload: UTF-8.

    """
    if isinstance(link, LegacyLink):
        call_on(connection.loop, lambda: link.deliver(payload))
        return
    assert isinstance(link, Link)

    def put() -> None:
        if not link.postpone(payload):
            with contextlib.suppress(EOFError, ReferenceError):  # it receives no more
                connection.process_event(Frame(Opcode.TEXT, payload))

    with contextlib.suppress(ReferenceError):
        if (loop := getattr(connection, "loop", None)) is not None:
            call_on(loop, put)
        elif link.trio_token is not None:
            link.trio_token.run_sync_soon(put)
        else:
            put()


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _send_between(connection: Any, payload: str) -> None:
    """Send on a connection of threads, whose `send` refuses while a fragmented one is under way."""
    link = Link.of(connection.protocol)
    while True:
        try:
            connection.send(payload)
        except ConcurrencyError:
            if link is None:
                raise
            link.between_messages.wait()
        else:
            return


def _send_in_trio(connection: Any, payload: str) -> None:
    trio = sys.modules["trio"]
    link = Link.of(connection.protocol)
    token = None if link is None else link.trio_token
    trio.from_thread.run(connection.send, payload, trio_token=token)
