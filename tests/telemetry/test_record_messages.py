"""Streams, notifications and strays as spans."""

from __future__ import annotations

from debbie_otel.telemetry.connection_spans import RecorderOptions
from tests.play import Play
from tests.telemetry.spantree import SESSION, TURN, Recorded, attributes, tree


def test_a_run_of_chunks_is_one_span_with_its_rhythm() -> None:
    recorded = Recorded(Play())
    recorded.play(SESSION)
    recorded.play(TURN)
    stream = attributes(recorded, "StreamingUpdate")
    assert stream["debbie.stream.chunks"] == 2
    assert stream["debbie.stream.time_to_first_chunk"] == 1.0
    assert stream["debbie.stream.longest_gap"] == 0.5
    assert stream["debbie.stream.kind"] == "message"
    assert stream["debbie.stream.bytes"] == 141


def test_chunks_can_be_spans_of_their_own_or_none() -> None:
    for mode, count in (("span", 2), ("off", 0)):
        recorded = Recorded(Play(), RecorderOptions(stream_chunks=mode))  # type: ignore[arg-type]
        recorded.play(SESSION)
        recorded.play(TURN)
        assert sum(span.name == "StreamingUpdate" for span in recorded.spans) == count


def test_strays_are_spans_of_their_own() -> None:
    recorded = Recorded(Play("generic"))
    recorded.play(
        """
        << {"id":5,"result":1}
        << {"id":null,"error":{"code":-32700,"message":"Parse error"}}
        >> not json
        """
    )
    assert tree(recorded.spans) == [
        "debbie.session.start [INTERNAL]",
        "debbie.message.unmatched [CLIENT]",
        "debbie.message.unmatched [CLIENT] ERROR",
        "debbie.message.unknown [SERVER]",
    ]


def test_a_notification_is_a_child_of_the_call_that_it_is_about() -> None:
    recorded = Recorded(Play("mcp"), mcp=True)
    recorded.play(
        """
        >> {"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","_meta":{"progressToken":7}}}
        << {"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7,"progress":1}}
        << {"jsonrpc":"2.0","id":1,"result":{}}
        """
    )
    call, progress = recorded.named("tools/call t"), recorded.named("notifications/progress")
    assert progress.parent is not None
    assert progress.parent.span_id == call.context.span_id
    assert attributes(recorded, "notifications/progress")["debbie.message.type"] == "notification"
