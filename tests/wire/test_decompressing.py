"""A direction made plain: what comes out needs no inflater, and says the same."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Opcode

from debbie_otel.errors import InspectionError
from debbie_otel.wire.decompressing import Plain
from debbie_otel.wire.deflate import DeflateParameters, Inflater
from debbie_otel.wire.direction import MessageDirection
from tests.wire.reframed import DOWN, UP, Sender, Sent, receive

TAKEOVER = DeflateParameters()


def plain() -> Plain:
    return Plain(Inflater(TAKEOVER, 2**20))


@settings(max_examples=100, deadline=None)
@given(
    direction=st.sampled_from([UP, DOWN]),
    sent=st.lists(
        st.builds(
            Sent,
            payload=st.binary(max_size=50) | st.just(b"on and on " * 300),
            compressed=st.booleans(),
            cuts=st.integers(1, 4),
            ping=st.booleans(),
        ),
        max_size=6,
    ),
    cuts=st.lists(st.integers(0, 2**16), max_size=8),
)
def test_the_same_messages_come_out_uncompressed(
    direction: MessageDirection, sent: list[Sent], cuts: list[int]
) -> None:
    sender = Sender(direction, TAKEOVER)
    data = b"".join(map(sender.send, sent))
    stage = plain()
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    output = b"".join(
        piece for first, last in pairwise(places) for piece in stage.receive(data[first:last])
    )
    received = receive(output, direction)  # a receiver that knows of no compression
    assert received.error is None
    assert received.messages == [message.payload for message in sent]
    assert received.pings == receive(data, direction, TAKEOVER).pings


def test_what_is_not_compressed_comes_out_as_it_was() -> None:
    sender = Sender(UP, TAKEOVER)
    data = sender.send(Sent(b"abc", cuts=3, ping=True)) + sender.control(Opcode.CLOSE, b"\x03\xe8")
    assert b"".join(plain().receive(data + b"and what follows")) == data + b"and what follows"


def test_fragments_stay_fragments() -> None:
    sender = Sender(DOWN, TAKEOVER)
    data = sender.send(Sent(bytes(range(256)) * 8, compressed=True, cuts=3))
    output = b"".join(plain().receive(data))
    frames = []
    while output:
        size = int.from_bytes(output[2:4], "big") if output[1] == 126 else output[1]
        frames.append(output[0])
        output = output[size + (4 if output[1] == 126 else 2) :]
    assert len(frames) in (2, 3)  # the last fragment may bring nothing that was not there before
    assert frames[0] == 0x01
    assert frames[-1] == 0x80


def test_a_bomb_comes_out_in_bounded_pieces_and_only_as_it_is_asked_for() -> None:
    bomb = Sender(DOWN, TAKEOVER).send(Sent(bytes(2**25), compressed=True))
    assert len(bomb) < 2**16
    pieces = plain().receive(bomb)
    first = next(pieces)
    assert len(first) < 2**16 + 20
    total = len(first) + sum(len(piece) for piece in pieces)
    assert 2**25 <= total < 2**25 + 2**14


def test_data_that_do_not_inflate_raise() -> None:
    with pytest.raises(InspectionError):
        list(plain().receive(b"\xc1\x04\xff\xff\xff\xff"))
