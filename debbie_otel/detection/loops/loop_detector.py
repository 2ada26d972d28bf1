"""`LoopDetector`: what one session does, in; loops, out."""

from __future__ import annotations

from debbie_otel.detection.loops.findings import LoopFinding, LoopSettings
from debbie_otel.detection.loops.name_patterns import any_name
from debbie_otel.detection.loops.order import StartOrder
from debbie_otel.detection.loops.repetition import CallLoops, LoopSteps
from debbie_otel.detection.loops.speech import Speech
from debbie_otel.session.model import Tool


class LoopDetector:
    """Watches one session for loops.

    A loop needs no real user input between its calls. Prompts that we inject are not reported
    here, so that a loop that goes on after them is still the same loop.
    """

    def __init__(self, settings: LoopSettings) -> None:
        self._settings = settings
        self._thinks = any_name(settings.thinking, from_any_word=True)
        self._order = StartOrder()
        self._calls = CallLoops(settings)
        self._thoughts: CallLoops | None = None  # few agents have such tools
        self._speech = Speech(settings)
        self._gap_ns = round(settings.episode_gap * 1e9)
        self._last_ns: int | None = None

    @property
    def active(self) -> LoopFinding | None:
        """The gravest loop that still goes on.

        None once something different happened: another call, a result that is new, a success
        after failures, other words, real user input, or the end of the turn.
        """
        calls, said = self._calls.active, self._speech.active
        if self._thoughts is not None and calls is None:
            calls = self._thoughts.active
        if calls is None or said is None:
            return calls or said
        return said if said.tier == "hard" and calls.tier == "soft" else calls

    def steps(self) -> LoopSteps:
        """Return the last calls: what would be more of the same."""
        return self._calls.steps()

    def tool_started(self, tool: Tool) -> LoopFinding | None:
        """Take in a call that begins; return a loop that calls before it completed."""
        self._speech.observed()
        self._heed_gap(tool)
        found = None
        for ended in self._order.started(tool):
            found = self._ended(ended) or found
        self._history(tool).begun(tool, self._order.running - 1)
        return found

    def tool_ended(self, tool: Tool) -> LoopFinding | None:
        """Take in a call that has ended, or one that the wire reported afterwards.

        Where calls run side by side they count in the order of their beginning, so that one may
        have to wait for those that began before it.
        """
        if tool.reported:
            self._heed_gap(tool)
        self._speech.observed()
        self._last_ns = tool.ended_ns
        found = None
        for ended in self._order.ended(tool, looping=self._calls.active is not None):
            found = self._ended(ended) or found
        return found

    def text(self, text: str, time_ns: int) -> LoopFinding | None:
        """Take in a chunk (what is new in it) of the agent's message."""
        return self._speech.text(text, time_ns)

    def message_ended(self, time_ns: int) -> LoopFinding | None:
        """Take in the end of an agent's message."""
        return self._speech.message_ended(time_ns)

    def message_cut(self) -> None:
        """Take note that the model's stream broke off and is tried again.

        The same words will come once more, and that is no repetition.
        """
        self._speech.message_cut()

    def user_input(self) -> None:
        """Begin anew: a person spoke, and whatever is done now is done for them."""
        self._forget()

    def turn_ended(self) -> None:
        """Take note that the agent came to an end: no loop goes on.

        What it did still counts if it goes on without real user input.
        """
        self._calls.active = None
        if self._thoughts is not None:
            self._thoughts.active = None
        self._speech.active = None

    def _ended(self, tool: Tool) -> LoopFinding | None:
        return self._history(tool).ended(tool)

    def _history(self, tool: Tool) -> CallLoops:
        """Return the sequence that a call belongs to; thinking does not interrupt the others."""
        if tool.kind != "think" and not self._thinks(tool.name):
            return self._calls
        if self._thoughts is None:
            self._thoughts = CallLoops(self._settings)
        return self._thoughts

    def _heed_gap(self, tool: Tool) -> None:
        """Outside of turns, nobody tells of user input: a long silence stands for it."""
        if (
            tool.turn is None
            and self._last_ns is not None
            and tool.started_ns - self._last_ns > self._gap_ns
        ):
            self._forget()

    def _forget(self) -> None:
        self._order.forget()
        self._calls.reset()
        self._thoughts = None
        self._speech = Speech(self._settings)
        self._last_ns = None
