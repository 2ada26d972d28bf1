"""Recovery: whether the agent itself has moved after an attempt, and what came of the attempt.

`RecoveryWatch` is pure: events in, evidence out. `verify` and `pause` wait for what it finds.

What Debbie sends, and what a server says only to take that up, is never evidence: not the answer to
a request of Debbie's, not a cancelled turn, not a notification without content.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import Any

import msgspec

from debbie_otel.detection.alerts import AnomalyAlert, Transition
from debbie_otel.detection.loops import LoopSteps
from debbie_otel.errors import ChannelError
from debbie_otel.intervention.records import InterventionResult, Reason
from debbie_otel.intervention.steps import Done, DoneKind
from debbie_otel.session import events as ev
from debbie_otel.session.model import Call, Outcome, Tool, Turn
from debbie_otel.session.session import Session
from debbie_otel.wire.direction import MessageDirection

_AGENT = MessageDirection.SERVER_TO_CLIENT
_GOOD_IN_A_ROW = 2
_SAME_AGAIN = 3

LONGEST = 10
"""How long an agent is waited for that works, perhaps for us alone: times the usual."""

EVENTS = (
    ev.CallStarted,
    ev.CallEnded,
    ev.TurnStarted,
    ev.TurnEnded,
    ev.ToolStarted,
    ev.ToolEnded,
    ev.StreamAdvanced,
    ev.NotificationSeen,
    ev.SessionEnded,
)
"""What a watch needs to hear of."""


class Evidence(Enum):
    """What an event says of an agent that kept failing."""

    FOR = "for"
    """It succeeded."""
    AGAINST = "against"
    """It failed once more."""
    NONE = "none"
    """Neither."""


class Moved(msgspec.Struct, frozen=True):
    """The agent moved.

    Attributes:
        time_ns: When.
        what: A clause for people: what it did.

    """

    time_ns: int
    what: str


class RecoveryWatch:
    """Waits for one alert's session to recover.

    Args:
        alert: What is wrong.
        steps: Of a loop: the calls that would be more of the same.

    Attributes:
        moved: The first sign of life since the watch began, or since `again`; None so far.
        hopeless: Why no sign can come any more, or the same goes on; None so far.
        ended: Whether the session has ended.
        superseded: Whether the user has spoken since, so that a loop is over, and what runs now is
            none of it.
        unsure: Set where the agent does something that may be for a turn of Debbie's alone: the
            wait goes on.
        answered: Whether our words were answered beside the turn that hangs.

    """

    def __init__(self, alert: AnomalyAlert, steps: LoopSteps | None = None) -> None:
        self.alert = alert
        self._steps = steps
        self.moved: Moved | None = None
        self.hopeless: str | None = None
        self.ended = False
        self.superseded = False
        self.unsure = False
        self.answered = False
        self._hung: Turn | None = None  # what we say, we say beside it
        self._ours: set[int] = set()  # Debbie's turns that are open, by identity
        self._sign = _SIGNS.get(alert.alert_type, _nothing)
        self._good = 0
        self._same = 0
        self._since_ns = 0
        self._changed: Callable[[], None] = lambda: None

    def notify(self, changed: Callable[[], None]) -> None:
        """Have `changed` called whenever `moved` or `hopeless` is set."""
        self._changed = changed

    def again(self, now_ns: int = 0) -> None:
        """Forget what was seen: from now on it counts for a new attempt."""
        self.moved = self.hopeless = None
        self._since_ns = now_ns
        self._good = self._same = 0
        self._hung = None
        self.unsure = self.answered = False

    def beside(self, session: Session, *, awaited: bool = False) -> None:
        """Take note that our words open a turn of their own, beside what may be open.

        The oldest one hangs, and its client waits for it: that we are answered does not help.

        Args:
            session: Where.
            awaited: Whether the client waits even where all are ours: one has taken the place of
                its own.

        """
        turns = session.open_turns
        hung = next((turn for turn in turns if not _is_ours(turn)), None)
        self._hung = turns[0] if hung is None and awaited and turns else hung
        self._ours = {id(t) for t in turns if _is_ours(t) and t is not self._hung}

    def observe(self, event: ev.Event) -> None:
        """Take in an event; of other sessions nothing is concluded."""
        if event.session.id != self.alert.session_id:
            return
        if type(event) is ev.TurnStarted and not _is_ours(event.turn):
            self.superseded = self.alert.alert_type == "tool_loop"
        if self.moved is not None:
            return
        if type(event) is ev.TurnStarted and _is_ours(event.turn):
            self._ours.add(id(event.turn))
        if type(event) is ev.SessionEnded:
            self.hopeless = f"the session has ended ({event.reason})"
            self.ended = True
            self._changed()
            return
        if type(event) is ev.TurnEnded and self._has_failed(event.turn):
            self.hopeless = f"turn {event.turn.number} failed: {event.turn.error_type}"
        what = self._sign(self, event)
        if what is not None and self._is_of_another(event):
            what, self.unsure = None, True
        elif what is not None:
            self.moved = Moved(event.time_ns, what)
        if type(event) is ev.TurnEnded and id(event.turn) in self._ours:
            self._ours.remove(id(event.turn))
            self.answered = self._hung is not None
        if what is not None or self.unsure or self.hopeless is not None:
            self._changed()

    def _is_of_another(self, event: ev.Event) -> bool:
        """Whether this may be the work of another turn than the one that hangs.

        Where turns have no ids, what is told while a turn of Debbie's is open may be of either.
        """
        hung = self._hung
        if hung is None or hung.ended_ns is not None:
            return False
        turn: Turn | None = None
        match event:
            case ev.TurnEnded():
                return True
            case ev.ToolEnded(tool=tool) if tool.started_ns < self._since_ns:
                return False
            case ev.ToolStarted(tool=tool) | ev.ToolEnded(tool=tool):
                turn = tool.turn
            case ev.StreamAdvanced(stream=stream):
                turn = stream.turn
            case ev.CallStarted():
                pass
            case _:
                return False
        return bool(self._ours) and (hung.id is None or turn is not hung)

    def transition(self, transition: Transition) -> None:
        """Take in the end of the alert itself: of what is measured, that is the evidence."""
        mine = transition.alert is self.alert and transition.event == "resolved"
        if mine and self.moved is None and self.alert.alert_type not in _MOVED_ONLY:
            self.moved = Moved(transition.time_ns, "what was measured is back in order")
            self._changed()

    def _has_failed(self, turn: Turn) -> bool:
        """Whether this is the turn of this attempt; that of an earlier one may end by this one."""
        return (
            _is_ours(turn) and turn.outcome is Outcome.FAILED and turn.started_ns >= self._since_ns
        )

    # -- signs of life ------------------------------------------------------------------------

    def stalled(self, event: ev.Event) -> str | None:
        """After a silence: anything that the agent does."""
        match event:
            case ev.StreamAdvanced(stream=stream) if stream.kind != "history":
                return f"it streams ({stream.kind or stream.method})"
            case ev.ToolStarted(tool=tool) if not tool.is_call:
                return f"it runs {tool.name}"
            case ev.NotificationSeen(call=call) if call is not None:
                return f"{call.method} makes progress"
            case ev.CallStarted(call=call) if call.direction is _AGENT:
                return f"it asks for {call.method}"
            case ev.ToolEnded(tool=tool) if _has_ended(tool.outcome, also_failed=not tool.is_call):
                return f"{tool.name} has ended"
            case ev.CallEnded(call=call) if _answered(call) and not self._is_beside(call):
                return f"{call.method} is answered"
        return _finished_turn(event)

    def _is_beside(self, call: Call) -> bool:
        """Whether a client asks while its turn hangs: pings are answered all the same."""
        return call.turn is not None and call.started_ns > self.alert.fired_ns

    def looped(self, event: ev.Event) -> str | None:
        """After a loop: another tool, or a turn that comes to its end."""
        match event:
            case ev.ToolStarted(tool=tool) if not tool.is_call:
                return self._other_step(tool)
            case ev.ToolEnded(tool=tool) if tool.reported or tool.is_call:
                return self._other_step(tool)
        return _finished_turn(event)

    def _other_step(self, tool: Tool) -> str | None:
        if self._steps is not None and not self._steps.include(tool):
            return f"it takes another step: {tool.name}"
        self._same += 1
        if self._same >= _SAME_AGAIN:
            self.hopeless = f"it goes on with {tool.name}"
        return None

    def failing(self, event: ev.Event) -> str | None:
        """After errors: calls without errors, some in a row, or a turn without a failed tool."""
        if type(event) is ev.TurnEnded and not event.turn.failed_tools:
            return _finished_turn(event)
        match _evidence(event):
            case Evidence.FOR:
                self._good += 1
            case Evidence.AGAINST:
                self._good = 0
            case Evidence.NONE:
                return None
        return f"{self._good} calls without an error" if self._good >= _GOOD_IN_A_ROW else None


def _evidence(event: ev.Event) -> Evidence:
    match event:
        case ev.ToolEnded(tool=tool):
            if tool.outcome in (Outcome.ABORTED, Outcome.CANCELLED):
                return Evidence.NONE
            return Evidence.FOR if _has_ended(tool.outcome) else Evidence.AGAINST
        case ev.CallEnded(call=call) if call.tool is None and not call.opens_turn:
            if _answered(call):
                return Evidence.FOR
            return Evidence.AGAINST if call.outcome is Outcome.FAILED else Evidence.NONE
    return Evidence.NONE


def _answered(call: Call) -> bool:
    return (
        call.outcome is Outcome.COMPLETED
        and call.direction is not _AGENT
        and not call.injected
        and not call.opens_turn
        and call.tool is None
    )


def _finished_turn(event: ev.Event) -> str | None:
    if type(event) is not ev.TurnEnded or event.turn.outcome is not Outcome.COMPLETED:
        return None
    turn = event.turn
    if _is_ours(turn) and not turn.output and not turn.tools:
        return None  # taken up, but nothing done
    return f"turn {turn.number} has come to its end"


def _is_ours(turn: Turn) -> bool:
    return turn.call is not None and turn.call.injected


def _has_ended(outcome: Outcome | None, *, also_failed: bool = False) -> bool:
    return outcome is Outcome.COMPLETED or (also_failed and outcome is Outcome.FAILED)


def _nothing(_: RecoveryWatch, __: ev.Event) -> str | None:
    """Of what is only measured, no event is evidence."""
    return None


_SIGNS: dict[str, Callable[[RecoveryWatch, ev.Event], str | None]] = {
    "session_stall": RecoveryWatch.stalled,
    "request_timeout": RecoveryWatch.stalled,
    "tool_loop": RecoveryWatch.looped,
    "high_error_rate": RecoveryWatch.failing,
    "retry_storm": RecoveryWatch.failing,
}
_MOVED_ONLY = frozenset({"session_stall", "tool_loop"})
"""Alerts whose end may be our own doing: a turn that we open or cancel ends them as well."""


# -- an attempt, verified ----------------------------------------------------------------------


def over(watch: RecoveryWatch) -> tuple[str, str] | None:
    """Return reason and detail if there is nothing to be done any more."""
    if watch.moved is not None:
        return Reason.RECOVERED, f"the agent went on by itself: {watch.moved.what}"
    if watch.superseded:
        return Reason.RECOVERED, "the user has spoken again, and the loop is over with that"
    if watch.hopeless is not None and watch.ended:
        return Reason.SESSION_ENDED, watch.hopeless
    return None


async def verify(watch: RecoveryWatch, done: Done, seconds: float) -> None:
    """Wait until the agent has moved, or cannot any more, or has done nothing for too long."""
    loop = asyncio.get_running_loop()
    latest = loop.time() + LONGEST * seconds
    changed = asyncio.Event()
    watch.notify(changed.set)
    answer = done.answer
    if answer is not None:
        answer.add_done_callback(lambda _: changed.set())
    try:
        async with asyncio.timeout(seconds) as limit:
            while watch.moved is None and watch.hopeless is None:
                if watch.unsure:  # it works, be it for us alone: what it leads to is seen then
                    watch.unsure = False
                    limit.reschedule(min(loop.time() + seconds, latest))
                watch.hopeless = None if answer is None else refusal(answer)
                if watch.hopeless is None:
                    await changed.wait()
                    changed.clear()
    except TimeoutError:
        return


async def pause(watch: RecoveryWatch, seconds: float) -> None:
    """Wait, but no longer than until the agent moves or its session ends."""
    changed = asyncio.Event()
    watch.notify(changed.set)
    if watch.moved is not None or watch.ended:
        return
    try:
        async with asyncio.timeout(seconds):
            await changed.wait()
    except TimeoutError:
        return


def outcome(
    done: Done, watch: RecoveryWatch, timeout: float
) -> tuple[InterventionResult, str, str]:
    """Return result, reason and detail of an attempt."""
    match done.kind:
        case DoneKind.IMPOSSIBLE:
            return InterventionResult.SKIPPED, done.reason, done.detail
        case DoneKind.FAILED:
            return InterventionResult.FAILURE, done.reason, done.detail
        case DoneKind.DIAGNOSED:
            return InterventionResult.PARTIAL_SUCCESS, done.reason, done.detail
        case DoneKind.ESCALATED:
            return InterventionResult.ESCALATED, done.reason, done.detail
    if watch.moved is not None:
        return InterventionResult.SUCCESS, "", f"{done.detail}; {watch.moved.what}"
    if watch.hopeless is not None:
        reason = Reason.SESSION_ENDED if watch.ended else Reason.NO_RECOVERY
        return InterventionResult.FAILURE, reason, f"{done.detail}; {watch.hopeless}"
    nothing = f"the agent did nothing for {timeout:g} s"
    if watch.answered:
        nothing = "that was answered, but the turn that hangs has not moved"
    return InterventionResult.FAILURE, Reason.NO_RECOVERY, f"{done.detail}; {nothing}"


def refusal(answer: asyncio.Future[Any]) -> str | None:
    """Return why the server refused what was sent; None if it did not, or has not yet."""
    if not answer.done():
        return None
    if answer.cancelled():
        return "the connection has ended"
    error = answer.exception()
    if error is not None:
        return str(error) if isinstance(error, ChannelError) else repr(error)
    refused = answer.result().error
    return None if refused is None else f"the server refused it: {refused}"
