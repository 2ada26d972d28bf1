"""Streams of a session: what begins one, what ends it, and what its chunks say."""

from __future__ import annotations

from debbie_otel.session import events as ev
from debbie_otel.session.model import MAX_CONTENT, SessionInfo, Turn
from debbie_otel.session.streams import Streams
from debbie_otel.wire.direction import MessageDirection
from tests.session.parsing import message

S2C = MessageDirection.SERVER_TO_CLIENT


class Stage:
    """The streams of one session, and what they have told so far."""

    def __init__(self) -> None:
        self.info = SessionInfo(id="s", dialect="d", agent="a")
        self.streams = Streams(self.info)
        self.out: list[ev.Event] = []
        self.now = 0

    def turn(self, number: int = 1) -> Turn:
        return Turn(
            session=self.info, number=number, started_ns=self.now, method="m", direction=S2C
        )

    def chunk(
        self, text: str, kind: str = "message", *, key: str = "", connection: str = "A", **how: bool
    ) -> None:
        self._chunk((connection, kind, key), text, None, how)

    def chunk_of(self, turn: Turn, text: str, kind: str = "message") -> None:
        self._chunk(("A", kind, ""), text, turn, {})

    def _chunk(
        self, key: tuple[str, str, str], text: str, turn: Turn | None, how: dict[str, bool]
    ) -> None:
        self.now += 1
        seen = message(b'{"method":"chunk"}', S2C)
        seen.time_ns = self.now
        self.streams.advance(key, seen, self.out, turn=turn, text=text, **how)

    def told(self) -> list[str]:
        """Return kinds of streams that ended, and texts of chunks, in their order."""
        told, self.out = self.out, []
        return [
            event.text if isinstance(event, ev.StreamAdvanced) else f"{event.stream.kind} ended"
            for event in told
            if isinstance(event, ev.StreamAdvanced | ev.StreamEnded)
        ]


def test_a_chunk_of_another_kind_ends_the_stream_of_its_own_connection_alone() -> None:
    stage = Stage()
    stage.chunk("a")
    stage.chunk("b", connection="B")
    stage.chunk("c", "thought")
    assert stage.told() == ["a", "b", "message ended", "c"]
    stage.chunk("d", connection="B")
    assert stage.told() == ["d"]


def test_a_stream_counts_its_chunks_and_their_gaps() -> None:
    stage = Stage()
    stage.chunk("a")
    stage.now += 10
    stage.chunk("b")
    stage.chunk("c", final=True)
    (ended,) = [event for event in stage.out if isinstance(event, ev.StreamEnded)]
    stream = ended.stream
    assert (stream.count, stream.longest_gap_ns, stream.ended_ns) == (3, 11, 13)
    assert stream.bytes == 3 * len(b'{"method":"chunk"}')


def test_of_totals_only_the_new_text_is_told() -> None:
    stage = Stage()
    for text in ("ab", "abcd", "x"):  # the last one has begun anew
        stage.chunk(text, total=True)
    assert stage.told() == ["ab", "cd", "x"]
    stage.streams.end_item("", stage.now, stage.out)
    stage.chunk("abc", total=True)
    assert stage.told() == ["message ended", "abc"]


def test_a_tool_ends_all_streams_but_the_output_of_tools() -> None:
    stage = Stage()
    stage.chunk("a")
    stage.chunk("b", "output", connection="B")
    stage.told()
    stage.streams.end_all_but_output(stage.now, stage.out)
    assert stage.told() == ["message ended"]


def test_an_item_a_connection_and_a_turn_end_their_own_streams() -> None:
    stage = Stage()
    stage.chunk("a", key="one")
    stage.chunk("b", key="two", connection="B")
    stage.chunk("c", "thought", connection="C")
    stage.told()
    stage.streams.end_item("one", stage.now, stage.out)
    assert stage.told() == ["message ended"]
    stage.streams.end_connection("C", stage.now, stage.out)
    assert stage.told() == ["thought ended"]
    stage.streams.end_all(stage.now, stage.out, stage.turn())
    assert stage.told() == []
    stage.streams.end_all(stage.now, stage.out)
    assert stage.told() == ["message ended"]


def test_words_go_into_their_turn_up_to_a_bound_and_another_turn_begins_another_stream() -> None:
    stage = Stage()
    first, second = stage.turn(1), stage.turn(2)
    stage.chunk_of(first, "x" * MAX_CONTENT)
    stage.chunk_of(first, "more")
    assert stage.told() == ["x" * MAX_CONTENT, "more"]
    stage.chunk_of(second, "y")
    stage.chunk_of(second, "not an answer", "thought")
    assert stage.told() == ["message ended", "y", "message ended", "not an answer"]
    assert (first.output, second.output) == ("x" * MAX_CONTENT, "y")
