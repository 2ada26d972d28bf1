"""An agent whose calls and words go straight into a `LoopDetector`."""

from __future__ import annotations

from typing import Any

from debbie_otel.detection.loops import LoopDetector, LoopFinding, LoopSettings
from debbie_otel.session.model import Outcome, SessionInfo, Tool, Turn
from debbie_otel.wire.direction import MessageDirection

SECOND = 10**9
UNKNOWN: Any = None
"""A result that the wire does not tell."""


class Agent:
    """Does things, one a second, and notes what was found.

    Attributes:
        found: Findings, in order.

    """

    def __init__(self, *, turns: bool = True, **settings: Any) -> None:
        self.detector = LoopDetector(LoopSettings(**settings))
        self.found: list[LoopFinding] = []
        self.now = SECOND
        self._info = SessionInfo(id="s", dialect="test", agent="a")
        self._turn = (
            Turn(
                session=self._info,
                number=1,
                started_ns=0,
                method="prompt",
                direction=MessageDirection.CLIENT_TO_SERVER,
            )
            if turns
            else None
        )

    def start(self, name: str, arguments: Any = None, *, kind: str | None = None) -> Tool:
        """Begin a call."""
        self.now += SECOND
        tool = Tool(
            session=self._info,
            name=name,
            started_ns=self.now,
            turn=self._turn,
            arguments=arguments,
            kind=kind,
        )
        self._note(self.detector.tool_started(tool))
        return tool

    def end(self, tool: Tool, result: Any = UNKNOWN, *, error: str | None = None) -> None:
        """End it, with a result or an error."""
        self.now += SECOND // 10
        tool.ended_ns = self.now
        tool.result = result
        tool.outcome = Outcome.COMPLETED if error is None else Outcome.FAILED
        if error is not None:
            tool.error_type, tool.error_message = "tool_error", error
        self._note(self.detector.tool_ended(tool))

    def call(
        self,
        name: str,
        arguments: Any = None,
        result: Any = UNKNOWN,
        *,
        error: str | None = None,
        kind: str | None = None,
    ) -> None:
        """Make a call that ends before the next begins."""
        self.end(self.start(name, arguments, kind=kind), result, error=error)

    def report(self, name: str, arguments: Any = None) -> None:
        """Make a call that the wire tells of only afterwards."""
        self.now += SECOND
        tool = Tool(
            session=self._info,
            name=name,
            started_ns=self.now,
            ended_ns=self.now,
            turn=self._turn,
            arguments=arguments,
            outcome=Outcome.COMPLETED,
            reported=True,
        )
        self._note(self.detector.tool_ended(tool))

    def stream(self, text: str, size: int = 20) -> None:
        """Say something in chunks, without ending the message."""
        for start in range(0, len(text), size):
            self.now += SECOND // 50
            self._note(self.detector.text(text[start : start + size], self.now))

    def say(self, text: str, size: int = 20) -> None:
        """Say a whole message."""
        self.stream(text, size)
        self._note(self.detector.message_ended(self.now))

    def hears_user(self) -> None:
        """Take in what a person says."""
        self.detector.user_input()

    @property
    def told(self) -> list[tuple[str, str, int]]:
        """Kind, tier and count of each finding."""
        return [(f.kind, f.tier, f.count) for f in self.found]

    @property
    def kinds(self) -> set[str]:
        """Kinds of the findings that call for action."""
        return {f.kind for f in self.found if f.tier == "hard"}

    def _note(self, finding: LoopFinding | None) -> None:
        if finding is not None:
            self.found.append(finding)
