"""The two halves of a recording, played over real sockets.

`TranscriptServer` plays what the server said, `TranscriptClient` what the client said; each
compares what it gets with the recording, and names the line where they differ. Whatever is put
between the two must therefore have passed everything on, in order.

Both walk through the recording line by line, all connections together: a line is played after all
lines before it. The n-th connection to be accepted plays the n-th connection of the recording.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from debbie_otel.app.recording import RecordedMessage, read_recording
from debbie_otel.wire.direction import MessageDirection

MAX_SIZE = 2**26


class Line(msgspec.Struct, frozen=True):
    """A line of a recording, and where it stands."""

    where: str
    recorded: RecordedMessage


class Transcript:
    """A recording.

    Attributes:
        lines: All of it.
        connections: Names of the connections in order of appearance.

    """

    def __init__(self, path: Path) -> None:
        numbers = [n for n, text in enumerate(path.read_bytes().split(b"\n"), 1) if text.strip()]
        where = f"{path.parent.name}/{path.name}"
        self.lines = [
            Line(f"{where}:{number}", recorded)
            for number, recorded in zip(numbers, read_recording(path), strict=True)
        ]
        self.connections = list(dict.fromkeys(line.recorded.conn for line in self.lines))

    def count(self, direction: MessageDirection) -> int:
        """How many messages went that way."""
        return sum(line.recorded.direction is direction for line in self.lines)


class TranscriptServer:
    """Serves a recording once; leaving the context waits for its end, and raises what differed.

    Args:
        path: The recording.
        speed: Answers take as long as in the recording, divided by this; None waits for nothing.
        timeout: Seconds in which the next message or connection must come.

    """

    def __init__(self, path: Path, *, speed: float | None = None, timeout: float = 10.0) -> None:
        self.transcript = Transcript(path)
        self._speed = speed
        self._timeout = timeout
        self._accepted: list[ServerConnection] = []
        self._changed = asyncio.Condition()
        self._ended = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await serve(self._accept, "127.0.0.1", 0, max_size=MAX_SIZE)
        self._playing = asyncio.get_running_loop().create_task(self._play())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is not None:
                self._playing.cancel()
            # Cancelled or not, what it found out explains what the client saw.
            with contextlib.suppress(asyncio.CancelledError):
                await self._playing
        finally:
            self._ended.set()
            self._server.close()
            await self._server.wait_closed()

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = next(iter(self._server.sockets)).getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """Where to connect."""
        return f"ws://127.0.0.1:{self.port}/ws"

    async def _accept(self, connection: ServerConnection) -> None:
        async with self._changed:
            self._accepted.append(connection)
            self._changed.notify_all()
        await self._ended.wait()  # the connection closes when its handler returns

    async def _play(self) -> None:
        try:
            before = 0.0
            for line in self.transcript.lines:
                connection = await self._connection(line)
                if line.recorded.direction is MessageDirection.CLIENT_TO_SERVER:
                    await _expect(connection, line, self._timeout)
                else:
                    if self._speed is not None:
                        await asyncio.sleep((line.recorded.t - before) / self._speed)
                    await _say(connection, line)
                before = line.recorded.t
        except BaseException:
            self._ended.set()  # so that the other half does not wait in vain
            raise

    async def _connection(self, line: Line) -> ServerConnection:
        number = self.transcript.connections.index(line.recorded.conn)
        try:
            async with asyncio.timeout(self._timeout), self._changed:
                await self._changed.wait_for(lambda: len(self._accepted) > number)
        except TimeoutError:
            raise AssertionError(
                f"{line.where}: connection {line.recorded.conn} was not opened within "
                f"{self._timeout:g} s"
            ) from None
        return self._accepted[number]


class TranscriptClient:
    """Plays the client's half of a recording.

    Args:
        path: The recording.
        timeout: Seconds in which the next message must come.

    """

    def __init__(self, path: Path, *, timeout: float = 10.0) -> None:
        self.transcript = Transcript(path)
        self._timeout = timeout

    async def play(self, url: str) -> int:
        """Play all of it, then close the connections; return how many messages came.

        Raises:
            AssertionError: Something else came than in the recording; line and difference.

        """
        opened: dict[str, ClientConnection] = {}
        async with contextlib.AsyncExitStack() as stack:
            for line in self.transcript.lines:
                name = line.recorded.conn
                if name not in opened:
                    opened[name] = await stack.enter_async_context(
                        connect(url, proxy=None, max_size=MAX_SIZE)
                    )
                if line.recorded.direction is MessageDirection.CLIENT_TO_SERVER:
                    await _say(opened[name], line)
                else:
                    await _expect(opened[name], line, self._timeout)
        return self.transcript.count(MessageDirection.SERVER_TO_CLIENT)


async def _say(connection: Connection, line: Line) -> None:
    try:
        await connection.send(line.recorded.payload, text=True)
    except ConnectionClosed as closed:
        raise AssertionError(f"{line.where}: could not be sent, {_why(closed)}") from None


async def _expect(connection: Connection, line: Line, seconds: float) -> None:
    wanted = line.recorded.payload
    try:
        async with asyncio.timeout(seconds):
            got = await connection.recv(decode=False)
    except TimeoutError:
        raise AssertionError(
            f"{line.where}: nothing came within {seconds:g} s, expected {_short(wanted)}"
        ) from None
    except ConnectionClosed as closed:
        raise AssertionError(f"{line.where}: {_why(closed)}, expected {_short(wanted)}") from None
    if got != wanted and _decoded(got) != _decoded(wanted):
        raise AssertionError(f"{line.where}: expected {_short(wanted)}, got {_short(got)}")


def _decoded(payload: bytes) -> Any:
    try:
        return json.loads(payload)
    except ValueError:
        return payload


def _why(closed: ConnectionClosed) -> str:
    return f"the connection was closed ({closed})"


def _short(payload: bytes) -> str:
    text = payload.decode("utf-8", "replace")
    return text if len(text) <= 300 else f"{text[:300]}... ({len(text)} characters)"
