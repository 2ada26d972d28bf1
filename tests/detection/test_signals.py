"""SessionVitals: readings of one session, where they are not plain from an alert."""

from __future__ import annotations

import pytest

from debbie_otel.detection.rules import floors, thresholds
from debbie_otel.detection.settings import DetectionSettings, RuleSettings
from tests.detection.judged import Judged
from tests.detection.patient import ASK, Patient
from tests.session.openings import START


def test_a_healthy_idle_session_yields_nothing() -> None:
    assert Patient(f"{START}\n+3600").readings() == {}
    answered = f'{START}\n{ASK}\n<< {{"id":2,"result":{{"ai_response":"ok"}}}}\n+3600'
    assert Patient(answered).readings() == {}


def test_what_cannot_wait_is_an_error_and_no_success() -> None:
    patient = Patient('>> {"id":1,"method":"m","params":1}', "generic")
    assert not patient.play('<< {"id":1,"result":0}')
    patient.play('>> {"id":2,"method":"m","params":2}')
    assert patient.play('<< {"id":2,"error":{"code":-1,"message":"no"}}')


def test_readings_are_written_from_half_of_what_is_allowed() -> None:
    settings = DetectionSettings(turn_time=60.0)
    watched = [RuleSettings(name="x", metric="debbie.control.silence", above=1)]
    found = floors(thresholds(settings).values(), watched)
    assert found["silence"] == float("-inf")
    assert found["error.ratio"] == pytest.approx(0.1)
    assert found["turn.time"] == pytest.approx(30)
    assert "turn.tokens" not in found  # no budget, and nobody watches it


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
