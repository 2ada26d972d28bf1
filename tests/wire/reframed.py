"""What tests of re-framing need: a sender that compresses, and websockets' own receiver."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import msgspec
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, Protocol
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from debbie_otel.wire.deflate import DEFLATE_TAIL, DeflateParameters
from debbie_otel.wire.direction import MessageDirection
from debbie_otel.wire.frames import CloseSeen, FrameEvent, FrameParser, PayloadSeen

UP = MessageDirection.CLIENT_TO_SERVER
DOWN = MessageDirection.SERVER_TO_CLIENT


class Sent(msgspec.Struct, frozen=True):
    """A message, and how it is sent: `cuts` fragments, with pings between them."""

    payload: bytes
    compressed: bool = False
    cuts: int = 1
    ping: bool = False


class Sender:
    """One peer's outgoing direction."""

    def __init__(self, direction: MessageDirection, deflate: DeflateParameters | None) -> None:
        self._mask = direction is UP
        self._deflate = deflate
        self._compressor = zlib.compressobj(wbits=-15)

    def send(self, sent: Sent) -> bytes:
        payload = sent.payload
        compressed = sent.compressed and self._deflate is not None
        if compressed and self._deflate is not None:
            if self._deflate.no_context_takeover:
                self._compressor = zlib.compressobj(wbits=-15)
            payload = self._compressor.compress(payload)
            payload += self._compressor.flush(zlib.Z_SYNC_FLUSH)
            payload = payload.removesuffix(DEFLATE_TAIL)
        step = max(1, -(-len(payload) // sent.cuts))
        parts = [payload[i : i + step] for i in range(0, len(payload), step)] or [b""]
        data = b""
        for number, part in enumerate(parts):
            opcode = Opcode.CONT if number else Opcode.TEXT
            last = number == len(parts) - 1
            frame = bytearray(Frame(opcode, part, last).serialize(mask=self._mask))
            frame[0] |= 0x40 if compressed and not number else 0
            data += frame
            if sent.ping:
                data += self.control(Opcode.PING, b"%d" % number)
        return data

    def control(self, opcode: Opcode, payload: bytes) -> bytes:
        return Frame(opcode, payload).serialize(mask=self._mask)


class Received(msgspec.Struct):
    """What a real receiver makes of bytes."""

    messages: list[bytes]
    pings: list[bytes]
    error: Exception | None


def receive(
    data: bytes, direction: MessageDirection, deflate: DeflateParameters | None = None
) -> Received:
    protocol: Protocol
    if direction is UP:
        protocol = ServerProtocol(state=OPEN, max_size=None)
    else:
        protocol = ClientProtocol(parse_uri("ws://localhost"), state=OPEN, max_size=None)
    if deflate is not None:
        alone = deflate.no_context_takeover
        protocol.extensions = [PerMessageDeflate(alone, alone, 15, 15)]
    protocol.receive_data(data)
    messages: list[bytes] = []
    pings = []
    for frame in protocol.events_received():
        assert isinstance(frame, Frame)
        if frame.opcode is Opcode.PING:
            pings.append(bytes(frame.data))
        elif frame.opcode is Opcode.CONT:
            messages[-1] += bytes(frame.data)
        elif frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            messages.append(bytes(frame.data))
    return Received(messages, pings, protocol.parser_exc)


class Decider:
    """A handler: keeps what it is shown, and decides by a function of the payload."""

    def __init__(self, decide: Callable[[bytes], bytes | None] = lambda payload: payload) -> None:
        self.decide = decide
        self.seen: list[bytes] = []
        self.others: list[FrameEvent] = []
        self.errors: list[Exception] = []
        self.closes = True

    def message(self, seen: PayloadSeen) -> bytes | None:
        self.seen.append(seen.payload)
        return self.decide(seen.payload)

    def passed(self, event: FrameEvent) -> None:
        self.others.append(event)

    def closing(self, seen: CloseSeen) -> bool:
        return self.closes

    def failed(self, error: Exception) -> None:
        self.errors.append(error)


def parser(
    direction: MessageDirection, deflate: DeflateParameters | None = None, limit: int = 2**20
) -> FrameParser:
    return FrameParser(direction, deflate, limit)
