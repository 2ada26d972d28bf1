"""How long silence may last is decided by what a session owes."""

from __future__ import annotations

import pytest

from tests.detection.judged import Judged

ACP = """
>> {"id":1,"method":"session/new","params":{"cwd":"/srv"}}
<< {"id":1,"result":{"sessionId":"s1"}}
>> {"id":2,"method":"session/prompt","params":{"sessionId":"s1","prompt":[]}}
"""
UPDATE = '<< {"method":"session/update","params":{"sessionId":"s1","update":%s}}\n'
WORDS = UPDATE % '{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"I"}}'
TOOL = UPDATE % (
    '{"sessionUpdate":"tool_call","toolCallId":"t","title":"x","kind":"KIND",'
    '"status":"in_progress","rawInput":{"command":"./run_e2e.sh"}}'
)
DONE = UPDATE % '{"sessionUpdate":"tool_call_update","toolCallId":"t","status":"completed"}'
MID_TASK = """
>> {"id":1,"method":"startSession","params":{"userId":"u"}}
<< {"id":1,"result":{"sessionId":"s1","status":1}}
>> {"id":2,"method":"sendUserMessage","params":{"sessionId":"s1","message":"go"}}
<< {"id":2,"result":{"ai_response":"","tool_calls":[{"id":"c","type":"function","function":{"name":"list","arguments":"{}"}}]}}
"""

OWED = {
    "a turn ended mid-task": ("aiwhisperer", MID_TASK, 30),
    "the first token": ("acp", ACP, 300),
    "the next token": ("acp", ACP + WORDS, 120),
    "what follows a tool": ("acp", ACP + WORDS + TOOL + DONE, 120),
    "the end of a tool": ("acp", ACP + TOOL, 600),
    "the end of a sub-agent": ("acp", ACP + TOOL.replace("KIND", "think"), 1800),
}


@pytest.mark.parametrize("owed", OWED)
def test_silence_is_an_alarm_after_the_time_of_what_is_owed(owed: str) -> None:
    dialect, transcript, seconds = OWED[owed]
    stage = Judged(dialect, silence={})
    assert stage.watch(transcript) == []
    assert stage.watch(f"+{seconds - 1}") == []
    (told,) = stage.watch("+6")
    when, what = told.split()[:2]
    assert what == "session_stall"
    assert seconds <= float(when.removesuffix("s")) <= seconds + 5
    (alert,) = stage.detector.active
    assert alert.details["threshold"] == seconds


def test_each_time_is_a_setting() -> None:
    stage = Judged("acp", silence={"tool": 45.0})
    assert stage.watch(ACP + TOOL + "+44") == []
    assert [told.split()[1] for told in stage.watch("+10")] == ["session_stall"]


def test_waiting_for_a_person_is_never_an_alarm() -> None:
    stage = Judged("acp", silence={})
    asked = '<< {"id":9,"method":"session/request_permission","params":{"sessionId":"s1"}}\n'
    assert stage.watch(ACP + TOOL + asked + "+86400") == []


def test_a_request_outside_of_turns_raises_one_alert_for_one_fact() -> None:
    stage = Judged("generic", silence={})
    assert stage.watch('>> {"id":1,"method":"m"}\n+299') == []
    assert [told.split()[1] for told in stage.watch("+300")] == ["request_timeout"]


def test_a_slow_tool_call_is_judged_by_the_time_of_tools_alone() -> None:
    stage = Judged("mcp", silence={})
    call = '>> {"id":1,"method":"tools/call","params":{"name":"analyze_frames"}}\n'
    assert stage.watch(call + "+590") == []
    assert [told.split()[1] for told in stage.watch("+20")] == ["session_stall"]
