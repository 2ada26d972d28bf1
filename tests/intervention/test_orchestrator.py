"""The flow: what is tried in which order, how often, and when it ends.

Sessions, events, monitor and history are the real ones; strategies are callables of the test, as
a user registers them.
"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from debbie_otel.detection.alerts import Transition
from debbie_otel.errors import ChannelError
from debbie_otel.intervention import policy
from debbie_otel.intervention.attempt import (
    Attempt,
)
from debbie_otel.intervention.channel import Answer
from debbie_otel.intervention.history import InterventionHistory
from debbie_otel.intervention.history_store import HistoryStore
from debbie_otel.intervention.intervention_config import HistorySettings
from debbie_otel.intervention.learning import Tally
from debbie_otel.intervention.records import InterventionResult
from debbie_otel.intervention.steps import Done, DoneKind
from debbie_otel.session import events as ev
from tests.intervention import alerts
from tests.intervention.attempts import INERT
from tests.intervention.histories import fill
from tests.intervention.stage import ENDS, HUNG, MOVES, Stage, told
from tests.play import SECOND

# -- the event loop and the disk ------------------------------------------------------------------


async def test_the_event_loop_does_not_wait_for_what_the_history_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, asked, loop_thread = threading.Event(), threading.Event(), threading.get_ident()
    tallies = HistoryStore.tallies

    def slow(store: HistoryStore) -> list[Tally]:
        assert threading.get_ident() != loop_thread, "the event loop waits for a disk"
        asked.set()
        assert read.wait(10)
        return tallies(store)

    fill(tmp_path / "h.sqlite3", 1)
    monkeypatch.setattr(HistoryStore, "tallies", slow)
    history = InterventionHistory(tmp_path / "h.sqlite3", HistorySettings(), lambda: 0)
    stage = Stage(history, order="learned")
    stage.helps("a")
    stage.helps("b")
    await stage.take("a", "b")
    assert await asyncio.to_thread(asked.wait, 5)
    assert stage.tried == []
    read.set()
    await stage.settle()
    assert len(stage.tried) == 1
    await asyncio.to_thread(stage.history.close)


# -- order, rounds, ends --------------------------------------------------------------------------


async def test_the_first_strategy_that_helps_is_the_last() -> None:
    stage = Stage()
    stage.fails("a")
    stage.helps("b")
    stage.helps("c")
    assert await stage.run("a", "b", "c") == ["a failure no_recovery", "b success"]
    record = stage.records[-1]
    assert "it streams (message)" in record.detail
    assert (record.session_id, record.agent, record.dialect) == ("s1", "aiwhisperer", "aiwhisperer")
    assert record.recovery_seconds is not None
    assert stage.history.session("s1")[0].id == record.id


async def test_an_agent_that_is_alive_is_looked_at_as_often_as_it_takes() -> None:
    stage, looks = Stage(), 0

    async def strategy(_: Attempt) -> Done | None:
        nonlocal looks
        looks += 1
        if looks <= 3000:
            return Done.impossible("alive", "the tool may only be slow")
        asyncio.get_running_loop().call_soon(stage.tell, MOVES)
        return None

    stage.executor.register("a", strategy)
    raised = alerts.alert(strategies=("custom:a",), details={"threshold": 0.0})
    assert await stage.run(alert=raised) == ["a skipped alive", "a success"]
    assert looks == 3001


async def test_a_connection_that_has_just_ended_is_a_result_and_no_exception() -> None:
    stage = Stage()

    async def ended(_: Attempt) -> Done:
        raise ChannelError("the connection is closed")

    stage.knows("a", ended)
    assert await stage.run("a") == ["a failure unreachable"] * 3 + ["escalate escalated"]
    assert stage.records[0].detail == "the connection is closed"


async def test_after_so_many_failures_a_person_is_told() -> None:
    stage = Stage(escalation_threshold=3)
    stage.fails("a")
    stage.fails("b")
    assert await stage.run("a", "b") == [
        "a failure no_recovery",
        "b failure no_recovery",
        "a failure no_recovery",
        "escalate escalated",
    ]


async def test_a_strategy_is_tried_at_most_so_often_for_an_alert() -> None:
    stage = Stage(escalation_threshold=100, max_retries=2)
    stage.fails("a")
    assert await stage.run("a") == ["a failure no_recovery"] * 2 + ["escalate escalated"]
    assert [r.attempt for r in stage.records] == [1, 2, 1]


async def test_escalation_ends_the_strategies_where_it_is_one_of_them() -> None:
    stage = Stage()
    stage.fails("a")
    stage.helps("b")
    assert await stage.run("a", "escalate", "b") == ["a failure no_recovery", "escalate escalated"]


async def test_a_strategy_that_is_impossible_here_is_skipped_and_not_tried_again() -> None:
    stage = Stage(escalation_threshold=2)

    async def impossible(_: Attempt) -> Done:
        return Done.impossible("dialect", "cannot")

    stage.knows("a", impossible)
    stage.fails("b")
    assert await stage.run("a", "b") == [
        "a skipped dialect",
        "b failure no_recovery",
        "b failure no_recovery",
        "escalate escalated",
    ]


async def test_a_diagnosis_is_half_a_success_and_the_next_strategy_follows() -> None:
    stage = Stage()

    async def diagnoses(_: Attempt) -> Done:
        return Done(kind=DoneKind.DIAGNOSED, detail="the disk is full", evidence={"disk": 100})

    stage.knows("a", diagnoses)
    stage.helps("b")
    assert await stage.run("a", "b") == ["a partial_success", "b success"]
    assert stage.records[0].evidence == {"disk": 100}


async def test_a_strategy_that_raises_has_failed_and_says_so() -> None:
    stage = Stage()
    stage.guard.strict = False

    async def breaks(_: Attempt) -> None:
        raise ValueError("oh")

    stage.knows("a", breaks)
    stage.helps("b")
    assert await stage.run("a", "b") == ["a failure error", "b success"]
    assert stage.records[0].detail == "ValueError: oh"


async def test_a_custom_strategy_may_say_that_it_failed() -> None:
    stage = Stage(max_retries=1)

    async def gives_up(_: Attempt) -> bool:
        return False

    stage.knows("a", gives_up)
    assert (await stage.run("a"))[0] == "a failure custom"


async def test_a_strategy_that_nobody_knows_is_skipped() -> None:
    assert await Stage().run("x") == ["x skipped unknown", "escalate escalated"]


# -- verification ---------------------------------------------------------------------------------


async def test_an_acknowledgement_is_no_recovery() -> None:
    stage = Stage(max_retries=1)
    answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    async def acknowledged(_: Attempt) -> Done:
        answered.set_result(Answer({"ok": True}))
        return Done.acted("said", answer=answered)

    stage.knows("a", acknowledged)
    assert await stage.run("a") == ["a failure no_recovery", "escalate escalated"]


@pytest.mark.parametrize("ends", [True, False])
async def test_an_agent_that_works_perhaps_for_us_alone_is_waited_for_but_not_for_ever(
    ends: bool,
) -> None:
    stage = Stage(recovery_timeout=0.05)
    stage.play.connection.expect("debbie-1")
    chunks: list[int] = []

    def speak() -> None:
        if ends and len(chunks) == 8:
            stage.tell('<< {"id":2,"result":{"ai_response":"done","tool_calls":[]}}')
            return
        chunks.append(len(chunks))
        stage.tell(MOVES)
        if stage.orchestrator.busy:
            asyncio.get_running_loop().call_later(0.02, speak)

    async def beside(attempt: Attempt) -> None:
        attempt.watch.beside(attempt.session)
        stage.tell(HUNG.replace('"id":2', '"id":"debbie-1"'))
        speak()

    stage.knows("a", beside)
    results = await stage.run("a", "escalate")
    assert results[0] == ("a success" if ends else "a failure no_recovery")
    assert len(chunks) >= 8, "for longer than an agent may usually do nothing"


@pytest.mark.parametrize("how", ["error", "lost"])
async def test_a_refusal_is_a_failure_at_once(how: str) -> None:
    stage = Stage(recovery_timeout=60.0)
    answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    async def refused(_: Attempt) -> Done:
        if how == "error":
            answer.set_result(Answer(error="-32001 no such session"))
        else:
            answer.set_exception(ChannelError("the connection has ended"))
        return Done.acted("said", answer=answer)

    stage.knows("a", refused)
    stage.helps("b")
    assert await stage.run("a", "b") == ["a failure no_recovery", "b success"]
    assert ("-32001" if how == "error" else "ended") in stage.records[0].detail


async def test_an_agent_that_goes_on_by_itself_before_is_not_our_success() -> None:
    stage = Stage()
    stage.helps("a")
    stage.orchestrator.take(
        Transition("alert", alerts.alert(strategies=("custom:a",)), stage.clock())
    )
    stage.tell(MOVES)
    await stage.settle()
    assert [told(record) for record in stage.records] == ["a skipped recovered"]
    assert stage.tried == []


async def test_a_loop_is_over_when_the_user_speaks_again() -> None:
    stage = Stage()
    stage.helps("a")
    loop = alerts.alert("tool_loop", strategies=("custom:a",))
    stage.orchestrator.take(Transition("alert", loop, stage.clock()))
    stage.tell(f'<< {{"id":2,"result":{{"ai_response":null}}}}\n{HUNG}')
    await stage.settle()
    assert [told(record) for record in stage.records] == ["a skipped recovered"]
    assert stage.tried == []


async def test_between_two_attempts_too() -> None:
    stage = Stage(retry_delay=60.0)

    async def late(_: Attempt) -> None:
        asyncio.get_running_loop().call_later(0.1, stage.tell, MOVES)  # after the verification

    stage.knows("a", late)
    assert await stage.run("a") == ["a failure no_recovery", "a skipped recovered"]


async def test_a_session_that_ends_ends_it() -> None:
    stage = Stage(recovery_timeout=60.0)

    async def too_late(_: Attempt) -> None:
        asyncio.get_running_loop().call_soon(stage.tell, ENDS)

    stage.knows("a", too_late)
    stage.helps("b")
    assert await stage.run("a", "b") == ["a failure session_ended"]


async def test_a_connection_that_ends_ends_it_before_the_session_does() -> None:
    stage = Stage()

    async def refused(_: Attempt) -> Done:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        stage.cut_off = "the client has left"
        answer.set_exception(ChannelError(stage.cut_off))
        return Done.acted("prompted", answer=answer)

    stage.knows("a", refused)
    stage.helps("b")
    assert await stage.run("a", "b") == ["a failure session_ended"]
    assert stage.records[0].detail == "prompted; the client has left"


async def test_what_is_measured_recovers_with_its_alert() -> None:
    stage = Stage(recovery_timeout=60.0)

    async def cools_down(attempt: Attempt) -> None:
        resolved = Transition("resolved", stage.raised, stage.clock())
        asyncio.get_running_loop().call_soon(stage.orchestrator.take, resolved)

    stage.knows("a", cools_down)
    slow = alerts.alert("slow_response", strategies=("custom:a",))
    assert await stage.run(alert=slow) == ["a success"]


# -- limits ---------------------------------------------------------------------------------------


async def test_a_session_has_a_budget_and_a_person_is_told_once() -> None:
    stage = Stage(max_interventions_per_session=1)
    stage.helps("a")
    assert await stage.run("a") == ["a success"]
    assert await stage.run("a") == ["a skipped budget", "escalate escalated"]
    assert await stage.run("a") == ["a skipped budget"]


async def test_a_storm_of_alerts_is_no_storm_of_interventions() -> None:
    stage = Stage(rate_limit=3, max_interventions_per_session=1000)
    stage.helps("a")
    for _ in range(3):
        await stage.run("a")
    before = len(stage.records)
    for _ in range(200):
        await stage.take("a")
    assert [told(record) for record in stage.records[before:]] == ["a skipped rate_limit"]
    assert stage.tried == ["a"] * 3
    stage.tell(MOVES)
    await stage.settle()
    assert told(stage.records[-1]) == "a skipped recovered"


async def test_what_the_rate_limit_refuses_is_done_as_soon_as_it_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(policy, "_MINUTE_NS", SECOND // 10)
    stage = Stage(rate_limit=2, escalation_threshold=3)
    stage.fails("a")
    stage.fails("b")
    stage.helps("c")
    await stage.take("a", "b", "c")
    await stage.until(lambda: len(stage.records) == 3)
    assert [told(record) for record in stage.records] == [
        "a failure no_recovery",
        "b failure no_recovery",
        "c skipped rate_limit",
    ]
    stage.play.now += SECOND
    await stage.settle()
    assert [told(record) for record in stage.records[3:]] == ["c success"]


async def test_a_session_that_ends_is_not_waited_for() -> None:
    stage = Stage(rate_limit=1)
    stage.fails("a")
    await stage.take("a")
    await stage.until(
        lambda: told(stage.records[-1]) == "a skipped rate_limit" if stage.records else False
    )
    stage.tell(ENDS)
    await stage.settle()
    assert told(stage.records[-1]) == "a skipped session_ended"


async def test_while_a_session_waits_another_has_its_place() -> None:
    stage = Stage(rate_limit=1, max_concurrent=1)
    stage.fails("a")
    await stage.take("a")
    await stage.until(lambda: len(stage.records) == 2)
    stage.orchestrator.take(
        Transition("alert", alerts.alert(session_id="s2", strategies=("escalate",)), stage.clock())
    )
    await stage.until(lambda: len(stage.records) == 3)
    assert told(stage.records[-1]) == "escalate escalated"
    await stage.orchestrator.stop()


async def test_what_is_crowded_out_of_a_sessions_queue_is_told() -> None:
    stage = Stage(recovery_timeout=5.0)
    stage.fails("a")
    await stage.take("a")
    await stage.until(lambda: stage.tried == ["a"])
    for number in range(17):
        one = alerts.alert(f"rule_{number}", strategies=("custom:a",))
        stage.orchestrator.take(Transition("alert", one, stage.clock()))
    (record,) = stage.records
    assert (record.alert_type, told(record)) == ("rule_0", "a skipped queue")
    await stage.orchestrator.stop()


async def test_one_session_is_dealt_with_one_alert_at_a_time() -> None:
    stage = Stage(recovery_timeout=60.0)
    at_once = [0, 0]

    async def counts(_: Attempt) -> None:
        at_once[0] += 1
        at_once[1] = max(at_once)
        await asyncio.sleep(0)
        at_once[0] -= 1
        asyncio.get_running_loop().call_soon(stage.tell, MOVES)

    stage.knows("a", counts)
    for name in ("session_stall", "request_timeout"):
        stage.orchestrator.take(
            Transition("alert", alerts.alert(name, strategies=("custom:a",)), stage.clock())
        )
    await stage.settle()
    assert at_once[1] == 1
    # The second was seen to be over when its turn came.
    assert [told(record) for record in stage.records] == ["a success", "a skipped recovered"]


async def test_the_same_alert_again_while_it_is_dealt_with_changes_nothing() -> None:
    stage = Stage()
    stage.helps("a")
    twice = Transition("alert", alerts.alert(strategies=("custom:a",)), stage.clock())
    stage.orchestrator.take(twice)
    stage.orchestrator.take(twice)
    await stage.settle()
    assert stage.tried == ["a"]


async def test_beyond_the_queue_alerts_are_skipped() -> None:
    stage = Stage(queue=1)
    stage.helps("a")
    for number in range(3):
        kind = alerts.alert(f"rule{number}", strategies=("custom:a",))
        stage.orchestrator.take(Transition("alert", kind, stage.clock()))
    skipped = [told(record) for record in stage.records]
    assert skipped == ["a skipped queue", "a skipped queue"]
    await stage.orchestrator.stop()


@pytest.mark.parametrize(("config", "reason"), INERT)
async def test_who_may_not_act_says_what_would_have_been_done(
    config: dict[str, Any], reason: str
) -> None:
    stage = Stage(**config)
    stage.helps("a")
    assert await stage.run("a", "escalate") == [f"a skipped {reason}"]
    assert stage.records[0].detail == "would have tried custom:a, then escalate"
    assert stage.tried == []


async def test_a_strategy_that_keeps_failing_in_a_session_is_skipped_there() -> None:
    stage = Stage(skip_after=2, max_retries=2, escalation_threshold=2)
    stage.fails("a")
    stage.helps("b")
    await stage.run("a")
    assert await stage.run("a", "b") == ["a skipped repeated_failures", "b success"]


async def test_stop_gives_up_what_is_under_way() -> None:
    stage = Stage(recovery_timeout=60.0)
    tried = asyncio.Event()

    async def waits(_: Attempt) -> None:
        tried.set()

    stage.knows("a", waits)
    stage.orchestrator.take(
        Transition("alert", alerts.alert(strategies=("custom:a",)), stage.clock())
    )
    await tried.wait()
    await stage.orchestrator.stop()
    assert [told(record) for record in stage.records] == ["a skipped stopped"]
    assert not stage.orchestrator.busy
    assert not stage.monitor.events.has_subscribers(ev.SessionEnded)


# -- learning -------------------------------------------------------------------------------------


async def test_a_learned_order_prefers_what_has_worked() -> None:
    stage = Stage(order="learned", max_interventions_per_session=1000, rate_limit=1000)
    stage.fails("a")
    stage.helps("b")
    for _ in range(40):
        stage.play.now += 10**9
        await stage.run("a", "b")
    first = []
    for _ in range(20):
        stage.play.now += 10**9
        stage.tried.clear()
        await stage.run("a", "b")
        first.append(stage.tried[0])
    assert first.count("b") > 10
    assert InterventionResult.SUCCESS in {record.result for record in stage.records}


async def test_what_helped_comes_last_when_the_same_turn_is_stuck_again() -> None:
    stage = Stage()
    stage.helps("a")
    stage.helps("b")
    assert await stage.run("a", "b") == ["a success"]
    assert await stage.run("a", "b") == ["b success"]
    stage.tell(f'<< {{"id":2,"result":{{"ai_response":"done"}}}}\n{HUNG}')
    assert await stage.run("a", "b") == ["a success"], "another turn"


# -- what is told ---------------------------------------------------------------------------------


async def test_every_step_is_told_in_order() -> None:
    stage = Stage()
    stage.helps("a")
    await stage.run("a")
    assert [event.phase for event in stage.events] == ["triggered", "acted", "ended"]
    assert len({event.attempt for event in stage.events}) == 1
