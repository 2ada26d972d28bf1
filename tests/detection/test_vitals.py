"""SessionVitals: readings of one session, where they are not plain from an alert."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from debbie_otel.core import events as ev
from debbie_otel.detection.rules import RuleSettings, floors, thresholds
from debbie_otel.detection.settings import DetectionSettings
from debbie_otel.detection.vitals import Reading, SessionVitals
from tests.core.test_connection import ACP_START, START, update
from tests.detection.judged import Judged
from tests.play import Play

ASK = '>> {"id":2,"method":"sendUserMessage","params":{"sessionId":"s1","message":"go"}}'
PERMISSION = (
    '<< {"jsonrpc":"2.0","id":0,"method":"session/request_permission","params":{"sessionId":"s1"}}'
)


class Patient:
    """A stage, and the vitals of the session that the first transcript started last."""

    def __init__(self, transcript: str, dialect: str | None = None, **settings: Any) -> None:
        self.stage = Play(dialect)
        self.settings = msgspec.convert(settings, DetectionSettings)
        self.vitals: SessionVitals | None = None
        self.play(transcript)

    def play(self, transcript: str) -> bool:
        """Play lines; return whether one of them cannot wait."""
        before = len(self.stage.events)
        self.stage.play(transcript)
        urgent = False
        for event in self.stage.events[before:]:
            if self.vitals is None or (isinstance(event, ev.SessionStarted) and not before):
                self.vitals = SessionVitals(event.session, self.settings)
            if event.session is self.vitals.info:
                urgent = self.vitals.take(event) or urgent
        return urgent

    def readings(self) -> dict[str, Reading]:
        assert self.vitals is not None
        return {reading.metric: reading for reading in self.vitals.readings(self.stage.now)}


def test_a_healthy_idle_session_yields_nothing() -> None:
    assert Patient(f"{START}\n+3600").readings() == {}
    answered = f'{START}\n{ASK}\n<< {{"id":2,"result":{{"ai_response":"ok"}}}}\n+3600'
    assert Patient(answered).readings() == {}


def test_silence_counts_from_the_agents_last_word() -> None:
    patient = Patient(f"{START}\n{ASK}\n+10")
    assert patient.readings()["silence"].value == 10
    patient.play('<< {"method":"StreamingUpdate","params":{"sessionId":"s1","content":"a"}}\n+4')
    reading = patient.readings()["silence"]
    assert (reading.value, reading.subject, reading.since_ns) == (4, "sendUserMessage", 10 * 10**9)


def test_a_word_about_another_session_is_no_progress() -> None:
    patient = Patient(f"{START}\n{ASK}\n+10")
    patient.play('<< {"method":"StreamingUpdate","params":{"sessionId":"s9","content":"a"}}\n+1')
    assert patient.readings()["silence"].value == 11


def test_while_a_person_is_asked_there_is_no_silence_and_after_it_a_new_one() -> None:
    patient = Patient(f"{ACP_START}\n+5\n{PERMISSION}\n+100")
    assert "silence" not in patient.readings()
    patient.play('>> {"jsonrpc":"2.0","id":0,"result":{}}\n+3')
    assert patient.readings()["silence"].value == 3


@pytest.mark.parametrize(
    ("command", "long"),
    [
        ("cargo build --release", True),
        ("cd app && sudo npm ci", True),
        ("FOO=1 make -j4", True),
        (["bash", "-lc", "pytest -q"], True),
        ("cat Makefile", False),
        ("git log --grep=build", False),
        ("ls", False),
    ],
)
def test_which_commands_may_be_silent_for_minutes(command: Any, long: bool) -> None:
    patient = Patient(ACP_START)
    patient.play(
        update(
            sessionUpdate="tool_call", toolCallId="c", kind="execute", rawInput={"command": command}
        )
        + "\n+60"
    )
    readings = patient.readings()
    assert ("silence.long" in readings, "silence" in readings) == (long, not long)
    assert readings["silence.long" if long else "silence"].value == 60


def test_what_cannot_wait_is_an_error_and_no_success() -> None:
    patient = Patient('>> {"id":1,"method":"m","params":1}', "generic")
    assert not patient.play('<< {"id":1,"result":0}')
    patient.play('>> {"id":2,"method":"m","params":2}')
    assert patient.play('<< {"id":2,"error":{"code":-1,"message":"no"}}')


def test_a_turns_budgets_are_read_while_it_runs() -> None:
    patient = Patient(ACP_START)
    tool = update(sessionUpdate="tool_call", toolCallId="c", kind="read", status="completed")
    patient.play(f"{tool}\n+7")
    readings = patient.readings()
    assert (readings["turn.steps"].value, readings["turn.time"].value) == (1, 7)
    assert readings["turn.time"].subject == "turn 1"


def test_heartbeats_owe_nothing_and_are_no_answer() -> None:
    patient = Patient('>> {"id":1,"method":"ping"}\n+100', "generic")
    assert "silence" not in patient.readings()
    patient.play('>> {"id":2,"method":"m"}\n+1\n<< {"method":"heartbeat"}\n+1')
    assert patient.readings()["silence"].value == 2


def test_readings_are_written_from_half_of_what_is_allowed() -> None:
    settings = DetectionSettings(turn_time=60.0)
    watched = [RuleSettings(name="x", metric="debbie.control.silence", above=1)]
    found = floors(thresholds(settings).values(), watched)
    assert found["silence"] == float("-inf")
    assert found["error.ratio"] == pytest.approx(0.1)
    assert found["turn.time"] == pytest.approx(30)
    assert "turn.tokens" not in found  # no budget, and nobody watches it


UNFINISHED = f"""{START}
{ASK}
<< {{"id":2,"result":{{"ai_response":"","tool_calls":[{{"function":{{"name":"f"}}}}]}}}}
+20"""
OURS = ASK.replace('"id":2', '"id":"debbie-1"')


def test_a_prompt_of_ours_is_no_sign_of_life() -> None:
    patient = Patient(UNFINISHED)
    patient.stage.connection.expect("debbie-1")
    patient.play(f"{OURS}\n+5")
    reading = patient.readings()["silence"]
    assert (reading.value, reading.text) == (25, "Session stalled for 25s: turn 1 ended mid-task")
    assert "call.age" not in patient.readings()
    # Once the agent has taken it up, that is a turn like any other.
    patient.play('<< {"method":"StreamingUpdate","params":{"sessionId":"s1","content":"a"}}\n+7')
    reading = patient.readings()["silence"]
    assert (reading.value, reading.text) == (7, "Session stalled for 7s in turn 2")
    patient.play('<< {"id":"debbie-1","result":{"ai_response":"done","tool_calls":[]}}\n+99')
    assert patient.readings() == {}


def test_a_prompt_of_ours_that_is_refused_changes_nothing() -> None:
    patient = Patient(UNFINISHED)
    patient.stage.connection.expect("debbie-1")
    patient.play(f'{OURS}\n+5\n<< {{"id":"debbie-1","error":{{"code":-1,"message":"no"}}}}\n+5')
    assert patient.readings()["silence"].value == 30


def test_what_debbie_repeats_is_no_loop_of_the_agents_and_no_error_of_its() -> None:
    stage = Judged("mcp")
    call = '>> {"jsonrpc":"2.0","id":%s,"method":"tools/call","params":{"name":"dig","arguments":{"at":1}}}'
    failed = '<< {"jsonrpc":"2.0","id":%s,"result":{"content":[],"isError":true}}'
    stage.watch(f"{call % 1}\n{failed % 1}")
    for number in range(10):
        ours = f'"debbie-{number}"'
        stage.connection.expect(f"debbie-{number}")
        assert stage.watch(f"{call % ours}\n+0.1\n{failed % ours}") == []
    assert stage.watch("+20") == []
