"""The alerts that users know: they fire, they resolve, and they keep quiet."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from debbie_otel.detection.loops import LoopSettings
from debbie_otel.detection.settings import SEVERITIES
from tests.detection.judged import Judged
from tests.play import recording
from tests.session.openings import ACP_START, CODEX_START, MCP_TOOL, START, update

PROMPT = '>> {"id":2,"method":"sendUserMessage","params":{"sessionId":"s1","message":"go"}}'
CHUNK = '<< {"method":"StreamingUpdate","params":{"sessionId":"s1","content":"%s"}}'


def aiwhisperer() -> Judged:
    stage = Judged()
    stage.watch(START)
    return stage


# -- session_stall --------------------------------------------------------------------------------


def test_a_hung_turn_is_a_stall_within_threshold_and_a_look() -> None:
    stage = aiwhisperer()
    assert stage.watch(f"{PROMPT}\n+29") == []
    assert stage.watch("+6") == ["30s session_stall"]
    alert = stage.transitions[0].alert
    assert alert.severity == "high"
    assert alert.session_id == "s1"
    assert alert.message == "Session stalled for 30s in turn 1"
    assert alert.since_ns == 0
    assert alert.details["threshold"] == 30.0


def test_a_stall_fires_once_and_is_resolved_when_the_agent_goes_on() -> None:
    stage = aiwhisperer()
    assert stage.watch(f"{PROMPT}\n+120") == ["30s session_stall"]
    assert stage.watch(f"{CHUNK % 'a'}\n+5") == ["125s session_stall resolved"]
    assert stage.detector.active == []


def test_a_continuation_that_never_comes_is_a_stall() -> None:
    stage = aiwhisperer()
    stage.watch(PROMPT)
    stage.watch('<< {"id":2,"result":{"ai_response":"","tool_calls":[{"function":{"name":"ls"}}]}}')
    assert stage.watch("+40") == ["30s session_stall"]
    assert "ended mid-task" in stage.transitions[0].alert.message


def test_a_user_who_thinks_for_an_hour_is_no_stall() -> None:
    stage = aiwhisperer()
    assert stage.watch(f'{PROMPT}\n<< {{"id":2,"result":{{"ai_response":"ok"}}}}\n+3600') == []


def test_a_stream_that_flows_slowly_is_no_stall() -> None:
    stage = aiwhisperer()
    stage.watch(PROMPT)
    assert stage.watch("\n".join(f"{CHUNK % ('a' * n)}\n+25" for n in range(1, 20))) == []


def test_waiting_for_a_person_is_no_stall() -> None:
    stage = Judged()
    stage.watch(ACP_START)
    stage.watch(
        '<< {"jsonrpc":"2.0","id":0,"method":"session/request_permission","params":{"sessionId":"s1"}}'
    )
    assert stage.watch("+600") == []
    stage.watch('>> {"jsonrpc":"2.0","id":0,"result":{}}')
    assert stage.watch("+40") == ["630s session_stall"]


def test_a_tool_that_never_ends_is_a_stall_but_a_build_takes_its_time() -> None:
    for command, expected in (("cat x", ["30s session_stall"]), ("cargo build", [])):
        stage = Judged()
        stage.watch(ACP_START)
        tool = update(
            sessionUpdate="tool_call", toolCallId="c", kind="execute", rawInput={"command": command}
        )
        assert stage.watch(f"{tool}\n+300") == expected
    assert stage.watch("+310") == ["600s session_stall"]


def test_answers_to_other_requests_and_heartbeats_are_no_progress_of_a_turn() -> None:
    stage = Judged()
    stage.watch(CODEX_START)
    beat = '>> {"id":%d,"method":"thread/list","params":{}}\n<< {"id":%d,"result":{"data":[]}}\n+5'
    other = '<< {"method":"account/rateLimits/updated","params":{"rateLimits":{}}}'
    lines = [f"{beat % (n, n)}\n{other}" for n in range(100, 110)]
    assert stage.watch("\n".join(lines)) == ["30s session_stall"]


def test_a_stalled_session_is_told_from_a_busy_one_on_the_same_connection() -> None:
    stage = Judged()
    stage.watch(ACP_START)
    stage.watch(
        '>> {"jsonrpc":"2.0","id":3,"method":"session/new","params":{}}\n'
        '<< {"jsonrpc":"2.0","id":3,"result":{"sessionId":"s2"}}\n'
        '>> {"jsonrpc":"2.0","id":4,"method":"session/prompt","params":{"sessionId":"s2"}}'
    )
    busy = update(sessionUpdate="agent_message_chunk", content={"type": "text", "text": "x"})
    busy = busy.replace('"s1"', '"s2"')
    assert stage.watch("\n".join(f"{busy}\n+5" for _ in range(8))) == ["30s session_stall"]
    assert stage.transitions[0].alert.session_id == "s1"


# -- high_error_rate, slow_response, tool_loop ----------------------------------------------------


def calls(outcomes: str, method: str = "read") -> str:
    lines = []
    for number, outcome in enumerate(outcomes):
        lines.append(f'>> {{"id":{number},"method":"{method}","params":{{"n":{number}}}}}')
        answer = '"result":0' if outcome == "." else '"error":{"code":-1,"message":"no"}'
        lines.append(f'<< {{"id":{number},{answer}}}')
    return "\n".join(lines)


def test_an_error_rate_of_a_fifth_fires_with_the_message_that_completes_it() -> None:
    stage = Judged("generic")
    assert stage.watch(calls("..x.x")) == []
    assert stage.watch(calls("x")) == ["0s high_error_rate"]
    assert stage.transitions[0].alert.message == "3 of 6 calls failed, last read: -1"
    assert stage.transitions[0].alert.details["value"] == 0.5


def test_a_few_errors_among_many_calls_are_no_alert() -> None:
    assert Judged("generic").watch(calls("." * 9 + "x" + "." * 9 + "x" + "." * 9 + "x")) == []


def test_errors_are_over_when_calls_succeed_again() -> None:
    stage = Judged("generic")
    stage.watch(calls("xxx.."))
    assert stage.watch(calls("." * 20) + "\n+5")[-1] == "5s high_error_rate resolved"


def timed(seconds: list[float]) -> str:
    return "\n".join(
        f'>> {{"id":1,"method":"m"}}\n+{value}\n<< {{"id":1,"result":0}}' for value in seconds
    )


def test_a_method_that_becomes_slow_is_told_with_its_baseline() -> None:
    stage = Judged("generic")
    assert stage.watch(timed([5.0, *[1.0] * 10])) == []
    (fired,) = stage.watch(timed([3.0] * 5))
    assert fired.endswith("slow_response m")
    assert stage.transitions[0].alert.message == "m takes 3.00s, usually 1.00s"
    assert stage.watch(timed([1.0] * 8))[-1].endswith("slow_response m resolved")


def test_the_same_tool_five_times_is_a_loop() -> None:
    stage = Judged()
    stage.watch(ACP_START)
    for number in range(5):
        tool = {"toolCallId": f"c{number}", "kind": "read", "rawInput": {"path": "a"}}
        lines = update(sessionUpdate="tool_call", status="completed", rawOutput="same", **tool)
        seen = stage.watch(lines)
        assert seen == (["0s tool_loop"] if number == 4 else [])
    assert stage.transitions[0].alert.severity == "critical"
    details = stage.transitions[0].alert.details
    assert (details["subject"], details["value"], details["threshold"]) == ("read", 5, 5)


@pytest.mark.parametrize(
    ("result", "is_loop"),
    [
        ('{"content":[{"type":"text","text":"step %d of 9"}]}', False),
        ('{"content":[],"structuredContent":{"position_ms":%d000}}', False),
        ('{"rows":%d}', False),  # not as MCP has it, and a result all the same
        ('{"rows":7,"took_ms":%d}', True),
        ('{"content":[{"type":"text","text":"nothing new at 12:00:0%d"}]}', True),
    ],
)
def test_asking_again_is_a_loop_only_if_it_brings_nothing_new(result: str, is_loop: bool) -> None:
    stage = Judged("mcp")
    for number in range(9):
        call = MCP_TOOL % (number, "read_job", '"token"')
        answer = f'<< {{"jsonrpc":"2.0","id":{number},"result":{result % number}}}'
        stage.watch(f"{call}\n+1\n{answer}")
    assert [t.alert.alert_type for t in stage.transitions] == (["tool_loop"] if is_loop else [])


@pytest.mark.parametrize(("match", "limit"), [("equivalent", 4), ("name", 3)])
def test_a_loop_is_told_with_the_limit_of_its_kind(
    match: Literal["equivalent", "name"], limit: int
) -> None:
    loops = LoopSettings(match=match, repetitions=limit, warn_repetitions=2)
    stage = Judged(loops=loops)
    stage.watch(ACP_START)
    for number in range(limit):
        tool = {"toolCallId": f"c{number}", "kind": "read", "rawInput": {"path": "a"}}
        stage.watch(update(sessionUpdate="tool_call", status="failed", rawOutput="no", **tool))
    (details,) = (t.alert.details for t in stage.transitions if t.alert.alert_type == "tool_loop")
    assert (details["value"], details["threshold"]) == (limit, limit)


def test_the_recorded_loops_are_found_and_nothing_in_the_healthy_scenes() -> None:
    for name in ("acp", "codex"):
        stage = recording(name)
        detector = Judged()
        first = [e for e in stage.events if e.time_ns < 2.2e9 or name == "codex"]
        for event in first:
            detector._runner.advance(event.time_ns)
            detector.detector.observe(event)
            detector._runner.settle(event.time_ns)
        loops = [t for t in detector.transitions if t.alert.alert_type == "tool_loop"]
        assert [t.event for t in loops][:1] == ["alert"]
        assert loops[0].alert.details["value"] == 5


# -- beyond ---------------------------------------------------------------------------------------


def test_a_request_that_stays_open_past_the_limit_is_told() -> None:
    stage = Judged("generic", stall_threshold=9999)
    assert stage.watch('>> {"id":1,"method":"m"}\n+310') == ["300s request_timeout"]


def test_the_same_request_failing_again_and_again_is_a_storm() -> None:
    stage = Judged("generic")
    once = (
        '>> {"id":1,"method":"connect","params":{"to":"db"}}\n<< {"id":1,"error":{"code":-1}}\n+2'
    )
    fired = stage.watch("\n".join([once] * 6))
    assert any("retry_storm" in line for line in fired)


@pytest.mark.parametrize(
    ("settings", "alert"),
    [({"call_budget": 3}, "call_budget"), ({"turn_time": 60}, "turn_time")],
)
def test_budgets_of_a_turn(settings: dict[str, Any], alert: str) -> None:
    stage = Judged(**settings)
    stage.watch(ACP_START)
    for number in range(4):
        stage.watch(
            update(
                sessionUpdate="tool_call",
                toolCallId=str(number),
                kind="read",
                rawInput=number,
                status="completed",
            )
        )
    stage.watch(
        "+20\n" + update(sessionUpdate="plan") + "\n+20\n" + update(sessionUpdate="plan") + "\n+25"
    )
    assert [t.alert.alert_type for t in stage.transitions] == [alert]
    assert stage.transitions[0].alert.subject == "turn 1"


def test_a_token_budget_counts_what_the_wire_shows() -> None:
    stage = Judged(token_budget=1000)
    stage.watch(CODEX_START)
    usage = '<< {"method":"thread/tokenUsage/updated","params":{"threadId":"T1","turnId":"t1","tokenUsage":{"total":{"inputTokens":900,"outputTokens":200}}}}'
    assert stage.watch(f"{usage}\n+5") == ["5s token_budget turn 1"]


def test_a_session_that_ends_takes_its_alerts_along() -> None:
    stage = aiwhisperer()
    stage.watch(f"{PROMPT}\n+40")
    stage.watch(
        '>> {"id":9,"method":"stopSession","params":{"sessionId":"s1"}}\n<< {"id":9,"result":{"status":2}}'
    )
    assert [t.event for t in stage.transitions] == ["alert", "resolved"]
    assert stage.detector._vitals == {}


def test_every_alert_type_has_a_severity() -> None:
    assert set(SEVERITIES.values()) <= {"low", "medium", "high", "critical"}


def test_the_last_calls_of_a_session_can_be_asked_for() -> None:
    stage = Judged()
    stage.watch(ACP_START)
    (session,) = {event.session.id for event in stage.events}
    stage.watch(update(sessionUpdate="tool_call", toolCallId="c", kind="read", rawInput={"p": 1}))
    stage.watch(update(sessionUpdate="tool_call_update", toolCallId="c", status="completed"))
    steps = stage.detector.steps(session)
    assert steps is not None
    assert steps.names == {"read"}
    assert stage.detector.steps("nobody") is None
