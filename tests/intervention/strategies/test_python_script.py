"""python_script: which script is run for an alert, and what is told of how it fared."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from debbie_otel.intervention.intervention_config import ScriptSettings
from debbie_otel.intervention.strategies import python_script
from debbie_otel.intervention.strategies.python_script import BUILT_IN, ScriptStrategy, find_script
from tests.intervention.scripts.running import (
    HEALTHY,
    HUNG_TOOL,
    never,
    run,
    session_of,
)
from tests.intervention.told import Told, alert, gone


@pytest.mark.parametrize("name", BUILT_IN)
async def test_a_healthy_session_has_no_findings(name: str) -> None:
    outcome = await run(name, session_of(Told("aiwhisperer", HEALTHY)))
    assert outcome.findings == ()
    assert outcome.summary.startswith("nothing")


@pytest.mark.parametrize("name", BUILT_IN)
async def test_a_session_that_is_gone_has_no_findings(name: str) -> None:
    outcome = await run(name, gone(alert()))
    assert outcome.findings == ()


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
