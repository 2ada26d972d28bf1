"""What a restart needs: a server with a session per connection, a plan, a session that hangs."""

from __future__ import annotations

import json
from typing import Any

from websockets.asyncio.server import ServerConnection

from debbie_otel.intervention.channel import RestartPlan
from debbie_otel.session.model import Call
from tests.transports.acting import Scene, hear, notification, request, result
from tests.transports.raw import until


class Sessions:
    """A server that gives every connection a session of its own, and hangs in `work`.

    Attributes:
        heard: Messages by connection.
        refuse: Methods that are answered with an error.

    """

    def __init__(self) -> None:
        self.connections: list[ServerConnection] = []
        self.heard: list[list[Any]] = []
        self.refuse: set[str] = set()
        self.silent: set[str] = {"work"}

    async def __call__(self, connection: ServerConnection) -> None:
        number = len(self.connections)
        self.connections.append(connection)
        self.heard.append([])
        name = f"session-{number}"
        async for text in connection:
            message = json.loads(text)
            self.heard[number].append(message)
            method = message.get("method")
            if "id" not in message or method is None or method in self.silent:
                continue
            if method in self.refuse:
                detail = {"code": -1, "message": "no"}
                await connection.send(json.dumps({"id": message["id"], "error": detail}))
                continue
            if method == "startSession":
                await connection.send(notification("hello", sessionId=name))
                value: Any = {"sessionId": name}
            else:
                value = {"params": message.get("params"), "by": name}
            await connection.send(result(message["id"], value))

    async def until_heard(self, number: int, count: int) -> Any:
        await until(lambda: len(self.heard) > number and len(self.heard[number]) >= count)
        return self.heard[number][count - 1]


START = request(0, "startSession", userId="u").encode()


def plan(call: Call | None = None, **changes: Any) -> RestartPlan:
    values: dict[str, Any] = {
        "replay": (request(1, "initialize").encode(), notification("initialized").encode()),
        "start": START,
        "session_id": "session-0",
        "session_path": "result.sessionId",
        "request": ("more", {"sessionId": "session-0", "text": 'say "session-0"'}),
        "replaces": call,
    }
    return RestartPlan(**values | changes)


async def started(stage: Scene, **options: Any) -> Any:
    """Connect a client, start its session, and have the server hang in a request."""
    client = await stage.client(**options)
    await client.send(request(1, "startSession"))
    assert (await hear(client))["method"] == "hello"
    await hear(client)
    await client.send(request(7, "work", sessionId="session-0", text="x" * 100))
    return client


def open_call(stage: Scene, method: str = "work") -> Call:
    calls = stage.interceptors()[0].connection.pending_calls
    return next(call for call in calls if call.method == method)
