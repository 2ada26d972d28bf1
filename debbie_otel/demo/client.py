"""A small client of the demo's agent: calls, and a whole conversation."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import msgspec
from websockets.asyncio.client import ClientConnection, connect

from debbie_otel.demo.script import DEMO_MESSAGES
from debbie_otel.errors import DebbieError

TIMEOUT = 90.0
"""Seconds for an answer; longer than a hung model call takes."""


class CallFailed(DebbieError):  # noqa: N818 - it reads as what happened
    """The server answered with an error.

    Attributes:
        code: Of the JSON-RPC error.

    """

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        super().__init__(f"{code}: {message}")


class AgentClient:
    """One connection to an agent; an async context manager.

    Args:
        url: Of the agent, or of a proxy before it.
        timeout: Seconds that an answer may take.

    Attributes:
        notifications: All that came beside the answers, in order.

    """

    def __init__(self, url: str, timeout: float = TIMEOUT) -> None:
        self._url = url
        self._timeout = timeout
        self._ids = itertools.count(1)
        self._connection: ClientConnection | None = None
        self.notifications: list[dict[str, Any]] = []

    async def __aenter__(self) -> Self:
        """Connect."""
        self._connection = await connect(self._url, proxy=None, max_size=2**24)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection."""
        if self._connection is not None:
            await self._connection.close()

    async def call(self, method: str, **params: Any) -> Any:
        """Send a request and return its result.

        Raises:
            CallFailed: The answer is an error.
            TimeoutError: No answer came in time.

        """
        call_id = next(self._ids)
        await self.send({"jsonrpc": "2.0", "id": call_id, "method": method, "params": params})
        async with asyncio.timeout(self._timeout):
            while True:
                message = await self.receive()
                if "method" not in message and message.get("id") == call_id:
                    return _result(message)
                self.notifications.append(message)

    async def wait_for(self, method: str) -> dict[str, Any]:
        """Return the next notification of that method; what comes before it is kept.

        Raises:
            TimeoutError: None came in time.

        """
        async with asyncio.timeout(self._timeout):
            while True:
                message = await self.receive()
                self.notifications.append(message)
                if message.get("method") == method:
                    return message

    async def send(self, message: dict[str, Any]) -> None:
        """Send one message as it is."""
        assert self._connection is not None
        await self._connection.send(json.dumps(message))

    async def receive(self) -> dict[str, Any]:
        """Return the next message."""
        assert self._connection is not None
        message: dict[str, Any] = json.loads(await self._connection.recv())
        return message


class Conversation(msgspec.Struct):
    """What came of a conversation.

    Attributes:
        session_id: As the server named it.
        answers: One for each message; None where the model failed.
        tools: Names of the tools that ran, in order.
        errors: What calls failed with.

    """

    session_id: str = ""
    answers: list[str | None] = []
    tools: list[str] = []
    errors: list[str] = []


async def converse(
    url: str,
    messages: Sequence[str] = DEMO_MESSAGES,
    *,
    patience: float = TIMEOUT,
) -> Conversation:
    """Start a session, say the messages one after the other, and stop it.

    Between the last answer and the end it also asks for a method that does not exist, so that
    there is an error of the protocol to see.

    Args:
        url: Of the agent, or of a proxy before it.
        messages: What the user says.
        patience: Seconds that an answer may take.

    """
    told = Conversation()
    async with AgentClient(url, patience) as client:
        started = await client.call("startSession", userId="demo", sessionParams={"language": "en"})
        told.session_id = started["sessionId"]
        await client.call("agent.list")
        for message in messages:
            result = await client.call(
                "sendUserMessage", sessionId=told.session_id, message=message
            )
            told.answers.append(result["ai_response"])
            told.tools += [call["function"]["name"] for call in result["tool_calls"]]
        try:
            await client.call("session.export", sessionId=told.session_id)
        except CallFailed as error:
            told.errors.append(str(error))
        await client.call("stopSession", sessionId=told.session_id)
    return told


def _result(message: dict[str, Any]) -> Any:
    error = message.get("error")
    if error is None:
        return message.get("result")
    if isinstance(error, dict):
        raise CallFailed(error.get("code", 0), error.get("message", ""))
    raise CallFailed(0, str(error))
