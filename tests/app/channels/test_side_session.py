"""Side connections: opened with the client's own words, seen by the model, unseen by the client."""

from __future__ import annotations

import asyncio
import http
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from debbie_otel.app.channels import side_session as side_module
from debbie_otel.errors import ChannelError
from debbie_otel.session.events import CallEnded, Event
from tests.transports.acting import Agent, asking, hear, notification, request, result, scene, soon
from tests.transports.raw import until


async def aiwhisperer(connection: ServerConnection) -> None:
    """Serve sessions as AIWhisperer does: `sendUserMessage` hangs unless it comes from us."""
    import json

    async for text in connection:
        message = json.loads(text)
        if message["method"] == "startSession":
            await connection.send(result(message["id"], {"sessionId": "s-1", "status": 1}))
        elif message["id"] != 2:  # not the client's own
            value = {"messageId": "m", "status": 0, "ai_response": "yes", "tool_calls": []}
            await connection.send(notification("StreamingUpdate", sessionId="s-1", content="yes"))
            await connection.send(result(message["id"], value))


async def test_a_side_connection_belongs_to_the_session(tmp_path: Path) -> None:
    async with scene(aiwhisperer, tmp_path) as stage:
        client = await stage.client()
        await client.send(request(1, "startSession", userId="u"))
        await hear(client)
        await client.send(request(2, "sendUserMessage", sessionId="s-1", message="hang"))
        debbie = stage.it.debbie
        await until(lambda: any(s.busy for s in debbie.monitor.live_sessions()))
        ended: list[Event] = []
        debbie.monitor.subscribe(ended.append, CallEnded)
        side = await soon(stage.channel().side())
        sent = side.request("sendUserMessage", {"sessionId": "s-1", "message": "go on"})
        assert (await soon(sent.answer)).result["ai_response"] == "yes"
        (event,) = ended
        assert isinstance(event, CallEnded)
        assert event.call.injected
        assert event.call.session.id == "s-1"
        reach = debbie.reach("s-1")
        assert reach is not None
        assert reach.channel is stage.channel()  # not the side connection
        await side.close()
        assert [s.info.id for s in debbie.monitor.live_sessions()] == ["s-1"]
        # The client has seen nothing of it, and its request is still open.
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.recv(), 0.05)


async def test_it_asks_as_the_client_has_asked(tmp_path: Path) -> None:
    requests: list[Request] = []

    def remember(connection: ServerConnection, request: Request) -> Response | None:
        requests.append(request)
        return None

    agent = Agent()
    async with scene(agent, tmp_path, process_request=remember, subprotocols=["acp", "x"]) as stage:
        headers = [("Cookie", "a=1; b=2"), ("Authorization", "Bearer t"), ("X-Twice", "1")]
        client = await stage.client(
            path="/ws;v=1/%2F?token=a%20b",
            additional_headers=[*headers, ("X-Twice", "2")],
            subprotocols=["x"],
            origin="http://example.com",
        )
        await client.send(request(1, "ask"))
        await agent.until_heard(1)
        await (await soon(stage.channel().side())).close()
        first, second = requests
        assert second.path == first.path
        left_out = ("Sec-WebSocket-Key", "Sec-WebSocket-Extensions")
        for mine, theirs in ((first, second),):
            kept = [pair for pair in mine.headers.raw_items() if pair[0] not in left_out]
            assert [p for p in theirs.headers.raw_items() if p[0] not in left_out] == kept
        assert second.headers["Sec-WebSocket-Key"] != first.headers["Sec-WebSocket-Key"]
        assert "Sec-WebSocket-Extensions" not in second.headers


async def test_it_closes_by_itself_when_nothing_is_expected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_module, "IDLE_SECONDS", 0.01)
    async with asking(tmp_path) as (stage, agent, _client):
        side = await soon(stage.channel().side())
        sent = side.request("ours", {})
        await agent.until_heard(2)
        await agent.say(result(sent.id, "x"), 1)
        await soon(sent.answer)
        await soon(agent.connections[1].wait_closed())
        assert agent.connections[1].close_code == 1000
        await until(lambda: not stage.channel()._sides)
        with pytest.raises(ChannelError):
            side.notify("too late", {})


async def test_it_answers_pings_and_refuses_requests(tmp_path: Path) -> None:
    async with asking(tmp_path) as (stage, agent, _client):
        side = await soon(stage.channel().side())
        side.request("ours", {})
        await agent.until_heard(2)
        await soon(await agent.connections[1].ping())
        await agent.say(request("s", "session/request_permission"), 1)
        assert (await agent.until_heard(3))["error"]["code"] == -32601


async def test_it_ends_with_the_client(tmp_path: Path) -> None:
    async with asking(tmp_path) as (stage, agent, client):
        side = await soon(stage.channel().side())
        sent = side.request("ours", {})
        await client.close()
        with pytest.raises(ChannelError):
            await soon(sent.answer)
        await soon(agent.connections[1].wait_closed())
        await until(lambda: not stage.interceptors())


async def test_a_server_that_refuses_another_connection(tmp_path: Path) -> None:
    seen: list[ServerConnection] = []

    def once(connection: ServerConnection, request: Request) -> Response | None:
        seen.append(connection)
        if len(seen) == 1:
            return None
        return connection.respond(http.HTTPStatus.FORBIDDEN, "one is enough\n")

    agent = Agent()
    async with scene(agent, tmp_path, process_request=once) as stage:
        client = await stage.client()
        await client.send(request(1, "ask"))
        await agent.until_heard(1)
        with pytest.raises(ChannelError, match="403"):
            await soon(stage.channel().side())
        await client.send(request(2, "ask"))  # the client's own goes on
        await agent.until_heard(2)
