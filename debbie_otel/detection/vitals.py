"""What one session shows of its health: events in, readings out. Pure; time is an argument."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from debbie_otel.core import events as ev
from debbie_otel.core.loops import LoopDetector, LoopFinding
from debbie_otel.core.message import MessageDirection, loads
from debbie_otel.core.model import Call, Outcome, SessionInfo, Tool, Turn
from debbie_otel.detection.settings import DetectionSettings
from debbie_otel.detection.track_record import TrackRecord

# Module names: in Python 3.11 a member costs 0.1 µs through its enum, and these are the hot path.
_AGENT = MessageDirection.SERVER_TO_CLIENT
_FAILED = Outcome.FAILED
_CUT_OFF = (Outcome.ABORTED, Outcome.CANCELLED)
_HEARTBEATS = frozenset({"ping", "pong", "heartbeat", "keepalive", "$/ping", "notifications/ping"})
_COMMAND_NAMES = ("command", "cmd", "script", "commandLine", "argv", "args")
_MAX_OPEN = 1024


class Reading(msgspec.Struct, frozen=True):
    """One value of a session at one moment.

    Attributes:
        metric: Short name, see `control`.
        value: Its value.
        subject: What it is about: a method, a tool.
        since_ns: When the condition behind it began.
        text: One clause for people.

    """

    metric: str
    value: float
    subject: str
    since_ns: int
    text: str


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
        self._long = re.compile(settings.long_commands, re.IGNORECASE)
        self._progress_ns = info.started_ns or 0
        self._told_ns = 0
        self._calls: dict[int, Call] = {}
        self._turns: dict[int, Turn] = {}
        self._tools: dict[int, Tool] = {}
        self._unfinished: Turn | None = None
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
        if message.direction is not _AGENT or message.method in _HEARTBEATS:
            return False
        # Where sessions have names, a message without one may be about another session.
        if self.info.unnamed or self.info.id.encode() in message.payload:
            self._progress_ns = self._told_ns = event.time_ns
        return False

    def call_started(self, event: ev.CallStarted) -> bool:
        """Note that something is owed; a call by the agent is progress."""
        call = event.call
        if call.injected:
            return False  # a request of ours: the agent owes the user no answer to it
        if len(self._calls) >= _MAX_OPEN:
            self._calls = {key: c for key, c in self._calls.items() if c.ended_ns is None}
        if len(self._calls) < _MAX_OPEN:
            self._calls[id(call)] = call
        if call.direction is _AGENT and call.method not in _HEARTBEATS:
            self._progress_ns = self._told_ns = event.time_ns
        return False

    def call_ended(self, event: ev.CallEnded) -> bool:
        """Note what is owed no more, and how it went."""
        call, now_ns = event.call, event.time_ns
        self._calls.pop(id(call), None)
        if call.method in _HEARTBEATS or call.outcome is None or call.injected:
            return False
        if call.direction is _AGENT:
            self._progress_ns = now_ns  # the agent has what it was waiting for, and owes again
            return False
        if not self._turns:  # else the answer to some other request tells nothing of the turn
            self._progress_ns = now_ns
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
        return self._record.answered(call.method, seconds, now_ns, call.params)

    def turn_started(self, event: ev.TurnStarted) -> bool:
        """Note that something is owed, and that the user spoke."""
        self._turns[id(event.turn)] = event.turn
        if _is_ours(event.turn):
            return False  # the user said nothing, and the agent has not moved yet
        self._unfinished = None
        self._progress_ns = event.time_ns
        self.loops.user_input()
        return False

    def turn_ended(self, event: ev.TurnEnded) -> bool:
        """Note how a turn ended; one that stopped mid-task still owes something."""
        turn, now_ns = event.turn, event.time_ns
        self._turns.pop(id(turn), None)
        if not (_is_ours(turn) and turn.outcome in _NOT_DONE):
            self._progress_ns = now_ns
        if turn.outcome is Outcome.INCOMPLETE:
            self._unfinished = turn
        elif turn.outcome is Outcome.COMPLETED:
            self._unfinished = None
            self._record.time(f"turn {turn.method}", (now_ns - turn.started_ns) / 1e9, now_ns)
            self.loops.turn_ended()
        if turn.call is None or not turn.call.opens_turn or turn.call.outcome is turn.outcome:
            return False
        failed = turn.outcome is Outcome.FAILED
        if failed:
            self._record.add(now_ns, f"turn {turn.method}", str(turn.number), turn.error_type)
        return failed

    def tool_started(self, event: ev.ToolStarted) -> bool:
        """Look for a loop that a call completes when it begins."""
        if event.tool.injected:
            return False  # Debbie repeats it, not the agent
        self._tools[id(event.tool)] = event.tool
        return self._found(self.loops.tool_started(event.tool))

    def stream_advanced(self, event: ev.StreamAdvanced) -> bool:
        """Note what the agent says."""
        self._progress_ns = self._told_ns = event.time_ns
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
        self._tools.pop(id(tool), None)
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
        return self.info.started_ns is None and not self._open()

    # -- readings ----------------------------------------------------------------------------

    def readings(self, now_ns: int) -> Iterator[Reading]:
        """Yield what is out of the ordinary, or near it; a healthy idle session yields nothing."""
        yield from self._silence(now_ns)
        yield from self._open_calls(now_ns)
        yield from self._turn_budgets(now_ns)
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
            yield Reading("loop.count", loop.count, subject, loop.since_ns, loop.message)
        yield from self._retried(now_ns)

    def _silence(self, now_ns: int) -> Iterator[Reading]:
        """How long the agent has been silent while it owes something."""
        calls = self._open()
        if any(call.direction is _AGENT and call.method not in _HEARTBEATS for call in calls):
            return  # the agent itself is waiting, for a person or for its client
        owed = [c for c in calls if c.method not in _HEARTBEATS]
        # A turn of ours counts once the agent has taken it up: a prompt is no sign of life.
        turns = [
            turn
            for turn in list(self._turns.values())
            if not _is_ours(turn) or self._told_ns > turn.started_ns
        ]
        tools = list(self._tools.values())
        if turns or owed or tools:
            started = [turn.started_ns for turn in turns] + [call.started_ns for call in owed]
            since = max(self._progress_ns, min(started, default=0))
        elif self._unfinished is not None:
            since = max(self._progress_ns, self._unfinished.ended_ns or 0)
        else:
            return
        seconds = (now_ns - since) / 1e9
        if tools:
            name = tools[-1].name
            text = f"Session stalled for {seconds:.0f}s: tool {name} does not end"
            long = any(self._is_long(tool) for tool in tools)
            metric = "silence.long" if long else "silence"
            yield Reading(metric, seconds, name, since, text)
        elif turns:
            text = f"Session stalled for {seconds:.0f}s in turn {turns[0].number}"
            yield Reading("silence", seconds, turns[0].method, since, text)
        elif owed:
            text = f"Session stalled for {seconds:.0f}s: no answer to {owed[0].method}"
            yield Reading("silence", seconds, owed[0].method, since, text)
        elif self._unfinished is not None:
            text = (
                f"Session stalled for {seconds:.0f}s: turn {self._unfinished.number} ended mid-task"
            )
            yield Reading("silence", seconds, self._unfinished.method, since, text)

    def _open(self) -> list[Call]:
        # A call that began the session may have ended within it, and was noted before.
        return [call for call in list(self._calls.values()) if call.ended_ns is None]

    def _is_long(self, tool: Tool) -> bool:
        commands = _COMMANDS.split(f"{_command(tool.arguments)}"[:4096])
        return any(map(self._long.match, [tool.name.lower(), *commands]))

    def _open_calls(self, now_ns: int) -> Iterator[Reading]:
        speaking = now_ns - self._told_ns < self._settings.stall_threshold * 1e9
        open_calls = [
            call
            for call in self._open()
            if not (call.opens_turn or call.waits_for_user or call.direction is _AGENT)
            and not (call.tool is not None and (speaking or self._is_long(call.tool)))
        ]
        if open_calls:
            oldest = min(open_calls, key=lambda call: call.started_ns)
            age = (now_ns - oldest.started_ns) / 1e9
            text = f"{oldest.method} has been open for {age:.0f}s"
            yield Reading("call.age", age, oldest.method, oldest.started_ns, text)

    def _turn_budgets(self, now_ns: int) -> Iterator[Reading]:
        for turn in list(self._turns.values()):
            since, number = turn.started_ns, f"turn {turn.number}"
            steps = turn.tools + turn.calls - (turn.call is not None)
            tokens = turn.input_tokens + turn.output_tokens
            age = (now_ns - since) / 1e9
            yield Reading("turn.steps", steps, number, since, f"{number} took {steps} steps")
            yield Reading("turn.tokens", tokens, number, since, f"{number} used {tokens} tokens")
            yield Reading("turn.time", age, number, since, f"{number} has run for {age:.0f}s")

    def _retried(self, now_ns: int) -> Iterator[Reading]:
        window = round(self._settings.retry_window * 1e9)
        name, count = self._record.failures.repeated(now_ns, window)
        reported = sum(1 for when in self._retries if when > now_ns - window)
        if reported > count:
            name, count = "the model", reported
        if count > 1:
            text = f"{name} failed {count} times in {self._settings.retry_window:.0f}s"
            yield Reading("retries", count, name, now_ns - window, text)


_NOT_DONE = (Outcome.FAILED, Outcome.CANCELLED, Outcome.ABORTED)


def _is_ours(turn: Turn) -> bool:
    return turn.call is not None and turn.call.injected


_COMMANDS = re.compile(r"(?:&&|\|\||[;|&\n'\"`(]|\b(?:sudo|time|nohup|env|exec|nice)\b|\w+=\S+)\s*")
"""Splits a shell's line where a command can begin."""


def _command(arguments: Any) -> str:
    """Return the command line in a tool's arguments, by the names that agents use; else ""."""
    if isinstance(arguments, str) and arguments[:1] == "{":  # JSON within JSON
        arguments = loads(arguments.encode())
    if not isinstance(arguments, dict):
        return ""
    found = next((arguments[name] for name in _COMMAND_NAMES if name in arguments), "")
    # Joined as a shell would write it: what is quoted may be a line of its own, as in bash -lc.
    return shlex.join(map(str, found)) if isinstance(found, list) else str(found)


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
