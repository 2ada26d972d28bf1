"""What the gateway keeps, drops and counts, and how two of them share the traces."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from pathlib import Path

import pytest

from debbie_otel import semconv
from debbie_otel.demo.script import ScriptedTurn, ToolCall
from tests.integration.received import Spans
from tests.stack import scrape
from tests.stack.peers import Collector, fetch, until
from tests.stack.sinks import Sink
from tests.stack.traffic import FAILS, HEALTHY, STALLS, hurry, outcomes, traffic

pytestmark = pytest.mark.stack("collector")

TURNS = 80
VARIED = [
    ScriptedTurn(
        text=f"Answer {number}.", tools=(ToolCall("read_file", {"path": f"{number}.md"}, 0.1),)
    )
    for number in range(TURNS)
]
"""Without a fault, and without a repetition."""


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


def gateway(folder: Path, sink: Sink, share: int, **variables: str) -> Collector:
    """Return a gateway that does not wait as long as it would have to for people."""
    quick = {
        "TRACES_ENDPOINT": sink.endpoint,
        "GATEWAY_SHARE": str(share),
        "GATEWAY_DECISION_WAIT": "6s",
        "GATEWAY_DECISION_WAIT_AFTER_ROOT": "3s",
        "GATEWAY_FLUSH_INTERVAL": "500ms",
    }
    return Collector("GATEWAY", folder, variables=quick | variables)


async def all_decided(it: Collector) -> None:
    """Wait until the gateway has kept or dropped every trace that it got."""
    url = f"http://127.0.0.1:{it.ports['SELF']}/metrics"
    prefix = "otelcol_processor_tail_sampling_"

    async def look() -> bool:
        got = await scrape.total(url, f"{prefix}new_trace_id_received")
        decided = await scrape.total(url, f"{prefix}global_count_traces_sampled")
        return 0 < got <= decided

    await until(look, f"decision on every trace at {url}")


def whole(spans: Spans, trace_id: str) -> Counter[str]:
    """Return the names of the spans of a trace, without what they are about."""
    return Counter(span.name.partition(" ")[0] for span in spans.all if span.trace_id == trace_id)


async def test_what_went_wrong_is_kept_whole_and_all_is_counted(tmp_path: Path) -> None:
    sink = Sink()
    it = gateway(tmp_path / "gateway", sink, share=0)
    script = [HEALTHY, HEALTHY, FAILS, HEALTHY, STALLS, HEALTHY]
    with sink.open():
        async with it.running():
            async with traffic(it.http, tmp_path, script, intervene=True) as told:
                await told.talk(4)
                assert await told.stall() == HEALTHY.text
            await all_decided(it)
            url = f"http://{it.metrics}/metrics"
            await scrape.wait_for(url, told.spans, "traces_span_metrics_calls_total")
            events = await fetch(url)
    spans = sink.spans
    assert spans.orphans == []
    failed, stalled = spans.turns
    assert outcomes([failed, stalled]) == ["failed", "incomplete"]
    kept = whole(spans, stalled.trace_id)
    assert kept["execute_tool"] == kept["debbie.alert"] == kept["debbie.intervention"] == 1
    # What leads to it and away from it is there too.
    assert whole(spans, spans.one("debbie.intervention prompt_injection").trace_id) == kept
    assert len(spans.named("debbie.session.start")) == len(spans.named("debbie.session.end")) == 2
    assert len(spans.all) < told.spans
    counted = [
        labels
        for labels, value in scrape.series(events, "traces_span_metrics_events_total")
        if labels.get("debbie_alert_type") == "session_stall" and value
    ]
    assert {labels.get("debbie_intervention_result") for labels in counted} >= {None, "success"}


async def test_a_share_of_the_healthy_is_kept_and_the_rest_dropped(tmp_path: Path) -> None:
    sink = Sink()
    it = gateway(tmp_path / "gateway", sink, share=25)
    with sink.open():
        async with it.running():
            async with traffic(it.http, tmp_path, VARIED) as told:
                await told.talk(TURNS)
            await all_decided(it)
    spans = sink.spans
    # By chance in less than one of 10,000 runs beyond these.
    assert 5 <= len(spans.turns) <= 37
    assert spans.orphans == []
    for turn in spans.turns:
        assert turn.attributes[semconv.TURN_TOOLS] == 1
        assert whole(spans, turn.trace_id)["execute_tool"] == 1


async def test_two_gateways_share_the_traces_and_split_none(tmp_path: Path) -> None:
    sinks = [Sink(), Sink()]
    pair = [gateway(tmp_path / str(n), sink, share=100) for n, sink in enumerate(sinks)]
    peers = ", ".join(f'"127.0.0.1:{it.ports["PEER"]}"' for it in pair)
    for it in pair:
        it.variables["GATEWAY_PEERS"] = f"[{peers}]"
    async with contextlib.AsyncExitStack() as stack:
        for sink in sinks:
            stack.enter_context(sink.open())
        for it in pair:
            await stack.enter_async_context(it.running())
        # One proxy sends to the one, one to the other; a trace goes where its id belongs.
        async with (
            traffic(pair[0].http, tmp_path / "a", VARIED) as one,
            traffic(pair[1].http, tmp_path / "b", VARIED) as other,
        ):
            await asyncio.gather(one.talk(TURNS // 2), other.talk(TURNS // 2))
        sent = one.spans + other.spans

        async def arrived() -> bool:
            return sum(len(sink.spans.all) for sink in sinks) >= sent

        await until(arrived, f"{sent} spans")
    kept = [sink.spans for sink in sinks]
    assert [spans.orphans for spans in kept] == [[], []]
    ids = [{span.trace_id for span in spans.all} for spans in kept]
    assert not ids[0] & ids[1]
    assert min(len(spans.turns) for spans in kept) > TURNS // 8
    assert sum(len(spans.turns) for spans in kept) == TURNS
