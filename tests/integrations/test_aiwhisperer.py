"""Both generations of AIWhisperer's batch client, over real sockets."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection, serve

from debbie_otel import InterceptingWebSocket, integrate_debbie_with_batch_client
from debbie_otel.app.recording import read_recording
from debbie_otel.demo.agent import ScriptedAgent
from debbie_otel.demo.script import Fault, ScriptedTurn, ToolCall
from debbie_otel.errors import ConfigurationError
from debbie_otel.wire.direction import MessageDirection
from tests.integrations.clients import BatchClient, ConversationReplayClient, WebSocketClient
from tests.integrations.stage import ANSWERS, CALLS, Stage
from tests.play import DATA
from tests.servers import Line, Transcript, TranscriptServer
from tests.telemetry.collector import HttpCollector
from tests.transports.pairs import eventually

RECORDING = DATA / "aiwhisperer" / "transcript.jsonl"
TREE = DATA / "aiwhisperer" / "spans.txt"
HOOKED = {"send_text", "send_binary", "send_continuation", "events_received", "receive_eof"}


async def test_the_newer_client_before_run(stage: Stage, agent: ScriptedAgent) -> None:
    client = ConversationReplayClient(stage.conversation, ws_uri=agent.url)
    assert await integrate_debbie_with_batch_client(client, stage.debbie) is client
    assert stage.debbie.is_running
    await client.run()
    assert client.answers == ANSWERS
    assert not stage.debbie.is_running
    assert stage.calls == CALLS
    spans = stage.spans
    assert spans.one("execute_tool list_rfcs").parent_id == spans.turns[0].span_id
    assert {span.attributes["session.id"] for span in spans.turns} == {client.session_id}


async def test_a_client_is_left_as_it_was_where_debbie_cannot_start(
    tmp_path: Path, collector: HttpCollector
) -> None:
    stage = Stage(tmp_path, collector, proxy={"record": tmp_path})  # which is a folder
    client = ConversationReplayClient(stage.conversation, ws_uri="ws://127.0.0.1:9")
    with pytest.raises(ConfigurationError):
        await integrate_debbie_with_batch_client(client, stage.debbie)
    assert type(client) is ConversationReplayClient
    assert stage.debbie.guests == set()
    assert not stage.debbie.is_running


async def test_the_older_client_before_run(stage: Stage, agent: ScriptedAgent) -> None:
    client = BatchClient(stage.conversation, agent.url)
    await integrate_debbie_with_batch_client(client, stage.debbie)
    await client.run()
    assert not stage.debbie.is_running
    assert stage.calls == CALLS  # it does not wait for the answers to the last ones


# -- the recorded server -----------------------------------------------------------------------


class Listener(WebSocketClient):
    """Keeps all that its receive task reads, as it came."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.heard: list[bytes] = []
        self.changed = asyncio.Condition()

    async def _receive(self) -> None:
        assert self.connection is not None
        async for text in self.connection:
            async with self.changed:
                self.heard.append(text if isinstance(text, bytes) else text.encode())
                self.changed.notify_all()


class Recital(ConversationReplayClient):
    """Says what the client of the recording said, when it said it.

    Attributes:
        place: The line that is to be said or heard next.

    """

    lines = Transcript(RECORDING).lines

    def __init__(self, conversation: Path, ws_uri: str) -> None:
        super().__init__(conversation, ws_uri=ws_uri)
        self.place = 0
        self.heard: list[bytes] = []

    async def open(self) -> None:
        assert self.ws_uri is not None
        self.ws_client = Listener(self.ws_uri)
        self.heard = self.ws_client.heard
        await self.ws_client.connect()

    async def converse(self, client: WebSocketClient) -> None:
        assert isinstance(client, Listener)
        await self.recite(client, len(self.lines))

    async def recite(self, client: Listener, end: int) -> None:
        assert client.connection is not None
        for line in self.lines[self.place : end]:
            self.place += 1
            if line.recorded.direction is MessageDirection.CLIENT_TO_SERVER:
                await client.connection.send(line.recorded.payload, text=True)
                continue
            wanted = len(said(self.lines[: self.place]))
            async with asyncio.timeout(10), client.changed:
                await client.changed.wait_for(lambda: len(client.heard) >= wanted)  # noqa: B023


def said(lines: Sequence[Line]) -> list[Any]:
    """What the server says in these lines."""
    recorded = [line.recorded for line in lines]
    down = MessageDirection.SERVER_TO_CLIENT
    return [json.loads(one.payload) for one in recorded if one.direction is down]


def mirrored(tree: list[str]) -> list[str]:
    """A tree of spans as it is seen at the other end."""
    other = {"[CLIENT]": "[SERVER]", "[SERVER]": "[CLIENT]"}
    return [re.sub(r"\[(CLIENT|SERVER)\]", lambda kind: other[kind[0]], line) for line in tree]


