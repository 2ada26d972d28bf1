"""The wire: a clock and a growing recording."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from debbie_otel.app.recording import RecordedMessage
from debbie_otel.wire.direction import MessageDirection

C2S = MessageDirection.CLIENT_TO_SERVER
S2C = MessageDirection.SERVER_TO_CLIENT


class Wire:
    """Messages of all connections to one server, in the order in which they were sent.

    Attributes:
        now: Seconds since the recording began.
        messages: What was said so far.

    """

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.now = rng.uniform(0.02, 0.6)
        self.messages: list[RecordedMessage] = []

    def say(self, conn: str, direction: MessageDirection, message: Any) -> float:
        """Put a message on the wire; return when it was seen."""
        self.now += self.rng.uniform(0.0002, 0.002)
        payload = json.dumps(message, ensure_ascii=False).encode()
        t = round(self.now, 4)
        self.messages.append(RecordedMessage(t, conn, direction, payload))
        return t

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    def pause(self, low: float, high: float) -> float:
        """Let some time between two bounds pass, and return it."""
        seconds = self.rng.uniform(low, high)
        self.now += seconds
        return seconds

    def about(self, seconds: float, spread: float = 0.15) -> float:
        """Let about so much time pass (log-normal around it), and return it."""
        taken = seconds * self.rng.lognormvariate(0.0, spread)
        self.now += taken
        return taken
