"""A live ACP client: a user who answers in a fixed way, and everything he does in a fixed order."""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import acp
from acp import schema
from acp.ws import create_websocket_stream
from acp.ws.client import MemoryAcpCookieStore

NOTES = "all is calm"


def plain(value: Any) -> Any:
    return value.model_dump(mode="json", by_alias=True, exclude_none=True)


class User:
    """The client's side of one connection.

    Attributes:
        updates: Every session/update so far.
        option: How permission requests are answered.
        running: Set when a tool has begun to run.

    """

    def __init__(self) -> None:
        self.updates: list[Any] = []
        self.option = "allow"
        self.running = asyncio.Event()

    async def session_update(self, session_id: str, update: Any, **_: Any) -> None:
        self.updates.append((session_id, plain(update)))
        if getattr(update, "status", None) == "in_progress":
            self.running.set()

    async def read_text_file(self, session_id: str, path: str, **_: Any) -> Any:
        return acp.ReadTextFileResponse(content=NOTES)

    async def request_permission(self, **_: Any) -> Any:
        outcome = schema.AllowedOutcome(outcome="selected", option_id=self.option)
        return acp.RequestPermissionResponse(outcome=outcome)


class Visit:
    """One connection to the agent.

    Attributes:
        said: The answers by name.

    """

    def __init__(self, agent: Any, user: User) -> None:
        self.said: dict[str, Any] = {}
        self._agent = agent
        self._user = user

    async def initialize(self) -> None:
        info = schema.Implementation(name="user", version="1.0")
        self.said["initialize"] = plain(
            await self._agent.initialize(acp.PROTOCOL_VERSION, client_info=info)
        )

    async def new(self) -> str:
        answer = await self._agent.new_session(cwd="/", mcp_servers=[])
        self.said["new"] = plain(answer)
        return str(answer.session_id)

    async def load(self, session_id: str) -> None:
        before = len(self._user.updates)
        answer = await self._agent.load_session(cwd="/", session_id=session_id, mcp_servers=[])
        self.said["load"] = plain(answer), self._user.updates[before:]

    async def prompt(self, session_id: str, text: str, name: str = "") -> None:
        """Send a prompt; keep the answer or the error, and the updates until then."""
        before = len(self._user.updates)
        answer: Any
        try:
            answer = plain(await self._agent.prompt(session_id, [acp.text_block(text)]))
        except acp.RequestError as error:
            answer = (error.code, str(error), error.data)
        self.said[name or text] = answer, self._user.updates[before:]

    async def prompt_and_cancel(self, session_id: str) -> None:
        """Send a prompt, and cancel it once its tool runs."""
        self._user.running.clear()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.prompt(session_id, "hang"))
            await self._user.running.wait()
            await self._agent.cancel(session_id)

    async def unknown_method(self) -> None:
        try:
            answer = await self._agent.ext_method("peers/none", {})
        except acp.RequestError as error:
            self.said["unknown"] = error.code, str(error), error.data
        else:
            raise AssertionError(answer)


@asynccontextmanager
async def visiting(port: int, cookies: Any, option: str = "allow") -> AsyncIterator[Visit]:
    """Connect and initialize."""
    user: Any = User()  # a Client as far as it is asked
    user.option = option
    transport = await create_websocket_stream(f"ws://127.0.0.1:{port}/acp", cookie_store=cookies)
    async with acp.connect_to_agent(user, transport) as agent:
        visit = Visit(agent, user)
        await visit.initialize()
        yield visit


async def converse(port: int) -> list[dict[str, Any]]:
    """Visit twice: the second time the session is loaded, and the user says no."""
    cookies = MemoryAcpCookieStore()
    async with visiting(port, cookies) as first:
        session_id = await first.new()
        await first.prompt(session_id, "read the notes")
        await first.prompt(session_id, "write the notes")
        await first.prompt_and_cancel(session_id)
        await first.prompt(session_id, "fail please")
        await first.unknown_method()
    async with visiting(port, cookies, option="reject") as second:
        await second.load(session_id)
        await second.prompt(session_id, "write the notes")
    return [first.said, second.said, {"cookies": cookies.cookie_header()}]
