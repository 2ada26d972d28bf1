"""An HTTP server on 127.0.0.1 that receives what is escalated, with faults on request."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import h11


@dataclass
class Got:
    """A request that arrived."""

    target: str
    headers: dict[str, str]
    body: bytes
    time: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """What arrived, and what is answered: one entry of `answers` a request, then 200.

    An answer is a status, a status with headers, or `drop` (close without an answer), `hang`
    (never answer), `drip` (a byte of the body at a time, without end), `flood` (a body without
    end), `redirect` (to /elsewhere).
    """

    port: int = 0
    answers: list[Any] = field(default_factory=list)
    got: list[Got] = field(default_factory=list)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def events(self) -> list[str]:
        return [got.json["event"] for got in self.got]

    async def wait(self, count: int) -> None:
        """Wait until that many requests have arrived."""
        async with asyncio.timeout(5), self.arrived:
            await self.arrived.wait_for(lambda: len(self.got) >= count)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER)
        try:
            while await self._serve_one(connection, reader, writer):
                connection.start_next_cycle()
        except (ConnectionError, h11.ProtocolError):
            pass
        finally:
            writer.close()

    async def _serve_one(
        self, connection: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        request, body = None, b""
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(65536))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                return False
        assert request is not None
        headers = {name.decode(): value.decode() for name, value in request.headers}
        now = asyncio.get_running_loop().time()
        answer = self.answers.pop(0) if self.answers else 200
        async with self.arrived:
            self.got.append(Got(request.target.decode(), headers, body, now))
            self.arrived.notify_all()
        return await self._answer(answer, connection, writer)

    async def _answer(
        self, answer: Any, connection: h11.Connection, writer: asyncio.StreamWriter
    ) -> bool:
        if answer == "drop":
            return False
        if answer == "hang":
            await asyncio.sleep(60)
        status, headers = answer if isinstance(answer, tuple) else (answer, {})
        body = b""
        if answer == "redirect":
            status, headers = 307, {"Location": "/elsewhere"}
        if answer in ("drip", "flood"):
            status, headers, body = 200, {"Content-Length": str(1 << 40)}, b"x"
        headers = {"Content-Length": "0"} | headers
        head = h11.Response(status_code=status, headers=list(headers.items()))
        writer.write(connection.send(head) or b"")
        while body:
            writer.write(body if answer == "drip" else body * 65536)
            await writer.drain()
            await asyncio.sleep(0.01 if answer == "drip" else 0)
        writer.write(connection.send(h11.EndOfMessage()) or b"")
        await writer.drain()
        return True


@contextlib.asynccontextmanager
async def receiving(*answers: Any) -> AsyncIterator[Receiver]:
    """Run a receiver."""
    receiver = Receiver(answers=list(answers))
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(asyncio.CancelledError):
            await receiver.serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
