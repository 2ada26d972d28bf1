"""Edges of acting: several sessions, ids that meet, ends in the midst of it, secrets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosedError
from websockets.utils import accept_key

from debbie_otel.detection.alerts import AnomalyAlert
from debbie_otel.errors import ChannelError, RecoveredFirst
from debbie_otel.intervention.recovery import EVENTS, RecoveryWatch
from debbie_otel.intervention.steps import Done
from debbie_otel.session.events import Event, ToolEnded
from tests.app.channels.restarts import Sessions, open_call, plan, started
from tests.integration.flaky import Flaky, stage, told
from tests.integration.proxied import config, proxied, raw_upstream, wire
from tests.transports.acting import Scene, asking, hear, notification, request, result, scene, soon
from tests.transports.raw import TIMEOUT, accept, until

ACTING: dict[str, Any] = {"detection": {"enabled": True}}


@contextlib.asynccontextmanager
async def watched(stage: Scene, session: str) -> AsyncIterator[RecoveryWatch]:
    """Watch a session as an alert of a stall does."""
    alert = AnomalyAlert(
        alert_type="session_stall",
        severity="high",
        session_id=session,
        subject="",
        message="it does nothing",
        since_ns=0,
        fired_ns=1,
        details={},
    )
    watch = RecoveryWatch(alert)
    unsubscribe = stage.it.debbie.monitor.subscribe(watch.observe, *EVENTS)
    try:
        yield watch
    finally:
        unsubscribe()


async def execute(stage: Scene, watch: RecoveryWatch, strategy: str) -> Done:
    interventions = stage.it.debbie.interventions
    assert interventions is not None
    return await interventions.executor.execute(
        watch.alert, strategy, 0, watch, watch.alert.fired_ns
    )


def contents(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


class Whisperer:
    """AIWhisperer, whose hung turn is answered at the moment when another connection opens."""

    def __init__(self) -> None:
        self.hung: list[tuple[ServerConnection, Any]] = []
        self.sessions = 0

    async def __call__(self, connection: ServerConnection) -> None:
        for waiting, call_id in self.hung:
            await waiting.send(result(call_id, {"ai_response": "at last", "tool_calls": []}))
        self.hung.clear()
        async for text in connection:
            message = json.loads(text)
            if message["method"] == "startSession":
                self.sessions += 1
                await connection.send(result(message["id"], {"sessionId": f"s-{self.sessions}"}))
            elif message["method"] == "sendUserMessage":
                self.hung.append((connection, message["id"]))


async def test_an_agent_that_is_faster_than_its_restart_is_heard(tmp_path: Path) -> None:
    """Its answer has been held back already when there is no need for the restart any more."""
    agent = Whisperer()
    sections = ACTING | {"proxy": {"dialect": "aiwhisperer"}}
    async with scene(agent, tmp_path, sections=sections) as stage:
        client = await stage.client()
        await client.send(request(1, "startSession", userId="u"))
        await hear(client)
        await client.send(request(2, "sendUserMessage", sessionId="s-1", message="hang"))
        await until(lambda: bool(agent.hung))
        async with watched(stage, "s-1") as watch:
            with pytest.raises(RecoveredFirst):
                await soon(execute(stage, watch, "session_restart"))
        assert (await hear(client))["result"]["ai_response"] == "at last"


async def test_a_connection_of_several_sessions_is_not_restarted(tmp_path: Path) -> None:
    agent = Whisperer()
    sections = ACTING | {"proxy": {"dialect": "aiwhisperer"}}
    async with scene(agent, tmp_path, sections=sections) as stage:
        client = await stage.client()
        for number in (1, 2):
            await client.send(request(number, "startSession", userId="u"))
            await hear(client)
        for number in (1, 2):
            params = {"sessionId": f"s-{number}", "message": "hang"}
            await client.send(request(number + 10, "sendUserMessage", **params))
        await until(lambda: len(agent.hung) == 2)
        for strategy in ("session_restart", "state_reset"):
            async with watched(stage, "s-1") as watch:
                done = await soon(execute(stage, watch, strategy))
            assert (done.kind, done.reason) == ("impossible", "other_sessions")
        connection, call_id = agent.hung.pop()
        await connection.send(result(call_id, {"ai_response": "mine", "tool_calls": []}))
        assert (await hear(client))["id"] == call_id, "the other session has noticed nothing"


@pytest.mark.parametrize(("reason", "prompts"), [("end_turn", 1), ("cancelled", 2)])
async def test_a_turn_that_is_done_when_the_cancel_comes_keeps_its_answer(
    tmp_path: Path, reason: str, prompts: int
) -> None:
    asked: list[Any] = []

    async def agent(connection: ServerConnection) -> None:
        async for text in connection:
            message = json.loads(text)
            match message["method"]:
                case "session/new":
                    await connection.send(result(message["id"], {"sessionId": "s-1"}))
                case "session/prompt":
                    asked.append(message)
                    if len(asked) > 1:
                        await connection.send(result(message["id"], {"stopReason": "end_turn"}))
                case "session/cancel":
                    await connection.send(result(asked[0]["id"], {"stopReason": reason, "n": 1}))

    sections = ACTING | {"proxy": {"dialect": "acp"}}
    async with scene(agent, tmp_path, sections=sections) as stage:
        client = await stage.client()
        await client.send(request(1, "session/new", cwd="/", mcpServers=[]))
        await hear(client)
        words = [{"type": "text", "text": "go"}]
        await client.send(request(2, "session/prompt", sessionId="s-1", prompt=words))
        await until(lambda: bool(asked))
        async with watched(stage, "s-1") as watch:
            done = await soon(execute(stage, watch, "state_reset"))
        assert done.kind == "acted"
        answer = await hear(client)
        assert (answer["id"], answer["result"].get("n")) == (2, 1 if reason == "end_turn" else None)
    assert len(asked) == prompts


async def test_a_session_is_reached_where_its_client_waits(tmp_path: Path) -> None:
    """Another client looks at the same session, by a connection that is younger."""
    agent = Whisperer()
    sections = ACTING | {"proxy": {"dialect": "aiwhisperer"}}
    async with scene(agent, tmp_path, sections=sections) as stage:
        clients = [await stage.client(), await stage.client()]
        await clients[0].send(request(1, "startSession", userId="u"))
        await hear(clients[0])
        for number, client in reversed(list(enumerate(clients))):
            await client.send(request(7, "sendUserMessage", sessionId="s-1", message="hang"))
            await until(lambda: len(agent.hung) == 1)
            reach = stage.it.debbie.reach("s-1")
            assert reach is not None
            assert reach.channel is stage.channel(number)
            connection, call_id = agent.hung.pop()
            await connection.send(result(call_id, {"ai_response": "x", "tool_calls": []}))
            await hear(client)


@pytest.mark.parametrize("batch", [False, True])
async def test_the_new_server_asks_under_an_id_of_the_old_one(tmp_path: Path, batch: bool) -> None:
    agent = Sessions()
    async with scene(agent, tmp_path) as stage:
        client = await started(stage)
        await agent.until_heard(0, 2)
        await agent.connections[0].send(request(0, "may I", what="old"))
        old = await hear(client)
        await soon(stage.channel().restart(plan(open_call(stage))))
        await hear(client)
        question = request(0, "may I", what="new")
        await agent.connections[1].send(f"[{question}]" if batch else question)
        new = await hear(client)
        new = new[0] if batch else new
        assert new["params"] == {"what": "new"}
        assert new["id"] != old["id"]
        await client.send(result(new["id"], "yes"))
        await client.send(result(old["id"], "no"))
        await client.send(request(9, "echo"))
        await hear(client)
        answers = [m for m in agent.heard[1] if "method" not in m]
        assert answers == [{"jsonrpc": "2.0", "id": 0, "result": "yes"}]
        assert not stage.interceptors()[0].connection.pending_calls


async def test_what_was_held_back_comes_before_the_end(tmp_path: Path) -> None:
    """The server answers a held request and leaves, and the restart fails."""
    agent = Sessions()
    agent.silent.add("initialize")
    async with scene(agent, tmp_path) as stage:
        client = await started(stage)
        await agent.until_heard(0, 2)
        channel = stage.channel()
        channel.hold(open_call(stage))
        restarting = asyncio.gather(channel.restart(plan(None)))
        await agent.until_heard(1, 1)
        await agent.connections[0].send(result(7, "done"))
        agent.connections[0].transport.close()
        await until(lambda: channel._upstream_error is not None)
        agent.connections[1].transport.abort()
        with pytest.raises(ChannelError):
            await soon(restarting)
        assert (await hear(client))["result"] == "done"
        with pytest.raises(ConnectionClosedError):
            await hear(client)


async def test_servers_that_break_at_once_use_up_no_side(tmp_path: Path) -> None:
    """Each accepts the upgrade, and says something that is no WebSocket with the same bytes."""
    async with (
        raw_upstream() as (listener, url),
        proxied(config(url, tmp_path)) as it,
        wire(it, listener),
    ):
        (interceptor,) = it.debbie.interceptors
        assert interceptor.channel is not None
        for _ in range(6):
            opening = asyncio.gather(interceptor.channel.side(), return_exceptions=True)
            with contextlib.closing(await accept(listener)) as server:
                head = await server.receive()
                lines = head.split(b"\r\n")
                (key,) = (x for x in lines if x.startswith(b"Sec-WebSocket-Key"))
                token = accept_key(key.partition(b": ")[2].decode()).encode()
                upgrade = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                upgrade += b"Connection: Upgrade\r\nSec-WebSocket-Accept: " + token + b"\r\n\r\n"
                await server.send(upgrade + b"\xff" * 20)
                (failed,) = await asyncio.wait_for(opening, TIMEOUT)
            assert isinstance(failed, ChannelError)
            assert "cannot be followed" in str(failed)
        assert it.debbie.interceptors == [interceptor], "nobody is left who observes them"


@pytest.mark.parametrize("status", [403, 500])
async def test_credentials_are_told_to_the_server_only(
    tmp_path: Path, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = ("hunter2", "tr0ub4dor", "c0rrect")
    seen: list[str] = []

    def admit(connection: ServerConnection, request: Any) -> Any:
        seen.append(str(request.headers) + request.path)
        return None if len(seen) < 3 else connection.respond(status, "go away")

    async with asking(tmp_path, process_request=admit, sections=ACTING) as (stage, _, _):
        client = await stage.client(
            path=f"/ws?token={secrets[0]}",
            additional_headers={"Authorization": f"Bearer {secrets[1]}", "Cookie": secrets[2]},
        )
        await client.send(notification("hello"))
        await until(lambda: len(stage.interceptors()) == 2)
        channel = stage.channel(1)
        for acting in (channel.side(), channel.restart(plan())):
            with pytest.raises(ChannelError, match=str(status)) as caught:
                await soon(acting)
            assert not any(secret in str(caught.value) for secret in secrets)
    assert all(all(secret in head for secret in secrets) for head in seen[1:])
    written = await asyncio.to_thread(contents, tmp_path)
    assert written
    for secret in secrets:
        assert secret.encode() not in written
        ours = [r for r in caplog.records if r.name.startswith("debbie")]
        assert not [r for r in ours if secret in r.getMessage()]


class Once(Flaky):
    """An MCP server that answers the first call of a tool, and is silent from then on."""

    def __init__(self) -> None:
        super().__init__(look=9)
        self.heard: list[Any] = []

    async def __call__(self, connection: ServerConnection) -> None:
        async for text in connection:
            message = json.loads(text)
            self.heard.append(message)
            if message["method"] == "tools/list" or not self.calls:
                await connection.send(result(message["id"], self.answer(message)["result"]))


async def test_a_client_that_gives_a_call_up_ends_its_repetition(tmp_path: Path) -> None:
    server = Once()
    async with stage(server, tmp_path) as (client, it):
        wire = client._connection
        await wire.send(request("50", "tools/call", name="look", arguments={}))
        await until(lambda: len(server.heard) == 3)
        await wire.send(notification("notifications/cancelled", requestId="50"))
        await until(lambda: len(server.heard) == 5)
        ours = server.heard[2]["id"]
        assert {m["params"]["requestId"] for m in server.heard[3:]} == {"50", ours}
        assert (await hear(wire))["result"]["call"] == 1, "the failure, which was held back"
        assert told(it) == ["tool_retry 1 failure"]


async def test_a_repetition_ends_with_its_connection(tmp_path: Path) -> None:
    server = Once()
    async with stage(server, tmp_path) as (client, it):
        await client._connection.send(request(50, "tools/call", name="look", arguments={}))
        await until(lambda: len(server.heard) == 3)
        client._connection.transport.abort()
        await until(lambda: bool(told(it)))
        interventions = it.debbie.interventions
        assert interventions is not None
        retrier = interventions._retrier
        assert retrier is not None
        await until(lambda: not retrier._tasks)
        assert told(it) == ["tool_retry 1 failure"]


async def test_a_failure_is_heard_although_its_repetition_never_began(tmp_path: Path) -> None:
    """It is given up in the same turn of the loop in which the failure comes."""
    server = Once()
    async with stage(server, tmp_path) as (client, it):
        interventions = it.debbie.interventions
        assert interventions is not None
        retrier = interventions._retrier
        assert retrier is not None

        def give_up(_: Event) -> None:
            for task in retrier._tasks:
                task.cancel()

        # Subscribed after the retrier, and so told after it.
        unsubscribe = it.debbie.monitor.subscribe(give_up, ToolEnded)
        await client._connection.send(request(50, "tools/call", name="look", arguments={}))
        assert (await hear(client._connection))["result"]["isError"] is True
        unsubscribe()
        assert len(server.heard) == 2, "nothing was repeated"


async def test_a_ping_that_is_answered_beside_a_hung_turn_is_no_recovery(tmp_path: Path) -> None:
    async def serve(connection: ServerConnection) -> None:
        async for text in connection:
            message = json.loads(text)
            if message["method"] != "session/prompt":
                await connection.send(result(message["id"], {"sessionId": "s"}))

    sections = ACTING | {"proxy": {"dialect": "acp"}}
    async with scene(serve, tmp_path, sections=sections) as acp:
        client = await acp.client()
        await client.send(request(1, "session/new", cwd="/"))
        await hear(client)
        await client.send(request(2, "session/prompt", sessionId="s", prompt=[]))
        async with watched(acp, "s") as watch:
            await client.send(request(3, "ping", sessionId="s"))
            assert (await hear(client))["id"] == 3
            assert watch.moved is None


@pytest.mark.parametrize("how", ["abort", "close frame", "half close"])
async def test_a_client_that_leaves_in_the_midst_of_a_restart(tmp_path: Path, how: str) -> None:
    """Its request is not asked again of the new server: the turn would be for no one."""
    agent = Sessions()
    agent.silent.add("initialize")
    async with scene(agent, tmp_path) as stage:
        client = await started(stage)
        await agent.until_heard(0, 2)
        restart = stage.channel().restart(plan(open_call(stage)))
        restarting = asyncio.gather(restart, return_exceptions=True)
        initialize = await agent.until_heard(1, 1)
        sides = stage.channel()._connection
        if how == "abort":
            client.transport.abort()
            await until(lambda: sides.client.transport is None)
        elif how == "half close":
            client.transport.write_eof()
            await until(lambda: stage.channel_count() == 0)
        else:
            closing = asyncio.ensure_future(client.close())  # noqa: TID251 - awaited below
            await until(lambda: sides.upward.close_is_kept)
        await agent.connections[1].send(result(initialize["id"], {}))
        (failed,) = await soon(restarting)
        assert isinstance(failed, ChannelError)
        if how == "close frame":
            await soon(closing)
        await until(lambda: not stage.interceptors())
        await soon(agent.connections[1].wait_closed())
        assert "more" not in [message.get("method") for message in agent.heard[1]]
        assert not stage.it.tap.dialer.own
        assert not stage.it.tap.active


# -- one act after another -------------------------------------------------------------------------

PIECE = "x" * 65_536


async def test_acts_while_the_client_does_not_read_leave_nothing_behind(tmp_path: Path) -> None:
    """What one act had left half-written when the client stopped reading once wedged the next."""
    async with asking(tmp_path, compression=None) as (stage, agent, client):
        channel = stage.channel()
        sides = channel._connection
        for turn in range(3):
            call_id = 10 + turn
            await client.send(request(call_id, "work"))
            await agent.until_heard(2 + turn)
            call = next(c for c in channel._model.pending_calls if c.id == call_id)
            channel.hold(call)
            news = [notification("news", number=n, text=PIECE) for n in range(200)]
            saying = asyncio.ensure_future(_say_all(agent.connections[0], news))  # noqa: TID251
            await until(lambda: not sides.client.writable)  # the client does not read
            channel.release(call)  # it has been cancelled by its client
            for number in range(200):
                assert (await hear(client))["params"]["number"] == number
            await saying
            await agent.say(result(call_id, turn))
            assert (await hear(client))["result"] == turn
        assert sides.client.writable


async def _say_all(connection: ServerConnection, texts: list[str]) -> None:
    for text in texts:
        await connection.send(text)


# -- binary peers ----------------------------------------------------------------------------------


async def test_peers_that_speak_binary_get_binary(tmp_path: Path) -> None:
    async with scene(answering_in_binary, tmp_path) as stage:
        client = await stage.client()
        await client.send(request(1, "ask").encode())
        heard = await soon(client.recv())
        assert isinstance(heard, bytes)
        channel = stage.channel()
        assert (await soon(channel.request("prompt", {"text": "go on"}).answer)).result == "binary"
        await client.send(request(2, "held").encode())
        await until(lambda: bool(channel._model.pending_calls))
        (call,) = channel._model.pending_calls
        channel.hold(call)
        await client.send(notification("now").encode())
        assert isinstance(await soon(client.recv()), bytes)  # told in passing
        channel.release(call)
        held = await soon(client.recv())
        assert isinstance(held, bytes)
        assert json.loads(held)["id"] == 2
        side = await channel.side()
        assert (await soon(side.request("prompt", {}).answer)).result == "binary"


async def answering_in_binary(connection: ServerConnection) -> None:
    """Answer requests with the kind of frame that they came in; a held one after the next word."""
    held: list[bytes] = []
    async for data in connection:
        message = json.loads(data)
        kind = "binary" if isinstance(data, bytes) else "text"
        if "id" not in message:
            await connection.send(notification("heard", kind=kind).encode())
            for answer in held:
                await connection.send(answer)
        elif message["method"] == "held":
            held.append(result(message["id"], kind).encode())
        else:
            await connection.send(result(message["id"], kind).encode())
