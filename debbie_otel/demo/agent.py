"""A scripted agent server that speaks AIWhisperer's protocol on a real WebSocket.

`ws://HOST:PORT/ws`, JSON-RPC 2.0 in text frames. As with AIWhisperer itself, one socket is served
strictly one message after the other, a second socket can work on the same session at once (its
reply comes on the second, the streaming on the first), and a session survives its socket.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import uuid
from collections.abc import Sequence
from weakref import WeakKeyDictionary

from websockets.asyncio.server import ServerConnection

from debbie_otel.compat.platforms import on_termination
from debbie_otel.demo.agent_session import AgentSession
from debbie_otel.demo.script import DEMO_TURNS, Fault, ScriptedTurn, ToolCall
from debbie_otel.demo.server import (
    AGENT_ERROR,
    INVALID_PARAMS,
    CommandError,
    JsonRpcServer,
    Params,
    RpcError,
    text_of,
)

MODEL_TIMEOUT = 60.0
"""Seconds after which a hung model call is given up, at speed 1."""

_AGENTS = {
    "a": {"agent_id": "a", "name": "Alice", "role": "assistant"},
    "p": {"agent_id": "p", "name": "Patricia", "role": "planner"},
}


class ScriptedAgent(JsonRpcServer):
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
        script: Sequence[ScriptedTurn] = DEMO_TURNS,
        *,
        one_script: bool = False,
        speed: float = 1.0,
        seed: int = 0,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        super().__init__(host, port)
        self._script = tuple(script)
        self._one_script = one_script
        self._turns = 0
        self._speed = speed
        self._dice = random.Random(seed)
        self._sessions: dict[str, AgentSession] = {}
        self._begun: WeakKeyDictionary[ServerConnection, str] = WeakKeyDictionary()
        self._tool_calls = 0
        self._methods = {
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

    # -- sessions and small things -------------------------------------------------------------

    async def _start_session(self, connection: ServerConnection, params: Params) -> Params:
        text_of(params, "userId")
        session = AgentSession(self._uuid(), connection)
        self._sessions[session.id] = session
        self._begun[connection] = session.id
        await session.notify("agent.created", {"agent_id": "a", "active": True})
        await session.notify("agent.switched", {"from": "a", "to": "a"})
        return {"sessionId": session.id, "status": 1}

    async def _stop_session(self, _connection: ServerConnection, params: Params) -> Params:
        stopped = self._sessions.pop(text_of(params, "sessionId"), None)
        if stopped is not None:
            stopped.stopped.set()
        return {"status": 2}

    async def _echo(self, _connection: ServerConnection, params: Params) -> str:
        return text_of(params, "message")

    async def _agent_list(self, _connection: ServerConnection, _params: Params) -> Params:
        return {"agents": list(_AGENTS.values())}

    async def _current_agent(self, connection: ServerConnection, params: Params) -> Params:
        return {"current_agent": self._session(connection, params).agent}

    async def _switch_agent(self, connection: ServerConnection, params: Params) -> Params:
        session, agent = self._session(connection, params), text_of(params, "agent_id")
        if agent not in _AGENTS:
            raise RpcError(AGENT_ERROR, f"Agent '{agent}' does not exist")
        before, session.agent = session.agent, agent
        await session.notify("agent.switched", {"from": before, "to": agent})
        return {"success": True, "current_agent": agent}

    async def _provide_tool_result(self, connection: ServerConnection, params: Params) -> Params:
        self._session(connection, params)
        return {"status": 0}

    async def _dispatch_command(self, connection: ServerConnection, params: Params) -> Params:
        self._session(connection, params)
        command, _, rest = text_of(params, "command").partition(" ")
        if command != "/echo":
            raise CommandError(f"Unknown command: {command.lstrip('/')}")
        return {"output": rest}

    def _session(self, connection: ServerConnection, params: Params) -> AgentSession:
        """Return the session that is named; an unknown name falls back to the socket's own."""
        named = text_of(params, "sessionId")
        session = self._sessions.get(named) or self._sessions.get(self._begun.get(connection, ""))
        if session is None:
            raise RpcError(INVALID_PARAMS, f"Invalid params: Invalid session: {named}")
        return session

    # -- turns -------------------------------------------------------------------------------

    async def _send_user_message(self, connection: ServerConnection, params: Params) -> Params:
        session, message = self._session(connection, params), text_of(params, "message")
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
            await session.stream("")
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

    def turn_for(self, number: int, message: str) -> ScriptedTurn:  # noqa: ARG002 - others may look at it
        """Return what follows on a user message, counted from 0."""
        return self._script[number] if number < len(self._script) else ScriptedTurn()

    async def hang(self) -> str | None:
        """Wait for a model that hangs; return its late answer, None if its time is over."""
        await self._pause(MODEL_TIMEOUT)
        return None

    async def _hang(self, session: AgentSession) -> Params:
        """Do nothing until the session, or the server, is stopped."""
        ends = [asyncio.ensure_future(e.wait()) for e in (session.stopped, self._stopping)]  # noqa: TID251
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        return self._result(None, ())

    async def _loop(self, session: AgentSession, tools: Sequence[ToolCall]) -> Params:
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

    async def _speak(self, session: AgentSession, text: str, turn: ScriptedTurn) -> None:
        """Stream a text, each chunk with all that was said so far, then say it as a whole."""
        end = 0
        while end < len(text):
            end = min(len(text), end + self._dice.randint(8, 24))
            await session.stream(text[:end])
            await self._pause(turn.pace)
        await session.stream(text)
        await session.say(text, structured=not turn.tools)

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


async def _run(port: int, speed: float, seed: int) -> None:
    async with ScriptedAgent(port=port, speed=speed, seed=seed) as agent:
        print(f"agent on {agent.url}", flush=True)  # noqa: T201 - what the command is for
        # By signal handlers, because a shell may have told its background jobs to ignore SIGINT.
        stop = asyncio.Event()
        on_termination(stop.set)
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
