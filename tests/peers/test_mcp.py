"""A live MCP client and server: nothing changes with Debbie between them, and she sees it all."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp.server.websocket", reason="needs a live MCP server: make peers")

from tests.integration.received import Span
from tests.peers.between import Watched, watched
from tests.peers.mcp_client import LARGE, PARENT_ID, TOO_LARGE, TRACE_ID, connected, converse
from tests.peers.mcp_server import NAME, TOGETHER, mcp_server

pytestmark = [
    pytest.mark.peers,
    # The package marks both halves so, as its version 2 is without them.
    pytest.mark.filterwarnings(
        "ignore:The WebSocket (server|client) transport is deprecated:DeprecationWarning"
    ),
]

SECONDS = 20.0
TOOL_ERRORS = ("fail", "no_such_tool", "add")


@dataclass
class Conversations:
    """The same conversation, direct and through Debbie."""

    direct: dict[str, Any]
    through: dict[str, Any]
    watch: Watched

    def one(self, name: str) -> Span:
        return self.watch.spans.one(name)


async def _converse(data_dir: Path) -> Conversations:
    async with asyncio.timeout(SECONDS):
        async with mcp_server() as port:
            direct = await converse(port)
        async with mcp_server() as port, watched(port, data_dir) as watch:
            through = await converse(watch.port)
    return Conversations(direct, through, watch)


@pytest.fixture(scope="module")
def talked(bare_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Conversations:
    return asyncio.run(_converse(tmp_path_factory.mktemp("mcp")))


# -- the wire ----------------------------------------------------------------------------------


def test_the_client_gets_the_same_results(talked: Conversations) -> None:
    assert talked.through == talked.direct


def test_the_results_are_those_of_a_server_that_works(talked: Conversations) -> None:
    said = talked.through
    assert said["initialize"]["serverInfo"]["name"] == NAME
    assert said["add"]["structuredContent"] == {"result": 5}
    assert [said[name]["isError"] for name in ("add", "fail", "unknown", "invalid")] == [
        False,
        True,
        True,
        True,
    ]
    assert said["slow"][1] == [(1, 3, "step 1"), (2, 3, "step 2"), (3, 3, "step 3")]
    assert len(said["large"]["content"][0]["text"]) == LARGE
    assert said["ask"]["structuredContent"] == {"result": "Is it raining? Yes."}
    assert said["cancelled"] == {"code": 0, "message": "Request cancelled"}
    assert len(said["meet"]) == TOGETHER
    assert said["logged"] == ["nearly there"]


def test_every_byte_passes_unchanged(talked: Conversations) -> None:
    ((up, down),) = talked.watch.before
    assert talked.watch.behind == [(up, down)]
    assert len(up) > 1000
    assert len(down) > 1000


def test_the_peers_agree_on_subprotocol_and_compression(talked: Conversations) -> None:
    ((_, down),) = talked.watch.before
    head = bytes(down).partition(b"\r\n\r\n")[0].lower()
    assert head.startswith(b"http/1.1 101 ")
    assert b"\r\nsec-websocket-protocol: mcp" in head
    assert b"\r\nsec-websocket-extensions: permessage-deflate" in head


async def test_a_result_above_the_clients_limit_ends_the_connection_as_without_debbie(
    tmp_path: Path,
) -> None:
    async def failure(port: int) -> list[str]:
        with pytest.raises(BaseExceptionGroup) as raised:
            async with connected(port) as conversation:
                await conversation.tool("large", {"size": TOO_LARGE})
        return sorted(leaves(raised.value))

    async with asyncio.timeout(SECONDS):
        async with mcp_server() as port:
            direct = await failure(port)
        async with mcp_server() as port, watched(port, tmp_path) as watch:
            through = await failure(watch.port)
    assert through == direct
    assert any("1009 (message too big)" in text for text in through)
    # The proxy itself read it: the call ended well as far as the wire tells.
    assert watch.spans.one("tools/call large").attributes["debbie.response.size"] > TOO_LARGE


def leaves(error: BaseException) -> Iterator[str]:
    """Yield the exceptions of groups in groups, as text."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield f"{type(error).__name__}: {error}"


# -- the telemetry -----------------------------------------------------------------------------


def test_spans(talked: Conversations) -> None:
    assert Counter(span.name for span in talked.watch.spans.all) == Counter(
        {
            "debbie.session.start": 1,
            "initialize": 1,
            "notifications/initialized": 1,
            "tools/list": 1,
            "resources/list": 1,
            "prompts/list": 1,
            "ping": 1,
            "tools/call add": 3,
            "tools/call fail": 1,
            "tools/call no_such_tool": 1,
            "tools/call ask": 1,
            "sampling/createMessage": 1,
            "tools/call slow": 1,
            "notifications/progress": 4,
            "notifications/message": 1,
            "tools/call large": 1,
            "resources/read": 2,
            "prompts/get": 2,
            "tools/call hang": 1,
            "notifications/cancelled": 1,
            "debbie.message.unmatched": 1,
            "tools/call meet": TOGETHER,
            "debbie.session.end": 1,
        }
    )


def test_service_and_session_of_every_span(talked: Conversations) -> None:
    spans = talked.watch.spans.all
    assert {span.resource["service.name"] for span in spans} == {"mcp-agent"}
    (session,) = {span.attributes["session.id"] for span in spans}
    assert {span.attributes["debbie.connection.id"] for span in spans} == {session}
    assert {span.attributes["debbie.dialect"] for span in spans} == {"mcp"}


