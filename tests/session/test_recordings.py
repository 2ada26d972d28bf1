"""The real recordings, counted in full.

Messages are counted a second time from the raw JSON, by other means; turns, tools, streams, errors
and sessions were read off the recordings' scenarios (`note` in their lines) by hand.
"""

from __future__ import annotations

from collections import Counter

import pytest

from debbie_otel.session import events as ev
from debbie_otel.session.model import Outcome
from tests.play import Play, recording
from tests.session.counted import by_hand, tools, turns

NAMES = ("aiwhisperer", "acp", "codex")


@pytest.fixture(scope="module", params=NAMES)
def played(request: pytest.FixtureRequest) -> tuple[str, Play]:
    return request.param, recording(request.param)


def test_every_message_counts_once(played: tuple[str, Play]) -> None:
    name, stage = played
    seen = Counter(
        (e.message.direction.value, e.message.type.value, e.message.method)
        for e in stage.of(ev.MessageSeen)
    )
    assert seen == by_hand(name)


def test_every_message_is_in_one_place(played: tuple[str, Play]) -> None:
    """A request with its response, a notification alone, a chunk in its run, or a stray."""
    _, stage = played
    answered = [e for e in stage.of(ev.CallEnded) if e.call.response_bytes]
    places = (
        len(stage.of(ev.CallStarted))
        + len(answered)
        + len(stage.of(ev.NotificationSeen))
        + sum(e.stream.count for e in stage.of(ev.StreamEnded))
        + len(stage.of(ev.StraySeen))
    )
    assert places == len(stage.of(ev.MessageSeen))


def test_all_that_begins_ends(played: tuple[str, Play]) -> None:
    _, stage = played
    assert len(stage.of(ev.SessionStarted)) == len(stage.of(ev.SessionEnded))
    assert len(stage.of(ev.TurnStarted)) == len(stage.of(ev.TurnEnded))
    assert len(stage.of(ev.CallStarted)) == len(stage.of(ev.CallEnded))
    reported = sum(e.tool.reported for e in stage.of(ev.ToolEnded))
    assert len(stage.of(ev.ToolStarted)) == len(stage.of(ev.ToolEnded)) - reported
    assert len(stage.sessions) == 0


def test_times_do_not_run_backwards(played: tuple[str, Play]) -> None:
    _, stage = played
    times = [e.time_ns for e in stage.events]
    assert times == sorted(times)
    for event in stage.of(ev.CallEnded):
        assert event.call.ended_ns == event.time_ns >= event.call.started_ns


def failed_calls(stage: Play) -> Counter[tuple[str, str | None]]:
    return Counter(
        (e.call.method, e.call.error_type)
        for e in stage.of(ev.CallEnded)
        if e.call.outcome is not Outcome.COMPLETED
    )


def streams(stage: Play) -> Counter[tuple[str, int]]:
    return Counter((e.stream.kind, e.stream.count) for e in stage.of(ev.StreamEnded))


def sessions(stage: Play) -> list[str]:
    return [e.session.id for e in stage.of(ev.SessionStarted)]


def test_aiwhisperer() -> None:
    stage = recording("aiwhisperer")
    assert [c.dialect.name for c in stage.connections.values()] == []
    assert sessions(stage) == ["2d431cfb-ad36-4f39-8194-46765a9f82d4"]
    assert [e.reason for e in stage.of(ev.SessionEnded)] == ["stopped"]
    assert turns(stage) == {
        (Outcome.COMPLETED, None, None): 11,
        (Outcome.FAILED, "null_response", None): 2,  # the model's 500 and 429
        (Outcome.FAILED, "-32602", None): 2,  # a parameter missing, a stopped session
        (Outcome.INCOMPLETE, None, None): 1,  # the model that never stops calling the tool
    }
    assert tools(stage) == {
        ("list_directory", Outcome.COMPLETED, None): 2,
        ("read_file", Outcome.COMPLETED, None): 1,
        ("no_such_tool", Outcome.COMPLETED, None): 1,  # the wire does not tell that it failed
    }
    assert all(e.tool.reported for e in stage.of(ev.ToolEnded))
    assert failed_calls(stage) == {
        ("sendUserMessage", "null_response"): 2,
        ("sendUserMessage", "-32602"): 2,
        ("session.switch_agent", "-32001"): 1,
        ("dispatchCommand", "malformed_error"): 1,
        ("noSuchMethod", "-32601"): 1,
        ("echo", "-32600"): 1,
    }
    assert streams(stage) == {
        ("message", 2): 1, ("message", 3): 1, ("message", 5): 4, ("message", 6): 6,
    }  # fmt: skip
    strays = [(e.message.direction.value, e.message.type.value) for e in stage.of(ev.StraySeen)]
    assert strays == [("client->server", "unknown"), ("server->client", "error")]
    info = stage.of(ev.SessionEnded)[0].session
    assert (info.turns, info.calls, info.tools, info.errors, info.messages) == (16, 34, 4, 8, 150)
    assert (info.agent, info.agent_id) == ("aiwhisperer", "a")


