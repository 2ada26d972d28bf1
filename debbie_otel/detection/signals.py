"""What one session shows of its health: events in, readings out. Pure; time is an argument."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from debbie_otel.detection.control_metrics import Reading
from debbie_otel.detection.loops import LoopDetector, LoopFinding
from debbie_otel.detection.obligations import AGENT, HEARTBEATS, OpenWork, is_ours
from debbie_otel.detection.settings import DetectionSettings
from debbie_otel.detection.track_record import TrackRecord
from debbie_otel.session import events as ev
from debbie_otel.session.model import Outcome, SessionInfo, Turn

# Module names: in Python 3.11 a member costs 0.1 µs through its enum, and these are the hot path.
_FAILED = Outcome.FAILED
_CUT_OFF = (Outcome.ABORTED, Outcome.CANCELLED)
_NOT_DONE = (Outcome.FAILED, Outcome.CANCELLED, Outcome.ABORTED)


class SessionVitals:
    """The health of one session.

    Args:
        info: The session.
        settings: Thresholds and windows.

    Attributes:
        loop_warning: A loop of the soft tier that was found last; taken by whoever tells it.

    """

    def __init__(self, info: SessionInfo, settings: DetectionSettings) -> None:
        self.info = info
        self.loops = LoopDetector(settings.loops)
        self.loop_warning: LoopFinding | None = None
        self._loop: LoopFinding | None = None  # found since the last reading
        self._settings = settings
        self._work = OpenWork(info.started_ns or 0, settings)
        self._record = TrackRecord(settings)
        self._retries: list[int] = []

    def take(self, event: ev.Event) -> bool:
        """Take in an event; return whether it may be what completes a loop or an error burst."""
        handler = HANDLERS.get(type(event))
        return handler is not None and handler(self, event)

    # -- events ------------------------------------------------------------------------------

    def notification(self, event: ev.NotificationSeen) -> bool:
        """Note the agent's progress: what it says for this session, heartbeats left aside."""
        message = event.message
        if message.direction is not AGENT or message.method in HEARTBEATS:
            return False
        # Where sessions have names, a message without one may be about another session.
        if self.info.unnamed or self.info.id.encode() in message.payload:
            self._work.told(event.time_ns, event.turn)
        return False

    def call_started(self, event: ev.CallStarted) -> bool:
        """Note that something is owed; a call by the agent is progress."""
        call = event.call
        if call.injected:
            return False  # a request of ours: the agent owes the user no answer to it
        self._work.call_started(call)
        if call.direction is AGENT and call.method not in HEARTBEATS:
            self._work.told(event.time_ns, call.turn)
        return False

    def call_ended(self, event: ev.CallEnded) -> bool:
        """Note what is owed no more, and how it went."""
        call, now_ns = event.call, event.time_ns
        self._work.calls.pop(id(call), None)
        if call.method in HEARTBEATS or call.outcome is None or call.injected:
            return False
        if call.direction is AGENT:
            self._work.progress_ns = now_ns  # the agent has what it was waiting for, and owes again
            return False
        if not self._work.turns:  # else the answer to some other request tells nothing of the turn
            self._work.progress_ns = now_ns
        if call.outcome in _CUT_OFF:
            return False
        seconds = (now_ns - call.started_ns) / 1e9
        if call.outcome is _FAILED:  # a tool's own end counts it
            return call.tool is not None or self._record.attempt(
                call.method, call.params, call.error_type, now_ns
            )
        if call.tool is not None:
            self._record.time(f"{call.method} {call.tool.name}", seconds, now_ns)
            return False
        if call.opens_turn:
            return self._record.attempt(call.method, call.params, None, now_ns)
        # What was asked matters only where something has failed, and a big request is read for it.
        asked = None if self._record.failures.clean else call.params
        return self._record.answered(call.method, seconds, now_ns, asked)

    def turn_started(self, event: ev.TurnStarted) -> bool:
        """Note that something is owed, and that the user spoke."""
        self._work.turns[id(event.turn)] = event.turn
        if is_ours(event.turn):
            return False  # the user said nothing, and the agent has not moved yet
        self._work.unfinished = None
        self._work.progress_ns = event.time_ns
        self.loops.user_input()
        return False

    def turn_ended(self, event: ev.TurnEnded) -> bool:
        """Note how a turn ended; one that stopped mid-task still owes something."""
        turn, now_ns = event.turn, event.time_ns
        self._work.turns.pop(id(turn), None)
        if is_ours(turn) and self._tells_nothing(turn):
            return False
        self._work.progress_ns = now_ns
        if turn.outcome is Outcome.INCOMPLETE:
            self._work.unfinished = turn
        elif turn.outcome is Outcome.COMPLETED:
            self._work.unfinished = None
            self._record.time(f"turn {turn.method}", (now_ns - turn.started_ns) / 1e9, now_ns)
            self.loops.turn_ended()
        if turn.call is None or not turn.call.opens_turn or turn.call.outcome is turn.outcome:
            return False
        failed = turn.outcome is Outcome.FAILED
        if failed:
            self._record.add(now_ns, f"turn {turn.method}", str(turn.number), turn.error_type)
        return failed

    def _tells_nothing(self, turn: Turn) -> bool:
        """Whether a turn of ours has ended without a move of the agent's.

        That is so if it failed or was taken up without a word; and of a turn beside it, which its
        client waits for, it tells nothing either.
        """
        beside = any(not is_ours(other) for other in self._work.turns.values())
        return beside or turn.outcome in _NOT_DONE or not (turn.output or turn.tools)

    def tool_started(self, event: ev.ToolStarted) -> bool:
        """Look for a loop that a call completes when it begins."""
        if event.tool.injected:
            return False  # Debbie repeats it, not the agent
        self._work.tools[id(event.tool)] = event.tool
        return self._found(self.loops.tool_started(event.tool))

    def stream_advanced(self, event: ev.StreamAdvanced) -> bool:
        """Note what the agent says."""
        self._work.told(event.time_ns, event.stream.turn)
        self._work.words_ns = event.time_ns
        if event.stream.kind != "message":
            return False
        return self._found(self.loops.text(event.text, event.time_ns))

    def stream_ended(self, event: ev.StreamEnded) -> bool:
        """Look for a message that was said before."""
        if event.stream.kind != "message":
            return False
        return self._found(self.loops.message_ended(event.time_ns))

    def tool_ended(self, event: ev.ToolEnded) -> bool:
        """Look for a loop, and note how the tool went."""
        tool, now_ns = event.tool, event.time_ns
        if tool.injected:
            return False
        self._work.tools.pop(id(tool), None)
        self._work.tool_ended_ns = now_ns
        found = self._found(self.loops.tool_ended(tool))
        if tool.outcome in (Outcome.COMPLETED, Outcome.FAILED):
            error = tool.error_type or "error" if tool.outcome is Outcome.FAILED else None
            found = self._record.attempt(tool.name, tool.arguments, error, now_ns) or found
        return found

    def error_reported(self, event: ev.ErrorReported) -> bool:
        """Note that the agent tries again."""
        if not event.will_retry:
            return False
        self.loops.message_cut()  # the same words will come again
        window = round(self._settings.retry_window * 1e9)
        recent = [when for when in self._retries if when > event.time_ns - window]
        self._retries = [*recent[-63:], event.time_ns]
        return True

    def _found(self, finding: LoopFinding | None) -> bool:
        if finding is None:
            return False
        if finding.tier == "soft":
            self.loop_warning = finding
            return False
        self._loop = finding
        return True

    @property
    def forgettable(self) -> bool:
        """Whether this never became a session, and nothing is open: such have no end."""
        return self.info.started_ns is None and not self._work.open_calls()

    # -- readings ----------------------------------------------------------------------------

    def readings(self, now_ns: int) -> Iterator[Reading]:
        """Yield what is out of the ordinary, or near it; a healthy idle session yields nothing."""
        yield from self._work.silence(now_ns)
        yield from self._work.oldest_call(now_ns)
        yield from self._work.turn_budgets(now_ns)
        for name, slow in self._record.slow():
            text = f"{name} takes {slow.current:.2f}s, usually {slow.baseline:.2f}s"
            yield Reading("response.ratio", slow.ratio, name, slow.since_ns, text)
        rate = self._record.failures.rate(now_ns)
        s = self._settings
        if rate.errors >= s.error_minimum and rate.calls >= s.error_calls:
            text = f"{rate.errors} of {rate.calls} calls failed, last {rate.last_error}"
            yield Reading("error.ratio", rate.ratio, "", rate.since_ns, text)
        # A loop may be over before it is read: AIWhisperer tells of a whole turn in one message.
        found, self._loop = self._loop, None
        loop = self.loops.active
        if loop is None or loop.tier != "hard":
            loop = found
        if loop is not None and loop.tier == "hard":
            subject = loop.tool or loop.kind
            yield Reading(
                "loop.count", loop.count, subject, loop.since_ns, loop.message, loop.limit
            )
        yield from self._retried(now_ns)

    def _retried(self, now_ns: int) -> Iterator[Reading]:
        window = round(self._settings.retry_window * 1e9)
        name, count = self._record.failures.repeated(now_ns, window)
        reported = sum(1 for when in self._retries if when > now_ns - window)
        if reported > count:
            name, count = "the model", reported
        if count > 1:
            text = f"{name} failed {count} times in {self._settings.retry_window:.0f}s"
            yield Reading("retries", count, name, now_ns - window, text)


HANDLERS: dict[type[ev.Event], Callable[[SessionVitals, Any], bool]] = {
    ev.NotificationSeen: SessionVitals.notification,
    ev.CallStarted: SessionVitals.call_started,
    ev.CallEnded: SessionVitals.call_ended,
    ev.TurnStarted: SessionVitals.turn_started,
    ev.TurnEnded: SessionVitals.turn_ended,
    ev.ToolStarted: SessionVitals.tool_started,
    ev.ToolEnded: SessionVitals.tool_ended,
    ev.StreamAdvanced: SessionVitals.stream_advanced,
    ev.StreamEnded: SessionVitals.stream_ended,
    ev.ErrorReported: SessionVitals.error_reported,
}
"""What takes in an event; each returns whether the session should be looked at soon."""
