"""Plays wire transcripts through a mediator, and tells what each peer gets.

>> {...}     the client sends         -> {...}     the server gets
<< {...}     the server sends         <- {...}     the client gets
                                      ?? ...       Debbie gets, for a request of its own
"""

from __future__ import annotations

from collections.abc import Iterable

from debbie_otel.intervention.mediator import (
    FORWARD,
    HOLD,
    Command,
    Inject,
    Mediator,
    Replace,
    Resolve,
    Show,
)
from debbie_otel.session.message import JsonRpcId, MessageType
from debbie_otel.session.model import Call
from tests.play import C2S, S2C, Play

_GETS = {C2S: "->", S2C: "<-"}


class Mediated:
    """A connection that is acted on.

    Attributes:
        told: All that peers, and Debbie, have got so far.
        shown: What the observer was told beside the messages on the wire.

    """

    def __init__(self, dialect: str = "mcp") -> None:
        self.stage = Play(dialect)
        self.mediator = Mediator(self.stage.connection)
        self.mediator._ids._prefix = "debbie-"
        self.mediator._ids._first = 1000
        self.mediator._asked.prefix = "debbie-q"
        self.told: list[str] = []
        self.shown: list[str] = []

    def call(self, call_id: JsonRpcId) -> Call:
        """An open request."""
        calls = self.stage.connection.pending_calls
        (found,) = [call for call in calls if call.id == call_id]
        return found

    def request(self, method: str, *, replaces: Call | None = None) -> JsonRpcId:
        request, commands = self.mediator.request(method, None, replaces)
        self.carry_out(commands)
        return request

    def play(self, transcript: str) -> list[str]:
        """Play lines; return what the peers get of them, and of what was done since the last."""
        before = len(self.told)
        for line in filter(None, map(str.strip, transcript.splitlines())):
            mark, payload = line[:2], line[2:].strip().encode()
            if mark == ">>":
                self.stage.send(C2S, payload)
                self._tell(C2S, payload, [self.mediator.client_sent(payload)])
            else:
                assert mark == "<<", line
                seen = self.mediator.client_view(payload)
                self.stage.send(S2C, seen)
                self._tell(S2C, seen, self.mediator.server_sent(seen))
        return self.told[before:]

    def carry_out(self, commands: Iterable[Command]) -> list[str]:
        """Carry out what a strategy has asked for; return what the peers get of it."""
        before = len(self.told)
        for command in commands:
            match command:
                case Inject(direction, payload):
                    self.told.append(f"{_GETS[direction]} {payload.decode()}")
                case Show(direction, payload):
                    self.stage.send(direction, payload)
                    self.shown.append(f"{_GETS[direction]} {payload.decode()}")
                case Resolve(request, None, why):
                    self.told.append(f"?? {request} fails: {why}")
                case Resolve(request, message):
                    assert message is not None
                    kind = "error" if message.type is MessageType.ERROR else "answer"
                    self.told.append(f"?? {request} {kind}")
                case _:
                    raise AssertionError(command)
        return self.told[before:]

    def _tell(self, direction: object, payload: bytes, commands: list[Command]) -> None:
        mark = "->" if direction is C2S else "<-"
        verdicts = [c for c in commands if c is FORWARD or c is HOLD or isinstance(c, Replace)]
        assert len(verdicts) == 1
        self.carry_out(c for c in commands if c is not verdicts[0])
        if verdicts[0] is FORWARD:
            self.told.append(f"{mark} {payload.decode()}")
        elif isinstance(verdicts[0], Replace):
            self.told.append(f"{mark} {verdicts[0].payload.decode()}")
