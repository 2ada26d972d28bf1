"""A scene: a speaker on a wire, and what becomes of the case."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TypeVar

import msgspec

from tests.corpus import words
from tests.corpus.acp import Acp
from tests.corpus.aiwhisperer import AiWhisperer
from tests.corpus.case import Defaults, Expected
from tests.corpus.codex import Codex
from tests.corpus.mcp import Generic, Mcp
from tests.corpus.speaker import Speaker
from tests.corpus.wire import Wire

SPEAKERS: dict[str, type[Speaker]] = {
    "aiwhisperer": AiWhisperer,
    "acp": Acp,
    "codex": Codex,
    "mcp": Mcp,
    "generic": Generic,
}
TURNS = ("aiwhisperer", "acp", "codex")
"""Dialects with turns and streams."""
VISIBLE = ("acp", "codex", "mcp")
"""Dialects that show tools while they run, and their results."""
SESSIONS = ("acp", "codex")
"""Dialects with several sessions on one connection."""

S = TypeVar("S", bound=Speaker)


class Scene:
    """Where a theme is played.

    Attributes:
        speaker: The client and server that talk.
        tolerated: Alert types that may come besides what is expected.
        quiet: Seconds that the clock runs on after the last message.

    """

    def __init__(self, dialect: str, rng: Random, defaults: Defaults) -> None:
        self.rng = rng
        self.defaults = defaults
        self.wire = Wire(rng)
        self.speaker = SPEAKERS[dialect](self.wire)
        self.tolerated: set[str] = set()
        self.quiet = rng.uniform(100.0, 400.0)

    def opened(self, kind: type[S]) -> S:
        """Open the session and return the speaker, which must be of that kind."""
        assert isinstance(self.speaker, kind), self.speaker.dialect
        self.speaker.open()
        return self.speaker

    def open(self, turns: int | None = None) -> Speaker:
        """Open the session and play some ordinary turns; return the speaker."""
        self.speaker.open()
        for _ in range(self.rng.randint(0, 2) if turns is None else turns):
            self.speaker.turn()
            self.wire.pause(3.0, 60.0)
        return self.speaker

    def task(self, prompt: str | None = None) -> Speaker:
        """Open the session and give the agent something to do; it has thought when this returns."""
        speaker = self.open()
        speaker.begin(words.wish(self.rng) if prompt is None else prompt)
        self.wire.about(1.5)
        return speaker

    def expect(
        self, alert_type: str, onset: float, deadline: float, speaker: Speaker | None = None
    ) -> tuple[Expected, ...]:
        """Return the expectation of an alert on the speaker's session."""
        session = (speaker or self.speaker).session
        return (Expected(alert_type=alert_type, onset=onset, deadline=deadline, session=session),)


Theme = Callable[[Scene], tuple[Expected, ...]]
"""Plays a scene; returns what should be noticed, nothing if all is well."""


class Recipe(msgspec.Struct, frozen=True):
    """How many cases of a theme there are, and in which dialects."""

    theme: Theme
    dialects: tuple[str, ...]
    count: int

    @property
    def name(self) -> str:
        """The theme's name."""
        name: str = getattr(self.theme, "__name__")  # noqa: B009 - a Callable need not have one
        return name
