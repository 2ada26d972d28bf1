"""What a session's agent owes: silence, open calls and turns, as transcripts go on."""

from __future__ import annotations

from typing import Any

import pytest

from debbie_otel.detection.obligations import LongCommands, OpenWork
from debbie_otel.detection.settings import DetectionSettings
from debbie_otel.session.model import Call, SessionInfo, Tool
from debbie_otel.wire.direction import MessageDirection
from tests.detection.patient import ASK, Patient
from tests.session.openings import ACP_START, START, update

PERMISSION = (
    '<< {"jsonrpc":"2.0","id":0,"method":"session/request_permission","params":{"sessionId":"s1"}}'
)


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


def test_a_prompt_of_ours_that_is_taken_up_without_a_word_changes_nothing() -> None:
    patient = Patient(UNFINISHED)
    patient.stage.connection.expect("debbie-1")
    nothing = '<< {"id":"debbie-1","result":{"ai_response":"","tool_calls":[]}}'
    patient.play(f"{OURS}\n+5\n{nothing}\n+5")
    assert patient.readings()["silence"].value == 30


def test_a_prompt_of_ours_that_is_answered_beside_a_hung_turn_changes_nothing() -> None:
    patient = Patient(f"{START}\n{ASK}\n+20")
    patient.stage.connection.expect("debbie-1")
    words = '<< {"id":"debbie-1","result":{"ai_response":"here","tool_calls":[]}}'
    patient.play(f"{OURS}\n+5\n{words}\n+5")
    reading = patient.readings()["silence"]
    assert (reading.value, reading.text) == (30, "Session stalled for 30s in turn 1")


def test_words_that_may_be_the_answer_to_ours_are_no_sign_of_a_hung_turn() -> None:
    chunk = '<< {"method":"StreamingUpdate","params":{"sessionId":"s1","content":"%s"}}'
    patient = Patient(f"{START}\n{ASK}\n+20")
    patient.stage.connection.expect("debbie-1")
    patient.play(f"{OURS}\n+5\n{chunk % 'a'}\n+5")
    assert patient.readings()["silence"].value == 30
    patient.play('<< {"id":"debbie-1","result":{"ai_response":"here","tool_calls":[]}}')
    patient.play(f"{chunk % 'ab'}\n+5")
    assert patient.readings()["silence"].value == 5, "that is nobody's but the hung turn's"


def test_open_calls_are_bounded_and_those_that_ended_make_room() -> None:
    work = OpenWork(0, DetectionSettings())
    session = SessionInfo(id="s", dialect="generic", agent="agent")
    calls = [
        Call(
            session=session,
            direction=MessageDirection.CLIENT_TO_SERVER,
            method="m",
            id=number,
            started_ns=number,
            request_bytes=1,
        )
        for number in range(2000)
    ]
    for call in calls:
        work.call_started(call)
    assert work.open_calls() == calls[:1024]
    calls[0].ended_ns = 1  # which `work` was not told
    for call in calls[-100:]:
        work.call_started(call)
    *kept, latest = work.open_calls()
    assert kept == calls[1:1024]
    assert latest in calls[-100:]


def test_a_tool_that_is_slow_by_nature_has_a_silence_of_its_own() -> None:
    for command, metric in (("make", "silence.long"), ("ls", "silence")):
        patient = Patient(ACP_START)
        call = {"toolCallId": "c", "kind": "execute", "rawInput": {"command": command}}
        patient.play(update(sessionUpdate="tool_call", **call) + "\n+60")
        silences = {n: r.value for n, r in patient.readings().items() if n.startswith("silence")}
        assert silences == {metric: 60}


LONG = LongCommands(DetectionSettings().long_commands)


def tool(name: str, arguments: Any) -> Tool:
    session = SessionInfo(id="s", dialect="generic", agent="agent")
    return Tool(session=session, name=name, started_ns=0, arguments=arguments)


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
    assert (tool("execute", {"command": command}) in LONG) is long


def test_a_command_line_by_other_names_and_as_json_within_json() -> None:
    assert tool("run", {"argv": ["npm", "run", "build"]}) in LONG
    assert tool("run", '{"cmd": "make all"}') in LONG
    assert tool("run", '{"cmd": ') not in LONG
    assert tool("run", ["make"]) not in LONG


def test_a_tool_may_itself_be_slow() -> None:
    assert tool("Docker", None) in LONG
    assert tool("read_file", {"path": "Makefile"}) not in LONG