def test_acp() -> None:
    stage = recording("acp")
    assert sessions(stage) == ["sess_02c73d346241", "sess_1520b2257533"]
    assert turns(stage) == {
        (Outcome.COMPLETED, None, "end_turn"): 11,
        (Outcome.COMPLETED, None, "max_tokens"): 1,
        (Outcome.COMPLETED, None, "max_turn_requests"): 1,
        (Outcome.COMPLETED, None, "refusal"): 1,
        (Outcome.CANCELLED, None, "cancelled"): 3,
        (Outcome.FAILED, "-32603", None): 2,  # an error, and a crash in the agent
        (Outcome.FAILED, "-32602", None): 2,  # an unknown session, parameters missing
        (Outcome.ABORTED, "connection_closed", None): 1,  # A drops in the middle of a prompt
    }
    assert tools(stage) == {
        ("execute", Outcome.COMPLETED, None): 8,
        ("execute", Outcome.FAILED, "tool_error"): 1,
        ("edit", Outcome.COMPLETED, None): 1,
        ("edit", Outcome.FAILED, "tool_error"): 2,  # permission rejected, and cancelled
    }
    assert all(e.tool.turn is not None for e in stage.of(ev.ToolEnded))
    loop = [e.tool.arguments for e in stage.of(ev.ToolEnded)][2:8]
    assert loop == [{"command": "cat status.txt"}] * 6
    assert failed_calls(stage) == {
        ("session/prompt", "-32603"): 2,
        ("session/prompt", "-32602"): 2,
        ("session/prompt", "connection_closed"): 1,
        ("session/resume", "-32601"): 1,
        ("session/fork", "-32601"): 1,
        ("session/close", "-32601"): 1,
        ("no/such", "-32601"): 1,
    }
    assert streams(stage) == {
        ("message", 2): 1, ("message", 3): 1, ("message", 4): 6, ("message", 5): 3,
        ("message", 11): 1, ("message", 24): 1, ("thought", 1): 1,
        ("history", 26): 1, ("history", 29): 1,  # two times session/load
    }  # fmt: skip
    assert stage.of(ev.StraySeen) == []
    waiting = [e.call for e in stage.of(ev.CallEnded) if e.call.waits_for_user]
    assert len(waiting) == 3
    assert sum(e.input_tokens for e in stage.of(ev.UsageReported)) == 15 * 1000
    totals = {
        e.session.id: (e.session.turns, e.session.calls, e.session.tools, e.session.messages)
        for e in stage.of(ev.SessionEnded)
    }
    assert totals == {"sess_02c73d346241": (21, 31, 12, 237), "sess_1520b2257533": (1, 4, 0, 8)}


def test_codex() -> None:
    stage = recording("codex")
    first, second, fork = sessions(stage)
    assert turns(stage) == {
        (Outcome.COMPLETED, None, "completed"): 25,
        (Outcome.CANCELLED, None, "interrupted"): 5,
        (Outcome.FAILED, "turn_failed", "failed"): 6,
        (Outcome.FAILED, "-32600", None): 2,  # threads that are not loaded
        (Outcome.ABORTED, "session_ended", None): 1,  # the server was killed
    }
    assert tools(stage) == {
        ("commandExecution", Outcome.COMPLETED, None): 15,
        ("commandExecution", Outcome.FAILED, "tool_error"): 1,
        ("commandExecution", Outcome.CANCELLED, None): 3,  # two declined, one interrupted
        ("commandExecution", Outcome.ABORTED, "session_ended"): 1,  # the server was killed
    }
    assert failed_calls(stage).keys() >= {("turn/start", "-32600"), ("turn/steer", "-32600")}
    assert sum(failed_calls(stage).values()) == 12
    assert {kind for kind, _ in streams(stage)} == {"message", "thought", "output"}
    assert sum(kind_count[1] * n for kind_count, n in streams(stage).items()) == 237 + 28 + 4
    assert len(stage.of(ev.ErrorReported)) == 16
    assert stage.of(ev.StraySeen) == []
    totals = {e.session.id: (e.session.turns, e.session.tools) for e in stage.of(ev.SessionEnded)}
    assert totals == {first: (33, 17), second: (4, 3), fork: (2, 0)}
