"""A live ACP agent on a WebSocket: scripted, so that the same prompt always has the same turn.

The first word of a prompt says what the turn does.
"""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import acp
from acp import schema
from acp.http.asgi import create_asgi_app

from tests.peers.between import ASGIApp, serving

NAME = "scripted"
COOKIE = "affinity"
OPTIONS = [
    schema.PermissionOption(option_id="allow", name="Allow", kind="allow_once"),
    schema.PermissionOption(option_id="reject", name="Reject", kind="reject_once"),
]


class Sessions:
    """What the agent remembers beyond one connection: what was said, by session."""

    def __init__(self) -> None:
        self.said: dict[str, list[Any]] = {}

    def new(self) -> str:
        session_id = f"sess-{len(self.said) + 1}"
        self.said[session_id] = []
        return session_id


class ScriptedAgent:
    """The agent's side of one connection."""

    def __init__(self, client: Any, sessions: Sessions) -> None:
        self._client = client
        self._sessions = sessions
        self._cancelled = asyncio.Event()
        self._turns: dict[str, Callable[[str], Awaitable[Any]]] = {
            "read": self._read,
            "write": self._write,
            "hang": self._hang,
            "fail": self._fail,
        }

    # -- the protocol ------------------------------------------------------------------------

    async def initialize(self, protocol_version: int, **_: Any) -> Any:
        return acp.InitializeResponse(
            protocol_version=protocol_version,
            agent_info=schema.Implementation(name=NAME, version="1.0"),
            agent_capabilities=schema.AgentCapabilities(load_session=True),
        )

    async def new_session(self, **_: Any) -> Any:
        return acp.NewSessionResponse(session_id=self._sessions.new())

    async def load_session(self, session_id: str, **_: Any) -> Any:
        for update in self._sessions.said[session_id]:
            await self._client.session_update(session_id, update)
        return acp.LoadSessionResponse()

    async def prompt(self, session_id: str, prompt: list[Any], **_: Any) -> Any:
        text = prompt[0].text
        self._sessions.said[session_id].append(acp.update_user_message_text(text))
        return await self._turns[text.partition(" ")[0]](session_id)

    async def cancel(self, session_id: str, **_: Any) -> None:
        self._cancelled.set()

    # -- the turns ---------------------------------------------------------------------------

    async def _read(self, session_id: str) -> Any:
        """Think, read a file of the client's, and tell of it in three chunks."""
        client = self._client
        await client.session_update(session_id, acp.update_agent_thought_text("A file, "))
        await client.session_update(session_id, acp.update_agent_thought_text("then."))
        call = acp.start_tool_call("call-read", "Read notes", kind="read", status="pending")
        await client.session_update(session_id, call)
        file = await client.read_text_file(session_id=session_id, path="/notes.txt")
        output = {"text": file.content}
        for update in (
            acp.update_tool_call("call-read", status="in_progress"),
            acp.update_tool_call("call-read", status="completed", raw_output=output),
        ):
            await client.session_update(session_id, update)
        await self._say(session_id, "The notes ", "say: ", file.content)
        usage = schema.Usage(total_tokens=150, input_tokens=120, output_tokens=30)
        return acp.PromptResponse(stop_reason="end_turn", usage=usage)

    async def _write(self, session_id: str) -> Any:
        """Ask whether a file may be written, and do as the user says."""
        client = self._client
        call = acp.start_edit_tool_call("call-write", "Write notes", "/notes.txt", "calm")
        await client.session_update(session_id, call)
        answer = await client.request_permission(
            session_id=session_id,
            tool_call=schema.ToolCallUpdate(tool_call_id="call-write", kind="edit"),
            options=OPTIONS,
        )
        allowed = getattr(answer.outcome, "option_id", None) == "allow"
        update = acp.update_tool_call("call-write", status="completed" if allowed else "failed")
        await client.session_update(session_id, update)
        await self._say(session_id, "Written." if allowed else "Not written.")
        return acp.PromptResponse(stop_reason="end_turn")

    async def _hang(self, session_id: str) -> Any:
        """Start a command, and wait until the user has had enough."""
        call = acp.start_tool_call("call-hang", "sleep", kind="execute", status="in_progress")
        await self._client.session_update(session_id, call)
        await self._cancelled.wait()
        return acp.PromptResponse(stop_reason="cancelled")

    async def _fail(self, session_id: str) -> Any:
        await self._say(session_id, "Let me see.")
        raise acp.RequestError(-32000, "The model is overloaded", {"retry": True})

    async def _say(self, session_id: str, *pieces: str) -> None:
        for piece in pieces:
            update = acp.update_agent_message_text(piece)
            self._sessions.said[session_id].append(update)
            await self._client.session_update(session_id, update)


def make_app(cookies_seen: list[str | None]) -> ASGIApp:
    """Return the agent as an ASGI application that counts connections with a cookie.

    Args:
        cookies_seen: Gets the Cookie header of every connection.

    """
    sessions = Sessions()

    def agent_for(client: Any) -> Any:  # an Agent as far as it is asked
        return ScriptedAgent(client, sessions)

    agent = create_asgi_app(agent_for)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            await agent(scope, receive, send)
            return
        headers = dict(scope["headers"])
        cookie = headers.get(b"cookie")
        cookies_seen.append(None if cookie is None else cookie.decode())
        number = len(cookies_seen)

        async def send_with_cookies(message: Any) -> None:
            if message["type"] == "websocket.accept":
                for value in (f"{COOKIE}=node-{number}; Path=/; HttpOnly", f"seen={number}"):
                    message["headers"].append((b"set-cookie", value.encode()))
            await send(message)

        await agent(scope, receive, send_with_cookies)

    return app


@asynccontextmanager
async def acp_agent(cookies_seen: list[str | None]) -> AsyncIterator[int]:
    """Serve; yield the port."""
    async with serving(make_app(cookies_seen), lifespan=True) as port:
        yield port
