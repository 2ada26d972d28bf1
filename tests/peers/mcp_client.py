"""A live MCP client, and everything it says in a conversation, in a fixed order."""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from mcp import ClientSession, McpError, types
from mcp.client.websocket import websocket_client

from tests.peers.mcp_server import TOGETHER

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
LARGE = 1_040_000
"""Characters of a result that just fits: the client takes messages up to 1 MiB."""

TOO_LARGE = 2**20

Said = dict[str, Any]


def plain(value: Any) -> Any:
    return value.model_dump(mode="json", by_alias=True, exclude_none=True)


async def refused(call: Any) -> dict[str, Any]:
    """Return the error that a call ends with."""
    try:
        answer = await call
    except McpError as error:
        return {"code": error.error.code, "message": error.error.message}
    raise AssertionError(f"no error: {answer}")


async def _sample(context: Any, params: Any) -> Any:
    question = params.messages[0].content.text
    return types.CreateMessageResult(
        role="assistant",
        content=types.TextContent(type="text", text=f"{question} Yes."),
        model="scripted",
    )


class Conversation:
    """Everything that a client can say; each answer is kept by a name.

    Attributes:
        said: The answers.

    """

    def __init__(self, session: Any, logged: list[str]) -> None:
        self.said: Said = {}
        self._session = session
        self._logged = logged

    async def all(self) -> Said:
        """Say all of it."""
        await self.lists()
        await self.tools()
        await self.reads()
        await self.cancels()
        await self.together()
        self.said["logged"] = list(self._logged)
        return self.said

    async def lists(self) -> None:
        session, said = self._session, self.said
        said["tools"] = plain(await session.list_tools())
        said["resources"] = plain(await session.list_resources())
        said["prompts"] = plain(await session.list_prompts())
        said["ping"] = plain(await session.send_ping())

    async def tools(self) -> None:
        said = self.said
        said["add"] = await self.tool("add", {"a": 2, "b": 3})
        said["fail"] = await self.tool("fail", {"why": "on request"})
        said["unknown"] = await self.tool("no_such_tool", {})
        said["invalid"] = await self.tool("add", {"a": "two", "b": 3})
        said["ask"] = await self.tool("ask", {"question": "Is it raining?"})
        traceparent = f"00-{TRACE_ID}-{PARENT_ID}-01"
        said["traced"] = await self.tool("add", {"a": 1, "b": 1}, {"traceparent": traceparent})
        steps: list[tuple[float, float | None, str | None]] = []

        async def progress(done: float, total: float | None, message: str | None) -> None:
            steps.append((done, total, message))

        slow = await self._session.call_tool("slow", {"steps": 3}, progress_callback=progress)
        said["slow"] = plain(slow), steps
        said["large"] = await self.tool("large", {"size": LARGE})

    async def reads(self) -> None:
        session, said = self._session, self.said
        said["mood"] = plain(await session.read_resource("peer://mood"))
        said["greet"] = plain(await session.get_prompt("greet"))
        said["no resource"] = await refused(session.read_resource("peer://nothing"))
        said["no prompt"] = await refused(session.get_prompt("nothing"))

    async def cancels(self) -> None:
        """Cancel a call once it is known to run."""
        running = asyncio.Event()

        async def progress(done: float, total: float | None, message: str | None) -> None:
            running.set()

        session = self._session
        async with asyncio.TaskGroup() as group:
            call = group.create_task(
                refused(session.call_tool("hang", {}, progress_callback=progress))
            )
            await running.wait()
            params = types.CancelledNotificationParams(
                requestId=session._request_id - 1, reason="tired"
            )
            notification = types.CancelledNotification(params=params)
            await session.send_notification(types.ClientNotification(notification))
            self.said["cancelled"] = await call

    async def together(self) -> None:
        """Make calls of which none is answered before all have come."""
        calls = (self.tool("meet", {"name": f"guest {n}"}) for n in range(TOGETHER))
        self.said["meet"] = await asyncio.gather(*calls)

    async def tool(
        self, name: str, arguments: dict[str, Any], meta: dict[str, Any] | None = None
    ) -> Any:
        return plain(await self._session.call_tool(name, arguments, meta=meta))


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Conversation]:
    """Connect and initialize."""
    logged: list[str] = []

    async def log(params: Any) -> None:
        logged.append(params.data)

    async with (
        websocket_client(f"ws://127.0.0.1:{port}/mcp") as (reads, writes),
        ClientSession(
            reads,
            writes,
            read_timeout_seconds=timedelta(seconds=10),
            sampling_callback=_sample,
            logging_callback=log,
        ) as session,
    ):
        conversation = Conversation(session, logged)
        conversation.said["initialize"] = plain(await session.initialize())
        yield conversation


async def converse(port: int) -> Said:
    """Connect, say everything, and leave."""
    async with connected(port) as conversation:
        return await conversation.all()