def test_kinds(talked: Conversations) -> None:
    by_client = {"initialize", "ping", "notifications/initialized", "notifications/cancelled"}
    by_server = {"sampling/createMessage", "notifications/progress", "notifications/message"}
    for span in talked.watch.spans.all:
        if span.name in by_client or span.name.startswith(("tools/", "resources/", "prompts/")):
            assert span.kind == "SERVER", span.name
        elif span.name in by_server:
            assert span.kind == "CLIENT", span.name


def test_attributes_of_a_tool_call(talked: Conversations) -> None:
    slow = talked.one("tools/call slow")
    assert slow.error is None
    assert slow.picked("mcp.", "gen_ai.", "rpc.", "network.", "jsonrpc.p", "error.") == {
        "mcp.method.name": "tools/call",
        "gen_ai.tool.name": "slow",
        "gen_ai.operation.name": "execute_tool",
        "rpc.system.name": "jsonrpc",
        "network.transport": "tcp",
        "network.protocol.name": "websocket",
        "jsonrpc.protocol.version": "2.0",
    }
    progress = talked.watch.spans.named("notifications/progress")
    own = [span for span in progress if span.parent_id == slow.span_id]
    assert len(own) == 3
    assert all(slow.start <= span.start <= slow.end for span in own)


def test_failed_tools(talked: Conversations) -> None:
    failed = [span for span in talked.watch.spans.all if span.error is not None]
    tools = {span.attributes["gen_ai.tool.name"]: span for span in failed if "/call" in span.name}
    assert set(tools) == set(TOOL_ERRORS)
    for span in tools.values():
        assert span.attributes["error.type"] == "tool_error"
        assert span.attributes["debbie.tool.outcome"] == "failed"
        assert "rpc.response.status_code" not in span.attributes


def test_error_responses(talked: Conversations) -> None:
    for name, message in (
        ("resources/read", "Unknown resource: peer://nothing"),
        ("prompts/get", "Unknown prompt: nothing"),
    ):
        fine, failed = talked.watch.spans.named(name)
        assert fine.error is None
        assert failed.error == message
        assert failed.attributes["error.type"] == failed.attributes["rpc.response.status_code"]


def test_a_cancelled_call_is_no_error_though_the_server_answers_it(talked: Conversations) -> None:
    call = talked.one("tools/call hang")
    assert call.error is None
    assert call.attributes["debbie.call.outcome"] == "cancelled"
    assert call.attributes["debbie.tool.outcome"] == "cancelled"
    late = talked.one("debbie.message.unmatched")
    assert late.error is None
    assert late.picked("mcp.", "debbie.call.", "jsonrpc.r") == {
        "mcp.method.name": "tools/call",
        "debbie.call.outcome": "cancelled",
        "jsonrpc.request.id": call.attributes["jsonrpc.request.id"],
    }


def test_calls_of_both_directions_with_the_same_id_are_kept_apart(talked: Conversations) -> None:
    by_server, by_client = talked.one("sampling/createMessage"), talked.one("initialize")
    ids = [span.attributes["jsonrpc.request.id"] for span in (by_server, by_client)]
    assert ids == ["0", "0"]
    outer = talked.one("tools/call ask")
    assert outer.start <= by_server.start <= by_server.end <= outer.end
    assert (by_server.trace_id, by_server.parent_id) == (outer.trace_id, outer.span_id)


def test_concurrent_calls_overlap(talked: Conversations) -> None:
    calls = talked.watch.spans.named("tools/call meet")
    assert len({call.attributes["jsonrpc.request.id"] for call in calls}) == TOGETHER
    assert max(call.start for call in calls) <= min(call.end for call in calls)


def test_a_call_with_a_trace_context_is_its_child(talked: Conversations) -> None:
    children = [span for span in talked.watch.spans.all if span.trace_id == TRACE_ID]
    assert [(span.name, span.parent_id) for span in children] == [("tools/call add", PARENT_ID)]
    others = [span for span in talked.watch.spans.all if span not in children and span.parent_id]
    assert {span.name for span in others} == {
        "notifications/progress", "notifications/message", "sampling/createMessage",
    }  # fmt: skip
    assert talked.watch.spans.orphans == ["tools/call add"], "whose parent is the caller's"


def test_metrics(talked: Conversations) -> None:
    metrics = talked.watch.metrics
    served = metrics.by("mcp.server.operation.duration", "mcp.method.name", "error.type")
    assert served == Counter(
        {
            ("initialize", None): 1,
            ("tools/list", None): 1,
            ("resources/list", None): 1,
            ("prompts/list", None): 1,
            ("ping", None): 1,
            ("tools/call", None): 5 + TOGETHER,
            ("tools/call", "tool_error"): 3,
            ("tools/call", "cancelled"): 1,
            ("resources/read", None): 1,
            ("resources/read", "0"): 1,
            ("prompts/get", None): 1,
            ("prompts/get", "0"): 1,
        }
    )
    made = metrics.by("mcp.client.operation.duration", "mcp.method.name")
    assert made == Counter({("sampling/createMessage",): 1})
    assert metrics.units["mcp.server.operation.duration"] == "s"
    assert metrics.total("debbie.messages", debbie__message__type="request") == 19 + TOGETHER
    assert metrics.total("debbie.messages", debbie__message__type="notification") == 7
    answers = sum(
        metrics.total("debbie.messages", debbie__message__type=kind)
        for kind in ("response", "error")
    )
    assert answers == 19 + TOGETHER
    assert metrics.total("debbie.uninspected") == 0
