"""The frame parser, held against websockets' own frames and permessage-deflate."""

from __future__ import annotations

import time
import tracemalloc
import zlib
from collections.abc import Generator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import CTRL_OPCODES, Frame, Opcode
from websockets.streams import StreamReader

from debbie_otel.errors import InspectionError
from debbie_otel.wire.deflate import HEAD, TAIL, DeflateParameters, Inflater
from debbie_otel.wire.frames import (
    CloseSeen,
    ControlSeen,
    FrameEvent,
    FrameParser,
    PayloadSeen,
    PayloadSkipped,
    SkippedMessage,
    apply_mask,
    frame_head,
    rotate_mask,
)
from tests.wire.framed import TOO_LARGE, UP, frame, parse

# --- Property: whatever websockets writes, the parser reads as websockets reads it. ---

control = st.builds(Frame, st.sampled_from([Opcode.PING, Opcode.PONG]), st.binary(max_size=125))


@st.composite
def messages(draw: st.DrawFn) -> list[Frame]:
    """Return the frames of one message, with control frames between its fragments."""
    pieces = draw(
        st.lists(
            st.one_of(st.binary(max_size=200), st.just(b"ab" * 40_000)), min_size=1, max_size=4
        )
    )
    opcode = draw(st.sampled_from([Opcode.TEXT, Opcode.BINARY]))
    frames = []
    for index, piece in enumerate(pieces):
        frames.append(Frame(Opcode.CONT if index else opcode, piece, index == len(pieces) - 1))
        frames += draw(st.lists(control, max_size=2))
    return frames


def extension(parameters: DeflateParameters | None) -> list[PerMessageDeflate]:
    if parameters is None:
        return []
    takeover, bits = parameters.no_context_takeover, parameters.max_window_bits
    return [PerMessageDeflate(takeover, takeover, bits, bits)]


def read_by_websockets(
    data: bytes, mask: bool, parameters: DeflateParameters | None
) -> list[FrameEvent]:
    """Return what websockets' own parser makes of the bytes, as our events."""
    reader = StreamReader()
    reader.feed_data(data)
    extensions = extension(parameters)
    events: list[FrameEvent] = []
    opcode, parts, compressed = Opcode.TEXT, [b""], False
    while reader.buffer:
        first = reader.buffer[0]
        seen = run(Frame.parse(reader.read_exact, mask=mask, extensions=extensions))
        payload = bytes(seen.data)
        if seen.opcode in CTRL_OPCODES:
            events.append(ControlSeen(UP, seen.opcode, payload))
            continue
        if seen.opcode is not Opcode.CONT:
            opcode, parts, compressed = seen.opcode, [], bool(first & 0x40)
        parts.append(payload)
        if seen.fin:
            events.append(PayloadSeen(UP, b"".join(parts), opcode is Opcode.TEXT, compressed))
    return events


def run(parsing: Generator[None, None, Frame]) -> Frame:
    try:
        next(parsing)
    except StopIteration as result:
        frame: Frame = result.value
        return frame
    raise AssertionError("a whole frame was there")


