from __future__ import annotations

import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from debbie_otel.wire.deflate import HEAD, TAIL, DeflateParameters, Inflater
from debbie_otel.wire.framing import apply_mask, turned
from debbie_otel.wire.skipping import SkippedMessage

CLEAR = bytes(number % 251 for number in range(3 * (HEAD + TAIL)))
MASK = b"\x01\x82\x43\xf4"


@given(st.lists(st.integers(0, len(CLEAR))), st.booleans())
def test_both_ends_are_kept_however_it_is_cut(cuts: list[int], masked: bool) -> None:
    mask = MASK if masked else b""
    payload = apply_mask(CLEAR, mask) if masked else CLEAR
    message = SkippedMessage(None)
    for start, stop in pairwise([0, *sorted(cuts), len(payload)]):
        message.take_masked(payload[start:stop], turned(mask, start))
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
