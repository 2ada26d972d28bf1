"""Frames as the tests write them, and the events that a parser makes of them."""

from __future__ import annotations

from itertools import pairwise

from websockets.frames import Frame, Opcode

from debbie_otel.wire.deflate import DeflateParameters
from debbie_otel.wire.direction import MessageDirection
from debbie_otel.wire.frames import FrameEvent, FrameParser

UP = MessageDirection.CLIENT_TO_SERVER
TOO_LARGE = "larger than the inspection limit"


def parse(
    data: bytes,
    *,
    cuts: list[int] | None = None,
    deflate: DeflateParameters | None = None,
    limit: int = 2**20,
) -> list[FrameEvent]:
    parser = FrameParser(UP, deflate, limit)
    events: list[FrameEvent] = []
    edges = [0, *sorted(cuts or []), len(data)]
    for start, stop in pairwise(edges):
        parser.receive_data(data[start:stop], events)
    return events


def frame(
    payload: bytes, opcode: int = 1, *, fin: bool = True, rsv: int = 0, mask: bool = True
) -> bytes:
    data = bytearray(Frame(Opcode.BINARY, payload).serialize(mask=mask))
    data[0] = fin << 7 | rsv << 4 | opcode
    return bytes(data)
