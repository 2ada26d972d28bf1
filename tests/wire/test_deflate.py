"""Decompression of messages, through the frames that carry them."""

from __future__ import annotations

import random
import tracemalloc
import zlib

import pytest

from debbie_otel.errors import InspectionError
from debbie_otel.wire.deflate import HEAD, TAIL, DeflateParameters
from debbie_otel.wire.frames import FrameParser, PayloadSeen, PayloadSkipped
from tests.wire.framed import TOO_LARGE, UP, frame, parse


def deflated(payload: bytes, deflater: zlib._Compress | None = None) -> bytes:
    deflater = deflater or zlib.compressobj(wbits=-15)
    return (deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize("wire_size", ["small", "large", "fragments"])
def test_compression_goes_on_after_a_skipped_message(takeover: bool, wire_size: str) -> None:
    deflater = zlib.compressobj(wbits=-15)
    # "small" is within the limit on the wire, and inflates far beyond it.
    large = b"again " * 100_000 if wire_size == "small" else random.Random(3).randbytes(20_000)
    packed = [deflated(b"first again", deflater)]
    packed.append(deflated(large, deflater if takeover else None))
    packed.append(deflated(large[-2000:] + b"last", deflater if takeover else None))
    if wire_size == "fragments":
        parts = [packed[1][i : i + 100] for i in range(0, len(packed[1]), 100)]
        wire = frame(parts[0], rsv=4, fin=False)
        wire += b"".join(frame(part, 0, fin=False) for part in parts[1:]) + frame(b"", 0)
    else:
        wire = frame(packed[1], rsv=4)
    data = frame(packed[0], rsv=4) + wire + frame(packed[2], rsv=4)
    parameters = DeflateParameters(not takeover)
    limit = 100_000 if wire_size == "small" else 3000
    assert wire_size == "small" or len(packed[1]) > limit
    for cuts in ([], list(range(0, len(data), 1013))):
        assert parse(data, cuts=cuts, deflate=parameters, limit=limit) == [
            PayloadSeen(UP, b"first again", True, True),
            PayloadSkipped(UP, len(packed[1]), TOO_LARGE, large[:HEAD], large[-TAIL:]),
            PayloadSeen(UP, large[-2000:] + b"last", True, True),
        ]


@pytest.mark.parametrize("size", [999, 1000, 1001])
def test_the_limit_is_exact_for_compressed_messages(size: int) -> None:
    packed = deflated(b"x" * size)
    [event] = parse(frame(packed, rsv=4), deflate=DeflateParameters(), limit=1000)
    assert isinstance(event, PayloadSeen if size <= 1000 else PayloadSkipped)


def test_a_bomb_costs_bounded_memory_and_then_blinds() -> None:
    deflater = zlib.compressobj(wbits=-15)
    block = deflater.compress(bytes(32 * 2**20)) + deflater.flush(zlib.Z_FULL_FLUSH)
    bomb = block * 10  # a full flush makes it independent of what comes before
    parser = FrameParser(UP, DeflateParameters(), 2**20)
    tracemalloc.start()
    try:
        with pytest.raises(InspectionError, match="beyond the limit"):
            parser.receive_data(frame(bomb, rsv=4), [])
        assert tracemalloc.get_traced_memory()[1] < 6 * 2**20
    finally:
        tracemalloc.stop()


def test_final_deflate_blocks() -> None:
    # The payload of RFC 7692 section 7.2.3.4: "Hello" in a block with BFINAL set, then an
    # empty block's first byte; after it, a normal message that refers back to it.
    final = bytes.fromhex("f348cdc9c9070000")
    deflater = zlib.compressobj(wbits=-15, zdict=b"Hello")
    data = frame(final, rsv=4) + frame(deflated(b"Hello Hello", deflater), rsv=4)
    assert parse(data, deflate=DeflateParameters()) == [
        PayloadSeen(UP, b"Hello", True, True),
        PayloadSeen(UP, b"Hello Hello", True, True),
    ]


def test_a_final_block_that_ends_its_message() -> None:
    final = zlib.compressobj(wbits=-15)
    packed = final.compress(b"x" * 2000) + final.flush(zlib.Z_FINISH)
    for limit in (10, 2000):
        events = parse(frame(packed + b"\x00", rsv=4) * 2, deflate=DeflateParameters(), limit=limit)
        assert [type(e) for e in events] == [PayloadSkipped if limit == 10 else PayloadSeen] * 2


def test_corrupt_compression_is_an_inspection_error() -> None:
    with pytest.raises(InspectionError, match="does not inflate"):
        parse(frame(b"\xff\xff\xff\xff", rsv=4), deflate=DeflateParameters())


def test_final_deflate_blocks_in_a_skipped_message() -> None:
    deflater = zlib.compressobj(wbits=-15)
    final = deflater.compress(b"seed" * 1000) + deflater.flush(zlib.Z_FINISH) + b"\x00"
    later = zlib.compressobj(wbits=-15, zdict=b"seed" * 1000)
    data = frame(final, rsv=4) + frame(deflated(b"seedseed", later), rsv=4)
    assert parse(data, deflate=DeflateParameters(), limit=100) == [
        PayloadSkipped(UP, len(final), TOO_LARGE, b"seed" * (HEAD // 4), b"seed" * (TAIL // 4)),
        PayloadSeen(UP, b"seedseed", True, True),
    ]
