"""The ACP and Codex recordings over real sockets: how many spans, and the shape of their trees."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from debbie_otel import semconv
from debbie_otel.session import events as ev
from tests.integration.proxied import play
from tests.integration.received import Metrics, Spans
from tests.play import DATA, Play, recording
from tests.session.counted import by_hand, tools, turns
from tests.telemetry.collector import grpc_collector

SESSIONS = {"acp": 2, "codex": 3}
TURNS = {"acp": 22, "codex": 39}


@pytest.fixture(params=["acp", "codex"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def arrived(name: str, data_dir: Path) -> tuple[Spans, Metrics]:
    with grpc_collector() as collector:
        otlp = f"grpc://127.0.0.1:{collector.port}"
        it = await play(DATA / name / "transcript.jsonl", data_dir, otlp)
    spans = Spans(collector.received.traces)
    assert it.report is not None
    assert (it.report.delivered, it.report.dropped) == (len(spans.all), 0)
    return spans, Metrics(collector.received.metrics)


def spans_of(stage: Play) -> Counter[str]:
    """Count the spans that the events of a recording mean, by what they are."""
    return Counter(
        start=len(stage.of(ev.SessionStarted)),
        end=len(stage.of(ev.SessionEnded)),
        turn=len(stage.of(ev.TurnStarted)),
        call=sum(not e.call.opens_turn for e in stage.of(ev.CallEnded)),
        tool=sum(not e.tool.is_call for e in stage.of(ev.ToolEnded)),
        chunks=sum(e.stream.count for e in stage.of(ev.StreamEnded)),
        notification=len(stage.of(ev.NotificationSeen)),
    )


def spans_by_kind(spans: Spans) -> Counter[str]:
    """Count the spans that arrived likewise.

    Chunks are counted, not their runs: the same turn may be seen on two connections, and which of
    two sockets is read first has a say in where a run is broken.
    """
    found: Counter[str] = Counter()
    for span in spans.wire:
        first, _, last = span.name.rpartition(".")
        message = span.attributes.get(semconv.MESSAGE_TYPE)
        if first == "debbie.session":
            found[last] += 1
        elif span.name.startswith(("invoke_agent ", "execute_tool ")):
            found["turn" if span.name.startswith("invoke_agent ") else "tool"] += 1
        elif message == "stream":
            found["chunks"] += span.attributes[semconv.STREAM_CHUNKS]
        else:
            found["call" if message is None else message] += 1
    return found


async def test_spans(name: str, tmp_path: Path) -> None:
    spans, _ = await arrived(name, tmp_path)
    stage = recording(name)
    assert spans_by_kind(spans) == spans_of(stage)
    assert spans.orphans == []
    assert all(span.attributes[semconv.SESSION_ID] for span in spans.all)
    assert {span.resource["service.name"] for span in spans.all} == {f"{name}-agent"}
    assert len(spans.named("debbie.session.start")) == SESSIONS[name]
    assert len(spans.named("debbie.session.end")) == SESSIONS[name]


async def test_turns_are_roots_of_traces_of_their_own(name: str, tmp_path: Path) -> None:
    spans, _ = await arrived(name, tmp_path)
    roots = spans.turns
    assert len(roots) == TURNS[name]
    assert not any(turn.parent_id for turn in roots)
    assert len({turn.trace_id for turn in roots}) == len(roots)
    outcomes = Counter(
        (turn.attributes["debbie.turn.outcome"], turn.attributes.get("error.type"))
        for turn in roots
    )
    expected: Counter[tuple[str, str | None]] = Counter()
    for (outcome, error, _), count in turns(recording(name)).items():
        expected[str(outcome), error] += count
    assert outcomes == expected
    failing = [turn for turn in roots if turn.attributes["debbie.turn.outcome"] in _FAILING]
    assert [turn for turn in roots if turn.error is not None] == failing
    in_turns = {turn.span_id for turn in roots}
    for span in spans.wire:  # a tree is two deep: a turn, and what happened in it
        assert not span.parent_id or span.parent_id in in_turns
        if span.name.startswith("execute_tool "):
            assert span.parent_id in in_turns


_FAILING = ("failed", "aborted")


async def test_turns_link_to_their_session_and_the_turn_before(name: str, tmp_path: Path) -> None:
    spans, _ = await arrived(name, tmp_path)
    starts = {
        span.span_id: span.attributes[semconv.SESSION_ID]
        for span in spans.named("debbie.session.start")
    }
    linked = 0
    for turn in spans.turns:
        links = dict(turn.links)
        if "session_start" in links:
            assert starts[links["session_start"]] == turn.attributes[semconv.SESSION_ID]
        if "previous_turn" in links:
            before = spans.by_id[links["previous_turn"]]
            numbers = [t.attributes[semconv.TURN_NUMBER] for t in (before, turn)]
            assert numbers[1] == numbers[0] + 1
            linked += 1
    firsts = [turn for turn in spans.turns if turn.attributes[semconv.TURN_NUMBER] == 1]
    assert linked == len(spans.turns) - len(firsts)


async def test_counters(name: str, tmp_path: Path) -> None:
    spans, metrics = await arrived(name, tmp_path)
    messages = metrics.by(
        "debbie.messages", semconv.MESSAGE_DIRECTION, semconv.MESSAGE_TYPE, "rpc.method"
    )
    assert messages == by_hand(name)
    expected: Counter[tuple[str, str]] = Counter()
    for (tool, outcome, _), count in tools(recording(name)).items():
        expected[tool, str(outcome)] += count
    assert metrics.by("debbie.tools", "gen_ai.tool.name", "debbie.tool.outcome") == expected
    timed = metrics.by("gen_ai.execute_tool.duration", "gen_ai.tool.name")
    assert timed.total() == expected.total()
    assert metrics.by("debbie.turn.duration").total() == TURNS[name]
    assert metrics.by("debbie.session.duration").total() == SESSIONS[name]
    assert metrics.sums["debbie.sessions.active"] == {(): 0}
    for exemplars in metrics.exemplars.values():
        for trace_id, span_id in exemplars:
            assert spans.by_id[span_id].trace_id == trace_id
