"""The reference MCP server and a live client: its features, and nothing that Debbie acts on."""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp.client.websocket", reason="needs a live MCP client: make peers")

from mcp import ClientSession, types
from mcp.client.websocket import websocket_client
from pydantic import AnyUrl, FileUrl

from tests.integration.received import Span
from tests.peers.between import Watched, watched
from tests.peers.everything import everything_program, everything_server
from tests.peers.mcp_client import plain

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(everything_program() is None, reason="needs the server: make peers"),
    pytest.mark.filterwarnings(
        "ignore:The WebSocket client transport is deprecated:DeprecationWarning"
    ),
]

SECONDS = 30.0
LONG = "trigger-long-running-operation"
TEXT = AnyUrl("demo://resource/dynamic/text/1")


async def _sample(context: Any, params: Any) -> Any:
    words = types.TextContent(type="text", text="Yes.")
    return types.CreateMessageResult(role="assistant", content=words, model="scripted")


async def _elicit(context: Any, params: Any) -> Any:
    return types.ElicitResult(action="accept", content={"name": "Ann", "check": True})


async def _roots(context: Any) -> Any:
    return types.ListRootsResult(roots=[types.Root(uri=FileUrl("file:///tmp"), name="tmp")])


async def _converse(port: int) -> dict[str, Any]:
    """Use everything; return what the server answered."""
    said: dict[str, Any] = {}
    async with (
        websocket_client(f"ws://127.0.0.1:{port}/") as streams,
        ClientSession(
            *streams,
            read_timeout_seconds=timedelta(seconds=10),
            sampling_callback=_sample,
            elicitation_callback=_elicit,
            list_roots_callback=_roots,
        ) as session,
    ):

        async def tool(name: str, **arguments: Any) -> Any:
            return plain(await session.call_tool(name, arguments))

        async def steps(count: int) -> tuple[Any, list[float]]:
            done: list[float] = []

            async def note(progress: float, total: float | None, message: str | None) -> None:
                done.append(progress)

            arguments = {"duration": 0.4, "steps": count}
            answer = await session.call_tool(LONG, arguments, progress_callback=note)
            return plain(answer), done

        said["initialize"] = plain(await session.initialize())
        said["tools"] = sorted(tool.name for tool in (await session.list_tools()).tools)
        said["level"] = plain(await session.set_logging_level("debug"))
        said["echo"] = await tool("echo", message="hällo 🌍")
        said["invalid"] = await tool("get-sum", a="two", b=3)
        said["unknown"] = await tool("no-such-tool")
        said["structured"] = await tool("get-structured-content", location="Chicago")
        said["read"] = len(plain(await session.read_resource(TEXT))["contents"])
        said["subscribed"] = plain(await session.subscribe_resource(TEXT))
        said["unsubscribed"] = plain(await session.unsubscribe_resource(TEXT))
        said["sampled"] = await tool("trigger-sampling-request", prompt="Is it?", maxTokens=9)
        said["elicited"] = await tool("trigger-elicitation-request")
        said["steps"] = await asyncio.gather(steps(2), steps(4))
    return said


@dataclass
class Conversations:
    """The same conversation, direct and through Debbie."""

    direct: dict[str, Any]
    through: dict[str, Any]
    watch: Watched


async def _both(data_dir: Path) -> Conversations:
    async with asyncio.timeout(SECONDS), everything_server() as port:
        direct = await _converse(port)
        async with watched(port, data_dir, detection={"enabled": True}) as watch:
            through = await _converse(watch.port)
    return Conversations(direct, through, watch)


@pytest.fixture(scope="module")
def talked(bare_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Conversations:
    return asyncio.run(_both(tmp_path_factory.mktemp("everything")))


def test_the_client_gets_the_same_results(talked: Conversations) -> None:
    assert talked.through == talked.direct
    assert talked.direct["invalid"]["isError"] is True
    assert [done for _, done in talked.direct["steps"]] == [[1, 2], [1, 2, 3, 4]]
    assert talked.watch.behind == talked.watch.before


def test_nothing_is_an_anomaly_and_nothing_is_done(talked: Conversations) -> None:
    """What the caller got wrong is not called again, although the tool is read-only."""
    assert talked.watch.spans.all == talked.watch.spans.wire
    assert talked.watch.debbie.monitor.connections == []
    sums = talked.watch.spans.named("tools/call get-sum")
    assert [span.attributes["error.type"] for span in sums] == ["tool_error"]


def test_what_the_server_does_for_a_call_is_its_child(talked: Conversations) -> None:
    spans = talked.watch.spans
    assert spans.orphans == []

    def parent(span: Span) -> str:
        return spans.by_id[span.parent_id].name

    assert parent(spans.one("sampling/createMessage")) == "tools/call trigger-sampling-request"
    assert parent(spans.one("elicitation/create")) == "tools/call trigger-elicitation-request"
    progress = spans.named("notifications/progress")
    counts = Counter(span.parent_id for span in progress)
    assert sorted(counts.values()) == [2, 4]
    assert {parent(span) for span in progress} == {f"tools/call {LONG}"}


def test_every_message_is_counted_once(talked: Conversations) -> None:
    metrics, spans = talked.watch.metrics, talked.watch.spans
    messages = metrics.by("debbie.messages", "debbie.message.direction", "debbie.message.type")
    for kind, asked, answered in (
        ("SERVER", "client->server", "server->client"),
        ("CLIENT", "server->client", "client->server"),
    ):
        calls = [
            span
            for span in spans.all
            if span.kind == kind and "jsonrpc.request.id" in span.attributes
        ]
        assert messages[asked, "request"] == len(calls) > 2
        assert messages[answered, "response"] == len(calls), "no error is a JSON-RPC error here"
    notes = [span for span in spans.all if span.name.startswith("notifications/")]
    told = sum(count for (_, kind), count in messages.items() if kind == "notification")
    assert told == len(notes) > 6
