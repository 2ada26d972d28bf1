"""Stand-ins for AIWhisperer's two generations of batch client, by the interface that they have.

Names, attributes and the order of events are those of the real ones; what they do beside the wire
is left out. A conversation is a text file, a user message a line.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConcurrencyError, ConnectionClosed

Notified = Callable[[dict[str, Any]], Awaitable[None]]


class WebSocketClient:
    """Receives in a task of its own, which `connect` starts."""

    def __init__(self, uri: str, timeout: float = 30.0) -> None:
        self.uri = uri
        self.timeout = timeout
        self.connection: ClientConnection | None = None
        self._handler: Notified | None = None
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._receive_task: asyncio.Task[None] | None = None
        self._handling: set[asyncio.Future[None]] = set()

    def set_notification_handler(self, handler: Notified) -> None:
        self._handler = handler

    async def connect(self) -> None:
        opening = connect(self.uri, proxy=None, max_size=None)
        # In a task of its own: messages may have come before the connection is kept.
        self.connection = await asyncio.wait_for(opening, self.timeout)
        self._receive_task = asyncio.get_running_loop().create_task(self._receive())

    async def close(self) -> None:
        if self._receive_task is not None:
            self._receive_task.cancel()
            await asyncio.gather(self._receive_task, return_exceptions=True)
        await asyncio.gather(*self._handling)
        if self.connection is not None:
            await self.connection.close()
            self.connection = None

    async def send_request(
        self, method: str, params: dict[str, Any], request_id: int
    ) -> dict[str, Any]:
        assert self.connection is not None
        answered: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = answered
        await self.connection.send(request(request_id, method, params))
        message = await asyncio.wait_for(answered, self.timeout)
        result: dict[str, Any] = message["result"]
        return result

    async def _receive(self) -> None:
        assert self.connection is not None
        try:
            async for text in self.connection:
                self.take(text)
        except (ConnectionClosed, ConcurrencyError):
            return  # the real one writes a line to its log

    def take(self, text: str | bytes) -> None:
        """Pass a message to whoever waits for it."""
        message = json.loads(text)
        if "id" not in message:
            if self._handler is not None:
                task = asyncio.ensure_future(self._handler(message))  # noqa: TID251
                self._handling.add(task)
                task.add_done_callback(self._handling.discard)
        elif (answered := self._waiting.pop(message["id"], None)) is not None:
            answered.set_result(message)


class ServerManager:
    """A server in a process of its own; here the demo's."""

    def __init__(self, port: int | None = None) -> None:
        self.port = port
        self.process: subprocess.Popen[str] | None = None

    def start_server(self) -> None:
        """Start it; as with the real one, the event loop stands still meanwhile."""
        command = [sys.executable, "-m", "debbie_otel.demo.agent", "--speed", "20"]
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port or 0)], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline().rpartition(":")[2].partition("/")[0])

    def stop_server(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.communicate(timeout=10)
            self.process = None


class ConversationReplayClient:
    """The newer one: asks, and waits for the answer."""

    def __init__(
        self,
        conversation_path: str | Path,
        server_port: int | None = None,
        ws_uri: str | None = None,
        dry_run: bool = False,
    ) -> None:
        self.conversation_path = Path(conversation_path)
        self.server_manager = ServerManager(port=server_port)
        self.ws_uri = ws_uri
        self.ws_client: WebSocketClient | None = None
        self.dry_run = dry_run
        self.session_id = ""
        self.answers: list[str | None] = []
        self.notifications: list[dict[str, Any]] = []

    async def run(self) -> None:
        if self.dry_run:
            return
        try:
            if self.ws_client is None:
                await self.open()
            assert self.ws_client is not None
            await self.converse(self.ws_client)
        finally:
            if self.ws_client is not None:
                await self.ws_client.close()
            self.server_manager.stop_server()

    async def open(self) -> None:
        if self.ws_uri is None:
            self.server_manager.start_server()
            self.ws_uri = f"ws://127.0.0.1:{self.server_manager.port}/ws"
        self.ws_client = WebSocketClient(self.ws_uri)

        async def notified(message: dict[str, Any]) -> None:
            self.notifications.append(message)

        self.ws_client.set_notification_handler(notified)
        await self.ws_client.connect()

    async def converse(self, client: WebSocketClient) -> None:
        started = await client.send_request("startSession", {"userId": "batch"}, 1)
        self.session_id = started["sessionId"]
        messages = self.conversation_path.read_text().splitlines()
        for number, message in enumerate(messages, 2):
            params = {"sessionId": self.session_id, "message": message}
            answer = await client.send_request("sendUserMessage", params, number)
            self.answers.append(answer["ai_response"])
        params = {"sessionId": self.session_id}
        await client.send_request("stopSession", params, len(messages) + 2)


class BatchClient:
    """The older one: speaks on `ws_client.connection` itself, and waits for the session only.

    It receives before the task of its WebSocket client does, which so ends at its first attempt.
    """

    def __init__(self, script_path: str | Path, ws_uri: str) -> None:
        self.script_path = Path(script_path)
        self.ws_uri = ws_uri
        self.ws_client: WebSocketClient | None = None

    async def run(self) -> None:
        try:
            self.ws_client = WebSocketClient(self.ws_uri)
            await self.ws_client.connect()
            session_id = await self.start_session(self.ws_client)
            messages = self.script_path.read_text().splitlines()
            for number, message in enumerate(messages, 2):
                params = {"sessionId": session_id, "message": message}
                await self.say(request(number, "sendUserMessage", params))
            params = {"sessionId": session_id}
            await self.say(request(len(messages) + 2, "stopSession", params))
        finally:
            if self.ws_client is not None:
                await self.ws_client.close()

    async def start_session(self, client: WebSocketClient) -> str:
        await self.say(request(1, "startSession", {"userId": "batch"}))
        while True:
            assert client.connection is not None
            message = json.loads(await client.connection.recv())
            if message.get("id") == 1:
                session_id: str = message["result"]["sessionId"]
                return session_id

    async def say(self, text: str) -> None:
        assert self.ws_client is not None
        assert self.ws_client.connection is not None
        await self.ws_client.connection.send(text)


def request(request_id: int, method: str, params: dict[str, Any]) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params})