async def test_the_whole_recording(tmp_path: Path, collector: HttpCollector) -> None:
    stage = Stage(tmp_path, collector, detection={"enabled": False})  # it says nothing else
    async with TranscriptServer(RECORDING) as server:
        client = Recital(stage.conversation, server.url)
        await integrate_debbie_with_batch_client(client, stage.debbie)
        await client.run()
    assert [json.loads(text) for text in client.heard] == said(Recital.lines)
    expected = [line for line in TREE.read_text().splitlines() if not line.startswith("#")]
    assert mirrored(stage.spans.tree()) == expected


async def test_a_client_that_is_connected_already(tmp_path: Path, collector: HttpCollector) -> None:
    """Its receive task runs: from now on all that it reads is seen, and it reads it once."""
    record = tmp_path / "seen.jsonl"
    stage = Stage(tmp_path, collector, proxy={"record": record}, detection={"enabled": False})
    middle = 60
    async with TranscriptServer(RECORDING) as server:
        client = Recital(stage.conversation, server.url)
        await client.open()
        assert isinstance(client.ws_client, Listener)
        await client.recite(client.ws_client, middle)
        await integrate_debbie_with_batch_client(client, stage.debbie)
        assert isinstance(client.ws_client.connection, InterceptingWebSocket)
        await client.run()
    assert [json.loads(text) for text in client.heard] == said(Recital.lines)
    seen = [(m.direction, m.payload) for m in read_recording(record)]
    rest = Transcript(RECORDING).lines[middle:]
    assert seen == [(line.recorded.direction, line.recorded.payload) for line in rest]


async def test_what_comes_before_anybody_reads(stage: Stage) -> None:
    """A server that speaks first: the receive task gets it, and Debbie too."""

    async def greet(connection: ServerConnection) -> None:
        await connection.send(json.dumps({"jsonrpc": "2.0", "method": "agent.created"}))
        await connection.wait_closed()

    class Greeted(ConversationReplayClient):
        async def converse(self, client: WebSocketClient) -> None:
            assert isinstance(client.connection, InterceptingWebSocket)
            await eventually(lambda: bool(self.notifications))

    async with serve(greet, "127.0.0.1", 0) as server, asyncio.timeout(10):
        port = next(iter(server.sockets)).getsockname()[1]
        client = Greeted(stage.conversation, ws_uri=f"ws://127.0.0.1:{port}/ws")
        await integrate_debbie_with_batch_client(client, stage.debbie)
        await client.run()
    assert [message["method"] for message in client.notifications] == ["agent.created"]
    assert len(stage.spans.named("agent.created")) == 1


# -- its end -----------------------------------------------------------------------------------


async def test_everything_is_as_it_was(stage: Stage, agent: ScriptedAgent) -> None:
    before = dict(vars(WebSocketClient)), dict(vars(ConversationReplayClient))
    kept: list[WebSocketClient] = []

    class Keeping(ConversationReplayClient):
        async def converse(self, client: WebSocketClient) -> None:
            kept.append(client)
            await super().converse(client)

    client = Keeping(stage.conversation, ws_uri=agent.url)
    names = set(vars(client))
    await integrate_debbie_with_batch_client(client, stage.debbie)
    assert isinstance(client, Keeping)
    await client.run()
    assert type(client) is Keeping
    assert set(vars(client)) == names
    assert [type(one) for one in kept] == [WebSocketClient]
    assert (dict(vars(WebSocketClient)), dict(vars(ConversationReplayClient))) == before


class Failing(ConversationReplayClient):
    """Fails when it has said one thing; leaves its connection open."""

    error: BaseException = RuntimeError("the conversation cannot be read")

    async def run(self) -> None:
        await self.open()
        assert self.ws_client is not None
        await self.ws_client.send_request("startSession", {"userId": "batch"}, 1)
        raise self.error


async def test_an_exception_ends_it_too(stage: Stage, agent: ScriptedAgent) -> None:
    client = Failing(stage.conversation, ws_uri=agent.url)
    await integrate_debbie_with_batch_client(client, stage.debbie)
    with pytest.raises(RuntimeError, match="cannot be read"):
        await client.run()
    assert not stage.debbie.is_running
    assert stage.calls == ["startSession"]
    assert type(client) is Failing
    assert client.ws_client is not None
    assert type(client.ws_client.connection) is ClientConnection
    assert vars(client.ws_client.connection.protocol).keys().isdisjoint(HOOKED)
    await client.ws_client.close()


async def test_a_run_that_is_cancelled(stage: Stage, agent: ScriptedAgent) -> None:
    class Waiting(ConversationReplayClient):
        async def converse(self, client: WebSocketClient) -> None:
            await asyncio.get_running_loop().create_future()

    client = Waiting(stage.conversation, ws_uri=agent.url)
    await integrate_debbie_with_batch_client(client, stage.debbie)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await client.run()
    assert not stage.debbie.is_running
    assert type(client) is Waiting


class Tidy(BatchClient):
    """Has a `cleanup`, which `run` calls before it begins, too."""

    cleaned = 0

    async def run(self) -> None:
        await self.cleanup()
        await super().run()

    async def cleanup(self) -> None:
        self.cleaned += 1


