"""Tools that fail, a client that uses them, and a proxy between that tries them again."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from debbie_otel.intervention.intervention_config import ToolRetrySettings
from debbie_otel.intervention.records import InterventionRecord
from tests.integration.proxied import Proxied, config, proxied

TOOLS = [
    {"name": "look", "annotations": {"readOnlyHint": True}},
    {"name": "put", "annotations": {"idempotentHint": True}},
    {"name": "pay", "annotations": {"idempotentHint": False}},
    {"name": "search_web"},
]


class Flaky:
    """An MCP server whose tools fail so often before they work.

    Attributes:
        failures: By tool, how many calls fail; by `isError`, or by a JSON-RPC error.
        error: The text of a failure; `code`: of the JSON-RPC error.
        numbers_only: It makes null of any other id, as some bridges do.
        calls: All calls it got, as (tool, arguments).

    """

    def __init__(self, **failures: int) -> None:
        self.failures = failures
        self.rpc_errors = False
        self.error = "not now"
        self.code = -32603
        self.numbers_only = False
        self.calls: list[tuple[str, Any]] = []
        self.ids: list[Any] = []

    async def __call__(self, connection: ServerConnection) -> None:
        async for text in connection:
            request = json.loads(text)
            answer = self.answer(request) if "id" in request else {}
            if answer:
                kept = isinstance(request["id"], int) or not self.numbers_only
                head = {"jsonrpc": "2.0", "id": request["id"] if kept else None}
                await connection.send(json.dumps(head | answer))

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["method"] == "tools/list":
            return {"result": {"tools": TOOLS}}
        params = request["params"]
        self.calls.append((params["name"], params.get("arguments")))
        self.ids.append(request["id"])
        left = self.failures.get(params["name"], 0)
        self.failures[params["name"]] = left - 1
        if left > 0 and self.rpc_errors:
            return {"error": {"code": self.code, "message": self.error}}
        content = [{"type": "text", "text": self.error}] if left > 0 else []
        return {"result": {"content": content, "isError": left > 0, "call": len(self.calls)}}


class Client:
    """A client that keeps everything it gets."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._ids = iter(range(1, 1000))
        self.received: list[dict[str, Any]] = []

    async def request(self, method: str, **params: Any) -> Any:
        call_id = next(self._ids)
        message = {"jsonrpc": "2.0", "id": call_id, "method": method, "params": params}
        await self._connection.send(json.dumps(message))
        answer = json.loads(await self._connection.recv())
        self.received.append(answer)
        assert answer["id"] == call_id
        return answer

    async def use(self, tool: str, **arguments: Any) -> Any:
        return await self.request("tools/call", name=tool, arguments=arguments)


@contextlib.asynccontextmanager
async def stage(
    flaky: Flaky,
    data_dir: Path,
    *,
    compress: bool = True,
    policy: dict[str, Any] | None = None,
    **retry: Any,
) -> AsyncIterator[tuple[Client, Proxied]]:
    settings = ToolRetrySettings(**({"delay": 0.01} | retry))
    compression: Any = "deflate" if compress else None
    async with serve(flaky, "127.0.0.1", 0, compression=compression) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        base = config(
            f"ws://127.0.0.1:{port}",
            data_dir,
            proxy={"dialect": "mcp"},
            detection={"enabled": True},
            interventions={"tool_retry": settings, **(policy or {})},
        )
        async with (
            proxied(base) as it,
            connect(it.url(), proxy=None, compression=compression) as connection,
        ):
            client = Client(connection)
            await client.request("tools/list")
            yield client, it


def told(it: Proxied) -> list[str]:
    assert it.debbie.interventions is not None
    records: list[InterventionRecord] = it.debbie.interventions.history.recent()
    return [f"{r.strategy} {r.attempt} {r.result}" for r in reversed(records)]
