"""A live ACP agent and client: nothing changes with Debbie between them, and she sees it all."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("acp.ws.client", reason="needs a live ACP agent: make peers")
pytest.importorskip("uvicorn", reason="needs a server for the ACP agent: make peers")

from tests.integration.received import Span
from tests.peers.acp_agent import NAME, acp_agent
from tests.peers.acp_client import NOTES, converse
from tests.peers.between import Watched, watched

pytestmark = pytest.mark.peers

SECONDS = 20.0
ANSWERED = [None, "affinity=node-1; seen=1"]
"""The cookies of the first and the second connection."""


@dataclass
class Conversations:
    """The same two visits, direct and through Debbie, with the cookies that the agent got."""

    direct: list[dict[str, Any]]
    through: list[dict[str, Any]]
    cookies: list[list[str | None]]
    watch: Watched

    def turn(self, number: int) -> tuple[Span, list[Span]]:
        """Return a turn, counted over both visits, and its children by start."""
        root = self.watch.spans.turns[number - 1]
        children = [span for span in self.watch.spans.all if span.parent_id == root.span_id]
        return root, sorted(children, key=lambda span: span.start)


async def _converse(data_dir: Path) -> Conversations:
    cookies: list[list[str | None]] = [[], []]
    async with asyncio.timeout(SECONDS):
        async with acp_agent(cookies[0]) as port:
            direct = await converse(port)
        async with acp_agent(cookies[1]) as port, watched(port, data_dir) as watch:
            through = await converse(watch.port)
    return Conversations(direct, through, cookies, watch)


@pytest.fixture(scope="module")
def talked(bare_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Conversations:
    return asyncio.run(_converse(tmp_path_factory.mktemp("acp")))


def described(spans: list[Span]) -> list[tuple[str, str]]:
    return [(span.name, span.kind) for span in spans]


def streams(spans: list[Span]) -> list[tuple[str, int]]:
    return [
        (span.attributes["debbie.stream.kind"], span.attributes["debbie.stream.chunks"])
        for span in spans
        if "debbie.stream.kind" in span.attributes
    ]


# -- the wire ----------------------------------------------------------------------------------


def test_the_client_gets_the_same_answers_and_updates(talked: Conversations) -> None:
    assert talked.through == talked.direct


def test_the_answers_are_those_of_an_agent_that_works(talked: Conversations) -> None:
    first, second, _ = talked.through
    assert first["new"] == {"sessionId": "sess-1"}
    assert first["read the notes"][0]["stopReason"] == "end_turn"
    chunks = [update["content"]["text"] for _, update in first["read the notes"][1][-3:]]
    assert chunks == ["The notes ", "say: ", NOTES]
    assert first["write the notes"][1][1][1]["status"] == "completed"
    assert first["hang"][0] == {"stopReason": "cancelled"}
    assert first["fail please"][0] == (-32000, "The model is overloaded", {"retry": True})
    assert first["unknown"][0] == -32601
    assert len(second["load"][1]) == 9
    assert second["write the notes"][1][1][1]["status"] == "failed"


def test_every_byte_passes_unchanged(talked: Conversations) -> None:
    assert len(talked.watch.before) == 2
    assert talked.watch.behind == talked.watch.before


def test_cookies_survive(talked: Conversations) -> None:
    assert talked.cookies == [ANSWERED, ANSWERED]
    assert talked.through[2] == {"cookies": "affinity=node-2; seen=2"}


# -- the telemetry -----------------------------------------------------------------------------


def test_a_trace_per_turn(talked: Conversations) -> None:
    turns = talked.watch.spans.turns
    assert described(turns) == [(f"invoke_agent {NAME}", "SERVER")] * 5
    assert not any(turn.parent_id for turn in turns)
    assert len({turn.trace_id for turn in turns}) == 5
    assert talked.watch.spans.orphans == []
    assert [turn.attributes["debbie.turn.outcome"] for turn in turns] == [
        "completed",
        "completed",
        "cancelled",
        "failed",
        "completed",
    ]


def test_service_and_session(talked: Conversations) -> None:
    spans = talked.watch.spans.all
    assert {span.resource["service.name"] for span in spans} == {"acp-agent"}
    for turn in talked.watch.spans.turns:
        assert turn.attributes["session.id"] == "sess-1"
        assert turn.attributes["gen_ai.conversation.id"] == "sess-1"
    assert len({turn.attributes["debbie.connection.id"] for turn in talked.watch.spans.turns}) == 2


def test_a_turn_with_thoughts_a_tool_and_words(talked: Conversations) -> None:
    turn, children = talked.turn(1)
    assert turn.error is None
    assert turn.picked("gen_ai.usage", "gen_ai.response", "debbie.turn.tools") == {
        "gen_ai.usage.input_tokens": 120,
        "gen_ai.usage.output_tokens": 30,
        "gen_ai.response.finish_reasons": ["end_turn"],
        "debbie.turn.tools": 1,
    }
    assert streams(children) == [("thought", 2), ("message", 3)]
    assert Counter(described(children)) == Counter(
        {
            ("session/update", "CLIENT"): 5,  # two streams, and the tool's three updates
            ("fs/read_text_file", "CLIENT"): 1,
            ("execute_tool read", "INTERNAL"): 1,
        }
    )
    (tool,) = [span for span in children if span.name.startswith("execute_tool")]
    (file,) = [span for span in children if span.name.startswith("fs/")]
    assert tool.start <= file.start <= file.end <= tool.end
    assert tool.picked("gen_ai.tool", "debbie.tool") == {
        "gen_ai.tool.name": "read",
        "gen_ai.tool.call.id": "call-read",
        "debbie.tool.kind": "read",
        "debbie.tool.outcome": "completed",
        "debbie.tool.timing": "observed",
    }


def test_a_permission_is_a_call_to_the_client_in_the_turn(talked: Conversations) -> None:
    for number, outcome, error in ((2, "completed", None), (5, "failed", "tool_error")):
        turn, children = talked.turn(number)
        (asked,) = [span for span in children if span.name == "session/request_permission"]
        (tool,) = [span for span in children if span.name == "execute_tool edit"]
        assert asked.kind == "CLIENT"
        assert asked.error is None
        assert tool.start <= asked.start <= asked.end <= tool.end
        assert tool.attributes["debbie.tool.outcome"] == outcome
        assert tool.attributes.get("error.type") == error
        assert turn.error is None


def test_a_turn_that_the_user_cancels_is_no_error(talked: Conversations) -> None:
    turn, children = talked.turn(3)
    assert turn.error is None
    assert turn.attributes["gen_ai.response.finish_reasons"] == ["cancelled"]
    assert ("session/cancel", "SERVER") in described(children)
    (tool,) = [span for span in children if span.name == "execute_tool execute"]
    assert tool.end == turn.end


def test_a_turn_that_fails(talked: Conversations) -> None:
    turn, children = talked.turn(4)
    assert turn.error == "The model is overloaded"
    assert turn.attributes["error.type"] == "-32000"
    assert turn.attributes["rpc.response.status_code"] == "-32000"
    assert streams(children) == [("message", 1)]
    assert talked.watch.spans.one("_peers/none").error == "Method not found"


def test_loaded_history_is_no_turn(talked: Conversations) -> None:
    in_turns = {turn.span_id for turn in talked.watch.spans.turns}
    outside = [span for span in talked.watch.spans.all if span.parent_id not in in_turns]
    assert sum(chunks for _, chunks in streams(outside)) == 9
    load = talked.watch.spans.one("session/load")
    assert (load.kind, load.error) == ("SERVER", None)
    assert load.attributes["session.id"] == "sess-1"


def test_metrics(talked: Conversations) -> None:
    metrics = talked.watch.metrics
    served = metrics.by("rpc.server.call.duration", "rpc.method", "error.type")
    assert served == Counter(
        {
            ("initialize", None): 2,
            ("session/new", None): 1,
            ("session/load", None): 1,
            ("session/prompt", None): 4,
            ("session/prompt", "-32000"): 1,
            ("_peers/none", "-32601"): 1,
        }
    )
    made = metrics.by("rpc.client.call.duration", "rpc.method", "error.type")
    assert made == Counter(
        {("fs/read_text_file", None): 1, ("session/request_permission", None): 2}
    )
    assert metrics.by("debbie.turn.duration", "gen_ai.agent.name")[NAME,] == 5
    updates = sum(
        len(said[1])
        for visit in talked.through[:2]
        for said in visit.values()
        if isinstance(said, tuple) and isinstance(said[1], list)
    )
    assert metrics.total("debbie.messages", rpc__method="session/update") == updates
    assert metrics.total("debbie.uninspected") == 0
