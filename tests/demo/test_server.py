"""The JSON-RPC server below the scripted agent."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request

import pytest
from websockets.asyncio.server import ServerConnection

from debbie_otel.demo.client import AgentClient, CallFailed
from debbie_otel.demo.server import CommandError, JsonRpcServer, Params, RpcError, text_of


class EchoServer(JsonRpcServer):
    """Repeats a text, or fails with it."""

    def __init__(self) -> None:
        super().__init__("127.0.0.1", 0)
        self.echoed: list[str] = []
        self._methods = {"echo": self._echo, "fail": self._fail, "command": self._command}

    async def _echo(self, _connection: ServerConnection, params: Params) -> str:
        self.echoed.append(text_of(params, "message"))
        return self.echoed[-1]

    async def _fail(self, _connection: ServerConnection, params: Params) -> None:
        raise RpcError(-32001, text_of(params, "message"))

    async def _command(self, _connection: ServerConnection, params: Params) -> None:
        raise CommandError(text_of(params, "message"))


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        ("not json", (None, -32700, "Parse error")),
        ("[]", (None, -32600, "Invalid Request")),
        ('{"id": 99, "method": "echo"}', (99, -32600, "Invalid Request")),
        ('{"jsonrpc": "2.0", "id": 1, "method": 7}', (1, -32600, "Invalid Request")),
        ('{"jsonrpc": "2.0", "id": 1, "method": "nope"}', (1, -32601, "Method not found")),
        (
            '{"jsonrpc": "2.0", "id": 1, "method": "echo", "params": [1]}',
            (1, -32602, "Invalid params: Missing required parameter or invalid format: message"),
        ),
    ],
)
async def test_errors(sent: str, answer: tuple[int | None, int, str]) -> None:
    call_id, code, text = answer
    async with EchoServer() as server, AgentClient(server.url) as client:
        assert client._connection is not None
        await client._connection.send(sent)
        assert await client.receive() == {
            "jsonrpc": "2.0",
            "id": call_id,
            "error": {"code": code, "message": text},
        }


async def test_what_a_method_raises_is_its_answer() -> None:
    async with EchoServer() as server, AgentClient(server.url) as client:
        with pytest.raises(CallFailed, match="-32001: no such agent"):
            await client.call("fail", message="no such agent")
        await client.send(
            {"jsonrpc": "2.0", "id": 9, "method": "command", "params": {"message": "x"}}
        )
        assert await client.receive() == {"error": "x", "id": 9}


async def test_a_notification_is_done_and_not_answered() -> None:
    async with EchoServer() as server, AgentClient(server.url) as client:
        await client.send({"jsonrpc": "2.0", "method": "echo", "params": {"message": "one"}})
        await client.send({"jsonrpc": "2.0", "method": "nope"})
        assert await client.call("echo", message="two") == "two"
        assert server.echoed == ["one", "two"]


async def test_another_path_is_not_found() -> None:
    async with EchoServer() as server:
        request = f"http://127.0.0.1:{server.port}/other"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with pytest.raises(urllib.error.HTTPError) as caught:
            await asyncio.to_thread(opener.open, request, None, 5)
        with caught.value as answer:
            assert answer.code == 404
            assert answer.read() == b"the agent is at /ws\n"
