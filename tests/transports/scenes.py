"""A program with a connection, Debbie who observes its end, and whoever is at the other end."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from debbie_otel.app.config import load_config
from debbie_otel.app.debugger import DebbieDebugger
from debbie_otel.intervention.channel import Channel
from debbie_otel.session.model import Call
from tests.transports.pairs import TIMEOUT

NEWS = {"jsonrpc": "2.0", "method": "news"}


class Scene:
    """Both ends of a connection, one of them observed; a test says what either says.

    Attributes:
        client, server: What the two ends are used by.

    """

    def __init__(self, debbie: DebbieDebugger, client: Any, server: Any) -> None:
        self.debbie = debbie
        self.client = client
        self.server = server

    @property
    def channel(self) -> Channel:
        """The one way to act."""
        (channel,) = [i.channel for i in self.debbie.interceptors if i.channel is not None]
        return channel

    def calls(self) -> list[Call]:
        """Return the open requests."""
        self.debbie.catch_up()
        return [c for model in self.debbie.monitor.connections for c in model.pending_calls]

    def call(self, call_id: int) -> Call:
        """Return an open request."""
        (found,) = [call for call in self.calls() if call.id == call_id]
        return found

    async def ask(self, call_id: int, method: str = "work") -> None:
        """Have the client send a request, and the server read it."""
        await self.client.send(request(call_id, method))
        assert (await self.read())["id"] == call_id

    async def read(self) -> Any:
        """Return what the server receives next."""
        return json.loads(await asyncio.wait_for(self.server.recv(), TIMEOUT))

    async def say(self, message: Any) -> None:
        """Have the server send something."""
        await self.server.send(json.dumps(message))

    async def hear(self) -> Any:
        """Return what the client receives next."""
        return json.loads(await asyncio.wait_for(self.client.recv(), TIMEOUT))


def silent(data_dir: Path) -> DebbieDebugger:
    """Return a Debbie who exports nothing."""
    flags = {"telemetry": {"data_dir": str(data_dir)}, "proxy": {"dialect": "generic"}}
    return DebbieDebugger(load_config(flags=flags), telemetry=False)


def request(call_id: int, method: str = "work") -> str:
    return json.dumps({"jsonrpc": "2.0", "id": call_id, "method": method})


def result(call_id: Any, value: Any = None) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": call_id, "result": value or {}}


def error(call_id: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": call_id, "error": {"code": -32000, "message": "no"}}
