"""A live MCP server on a WebSocket, with tools that behave in every way that matters here."""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from mcp.server.fastmcp import Context, FastMCP
from mcp.server.fastmcp.prompts import Prompt
from mcp.server.fastmcp.resources import FunctionResource
from mcp.server.websocket import websocket_server
from mcp.types import SamplingMessage, TextContent

from tests.peers.between import ASGIApp, serving

NAME = "peer"
TOGETHER = 5
"""Calls of `meet` that have to be open at once before any is answered."""

AnyContext: TypeAlias = Context[Any, Any, Any]


def add(a: int, b: int) -> int:
    return a + b


def fail(why: str) -> str:
    raise ValueError(why)


def large(size: int) -> str:
    return "x" * size


async def slow(steps: int, ctx: AnyContext) -> str:
    """Report progress, and log a line."""
    for step in range(1, steps + 1):
        await ctx.report_progress(step, steps, f"step {step}")
    await ctx.info("nearly there")
    return f"{steps} steps"


async def hang(ctx: AnyContext) -> str:
    """Say that it runs, then wait until it is cancelled."""
    await ctx.report_progress(0, 1)
    await asyncio.Event().wait()
    return "never"


async def ask(question: str, ctx: AnyContext) -> str:
    """Have the client's model answer."""
    message = SamplingMessage(role="user", content=TextContent(type="text", text=question))
    answer = await ctx.session.create_message([message], max_tokens=10)
    return str(answer.content.text)


def make_app() -> ASGIApp:
    """Return the server as an ASGI application, fresh."""
    meeting = asyncio.Barrier(TOGETHER)

    async def meet(name: str) -> str:
        await meeting.wait()
        return f"{name} was here"

    server = FastMCP(NAME)
    for tool in (add, fail, slow, hang, ask, meet):
        server.add_tool(tool)
    # A structured result would carry its text a second time.
    server.add_tool(large, structured_output=False)
    server.add_resource(
        FunctionResource.from_function(lambda: "calm", uri="peer://mood", name="mood")
    )
    server.add_prompt(Prompt.from_function(lambda: "Greet the user.", name="greet"))
    low_level = server._mcp_server

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        async with websocket_server(scope, receive, send) as (reads, writes):
            await low_level.run(reads, writes, low_level.create_initialization_options())

    return app


@asynccontextmanager
async def mcp_server() -> AsyncIterator[int]:
    """Serve; yield the port."""
    async with serving(make_app()) as port:
        yield port