@settings(max_examples=150, deadline=None)
@given(
    sent=st.lists(messages(), min_size=1, max_size=4),
    mask=st.booleans(),
    parameters=st.one_of(
        st.none(), st.builds(DeflateParameters, st.booleans(), st.integers(9, 15))
    ),
    data=st.data(),
)
def test_reads_what_websockets_reads(
    sent: list[list[Frame]],
    mask: bool,
    parameters: DeflateParameters | None,
    data: st.DataObject,
) -> None:
    writer = extension(parameters)
    stream = b"".join(
        frame.serialize(mask=mask, extensions=writer) for message in sent for frame in message
    )
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12))
    expected = read_by_websockets(stream, mask, parameters)
    assert [e.payload for e in expected if isinstance(e, PayloadSeen)] == [
        b"".join(bytes(f.data) for f in message if f.opcode not in CTRL_OPCODES) for message in sent
    ]
    assert parse(stream, cuts=cuts, deflate=parameters) == expected


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5), st.booleans())
def test_any_bytes_give_events_or_an_inspection_error(
    data: bytes, cuts: list[int], compressed: bool
) -> None:
    deflate = DeflateParameters() if compressed else None
    cuts = [cut for cut in cuts if cut <= len(data)]
    outcomes = []
    for at in ([], cuts):
        try:
            outcomes.append(repr(parse(data, cuts=at, deflate=deflate, limit=1000)))
        except InspectionError as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]  # how the bytes are cut makes no difference


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 100_000])
@pytest.mark.parametrize("mask", [True, False])
def test_lengths_at_the_edges_of_their_encoding(size: int, mask: bool) -> None:
    data = frame(b"x" * size, mask=mask)
    expected = [PayloadSeen(UP, b"x" * size, True)]
    assert parse(data) == expected
    for cut in [*range(15), len(data) - 1]:
        assert parse(data + data, cuts=[min(cut, len(data))]) == expected * 2


# --- Protocol errors. ---


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (frame(b"x", rsv=2), "reserved bits"),
        (frame(b"x", rsv=1), "reserved bits"),
        (frame(b"x", rsv=4), "no compression was agreed"),
        (frame(b"x", 3), "unknown opcode 3"),
        (frame(b"x", 11), "unknown opcode 11"),
        (frame(b"x", 0), "without a message to continue"),
        (frame(b"x", fin=False) + frame(b"y", 0, rsv=4), "with the compression bit"),
        (frame(b"x", fin=False) + frame(b"y"), "before the last one has ended"),
        (frame(b"x", 9, fin=False), "control frame"),
        (frame(b"x" * 126, 9), "control frame"),
        (frame(b"", 8, rsv=4), "control frame"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # the frames' masks are random
)
def test_protocol_errors(data: bytes, reason: str) -> None:
    with pytest.raises(InspectionError, match=reason):
        parse(data)
    with pytest.raises(InspectionError, match=reason):
        parse(data, cuts=list(range(len(data))))


def test_messages_before_an_error_are_not_lost() -> None:
    events: list[FrameEvent] = []
    with pytest.raises(InspectionError):
        FrameParser(UP).receive_data(frame(b"good") + frame(b"bad", 7), events)
    assert events == [PayloadSeen(UP, b"good", True)]


@pytest.mark.parametrize(
    ("payload", "code", "reason"),
    [
        (b"", 1005, ""),
        (b"\x03", 1005, ""),
        (b"\x03\xe8", 1000, ""),
        (b"\x13\x87bye \xff", 4999, "bye \ufffd"),
    ],
)
def test_close_ends_the_direction(payload: bytes, code: int, reason: str) -> None:
    data = frame(payload, 8) + frame(b"ignored") + b"\xff" * 50
    for cuts in ([], [1], [3], [7], [len(data) - 10]):
        assert parse(data, cuts=cuts) == [CloseSeen(UP, code, reason)]


# --- Limits. ---


@pytest.mark.parametrize("mask", [True, False])
def test_a_message_above_the_limit_is_skipped_in_sync(mask: bool) -> None:
    large, small = b"x" * 1001, b"y" * 1000
    fragments = frame(b"a" * 600, fin=False, mask=mask) + frame(b"b" * 600, 0, mask=mask)
    data = frame(large, mask=mask) + fragments + frame(b"!", 9, mask=mask) + frame(small, mask=mask)
    expected = [
        PayloadSkipped(UP, 1001, TOO_LARGE, large[:HEAD], large[-TAIL:]),
        PayloadSkipped(UP, 1200, TOO_LARGE, b"a" * HEAD, b"b" * TAIL),
        ControlSeen(UP, Opcode.PING, b"!"),
        PayloadSeen(UP, small, True),
    ]
    for cuts in ([], [1], [500, 501, 1500], list(range(0, len(data), 7))):
        assert parse(data, cuts=cuts, limit=1000) == expected


