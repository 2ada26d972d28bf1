"""A scripted agent server that speaks AIWhisperer's protocol on a real WebSocket.

`ws://HOST:PORT/ws`, JSON-RPC 2.0 in text frames. As with AIWhisperer itself, one socket is served
strictly one message after the other, a second socket can work on the same session at once (its
reply comes on the second, the streaming on the first), and a session survives its socket.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http
import json
import random
import signal
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from debbie_otel.demo.script import DEMO_TURNS, Fault, ToolCall, Turn

PATH = "/ws"
MODEL_TIMEOUT = 60.0
"""Seconds after which a hung model call is given up, at speed 1."""

PARSE_ERROR = (-32700, "Parse error")
INVALID_REQUEST = (-32600, "Invalid Request")
METHOD_NOT_FOUND = (-32601, "Method not found")
INVALID_PARAMS = -32602
AGENT_ERROR = -32001

_AGENTS = {
    "a": {"agent_id": "a", "name": "Alice", "role": "assistant"},
    "p": {"agent_id": "p", "name": "Patricia", "role": "planner"},
}

Params = dict[str, Any]


class _RpcError(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class _Session:
    """What outlives a socket: the place in the script, the agent, and who is told of progress."""

    def __init__(self, session_id: str, owner: ServerConnection) -> None:
        self.id = session_id
        self.owner = owner
        self.agent = "a"
        self.turns = 0
        self.sequence = 0
        self.stuck = False
        self.stopped = asyncio.Event()

    async def notify(self, method: str, params: Params) -> None:
        """Tell the socket that began the session; nobody if that one is gone."""
        with contextlib.suppress(ConnectionClosed):
            await self.owner.send(_dumps({"jsonrpc": "2.0", "method": method, "params": params}))


class ScriptedAgent:
    """The server; an async context manager.

    Args:
        script: A turn for each user message of a session, in order; after the last one, the user's
            words are repeated.
        one_script: Whether all sessions together take the turns in order, and not each its own.
        speed: Everything goes this many times as fast.
        seed: Of ids and of where streamed text is cut; the same seed gives the same conversation.
        host: To listen on.
        port: To listen on; 0 takes a free one.

    """

    def __init__(
        self,
        script: Sequence[Turn] = DEMO_TURNS,
        *,
        one_script: bool = False,
        speed: float = 1.0,
        seed: int = 0,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._script = tuple(script)
        self._one_script = one_script
        self._turns = 0
        self._speed = speed
        self._dice = random.Random(seed)
        self._address = (host, port)
        self._sessions: dict[str, _Session] = {}
        self._tool_calls = 0
        self._server: Server | None = None
        self._stopping = asyncio.Event()
        self._methods: dict[str, Callable[[_Socket, Params], Awaitable[Any]]] = {
            "startSession": self._start_session,
            "sendUserMessage": self._send_user_message,
            "stopSession": self._stop_session,
            "provideToolResult": self._provide_tool_result,
            "dispatchCommand": self._dispatch_command,
            "echo": self._echo,
            "agent.list": self._agent_list,
            "session.current_agent": self._current_agent,
            "session.switch_agent": self._switch_agent,
        }

    async def __aenter__(self) -> Self:
        """Start to listen."""
        self._server = await serve(
            self._serve, *self._address, process_request=_only_our_path, max_size=2**24
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close every connection; turns that hang end."""
        assert self._server is not None
        self._stopping.set()
        self._server.close()
        await self._server.wait_closed()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        assert self._server is not None
        port: int = next(iter(self._server.sockets)).getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """Where to connect."""
        return f"ws://{self._address[0]}:{self.port}{PATH}"

    # -- the wire ----------------------------------------------------------------------------

    async def _serve(self, connection: ServerConnection) -> None:
        socket = _Socket(connection)
        with contextlib.suppress(ConnectionClosed):
            async for text in connection:
                answer = await self._answer(socket, text)
                if answer is not None:
                    await connection.send(_dumps(answer))

    async def _answer(self, socket: _Socket, text: str | bytes) -> dict[str, Any] | None:
        """Handle one message; None where a notification wants no answer."""
        try:
            request = json.loads(text)
        except (ValueError, RecursionError):
            return _error(None, *PARSE_ERROR)
        if not isinstance(request, dict):
            return _error(None, *INVALID_REQUEST)
        call_id, method = request.get("id"), request.get("method")
        if request.get("jsonrpc") != "2.0" or not isinstance(method, str):
            return _error(call_id, *INVALID_REQUEST)
        answer = await self._call(socket, method, request.get("params"), call_id)
        return answer if "id" in request else None

    async def _call(self, socket: _Socket, method: str, params: Any, call_id: Any) -> Params:
        handler = self._methods.get(method)
        if handler is None:
            return _error(call_id, *METHOD_NOT_FOUND)
        try:
            result = await handler(socket, params if isinstance(params, dict) else {})
        except _CommandError as error:
            return {"error": str(error), "id": call_id}  # malformed, as the real one's is
        except _RpcError as error:
            return _error(call_id, error.code, error.message)
        return {"jsonrpc": "2.0", "id": call_id, "result": result}

    # -- sessions and small things -------------------------------------------------------------

    async def _start_session(self, socket: _Socket, params: Params) -> Params:
        _text(params, "userId")
        session = _Session(self._uuid(), socket.connection)
        self._sessions[session.id] = socket.session = session
        await session.notify("agent.created", {"agent_id": "a", "active": True})
        await session.notify("agent.switched", {"from": "a", "to": "a"})
        return {"sessionId": session.id, "status": 1}

    async def _stop_session(self, socket: _Socket, params: Params) -> Params:
        stopped = self._sessions.pop(_text(params, "sessionId"), None)
        if socket.session is stopped:
            socket.session = None
        if stopped is not None:
            stopped.stopped.set()
        return {"status": 2}

    async def _echo(self, _socket: _Socket, params: Params) -> str:
        return _text(params, "message")

    async def _agent_list(self, _socket: _Socket, _params: Params) -> Params:
        return {"agents": list(_AGENTS.values())}

    async def _current_agent(self, socket: _Socket, params: Params) -> Params:
        return {"current_agent": self._session(socket, params).agent}

    async def _switch_agent(self, socket: _Socket, params: Params) -> Params:
        session, agent = self._session(socket, params), _text(params, "agent_id")
        if agent not in _AGENTS:
            raise _RpcError(AGENT_ERROR, f"Agent '{agent}' does not exist")
        before, session.agent = session.agent, agent
        await session.notify("agent.switched", {"from": before, "to": agent})
        return {"success": True, "current_agent": agent}

    async def _provide_tool_result(self, socket: _Socket, params: Params) -> Params:
        self._session(socket, params)
        return {"status": 0}

    async def _dispatch_command(self, socket: _Socket, params: Params) -> Params:
        self._session(socket, params)
        command, _, rest = _text(params, "command").partition(" ")
        if command != "/echo":
            raise _CommandError(f"Unknown command: {command.lstrip('/')}")
        return {"output": rest}

    def _session(self, socket: _Socket, params: Params) -> _Session:
        """Return the session that is named; an unknown name falls back to the socket's own."""
        named = _text(params, "sessionId")
        session = self._sessions.get(named)
        if session is None and socket.session is not None:
            session = self._sessions.get(socket.session.id)
        if session is None:
            raise _RpcError(INVALID_PARAMS, f"Invalid params: Invalid session: {named}")
        return session

    # -- turns -------------------------------------------------------------------------------

    async def _send_user_message(self, socket: _Socket, params: Params) -> Params:
        session, message = self._session(socket, params), _text(params, "message")
        if session.stuck:
            return await self._hang(session)
        turn = self.turn_for(self._turns if self._one_script else session.turns, message)
        self._turns += 1
        session.turns += 1
        session.stuck = turn.fault is Fault.STUCK
        await self._pause(turn.think)
        if turn.fault is Fault.ERROR:
            return self._result(None, ())
        for tool in turn.tools if turn.fault is not Fault.LOOP else ():
            await self._stream(session, "")
            await self._pause(tool.seconds)
        if turn.fault is Fault.LOOP:
            return await self._loop(session, turn.tools)
        if turn.fault is Fault.STUCK:
            return await self._hang(session)
        if turn.fault is Fault.STALL:
            return self._result("", turn.tools)
        text: str | None = turn.text or f"You said: {message}"
        if turn.fault is Fault.HANG:
            text = await self.hang()
        if text is None:
            return self._result(None, ())
        await self._speak(session, text, turn)
        return self._result(text, turn.tools)

    def turn_for(self, number: int, message: str) -> Turn:  # noqa: ARG002 - others may look at it
        """Return what follows on a user message, counted from 0."""
        return self._script[number] if number < len(self._script) else Turn()

    async def hang(self) -> str | None:
        """Wait for a model that hangs; return its late answer, None if its time is over."""
        await self._pause(MODEL_TIMEOUT)
        return None

    async def _hang(self, session: _Session) -> Params:
        """Do nothing until the session, or the server, is stopped."""
        ends = [asyncio.ensure_future(e.wait()) for e in (session.stopped, self._stopping)]  # noqa: TID251
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        return self._result(None, ())

    async def _loop(self, session: _Session, tools: Sequence[ToolCall]) -> Params:
        """Run the tools again and again until the session, or the server, is stopped.

        As they run for long, they are told one by one, in the words of AIWhisperer's older servers.
        """
        while not session.stopped.is_set() and not self._stopping.is_set():
            for tool in tools:
                name = {"sessionId": session.id, "toolName": tool.name}
                await session.notify("toolExecutionStarted", name)
                await self._pause(tool.seconds)
                taken = {"durationMs": round(tool.seconds / self._speed * 1000)}
                await session.notify("toolExecutionCompleted", name | taken)
        return self._result(None, ())

    async def _speak(self, session: _Session, text: str, turn: Turn) -> None:
        """Stream a text, each chunk with all that was said so far, then say it as a whole."""
        end = 0
        while end < len(text):
            end = min(len(text), end + self._dice.randint(8, 24))
            await self._stream(session, text[:end])
            await self._pause(turn.pace)
        await self._stream(session, text)
        session.sequence += 1
        channels = {"analysis": "", "commentary": "", "final": text}
        metadata: Params = {
            "sequence": session.sequence,
            "timestamp": datetime.now(UTC).isoformat(),
            "agentId": session.agent,
            "sessionId": session.id,
            "toolCalls": None,
            "continuationDepth": None,
            "isPartial": False,
            "responseFormat": "json",
            "fullResponse": channels,
        }
        if not turn.tools:
            metadata |= {"structuredResponse": channels, "analysis": "", "commentary": ""}
        await session.notify(
            "ChannelMessageNotification",
            {"type": "channel_message", "channel": "final", "content": text, "metadata": metadata},
        )

    async def _stream(self, session: _Session, content: str) -> None:
        await session.notify(
            "StreamingUpdate",
            {
                "type": "streaming_chunk",
                "content": content,
                "sessionId": session.id,
                "agentId": session.agent,
                "isPartial": True,
                "format": "text",
                "rawContent": True,
            },
        )

    def _result(self, text: str | None, tools: Sequence[ToolCall]) -> Params:
        calls = []
        for tool in tools:
            self._tool_calls += 1
            function = {"name": tool.name, "arguments": json.dumps(tool.arguments)}
            calls.append(
                {"id": f"call_{self._tool_calls}", "type": "function", "function": function}
            )
        return {"messageId": self._uuid(), "status": 0, "ai_response": text, "tool_calls": calls}

    async def _pause(self, seconds: float) -> None:
        """Let time pass, at the chosen speed, or until the server stops."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds / self._speed)

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self._dice.getrandbits(128), version=4))


class _CommandError(Exception):
    pass


class _Socket:
    """One connection, and the session that it began."""

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection
        self.session: _Session | None = None


def _only_our_path(connection: ServerConnection, request: Request) -> Response | None:
    if request.path.partition("?")[0] == PATH:
        return None
    return connection.respond(http.HTTPStatus.NOT_FOUND, f"the agent is at {PATH}\n")


def _text(params: Params, key: str) -> str:
    value = params.get(key)
    if not isinstance(value, str):
        what = "Missing required parameter or invalid format"
        raise _RpcError(INVALID_PARAMS, f"Invalid params: {what}: {key}")
    return value


def _error(call_id: Any, code: int, message: str) -> Params:
    return {"jsonrpc": "2.0", "id": call_id, "error": {"code": code, "message": message}}


def _dumps(message: Params) -> str:
    return json.dumps(message, ensure_ascii=False)


async def _run(port: int, speed: float, seed: int) -> None:
    async with ScriptedAgent(port=port, speed=speed, seed=seed) as agent:
        print(f"agent on {agent.url}", flush=True)  # noqa: T201 - what the command is for
        # By signal handlers, because a shell may have told its background jobs to ignore SIGINT.
        stop = asyncio.Event()
        for name in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(name, stop.set)
        await stop.wait()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the agent until it is interrupted."""
    parser = argparse.ArgumentParser(prog="python -m debbie_otel.demo.agent", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--speed", type=float, default=1.0, help="this many times as fast")
    parser.add_argument("--seed", type=int, default=0, help="of ids, and where text is cut")
    given = parser.parse_args(arguments)
    asyncio.run(_run(given.port, given.speed, given.seed))


if __name__ == "__main__":
    main()
