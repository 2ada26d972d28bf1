from __future__ import annotations

import io

from rich.console import Console

from debbie_otel.report.summary import Summary
from tests.play import Play, recording


def summed(name: str) -> Summary:
    summary = Summary()
    for event in recording(name).events:
        summary(event)
    return summary


def printed(summary: Summary) -> str:
    out = io.StringIO()
    console = Console(file=out, width=120)
    for table in summary.tables():
        console.print(table)
    return out.getvalue()


def row(text: str, name: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"│ {name} ")]
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_totals_of_a_recording() -> None:
    text = printed(summed("aiwhisperer"))
    assert row(text, "sessions") == ["sessions", "1", "aiwhisperer"]
    assert row(text, "turns")[1:] == ["16", "11 completed, 4 failed, 1 incomplete"]
    assert row(text, "messages")[1:] == [
        "150", "80 notification, 34 request, 28 response, 7 error, 1 unknown",
    ]  # fmt: skip
    assert row(text, "tool calls")[1:] == ["4", "4 completed"]
    assert row(text, "errors")[1] == "8"


def test_response_times_per_method() -> None:
    cells = row(printed(summed("aiwhisperer")), "sendUserMessage")
    assert cells[:3] == ["sendUserMessage", "16", "4"]
    assert [float(cell) for cell in cells[3:]] == sorted(float(cell) for cell in cells[3:])
    assert cells[5] == "4118.0"  # the slow upstream of four seconds


def test_a_failure_of_ours_is_none_of_the_agents() -> None:
    stage, summary = Play("aiwhisperer"), Summary()
    for number in (1, 2):
        if number == 2:
            stage.connection.expect(2)
        stage.play(
            f"""
            >> {{"jsonrpc":"2.0","id":{number},"method":"sendUserMessage","params":{{"sessionId":"s"}}}}
            << {{"jsonrpc":"2.0","id":{number},"result":{{"ai_response":null,"tool_calls":[]}}}}
            """
        )
    for event in stage.events:
        summary(event)
    assert row(printed(summary), "turns")[1:] == ["2", "2 failed"]
    assert row(printed(summary), "errors")[1] == "1"
    assert stage.connection.sessions[-1].info.errors == 1


def test_errors_are_counted_once() -> None:
    assert summed("codex").errors == 12 + 1 + 6
    assert summed("acp").errors == 8 + 3
