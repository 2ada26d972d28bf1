"""Re-framing: what comes out decodes, in websockets' own receiver, to what was decided."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Opcode

from debbie_otel.wire.decompressing import plain_frame
from debbie_otel.wire.deflate import DeflateParameters
from debbie_otel.wire.direction import MessageDirection
from debbie_otel.wire.frames import CloseSeen, ControlSeen, PayloadSeen, PayloadSkipped
from debbie_otel.wire.reframe import Reframer
from tests.wire.reframed import DOWN, UP, Decider, Sender, Sent, parser, receive

TAKEOVER = DeflateParameters()
ALONE = DeflateParameters(no_context_takeover=True)
DEFLATES = (None, TAKEOVER, ALONE)


def through(reframer: Reframer, data: bytes, cuts: list[int] | None = None) -> bytes:
    """Pass bytes through, cut at the given places."""
    output = b""
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts or []), len(data)]
    for start, stop in pairwise(places):
        output += b"".join(reframer.receive(data[start:stop]))
    return output


payloads = st.binary(max_size=40) | st.sampled_from([b"again and again " * 20, b"x" * 3000])
messages = st.builds(
    Sent,
    payload=payloads,
    compressed=st.booleans(),
    cuts=st.integers(1, 4),
    ping=st.booleans(),
)
cuts = st.lists(st.integers(0, 2**16), max_size=8)
directions = st.sampled_from([UP, DOWN])


@settings(max_examples=80, deadline=None)
@given(
    direction=directions,
    deflate=st.sampled_from(DEFLATES),
    sent=st.lists(messages, max_size=6),
    start=st.integers(0, 2**16),
    cuts=cuts,
)
def test_nothing_decided_nothing_changed(
    direction: MessageDirection,
    deflate: DeflateParameters | None,
    sent: list[Sent],
    start: int,
    cuts: list[int],
) -> None:
    sender = Sender(direction, deflate)
    data = b"".join(sender.send(message) for message in sent)
    begin = start % (len(data) + 1)
    observer = parser(direction, deflate)
    before: list[object] = []
    observer.receive_data(data[:begin], before)
    decider = Decider()
    reframer = Reframer(observer, decider, masked=direction is UP)
    output = through(reframer, data[begin:], cuts)
    if any(message.ping and message.cuts > 1 for message in sent):
        # A control frame between fragments does not wait for the last one.
        assert receive(data[:begin] + output, direction, deflate) == receive(
            data, direction, deflate
        )
    else:
        assert output == data[begin:]
    assert not decider.errors
    # Every message is told once, in order.
    told = [event.payload for event in before if isinstance(event, PayloadSeen)]
    in_flight = [event.payload for event in decider.others if isinstance(event, PayloadSeen)]
    assert told + in_flight + decider.seen == [message.payload for message in sent]


@settings(max_examples=120, deadline=None)
@given(
    direction=directions,
    deflate=st.sampled_from(DEFLATES),
    sent=st.lists(messages, max_size=6),
    start=st.integers(0, 2**16),
    cuts=cuts,
    verdicts=st.lists(st.sampled_from("phr"), min_size=6, max_size=6),
    inserts=st.lists(st.integers(0, 8), max_size=3),
)
def test_what_was_decided_comes_out(
    direction: MessageDirection,
    deflate: DeflateParameters | None,
    sent: list[Sent],
    start: int,
    cuts: list[int],
    verdicts: list[str],
    inserts: list[int],
) -> None:
    sender = Sender(direction, deflate)
    data = b"".join(sender.send(message) for message in sent)
    begin = start % (len(data) + 1)
    observer = parser(direction, deflate)
    before: list[object] = []
    observer.receive_data(data[:begin], before)
    passed = [event.payload for event in before if isinstance(event, PayloadSeen)]
    left = iter(verdicts)
    expected: list[bytes] = []

    def decide(payload: bytes) -> bytes | None:
        verdict = next(left)
        if verdict == "h":
            return None
        expected.append(b"another" if verdict == "r" else payload)
        return b"another" if verdict == "r" else payload

    decider = Decider(decide)
    reframer = Reframer(observer, decider, masked=direction is UP)
    output = data[:begin]
    rest = data[begin:]
    places = [0, *sorted(cut % (len(rest) + 1) for cut in cuts), len(rest)]
    for number, (first, last) in enumerate(pairwise(places)):
        for _ in range(inserts.count(number)):
            output += reframer.insert(b"!inserted")
        output += b"".join(reframer.receive(rest[first:last]))
    received = receive(output, direction, deflate)
    assert received.error is None
    in_flight = [event.payload for event in decider.others if isinstance(event, PayloadSeen)]
    ours = [payload for payload in received.messages if payload == b"!inserted"]
    theirs = [payload for payload in received.messages if payload != b"!inserted"]
    assert theirs == passed + in_flight + expected
    assert len(ours) == sum(1 for number in inserts if number < len(places) - 1)
    pings = [event for event in [*before, *decider.others] if isinstance(event, ControlSeen)]
    assert received.pings == [event.payload for event in pings]
    assert not reframer.waiting


@pytest.mark.parametrize("direction", [UP, DOWN])
def test_an_insert_waits_for_the_end_of_a_fragmented_message(direction: MessageDirection) -> None:
    sender = Sender(direction, None)
    data = sender.send(Sent(b"abcdef", cuts=3))
    observer = parser(direction)
    observer.receive_data(data[:9], [])  # within the first fragment or after it
    reframer = Reframer(observer, Decider(), masked=direction is UP)
    assert reframer.insert(b"ours") == b""
    assert reframer.waiting
    rest = b"".join(reframer.receive(data[9:]))
    assert rest.startswith(data[9:])
    assert receive(data[:9] + rest, direction).messages == [b"abcdef", b"ours"]


def test_an_insert_overtakes_a_message_that_is_kept() -> None:
    sender = Sender(UP, None)
    data = sender.send(Sent(b"abcdef", cuts=3))
    reframer = Reframer(parser(UP), Decider(), masked=True)
    assert b"".join(reframer.receive(data[:-3])) == b""
    inserted = reframer.insert(b"ours")
    output = inserted + b"".join(reframer.receive(data[-3:]))
    assert receive(output, UP).messages == [b"ours", b"abcdef"]


def test_a_control_frame_passes_at_once_within_a_kept_message() -> None:
    sender = Sender(DOWN, None)
    first = sender.send(Sent(b"abcdef", cuts=2))[:5]
    ping = sender.control(Opcode.PING, b"now")
    reframer = Reframer(parser(DOWN), Decider(lambda _: None), masked=False)
    assert b"".join(reframer.receive(first + ping)) == ping


def test_a_handler_can_insert_while_it_decides() -> None:
    sender = Sender(UP, None)
    decider = Decider()
    reframer = Reframer(parser(UP), decider, masked=True)

    def decide(payload: bytes) -> bytes:
        assert reframer.insert(b"after " + payload) == b""
        return payload

    decider.decide = decide
    data = sender.send(Sent(b"a")) + sender.send(Sent(b"b"))
    output = b"".join(reframer.receive(data))
    assert receive(output, UP).messages == [b"a", b"after a", b"b", b"after b"]


def test_a_handler_that_fails_changes_nothing() -> None:
    data = Sender(UP, None).send(Sent(b"a"))
    decider = Decider(lambda _: bytes([1 // 0]))
    reframer = Reframer(parser(UP), decider, masked=True)
    assert b"".join(reframer.receive(data)) == data
    assert [type(error) for error in decider.errors] == [ZeroDivisionError]


def test_a_message_above_the_limit_passes_as_it_comes() -> None:
    sender = Sender(DOWN, None)
    data = sender.send(Sent(b"x" * 5000))
    decider = Decider(lambda _: None)
    reframer = Reframer(parser(DOWN, limit=1000), decider, masked=False)
    assert b"".join(reframer.receive(data[:100])) == data[:100]
    assert b"".join(reframer.receive(data[100:])) == data[100:]
    assert [type(event) for event in decider.others] == [PayloadSkipped]
    # The next one is decided upon again.
    assert b"".join(reframer.receive(sender.send(Sent(b"small")))) == b""


def test_a_message_of_countless_empty_fragments_is_not_kept_for_ever() -> None:
    sender = Sender(DOWN, None)
    start = sender.send(Sent(b"ab", cuts=2))[:3]
    empty = b"\x00\x00" * 1000
    reframer = Reframer(parser(DOWN, limit=500), Decider(lambda _: None), masked=False)
    output = b"".join(reframer.receive(start + empty))
    assert len(output) >= len(empty) - 1000


def test_after_a_close_frame_all_passes() -> None:
    sender = Sender(UP, None)
    data = sender.control(Opcode.CLOSE, b"\x03\xe8bye") + b"anything"
    decider = Decider(lambda _: None)
    reframer = Reframer(parser(UP), decider, masked=True)
    assert b"".join(reframer.receive(data)) == data
    assert [type(event) for event in decider.others] == [CloseSeen]
    assert reframer.insert(b"too late") == b""


def test_a_handler_can_have_its_say_before_a_close_frame_or_keep_it() -> None:
    close = Sender(DOWN, None).control(Opcode.CLOSE, b"\x03\xe8bye")
    decider = Decider()
    reframer = Reframer(parser(DOWN), decider, masked=False)

    def closing(seen: CloseSeen) -> bool:
        assert reframer.insert(b"last words") == b""
        return seen.code != 1000

    decider.closing = closing  # type: ignore[method-assign]
    assert b"".join(reframer.receive(close)) == b"\x81\x0alast words"
    assert reframer.clean
    assert not reframer.at_boundary


def test_what_cannot_be_followed_passes_from_there_on() -> None:
    sender = Sender(UP, None)
    half = sender.send(Sent(b"abc", cuts=3))[:7]
    bad = b"\xf3\x80\x00\x00\x00\x00 and more"
    reframer = Reframer(parser(UP), Decider(lambda _: None), masked=True)
    assert b"".join(reframer.receive(half + bad)) == half + bad
    assert reframer.lost is not None
    assert b"".join(reframer.receive(b"still")) == b"still"


def test_what_is_inserted_is_sent_as_the_sender_sends() -> None:
    sender = Sender(UP, None)
    for opcode in (Opcode.BINARY, Opcode.TEXT):
        reframer = Reframer(parser(UP), Decider(), masked=True)
        b"".join(reframer.receive(plain_frame(b"theirs", opcode, masked=True)))
        frame = reframer.insert(b"another")
        assert frame[0] & 0x0F == opcode
    reframer = Reframer(parser(UP), Decider(), masked=True)
    b"".join(reframer.receive(sender.send(Sent(b"abc"))))
    assert reframer.insert(b"another", Opcode.BINARY)[0] & 0x0F == Opcode.BINARY


def test_once_one_was_held_back_the_rest_goes_plain() -> None:
    sender = Sender(DOWN, TAKEOVER)
    words = [b"hello hello %d" % number for number in range(5)]
    data = b"".join(sender.send(Sent(word, True, 2)) for word in words)
    decider = Decider(lambda payload: None if payload == words[1] else payload)
    reframer = Reframer(parser(DOWN, TAKEOVER), decider, masked=False)
    output = b"".join(reframer.receive(data))
    received = receive(output, DOWN, TAKEOVER)
    assert received.error is None
    assert received.messages == [words[0], *words[2:]]
    assert reframer.plain


def test_without_context_takeover_compression_goes_on() -> None:
    sender = Sender(DOWN, ALONE)
    first, second, third = (sender.send(Sent(b"hello " * n, True)) for n in (5, 6, 7))
    decider = Decider(lambda payload: None if payload == b"hello " * 6 else payload)
    reframer = Reframer(parser(DOWN, ALONE), decider, masked=False)
    assert b"".join(reframer.receive(first + second + third)) == first + third


def test_a_receiver_without_compression_can_be_put_in_place() -> None:
    sender = Sender(UP, TAKEOVER)
    first, second = (sender.send(Sent(b"hello hello", True)) for _ in range(2))
    observer = parser(UP, TAKEOVER)
    observer.receive_data(first, [])
    reframer = Reframer(observer, Decider(), masked=True)
    reframer.make_plain()
    output = b"".join(reframer.receive(second))
    assert receive(output, UP).messages == [b"hello hello"]


def test_compressed_data_that_do_not_inflate_end_in_a_proper_close() -> None:
    sender = Sender(DOWN, TAKEOVER)
    good = sender.send(Sent(b"hello", True))
    bad = b"\xc1\x04\xff\xff\xff\xff"
    reframer = Reframer(parser(DOWN, TAKEOVER), Decider(lambda _: None), masked=False)
    output = b"".join(reframer.receive(good + bad + good))
    assert output[0] == 0x88
    assert int.from_bytes(output[2:4], "big") == 1007
    assert b"".join(reframer.receive(good)) == b""
