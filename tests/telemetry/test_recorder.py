from __future__ import annotations

import inspect
import re

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import StatusCode

from debbie_otel.session.event_bus import EventBus
from debbie_otel.telemetry.recorder import RECORDED, Recorder
from tests.play import SECOND, Play
from tests.session.openings import ACP_START, CODEX_DONE, CODEX_START, update
from tests.telemetry.spantree import SESSION, TURN, Recorded, attributes, tree


def test_a_trace_per_turn() -> None:
    recorded = Recorded(Play())
    recorded.play(SESSION)
    recorded.play(TURN)
    recorded.close()
    assert tree(recorded.spans) == [
        "debbie.session.start [INTERNAL]",
        "startSession [SERVER]",
        "invoke_agent aiwhisperer [SERVER]",
        "  StreamingUpdate [CLIENT]",
        "  ChannelMessageNotification [CLIENT]",
        "  echo [SERVER]",
        "  execute_tool ls [INTERNAL]",
        "debbie.session.end [INTERNAL]",
    ]
    turn = recorded.named("invoke_agent aiwhisperer")
    assert (turn.start_time, turn.end_time) == (0, SECOND + SECOND // 2)
    assert dict(turn.attributes or {}) == {
        "debbie.connection.id": "conn-A",
        "session.id": "s1",
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "aiwhisperer",
        "gen_ai.conversation.id": "s1",
        "rpc.method": "sendUserMessage",
        "jsonrpc.request.id": "2",
        "debbie.turn.number": 1,
        "debbie.turn.outcome": "completed",
        "debbie.turn.tools": 1,
        "debbie.turn.failed_tools": 0,
        "debbie.turn.calls": 2,
        "debbie.request.size": 96,
        "debbie.response.size": 123,
    }
    assert turn.status.status_code is StatusCode.UNSET


def test_links_lead_to_the_start_of_the_session_and_the_turn_before() -> None:
    recorded = Recorded(Play())
    recorded.play(SESSION)
    recorded.play(TURN)
    recorded.play(TURN)
    start = recorded.named("debbie.session.start")
    first, second = [s for s in recorded.spans if s.name.startswith("invoke_agent")]
    assert [link.context.span_id for link in first.links] == [start.context.span_id]
    assert [link.context.span_id for link in second.links] == [
        start.context.span_id,
        first.context.span_id,
    ]
    assert [dict(link.attributes or {})["debbie.link"] for link in second.links] == [
        "session_start",
        "previous_turn",
    ]


def test_codex_root_lasts_until_the_turn_is_over() -> None:
    recorded = Recorded(Play())
    recorded.play(CODEX_START)
    assert not [span for span in recorded.spans if span.name.startswith("invoke_agent")]
    recorded.play("+3\n" + CODEX_DONE % ("t1", "completed"))
    turn = recorded.named("invoke_agent codex")
    assert turn.end_time == 3 * SECOND
    assert attributes(recorded, "invoke_agent codex")["debbie.turn.id"] == "t1"
    assert attributes(recorded, "invoke_agent codex")["gen_ai.response.finish_reasons"] == [
        "completed"
    ]
    assert tree(recorded.spans)[-3:] == [
        "invoke_agent codex [SERVER]",
        "  turn/started [CLIENT]",
        "  turn/completed [CLIENT]",
    ]


def test_what_is_not_sampled_is_counted_all_the_same() -> None:
    recorded = Recorded(Play(), sampler=ALWAYS_OFF)
    recorded.play(SESSION)
    recorded.play(TURN)
    assert recorded.spans == []
    assert sum(count for count, _ in recorded.instruments._messages.values()) == 9


def test_a_connection_that_ends_leaves_no_span_open() -> None:
    recorded = Recorded(Play())
    recorded.play(ACP_START)
    recorded.play(update(sessionUpdate="tool_call", toolCallId="c1", kind="read", status="pending"))
    recorded.close()
    assert tree(recorded.spans)[-4:] == [
        "invoke_agent acp [SERVER] ERROR".replace("acp", "claude"),
        "  session/update [CLIENT]",
        "  execute_tool read [INTERNAL] ERROR",
        "debbie.session.end [INTERNAL]",
    ]
    assert attributes(recorded, "invoke_agent claude")["error.type"] == "connection_closed"
    assert recorded.instruments.sessions_active == 0


CONTENT = (
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.tool.call.arguments",
    "gen_ai.tool.call.result",
)


def test_content_stays_here_unless_it_is_asked_for() -> None:
    recorded = Recorded(Play())
    recorded.play(SESSION)
    recorded.play(TURN)
    recorded.close()
    assert not [span for span in recorded.spans if set(CONTENT) & set(span.attributes or {})]


@pytest.mark.parametrize("dialect", ["aiwhisperer", "acp", "codex"])
def test_every_span_of_a_recording_names_its_session(dialect: str) -> None:
    from tests.play import recording

    recorded = Recorded(recording(dialect))
    recorded.catch_up()
    assert all((span.attributes or {}).get("session.id") for span in recorded.spans)
    assert recorded.instruments.sessions_active == 0


def test_every_kind_that_is_recorded_has_its_branch() -> None:
    """And no other kind has one: whoever subscribes does so for these alone."""
    source = inspect.getsource(Recorder.on_event)
    compared = re.findall(r"type\(event\) is ev\.(\w+)", source)
    assert compared == [kind.__name__ for kind in RECORDED]


def test_what_it_subscribes_to_is_recorded_as_by_on_event() -> None:
    by_bus, by_hand = Recorded(Play()), Recorded(Play())
    bus = EventBus()
    end = by_bus.recorder.subscribe_to(bus)
    for transcript in (SESSION, TURN):
        before = len(by_bus.stage.events)
        by_bus.stage.play(transcript)
        bus.publish_all(by_bus.stage.events[before:])
        by_hand.play(transcript)
    assert tree(by_bus.spans) == tree(by_hand.spans) != []
    assert by_bus.instruments._messages == by_hand.instruments._messages != {}
    recorded = len(by_bus.finished)
    end()
    by_bus.stage.close()
    bus.publish_all(by_bus.stage.events)
    assert len(by_bus.finished) == recorded
