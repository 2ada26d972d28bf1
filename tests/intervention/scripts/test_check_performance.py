"""What is slow in a session, or large."""

from __future__ import annotations

from tests.intervention.scripts.running import (
    HEALTHY,
    calls,
    causes,
    run,
    session_of,
)
from tests.intervention.told import Told, alert


async def test_what_is_slow_is_named_with_its_usual_time() -> None:
    slow = calls(*[("read", 0.1, False)] * 6, *[("read", 2, False)] * 3, ("write", 0.1, False))
    outcome = await run("check_performance", session_of(Told("mcp", slow)))
    assert causes(outcome) == [("slower_than_usual", "tool read"), ("dominates", "read")]
    assert outcome.summary == "tool read takes 2.00 s, usually 0.10 s (20.0 times)"


async def test_what_still_runs_is_compared_with_how_long_it_took() -> None:
    running = '\n>> {"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"read"}}\n+3'
    stage = Told("mcp", calls(*[("read", 0.2, False)] * 4) + running)
    outcome = await run("check_performance", session_of(stage))
    assert causes(outcome) == [("still_running", "read")]


async def test_memory_is_told_with_its_factor() -> None:
    stage = Told("aiwhisperer", HEALTHY)
    spike = alert("memory_spike", details={"value": 2.5, "threshold": 1.5})
    outcome = await run("check_performance", stage.snapshot(spike, memory=512 << 20))
    assert outcome.summary == "the agent's memory has grown to 512 MiB, 2.5 times its baseline"


async def test_even_times_are_not_slow() -> None:
    even = calls(*[("read", 1.0, False), ("write", 1.1, False)] * 8)
    assert (await run("check_performance", session_of(Told("mcp", even)))).findings == ()
