"""Plays wire transcripts through the core, and tells in short lines what came out.

>> {...}     client to server          +2.5    2.5 seconds pass
<< {...}     server to client          conn B  what follows is on connection B
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from debbie_otel.session import events as ev
from debbie_otel.session.connection import Connection
from debbie_otel.session.dialect.dialect import Dialect
from debbie_otel.session.dialect.registry import builtin_dialects
from debbie_otel.session.directory import Limits, Sessions
from debbie_otel.session.message import parse_payload
from debbie_otel.wire.direction import MessageDirection

DATA = Path(__file__).parent / "data"
T = TypeVar("T")
SECOND = 10**9
C2S = MessageDirection.CLIENT_TO_SERVER
S2C = MessageDirection.SERVER_TO_CLIENT


class Play:
    """A stage: connections to one server, and the events so far."""

    def __init__(self, dialect: str | Dialect | None = None, limits: Limits | None = None) -> None:
        known = builtin_dialects()
        self.fallback = known["generic"]
        if isinstance(dialect, Dialect):
            self.dialects: tuple[Dialect, ...] = (dialect,)
        elif dialect is not None:
            self.dialects = (known[dialect],)
        else:
            self.dialects = tuple(d for d in known.values() if d.document.detect)
        self.sessions = Sessions(limits)
        self.connections: dict[str, Connection] = {}
        self.events: list[ev.Event] = []
        self.now = 0
        self.current = "A"

    @property
    def connection(self) -> Connection:
        """The connection that speaks."""
        if self.current not in self.connections:
            self.connections[self.current] = Connection(
                f"conn-{self.current}", self.dialects, self.fallback, self.sessions
            )
        return self.connections[self.current]

    def send(self, direction: MessageDirection, payload: bytes) -> list[ev.Event]:
        """Send one payload; return what it caused."""
        out: list[ev.Event] = []
        for message in parse_payload(payload, direction, self.now):
            self.connection.receive(message, out)
        self.events += out
        return out

    def play(self, transcript: str) -> list[str]:
        """Play lines; return the stories of the events that they caused."""
        before = len(self.events)
        for line in filter(None, map(str.strip, transcript.splitlines())):
            mark, rest = line[:2], line[2:].strip()
            if mark == ">>":
                self.send(C2S, rest.encode())
            elif mark == "<<":
                self.send(S2C, rest.encode())
            elif line.startswith("+"):
                self.now += round(float(line[1:]) * SECOND)
            elif line.startswith("conn "):
                self.current = line[5:]
            else:
                raise AssertionError(f"no transcript line: {line}")
        return stories(self.events[before:])

    def close(self, reason: str = "disconnected") -> list[str]:
        """Close the connection that speaks."""
        out: list[ev.Event] = []
        self.connection.close(self.now, reason, out)
        del self.connections[self.current]
        self.events += out
        return stories(out)

    def of(self, kind: type[T]) -> list[T]:
        """Events of one type."""
        return [event for event in self.events if isinstance(event, kind)]


def recording(name: str) -> Play:
    """Play a recording from tests/data, every connection closed at its end."""
    stage = Play()
    for line in (DATA / name / "transcript.jsonl").read_text().splitlines():
        entry = json.loads(line)
        message = entry["msg"]
        stage.now = round(entry["t"] * SECOND)
        stage.current = entry.get("conn", "A")
        payload = message if isinstance(message, str) else json.dumps(message)
        stage.send(MessageDirection(entry["dir"]), payload.encode())
    for name_ in list(stage.connections):
        stage.current = name_
        stage.close("end of recording")
    return stage


def stories(events: Iterable[ev.Event]) -> list[str]:
    """Tell events in short lines; messages themselves are left out."""
    return [told for event in events if (told := story(event)) is not None]


def story(event: ev.Event) -> str | None:
    """Tell one event."""
    match event:
        case ev.MessageSeen() | ev.StreamAdvanced():
            return None
        case ev.SessionStarted(session=s):
            return f"session {s.id} {'resumed' if s.resumed else 'started'}"
        case ev.SessionEnded(session=s, reason=reason):
            return f"session {s.id} ended: {reason}"
        case ev.TurnStarted(turn=t):
            return f"turn {t.number} started"
        case ev.TurnEnded(turn=t):
            return f"turn {t.number} {t.outcome}" + (f" {t.error_type}" if t.error_type else "")
        case ev.CallStarted(call=c):
            return f"call {c.method}" + _in(c.turn)
        case ev.CallEnded(call=c):
            return f"call {c.method} {c.outcome}" + (f" {c.error_type}" if c.error_type else "")
        case ev.ToolStarted(tool=tool):
            return f"tool {tool.name} started" + _in(tool.turn)
        case ev.ToolEnded(tool=tool):
            error = f" {tool.error_type}" if tool.error_type else ""
            return f"tool {tool.name} {tool.outcome}{error}" + _in(tool.turn)
        case ev.ToolsListed(repeatable=names):
            return f"tools listed, repeatable {' '.join(names)}"
        case ev.StreamEnded(stream=stream):
            return f"stream {stream.kind} x{stream.count}" + _in(stream.turn)
        case ev.NotificationSeen(message=m, turn=turn):
            return f"notification {m.method}" + _in(turn)
        case ev.StraySeen(message=m):
            return f"stray {m.type}"
        case ev.UsageReported():
            return f"usage {event.input_tokens}+{event.output_tokens}"
        case ev.ErrorReported():
            return f"error {event.message}" + (" will retry" if event.will_retry else "")
    raise AssertionError(event)


def _in(turn: object) -> str:
    number = getattr(turn, "number", None)
    return "" if number is None else f" in turn {number}"