def test_a_control_frame_inside_a_skipped_message_is_seen() -> None:
    data = frame(b"x" * 20, fin=False) + frame(b"ping", 9) + frame(b"z" * 20, 0) + frame(b"end")
    for cut in range(len(data)):
        assert parse(data, cuts=[cut], limit=10) == [
            ControlSeen(UP, Opcode.PING, b"ping"),
            PayloadSkipped(UP, 40, TOO_LARGE, *[b"x" * 20 + b"z" * 20] * 2),
            PayloadSeen(UP, b"end", True),
        ]


def test_skipped_bytes_are_not_kept() -> None:
    parser = FrameParser(UP, None, 2**16)
    piece = bytes(2**16)
    parser.receive_data(b"\x82\x7f" + (2**40).to_bytes(8, "big"), [])
    tracemalloc.start()
    try:
        for _ in range(500):
            parser.receive_data(piece, [])
        assert tracemalloc.get_traced_memory()[1] < 2**17
    finally:
        tracemalloc.stop()


def seconds_for(fragments: int) -> float:
    data = frame(b"x", fin=False) + frame(b"x", 0, fin=False) * fragments + frame(b"x", 0)
    best = 10.0
    for _ in range(3):
        started = time.perf_counter()
        assert len(parse(data, cuts=list(range(0, len(data), 50)))) == 1
        best = min(best, time.perf_counter() - started)
    return best


def test_fragments_take_linear_time() -> None:
    assert seconds_for(40_000) < 12 * seconds_for(10_000)  # quadratic would be 16 times


# --- A message that is too large to be kept. ---

CLEAR = bytes(number % 251 for number in range(3 * (HEAD + TAIL)))
MASK = b"\x01\x82\x43\xf4"


@given(st.lists(st.integers(0, len(CLEAR))), st.booleans())
def test_both_ends_are_kept_however_it_is_cut(cuts: list[int], masked: bool) -> None:
    mask = MASK if masked else b""
    payload = apply_mask(CLEAR, mask) if masked else CLEAR
    message = SkippedMessage(None)
    for start, stop in pairwise([0, *sorted(cuts), len(payload)]):
        message.take_masked(payload[start:stop], rotate_mask(mask, start))
    assert message.ends() == (CLEAR[:HEAD], CLEAR[-TAIL:])


@pytest.mark.parametrize("size", [0, 1, TAIL, HEAD])
def test_the_ends_of_a_short_message_overlap(size: int) -> None:
    message = SkippedMessage(None)
    message.take(CLEAR[:size])
    assert message.ends() == (CLEAR[:size], CLEAR[:size][-TAIL:])


def test_the_next_compressed_message_may_refer_to_it() -> None:
    deflater, inflater = zlib.compressobj(wbits=-15), Inflater(DeflateParameters(), 2**20)

    def compressed(clear: bytes) -> bytes:
        return (deflater.compress(clear) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]

    inflater.start()
    message = SkippedMessage(inflater)
    message.take(compressed(CLEAR))
    assert message.ends() == (CLEAR[:HEAD], CLEAR[-TAIL:])
    inflater.start()
    again = compressed(CLEAR)
    assert len(again) < 100  # hardly more than a reference
    assert inflater.inflate(again) == CLEAR


@given(st.binary(min_size=4, max_size=4), st.integers(0, 20))
def test_a_mask_is_rotated_to_where_a_piece_begins(mask: bytes, start: int) -> None:
    clear = bytes(range(32))
    assert apply_mask(clear[start:], rotate_mask(mask, start)) == apply_mask(clear, mask)[start:]


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
@pytest.mark.parametrize("mask", [False, True])
def test_the_head_of_a_frame_is_read_as_soon_as_it_is_there(size: int, mask: bool) -> None:
    data = Frame(Opcode.BINARY, bytes(size)).serialize(mask=mask)
    head = len(data) - size
    assert [frame_head(data[:end]) for end in range(head)] == [None] * head
    assert frame_head(data[:head]) == (head, size)
