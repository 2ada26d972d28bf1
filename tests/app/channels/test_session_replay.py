"""Restarts: another upstream connection under the client's living one."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.frames import Opcode
from websockets.utils import accept_key

from debbie_otel.errors import ChannelError
from debbie_otel.intervention.channel import RestartPlan
from debbie_otel.session.events import ToolEnded
from tests.app.channels.restarts import Sessions, open_call, plan, started
from tests.integration.proxied import config, proxied, raw_upstream, wire
from tests.transports.acting import hear, notification, request, result, scene, soon
from tests.transports.raw import TIMEOUT, accept, frame, until

COMPRESSION = pytest.mark.parametrize("compression", [None, "deflate"])


@COMPRESSION
async def test_the_client_notices_nothing_but_the_agent_going_on(
    tmp_path: Path, compression: str | None
) -> None:
    agent = Sessions()
    async with scene(agent, tmp_path, compression=compression) as stage:
        client = await started(stage, compression=compression)
        await client.send(request(8, "work", sessionId="session-0"))
        await agent.until_heard(0, 3)
        restarted = await soon(stage.channel().restart(plan(open_call(stage))))
        assert restarted.session_id == "session-1"
        said = [message["method"] for message in agent.heard[1]]
        assert said[:3] == ["initialize", "initialized", "startSession"]
        # The other open request is given up, the replaced one is answered by ours.
        refused = await hear(client)
        assert refused["id"] == 8
        assert refused["error"]["code"] == -32000
        answer = await hear(client)
        assert answer["id"] == 7
        text = 'say "session-0"'
        # At the dialect's places names are changed, and what anybody wrote is not.
        assert answer["result"]["params"] == {"sessionId": "session-1", "text": text}
        assert answer["result"]["by"] == "session-1"
        # The server has its own name for the session, in both directions.
        more = await agent.until_heard(1, 4)
        assert more["params"] == {"sessionId": "session-1", "text": text}
        for number in range(20, 25):
            await client.send(request(number, "echo", sessionId="session-0", text="y" * 200))
            assert (await hear(client))["result"]["by"] == "session-1"
        assert (await agent.until_heard(1, 9))["params"]["sessionId"] == "session-1"
        await soon(agent.connections[0].wait_closed())
        assert agent.connections[0].close_code == 1001
        (session,) = stage.it.debbie.monitor.live_sessions()
        assert session.info.id == "session-0"
        assert not stage.interceptors()[0].connection.pending_calls


async def test_the_client_gets_the_error_of_the_new_server(tmp_path: Path) -> None:
    agent = Sessions()
    agent.refuse = {"more"}
    async with scene(agent, tmp_path, compression=None) as stage:
        client = await started(stage, compression=None)
        await agent.until_heard(0, 2)
        await soon(stage.channel().restart(plan(open_call(stage))))
        answer = await hear(client)
        assert (answer["id"], answer["error"]) == (7, {"code": -1, "message": "no"})
        assert not stage.interceptors()[0].connection.pending_calls


@COMPRESSION
async def test_a_restart_after_a_restart(tmp_path: Path, compression: str | None) -> None:
    agent = Sessions()
    async with scene(agent, tmp_path, compression=compression) as stage:
        client = await started(stage, compression=compression)
        await agent.until_heard(0, 2)
        for number in (1, 2):
            restarted = await soon(stage.channel().restart(plan(None, request=None)))
            assert restarted.session_id == f"session-{number}"
            assert restarted.request is None
            if number == 1:
                assert "error" in await hear(client)  # to the request that hung
            await client.send(request(number, "echo", sessionId="session-0", text="z" * 99))
            assert (await hear(client))["result"]["by"] == f"session-{number}"
            heard = await agent.until_heard(number, 4)
            assert heard["params"]["sessionId"] == f"session-{number}"
        side = await soon(stage.channel().side())
        side.request("echo", {"sessionId": "session-0"})
        assert (await agent.until_heard(3, 1))["params"] == {"sessionId": "session-2"}


@pytest.mark.parametrize("fresh", [True, False])
async def test_a_tool_of_a_new_session_may_have_the_id_of_an_old_one(
    tmp_path: Path, fresh: bool
) -> None:
    agent = Sessions()
    ran: list[tuple[str, str | None]] = []

    def note(event: Any) -> None:
        ran.append((event.tool.name, event.tool.error_type))

    async with scene(agent, tmp_path, compression=None) as stage:
        stage.it.debbie.monitor.subscribe(note, ToolEnded)
        client = await started(stage, compression=None)
        await agent.until_heard(0, 2)
        session = {"sessionId": "session-0"}
        tool = {"toolName": "dig", "toolCallId": "call-1"}
        hung = {"toolName": "hang", "toolCallId": "call-2"}
        old = agent.connections[0]
        await old.send(notification("toolExecutionStarted", **session, **hung))
        await old.send(notification("toolExecutionCompleted", **session, **tool))
        await hear(client)
        await hear(client)
        await soon(stage.channel().restart(plan(None, request=None, fresh=fresh)))
        await agent.until_heard(1, 3)
        new = {"sessionId": "session-1"}
        await agent.connections[1].send(notification("toolExecutionCompleted", **new, **tool))
        assert "error" in await hear(client)
        assert (await hear(client))["method"] == "toolExecutionCompleted"
    again = [("hang", "session_restarted"), ("dig", None)] if fresh else []
    ended = [] if fresh else [("hang", "session_ended")]
    assert ran == [("dig", None), *again, *ended]


async def test_a_session_that_keeps_its_name_goes_on_under_it(tmp_path: Path) -> None:
    agent = Sessions()
    async with scene(agent, tmp_path, compression=None) as stage:
        client = await started(stage, compression=None)
        await agent.until_heard(0, 2)
        keeping = plan(open_call(stage), session_path=None)
        restarted = await soon(stage.channel().restart(keeping))
        assert restarted.session_id == "session-0"
        assert (await hear(client))["result"]["by"] == "session-1"
        await client.send(request(9, "echo"))
        assert (await hear(client))["id"] == 9


async def test_what_the_client_sends_meanwhile_goes_to_the_new_server(tmp_path: Path) -> None:
    agent = Sessions()
    agent.silent.add("initialize")
    async with scene(agent, tmp_path) as stage:
        client = await started(stage)
        await agent.until_heard(0, 2)
        restarting = asyncio.gather(stage.channel().restart(plan(None, request=None)))
        initialize = await agent.until_heard(1, 1)
        await client.send(request(30, "echo", sessionId="session-0"))
        await agent.connections[1].send(notification("meanwhile"))
        await agent.connections[1].send(request("s", "ask/client"))
        assert (await agent.until_heard(1, 2))["error"]["code"] == -32601
        await agent.connections[1].send(result(initialize["id"], {}))
        await soon(restarting)
        assert "error" in await hear(client)
        assert (await hear(client))["id"] == 30
        assert [m.get("method") for m in agent.heard[0]] == ["startSession", "work"]


async def test_if_it_fails_the_old_connection_stays(tmp_path: Path) -> None:
    agent = Sessions()
    agent.refuse.add("initialize")
    async with scene(agent, tmp_path) as stage:
        client = await started(stage)
        await agent.until_heard(0, 2)
        with pytest.raises(ChannelError, match="initialize was refused"):
            await soon(stage.channel().restart(plan(open_call(stage))))
        await client.send(request(9, "echo"))
        assert (await hear(client))["result"]["by"] == "session-0"
        await agent.connections[0].send(result(7, "late but fine"))
        assert (await hear(client))["result"] == "late but fine"
        await soon(agent.connections[1].wait_closed())


async def test_a_caller_that_does_not_wait_leaves_the_old_connection(tmp_path: Path) -> None:
    agent = Sessions()
    agent.silent.add("initialize")
    async with scene(agent, tmp_path) as stage:
        client = await started(stage)
        await agent.until_heard(0, 2)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stage.channel().restart(plan()), 0.1)
        await client.send(request(9, "echo"))
        assert (await hear(client))["result"]["by"] == "session-0"


@pytest.mark.parametrize("how", ["broken", "closed"])
@pytest.mark.parametrize("then", ["works", "fails"])
async def test_the_old_server_leaves_meanwhile(tmp_path: Path, then: str, how: str) -> None:
    agent = Sessions()
    agent.silent.add("initialize")
    async with scene(agent, tmp_path) as stage:
        client = await started(stage)
        await agent.until_heard(0, 2)
        channel = stage.channel()
        restarting = asyncio.gather(channel.restart(plan(open_call(stage))))
        initialize = await agent.until_heard(1, 1)
        if how == "broken":
            agent.connections[0].transport.abort()
        else:
            closing = asyncio.gather(agent.connections[0].close(4000))
        await until(lambda: channel._upstream_error is not None)
        if then == "works":
            await agent.connections[1].send(result(initialize["id"], {}))
            await soon(restarting)
            assert (await hear(client))["id"] == 7
            if how == "closed":
                await soon(closing)
            return
        agent.connections[1].transport.abort()
        with pytest.raises(ChannelError):
            await soon(restarting)
        with pytest.raises(ConnectionClosedError) as caught:
            await hear(client)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1011
        assert "restart failed" in caught.value.rcvd.reason


async def test_requests_of_the_old_server_are_not_answered_to_the_new_one(tmp_path: Path) -> None:
    agent = Sessions()
    async with scene(agent, tmp_path) as stage:
        client = await started(stage)
        await agent.until_heard(0, 2)
        await agent.connections[0].send(request(0, "ask/client"))
        assert (await hear(client))["method"] == "ask/client"
        await soon(stage.channel().restart(plan(open_call(stage))))
        await hear(client)
        await client.send(result(0, "to nobody"))
        await client.send(request(9, "echo"))
        await hear(client)
        assert [m for m in agent.heard[1] if "method" not in m] == []


async def test_a_fragmented_message_of_the_client_ends_on_the_old_connection(
    tmp_path: Path,
) -> None:
    """Raw bytes: the first half of a message is with the old server, so the rest has to follow."""
    async with (
        raw_upstream() as (listener, url),
        proxied(config(url, tmp_path)) as it,
        wire(it, listener) as w,
    ):
        first = frame(b'{"jsonrpc":"2.0","id":1,', fin=False)
        last = frame(b'"method":"long"}', Opcode.CONT)
        await w.passes(first)
        (interceptor,) = it.debbie.interceptors
        assert interceptor.channel is not None
        restarting = asyncio.gather(interceptor.channel.restart(RestartPlan()))
        await asyncio.sleep(0)
        await w.passes(last)
        with contextlib.closing(await accept(listener)) as second:
            head = await second.receive()
            assert head.startswith(
                b"GET /ws?a=1&b=%2F%20x HTTP/1.1\r\nHost: agent.example:1234\r\n"
            )
            key = next(
                line for line in head.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key")
            )
            token = accept_key(key.partition(b": ")[2].decode()).encode()
            await second.send(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Accept: "
                + token
                + b"\r\n\r\n"
                # The first bytes of a message that is not whole when the client is put on it.
                + frame(b'{"method":"n"}', mask=False)[:5]
            )
            await asyncio.wait_for(restarting, TIMEOUT)
            await second.send(frame(b'{"method":"n"}', mask=False)[5:])
            error = await w.client.receive_exactly(2)
            body = await w.client.receive_exactly(error[1])
            assert json.loads(body)["error"]["code"] == -32000
            whole = frame(b'{"method":"n"}', mask=False)
            assert await w.client.receive_exactly(len(whole)) == whole
            assert (await w.server.receive())[0] == 0x88  # the old one is told goodbye
            await w.client.send(frame(b"next"))
            assert await second.receive_exactly(len(frame(b"next")))
