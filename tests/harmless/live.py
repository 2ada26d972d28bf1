"""A recording played live: a scripted client and server with the real delays, and Debbie between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from debbie_otel.app.config import Config, config_of
from debbie_otel.app.debugger import DebbieDebugger
from debbie_otel.app.recording import RecordedMessage
from debbie_otel.detection.alerts import Transition
from debbie_otel.intervention.steps import InterventionEvent
from debbie_otel.wire.direction import MessageDirection
from tests import virtual_time

_UP = MessageDirection.CLIENT_TO_SERVER
_ARRIVES = 30.0
"""Virtual seconds after which a message that has not arrived is lost."""
IDLE = 120.0
"""Virtual seconds for which the connections stay open after the last message."""


class Played(msgspec.Struct):
    """What came of a play.

    Attributes:
        alerts: Types of the alerts that fired, in order.
        acts: Strategies that did something, in order.
        foreign: Messages that the agent or its client got and nobody had recorded.
        lost: Recorded messages that did not arrive.

    """

    alerts: list[str] = msgspec.field(default_factory=list)
    acts: list[str] = msgspec.field(default_factory=list)
    foreign: list[str] = msgspec.field(default_factory=list)
    lost: list[str] = msgspec.field(default_factory=list)


class _Line:
    """Both ends of one connection, and what each has received."""

    def __init__(self, client: ClientConnection, server: ServerConnection) -> None:
        self.ends = {_UP: (client, server), _UP.opposite: (server, client)}


class _Server:
    """Accepts connections; a second one for the same client is Debbie's."""

    def __init__(self) -> None:
        self.arrived: asyncio.Queue[ServerConnection] = asyncio.Queue()

    async def __call__(self, connection: ServerConnection) -> None:
        self.arrived.put_nowait(connection)
        await connection.wait_closed()


def play(
    messages: Iterable[RecordedMessage], profile: str, folder: Path, **sections: Any
) -> Played:
    """Play a recording through a proxy under a profile; nothing of it is slept through."""
    return virtual_time.run(_play(list(messages), profile, folder, sections))


async def _play(
    messages: list[RecordedMessage], profile: str, folder: Path, sections: dict[str, Any]
) -> Played:
    played = Played()
    server = _Server()
    async with AsyncExitStack() as stack:
        listening = await stack.enter_async_context(
            serve(server, "127.0.0.1", 0, ping_interval=None, max_size=None, compression=None)
        )
        port = next(iter(listening.sockets)).getsockname()[1]
        debbie = DebbieDebugger(
            _config(port, profile, folder, sections), clock=virtual_time.clock()
        )
        _listen(debbie, played)
        await stack.enter_async_context(debbie)
        tap = await stack.enter_async_context(debbie.tap())
        url = f"ws://{tap.addresses[0]}/ws"
        lines: dict[str, _Line] = {}
        before = messages[0].t
        for message in messages:
            await asyncio.sleep(max(0.0, message.t - before))
            before = message.t
            if message.conn not in lines:
                client = await stack.enter_async_context(
                    connect(url, ping_interval=None, max_size=None, compression=None)
                )
                lines[message.conn] = _Line(client, await server.arrived.get())
            await _pass(lines[message.conn], message, played)
        await asyncio.sleep(IDLE)
        for line in lines.values():
            await _drain(line, played)
        while not server.arrived.empty():
            played.foreign.append("a connection")
            server.arrived.get_nowait()
    return played


async def _pass(line: _Line, message: RecordedMessage, played: Played) -> None:
    """Send a message at one end, and take it at the other."""
    source, sink = line.ends[message.direction]
    payload = message.payload.decode("utf-8", "replace")
    try:
        await source.send(payload)
        async with asyncio.timeout(_ARRIVES):
            while (got := await sink.recv()) != payload:
                played.foreign.append(_short(got))
    except (ConnectionClosed, TimeoutError):
        played.lost.append(_short(payload))


async def _drain(line: _Line, played: Played) -> None:
    for _, sink in line.ends.values():
        try:
            async with asyncio.timeout(0.01):
                while True:
                    played.foreign.append(_short(await sink.recv()))
        except (ConnectionClosed, TimeoutError):
            continue


def _short(payload: str | bytes) -> str:
    try:
        value = json.loads(payload)
        return str(value.get("method") or f"answer to {value.get('id')}")
    except (ValueError, AttributeError):
        return str(payload[:40])


def _config(port: int, profile: str, folder: Path, sections: dict[str, Any]) -> Config:
    proxy = {
        "upstream": f"ws://127.0.0.1:{port}/ws",
        "listen": "127.0.0.1:0",
        "profile": profile,
        **sections.pop("proxy", {}),
    }
    telemetry = {"data_dir": str(folder)}
    return config_of({"proxy": proxy, "telemetry": telemetry, **sections}, {})


def _listen(debbie: DebbieDebugger, played: Played) -> None:
    def alerted(transition: Transition) -> None:
        if transition.event == "alert":
            played.alerts.append(transition.alert.alert_type)

    def acted(event: InterventionEvent) -> None:
        if event.phase == "triggered":
            played.acts.append(str(event.strategy))

    debbie.monitor.subscribe_to_alerts(alerted)
    debbie.monitor.subscribe_to_interventions(acted)
