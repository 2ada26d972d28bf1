"""python_script: built-in scripts on real snapshots, through the sandbox; the user's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from debbie_otel.detection.alerts import AnomalyAlert
from debbie_otel.intervention.sandbox import ScriptOutcome
from debbie_otel.intervention.settings import ScriptSettings
from debbie_otel.intervention.snapshot import SessionSnapshot
from debbie_otel.intervention.strategies import python_script
from debbie_otel.intervention.strategies.python_script import BUILT_IN, ScriptStrategy, find_script
from debbie_otel.session.session import Session
from tests.intervention.told import Told, alert, gone
from tests.session.openings import ACP_START, update

HUNG_TOOL = (
    ACP_START
    + update(sessionUpdate="tool_call", toolCallId="c1", title="grep", kind="search")
    + "\n+40"
)
AIWHISPERER = """
    >> {"id":1,"method":"startSession","params":{"userId":"u"}}
    << {"id":1,"result":{"sessionId":"s1","status":1}}
    >> {"id":2,"method":"sendUserMessage","params":{"sessionId":"s1","message":"go"}}
"""
MID_TASK = AIWHISPERER + (
    '<< {"id":2,"result":{"ai_response":"","tool_calls":[{"id":"a","function":'
    '{"name":"list_rfcs","arguments":"{}"}}]}}\n+40'
)
HEALTHY = AIWHISPERER + '+2\n<< {"id":2,"result":{"ai_response":"done"}}\n+5'


def never(_: AnomalyAlert, __: Session | None) -> SessionSnapshot:
    raise AssertionError


def calls(*answers: tuple[str, float, bool]) -> str:
    """Return a transcript of MCP calls: tool, seconds, and whether it failed."""
    lines = []
    for number, (tool, seconds, failed) in enumerate(answers):
        lines += [
            f'>> {{"jsonrpc":"2.0","id":{number},"method":"tools/call","params":{{"name":"{tool}","arguments":{{"n":{number}}}}}}}',
            f"+{seconds}",
            f'<< {{"jsonrpc":"2.0","id":{number},"result":{{"content":[],"isError":{str(failed).lower()}}}}}',
        ]
    return "\n".join(lines)


async def run(name: str, snapshot: SessionSnapshot) -> ScriptOutcome:
    outcome = await ScriptStrategy(ScriptSettings(), never).run(name, snapshot)
    assert outcome is not None
    assert (outcome.status, outcome.errors) == ("ok", "")
    return outcome


def causes(outcome: ScriptOutcome) -> list[tuple[str, str]]:
    return [(found["cause"], found["subject"]) for found in outcome.findings]


def session_of(stage: Told, **more: Any) -> SessionSnapshot:
    (info,) = [s.info for c in stage.connections.values() for s in c.sessions]
    return stage.snapshot(alert(session_id=info.id, **more))


# -- analyze_stall --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "transcript", "cause", "text"),
    [
        ("acp", HUNG_TOOL, ("hung_tool", "search"), "search, for 40 s"),
        ("acp", ACP_START + "+40", ("silent_turn", "session/prompt"), "for 40 s"),
        ("aiwhisperer", MID_TASK, ("ended_mid_task", "sendUserMessage"), "no answer came"),
        ("generic", '>> {"id":1,"method":"m"}\n+40', ("unanswered_call", "m"), "m, for 40 s"),
    ],
)
async def test_a_stall_is_explained(
    dialect: str, transcript: str, cause: tuple[str, str], text: str
) -> None:
    stage = Told(dialect, transcript)
    outcome = await run("analyze_stall", stage.snapshot(stage.alert("session_stall")))
    assert causes(outcome) == [cause]
    assert text in outcome.summary


async def test_errors_and_repetition_before_a_stall_are_named() -> None:
    failing = calls(("read", 1, False), *[("fetch", 1, True)] * 3)
    stage = Told("mcp", failing + '\n>> {"jsonrpc":"2.0","id":9,"method":"tools/list"}\n+40')
    outcome = await run("analyze_stall", session_of(stage))
    assert causes(outcome) == [
        ("unanswered_call", "tools/list"),
        ("errors_before_stall", "fetch"),
        ("repetition_before_stall", "fetch"),
    ]
    assert (
        "the last 3 steps before the silence failed (fetch: tool_error)"
        in (outcome.findings[1]["text"])
    )


async def test_who_waits_for_a_person_has_not_hung() -> None:
    asked = '<< {"jsonrpc":"2.0","id":0,"method":"session/request_permission","params":{"sessionId":"s1"}}'
    outcome = await run("analyze_stall", session_of(Told("acp", f"{ACP_START}{asked}\n+300")))
    assert causes(outcome) == [("waits_for_user", "session/request_permission")]


@pytest.mark.parametrize("name", BUILT_IN)
async def test_a_healthy_session_has_no_findings(name: str) -> None:
    outcome = await run(name, session_of(Told("aiwhisperer", HEALTHY)))
    assert outcome.findings == ()
    assert outcome.summary.startswith("nothing")


@pytest.mark.parametrize("name", BUILT_IN)
async def test_a_session_that_is_gone_has_no_findings(name: str) -> None:
    outcome = await run(name, gone(alert()))
    assert outcome.findings == ()


# -- check_performance ----------------------------------------------------------------------------


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


# -- diagnose_errors ------------------------------------------------------------------------------


async def test_errors_are_counted_by_what_failed() -> None:
    stage = Told("mcp", calls(("read", 1, False), ("read", 1, True), *[("fetch", 1, True)] * 2))
    outcome = await run("diagnose_errors", session_of(stage))
    assert causes(outcome) == [
        ("always_fails", "fetch"),
        ("fails", "read"),
        ("nothing_succeeds", "read"),
    ]
    assert outcome.summary == "fetch failed 2 of 2 times with tool_error"
    assert "for 2 s (3 in a row)" in outcome.findings[2]["text"]


async def test_a_known_error_is_explained() -> None:
    wrong = '>> {"id":1,"method":"m"}\n<< {"id":1,"error":{"code":-32602,"message":"x"}}'
    outcome = await run("diagnose_errors", session_of(Told("generic", wrong)))
    assert outcome.summary == "m failed 1 of 1 times with -32602: the parameters are wrong"


# -- names ----------------------------------------------------------------------------------------


def test_the_users_own_scripts_win(tmp_path: Path) -> None:
    (tmp_path / "analyze_stall.py").write_text("")
    (tmp_path / "mine.py").write_text("")
    assert find_script(tmp_path, "analyze_stall") == (tmp_path / "analyze_stall.py").resolve()
    assert find_script(tmp_path, "mine") == (tmp_path / "mine.py").resolve()
    built_in = find_script(tmp_path, "diagnose_errors")
    assert built_in is not None
    assert built_in.parent.name == "scripts"
    assert find_script(None, "mine") is None


@pytest.mark.parametrize(
    "name", ["../secret", "a/b", "", "a" * 65, "_launch", "__init__", "a.b", "x\n", "/etc/x", "é"]
)
def test_a_name_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.py").write_text("")
    own = tmp_path / "own"
    own.mkdir()
    assert find_script(own, name) is None


def test_nor_does_a_link(tmp_path: Path) -> None:
    (tmp_path / "outside.py").write_text("")
    own = tmp_path / "own"
    own.mkdir()
    (own / "link.py").symlink_to(tmp_path / "outside.py")
    (own / "inner.py").write_text("")
    (own / "alias.py").symlink_to(own / "inner.py")
    (own / "folder.py").mkdir()
    assert find_script(own, "link") is None
    assert find_script(own, "folder") is None
    assert find_script(own, "alias") == (own / "inner.py").resolve()


# -- the strategy ---------------------------------------------------------------------------------


async def test_the_strategy_diagnoses_by_alert_type() -> None:
    stage = Told("acp", HUNG_TOOL)
    strategy = ScriptStrategy(ScriptSettings(), lambda found, _: stage.snapshot(found))
    done = await strategy(stage.alert("session_stall"), None)
    assert (done.kind, done.evidence["script"]) == ("diagnosed", "analyze_stall")
    assert done.detail == "analyze_stall: a tool does not end: search, for 40 s"
    assert done.evidence["findings"][0]["cause"] == "hung_tool"
    assert msgspec.json.encode(done.evidence)


@pytest.mark.parametrize(
    ("source", "kind", "reason", "detail"),
    [
        ("print('all is well')", "diagnosed", "", "mine: all is well"),
        ("1 / 0", "failed", "script_failed", "exit code 1: ZeroDivisionError"),
        ("while True: pass", "failed", "cpu_time", "its limit of cpu time"),
        ("import time; time.sleep(9)", "failed", "timeout", "was ended"),
    ],
)
async def test_the_strategy_tells_how_a_script_fared(
    tmp_path: Path, source: str, kind: str, reason: str, detail: str
) -> None:
    (tmp_path / "mine.py").write_text(source)
    settings = ScriptSettings(
        directory=tmp_path,
        by_alert={"*": "mine"},
        cpu_time=1,
        wall_time=0.5 if "sleep" in source else 5,
    )
    done = await ScriptStrategy(settings, lambda found, _: gone(found))(alert(), None)
    assert (done.kind, done.reason) == (kind, reason)
    assert detail in done.detail


@pytest.mark.parametrize("by_alert", [{}, {"*": "nowhere"}, {"session_stall": "../x"}])
async def test_no_script_is_no_failure(by_alert: dict[str, str]) -> None:
    settings = ScriptSettings(by_alert=by_alert)
    done = await ScriptStrategy(settings, lambda found, _: gone(found))(alert(), None)
    assert (done.kind, done.reason) == ("impossible", "no_script")


async def test_a_finding_that_is_too_large_is_not_recorded(tmp_path: Path) -> None:
    findings = [{"text": "x" * 5000}, {"text": "short"}]
    (tmp_path / "mine.py").write_text(f"print({json.dumps({'findings': findings})!r})")
    settings = ScriptSettings(directory=tmp_path, by_alert={"*": "mine"})
    done = await ScriptStrategy(settings, lambda found, _: gone(found))(alert(), None)
    assert done.evidence["findings"] == [{"text": "short"}]


async def test_where_nothing_bounds_a_script_none_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(python_script, "CAN_LIMIT_PROCESSES", False)
    done = await ScriptStrategy(ScriptSettings(), never)(alert(), None)
    assert (done.kind, done.reason) == ("impossible", "platform")
