from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from debbie_otel.intervention.history import InterventionHistory
from debbie_otel.intervention.records import InterventionResult as R
from debbie_otel.report.document import MAX_ROWS, Report
from debbie_otel.report.live import LiveReporter
from debbie_otel.report.text import escape, render_text
from tests.intervention.attempts import attempt
from tests.play import SECOND
from tests.report.stories import LOOP, Watched, filled_history


@pytest.fixture
def history() -> Iterator[InterventionHistory]:
    found = filled_history(
        None,
        {"session_id": "conn-A", "result": R.FAILURE, "reason": "no_recovery"},
        {"session_id": "conn-A", "recovery_seconds": 2.5, "detail": "The agent went on."},
        {"session_id": "other", "strategy": "escalate", "result": R.ESCALATED},
    )
    yield found
    found.close()


def reporter(
    history: InterventionHistory | None = None, **options: bool
) -> tuple[Watched, LiveReporter]:
    watched = Watched("mcp", **options)
    found = LiveReporter(
        watched.monitor.events, watched.records, lambda: watched.stage.now, history
    )
    watched.play(LOOP)
    return watched, found


def section(text: str, heading: str) -> str:
    """What stands below a heading."""
    match = re.search(rf"^## {heading}\n\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    assert match is not None, text
    return match.group(1)


def cells(text: str) -> list[list[str]]:
    """The rows of the tables in a text, without their headings and rules."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_a_report_reads(history: InterventionHistory) -> None:
    watched, live = reporter(history)
    watched.alert("session_stall", "Session stalled for 35s")
    text = live.text()
    assert text.startswith("# Debbie's report\n\nWritten 1970-01-01 00:00:04 UTC.\n")
    summary = {row[0]: row[1:] for row in cells(section(text, "Summary"))}
    assert summary["Sessions"] == ["1", "1 live"]
    assert summary["Tool executions"] == ["9", ""]
    assert summary["Alerts"] == ["1", "1 stalls"]
    assert summary["Interventions"] == ["3", "50% successful"]
    *_, session = cells(section(text, "Sessions"))
    assert session[:3] == ["conn-A", "mcp", "live, idle for 0 ms"]
    *_, alert = cells(section(text, "Alerts"))
    assert alert[1:5] == ["session_stall", "high", "Session stalled for 35s", "conn-A"]
    interventions = section(text, "Interventions")
    assert ["escalate", "1", "-", "1 escalated"] in cells(interventions)
    assert ["prompt_injection", "2", "50% successful", "1 failure, 1 success"] in cells(
        interventions
    )
    assert "Half of the recoveries came within 2.5 s." in interventions
    assert cells(interventions)[-2][3:] == ["success", "The agent went on.", "conn-A", "2.5 s"]
    assert "- Tool list_files was called 9 times with the same arguments" in text
    assert cells(section(text, "Response times"))[-1][0] == "initialize"
    assert cells(section(text, "Tool times"))[-1] == [
        "list_files", "9", "0", "500 ms", "500 ms", "500 ms"
    ]  # fmt: skip
    assert cells(section(text, "Last messages"))[-2][1:4] == [
        "client->server",
        "request",
        "tools/call",
    ]


def test_a_report_on_nothing() -> None:
    text = render_text(Report(created_ns=0, sessions=()))
    assert "None so far." in section(text, "Interventions")
    assert "Nothing stands out." in section(text, "Recommendations")


def test_short_times_are_told_apart() -> None:
    watched, live = reporter()
    watched.play(
        """
        >> {"jsonrpc":"2.0","id":20,"method":"quick"}
        +0.0004
        << {"jsonrpc":"2.0","id":20,"result":{}}
        >> {"jsonrpc":"2.0","id":21,"method":"prompt"}
        +0.0125
        << {"jsonrpc":"2.0","id":21,"result":{}}
        """
    )
    slowest = {row[0]: row[-1] for row in cells(section(live.text(), "Response times"))}
    assert (slowest["quick"], slowest["prompt"]) == ("0.4 ms", "12 ms")


def test_content_only_where_it_is_captured() -> None:
    assert "/secret" not in reporter()[1].text()
    assert "/secret" in reporter(capture_content=True)[1].text()


def test_long_tables_are_cut() -> None:
    watched, live = reporter()
    for number in range(MAX_ROWS):
        watched.stage.current = f"more-{number}"
        watched.play(LOOP)
    rows = cells(section(live.text(), "Sessions"))
    assert len(rows) == MAX_ROWS + 3
    assert rows[2][0] == "(1 before)"
    assert rows[-1][0] == f"conn-more-{MAX_ROWS - 1}"


def test_statistics_of_a_program(history: InterventionHistory) -> None:
    watched, live = reporter(history)
    watched.alert("session_stall", "Session stalled for 35s")
    assert live.statistics() == {
        "sessions": 1,
        "live_sessions": 1,
        "turns": 0,
        "messages": 20,
        "calls": 10,
        "tools": 9,
        "errors": 0,
        "alerts": 1,
        "stalls": 1,
        "interventions": 3,
        "success_rate": 0.5,
        "results": {"failure": 1, "success": 1, "escalated": 1},
        "by_strategy": {
            "escalate": {"attempts": 1, "success_rate": None},
            "prompt_injection": {"attempts": 2, "success_rate": 0.5},
        },
        "by_alert_type": {"session_stall": {"attempts": 3, "success_rate": 0.5}},
    }
    assert reporter()[1].statistics()["success_rate"] is None


def test_an_analysis_of_a_program(history: InterventionHistory) -> None:
    watched, live = reporter(history)
    watched.stage.now += 3 * SECOND
    found = live.analyze("conn-A")
    assert found is not None
    assert found.metrics.idle == 3.0
    assert [record.result for record in found.interventions] == [R.FAILURE, R.SUCCESS]
    assert live.analyze("unknown") is None


HOSTILE = "a|b\n# head *bold* <script> [x](y) `code`\x1b[2J _em_ \u202e"


def test_hostile_names_stay_in_their_cell() -> None:
    watched, live = reporter(filled_history(None, {"detail": HOSTILE, "strategy": HOSTILE}))
    watched.alert(HOSTILE, HOSTILE)
    text = live.text()
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert not re.search(r"(?<!\\)<script>", text)
    assert r"a\|b # head \*bold\* \<script> \[x\](y) \`code\` \[2J \_em\_" in text
    assert not [line for line in text.splitlines() if line.startswith("# head")]


@given(st.text())
def test_escaped_text_has_one_line_and_no_live_markup(text: str) -> None:
    line = escape(text)
    assert all(char.isprintable() for char in line)
    assert not re.search(r"(?<!\\)(?:\\\\)*[|<*`\[\]]", line)
    assert not line.startswith(("#", ">", "-", "+"))


def test_names_with_underscores_stay_readable() -> None:
    assert escape("tool_loop in list_files") == "tool_loop in list_files"


def test_the_attempts_come_in_the_order_of_time() -> None:
    records = (attempt(detail="second"), attempt(detail="third"))
    history = filled_history(None)
    for record in records:
        history.add(record)
    report = Report(
        created_ns=0,
        sessions=(),
        statistics=history.statistics(),
        interventions=tuple(history.recent()),
    )
    text = render_text(report)
    assert text.index("second") < text.index("third")