async def test_cleanup_within_a_run_is_not_its_end(stage: Stage, agent: ScriptedAgent) -> None:
    client = Tidy(stage.conversation, agent.url)
    await integrate_debbie_with_batch_client(client, stage.debbie)
    await client.run()
    await client.cleanup()
    assert client.cleaned == 2
    assert stage.calls == CALLS


async def test_cleanup_ends_it_without_a_run(stage: Stage, agent: ScriptedAgent) -> None:
    client = Tidy(stage.conversation, agent.url)
    await integrate_debbie_with_batch_client(client, stage.debbie)
    await client.cleanup()
    assert client.cleaned == 1
    assert not stage.debbie.is_running
    assert type(client) is Tidy


async def test_whoever_ends_last_stops_debbie(stage: Stage, agent: ScriptedAgent) -> None:
    first = ConversationReplayClient(stage.conversation, ws_uri=agent.url)
    second = BatchClient(stage.conversation, agent.url)
    for client in (first, second):
        await integrate_debbie_with_batch_client(client, stage.debbie)
    await first.run()
    assert stage.debbie.is_running
    await second.run()
    assert not stage.debbie.is_running
    assert sorted(stage.calls) == sorted([*CALLS, *CALLS])


async def test_it_can_be_integrated_again(stage: Stage, agent: ScriptedAgent) -> None:
    for _ in range(2):
        client = ConversationReplayClient(stage.conversation, ws_uri=agent.url)
        await integrate_debbie_with_batch_client(client, stage.debbie)
        await integrate_debbie_with_batch_client(client, stage.debbie)  # once is enough
        await client.run()
    assert stage.calls == [*CALLS, *CALLS]
    assert stage.debbie.get_statistics()["sessions"] == 2


async def test_a_dry_run_and_no_client(stage: Stage) -> None:
    client = ConversationReplayClient(stage.conversation, dry_run=True)
    await integrate_debbie_with_batch_client(client, stage.debbie)
    await client.run()
    assert not stage.debbie.is_running
    with pytest.raises(TypeError, match="has no run"):
        await integrate_debbie_with_batch_client(object(), stage.debbie)
    assert not stage.debbie.is_running


# -- what she does -----------------------------------------------------------------------------


async def test_the_memory_of_its_server_is_watched(
    tmp_path: Path, collector: HttpCollector
) -> None:
    stage = Stage(tmp_path, collector, detection={"check_interval": 0.05})

    class Patient(ConversationReplayClient):
        ratio = 0.0

        async def converse(self, client: WebSocketClient) -> None:
            memory = stage.debbie.memory
            await eventually(lambda: memory.current > 0)
            assert self.server_manager.process is not None
            own = psutil.Process(self.server_manager.process.pid).memory_info().rss
            self.ratio = memory.current / own

    client = Patient(stage.conversation)
    await integrate_debbie_with_batch_client(client, stage.debbie)
    await client.run()
    assert client.ratio == pytest.approx(1, rel=0.2)


class Waiting(ConversationReplayClient):
    """Says one thing, and waits until the agent has said something."""

    async def converse(self, client: WebSocketClient) -> None:
        started = await client.send_request("startSession", {"userId": "batch"}, 1)
        params = {"sessionId": started["sessionId"], "message": "Write the report."}
        asked = asyncio.get_running_loop().create_task(
            client.send_request("sendUserMessage", params, 2)
        )
        await eventually(lambda: bool(self.said))
        await asked
        await client.send_request("stopSession", {"sessionId": params["sessionId"]}, 3)

    @property
    def said(self) -> list[str]:
        heard = [n for n in self.notifications if n["method"] == "ChannelMessageNotification"]
        return [notification["params"]["content"] for notification in heard]


@pytest.mark.parametrize(
    ("fault", "sockets"), [(Fault.STALL, 1), (Fault.HANG, 2)], ids=["own", "side"]
)
async def test_an_agent_that_stalls_goes_on(
    tmp_path: Path, collector: HttpCollector, fault: Fault, sockets: int
) -> None:
    """Asked on the client's own connection, or on another where that one is busy."""
    script = (
        ScriptedTurn(tools=(ToolCall("read_rfc"),), fault=fault),
        ScriptedTurn(text="It is written."),
    )
    stage = Stage(tmp_path, collector, detection={"check_interval": 0.1, "stall_threshold": 0.4})
    async with ScriptedAgent(script, speed=40) as agent:  # it hangs for 1.5 s
        client = Waiting(stage.conversation, ws_uri=agent.url)
        await integrate_debbie_with_batch_client(client, stage.debbie)
        await client.run()
    assert client.said == ["It is written."]
    (session,) = {span.attributes["session.id"] for span in stage.spans.turns}
    analysis = await stage.debbie.analyze_session(session)
    assert analysis is not None
    assert [(r.strategy, r.result) for r in analysis.interventions] == [
        ("prompt_injection", "success")
    ]
    assert "prompt_injection" in stage.debbie.get_debugging_report()
    connections = {span.attributes["debbie.connection.id"] for span in stage.spans.wire}
    assert len(connections) == sockets
