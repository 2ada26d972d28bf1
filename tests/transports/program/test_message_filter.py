"""What is judged, what is held meanwhile, and what goes on."""

from __future__ import annotations

from websockets.frames import Close, CloseCode, Frame, Opcode

from debbie_otel.transports.program.message_filter import Sieve


def text(payload: bytes, *, fin: bool = True) -> Frame:
    return Frame(Opcode.TEXT, payload, fin)


def more(payload: bytes, *, fin: bool = False) -> Frame:
    return Frame(Opcode.CONT, payload, fin)


def sieve(limit: int = 100) -> tuple[Sieve, list[Exception]]:
    """Return one that drops `no`, and makes `new` of `old`; and what has failed."""
    failures: list[Exception] = []
    made = Sieve(limit, failures.append)

    def judge(payload: bytes) -> bytes | None:
        if payload == b"fail":
            raise ValueError("as told")
        return None if payload == b"no" else payload.replace(b"old", b"new")

    made.filter = judge
    return made, failures


def test_without_a_filter_nothing_need_be_shown_to_it() -> None:
    made, _ = sieve()
    assert not made.is_open
    made.filter = None
    assert made.is_open


def test_a_message_goes_on_is_changed_or_dropped() -> None:
    made, _ = sieve()
    assert made.sift(text(b"yes")) == [text(b"yes")]
    assert made.sift(text(b"old")) == [text(b"new")]
    assert made.sift(text(b"no")) == []


def test_fragments_are_held_until_the_message_is_whole() -> None:
    made, _ = sieve()
    first, last = text(b"n", fin=False), more(b"o", fin=True)
    assert made.sift(first) == []
    assert made.sift(last) == []
    whole = [text(b"ye", fin=False), more(b"s"), more(b"", fin=True)]
    assert [made.sift(frame) for frame in whole] == [[], [], whole]
    binary = Frame(Opcode.BINARY, b"ol", False)
    assert [made.sift(binary), made.sift(more(b"d", fin=True))] == [
        [],
        [Frame(Opcode.BINARY, b"new")],
    ]


def test_control_frames_pass_between_fragments() -> None:
    made, _ = sieve()
    made.sift(text(b"ye", fin=False))
    for opcode in (Opcode.PING, Opcode.PONG):
        assert made.sift(Frame(opcode, b"x")) == [Frame(opcode, b"x")]
    close = Frame(Opcode.CLOSE, Close(CloseCode.NORMAL_CLOSURE, "").serialize())
    assert made.sift(close) == [text(b"ye", fin=False), close]


def test_a_message_that_had_begun_before_is_not_judged() -> None:
    made, _ = sieve()
    assert made.sift(more(b"no", fin=True)) == [more(b"no", fin=True)]


def test_a_message_that_is_too_large_is_not_judged() -> None:
    made, _ = sieve(limit=3)
    first, second, last = text(b"no", fin=False), more(b"no"), more(b"", fin=True)
    assert made.sift(first) == []
    assert made.sift(second) == [first, second]
    assert made.sift(last) == [last]
    assert made.sift(text(b"no")) == []


def test_what_is_held_is_not_forgotten_with_the_filter() -> None:
    made, _ = sieve()
    frames = [text(b"n", fin=False), more(b"o", fin=True)]
    assert made.sift(frames[0]) == []
    made.filter = None
    assert not made.is_open
    assert made.sift(frames[1]) == frames
    assert made.is_open


def test_a_filter_that_fails_costs_no_message() -> None:
    made, failures = sieve()
    assert made.sift(text(b"fail")) == [text(b"fail")]
    assert [str(failure) for failure in failures] == ["as told"]


def test_one_message_of_ours_is_exempt() -> None:
    made, _ = sieve()
    with made.exempting(b"no"):
        assert not made.is_exempt(text(b"yes"))
        assert not made.is_exempt(more(b"no", fin=True))
        assert not made.is_exempt(text(b"no", fin=False))
        assert made.is_exempt(text(b"no"))
        assert not made.is_exempt(text(b"no"))
    with made.exempting(b"never sent"):
        assert not made.is_open
    assert not made.is_exempt(text(b"never sent"))
