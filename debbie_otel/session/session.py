"""One session as a state machine: turns, tools and streams; facts in, events out.

`Connection` finds out what a message means and calls the methods here; each appends the events that
follow to `out`. A session may be seen on several connections at once, so that the same turn or tool
can be reported more than once: ids that are known, also of what has just ended, count only once.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from debbie_otel.session.events import (
    Event,
    SessionEnded,
    SessionStarted,
    ToolEnded,
    ToolsListed,
    ToolStarted,
    TurnEnded,
    TurnStarted,
    UsageReported,
)
from debbie_otel.session.model import MAX_CONTENT, Call, Outcome, SessionInfo, Tool, Turn
from debbie_otel.session.streams import Streams

if TYPE_CHECKING:
    from debbie_otel.wire.direction import MessageDirection

MAX_OPEN = 256
"""Turns, tools or streams open at once in one session; beyond, the oldest is ended as aborted."""

MAX_REMEMBERED = 256
"""Ids of ended turns and tools that are remembered, so that late reports do not count twice."""

MAX_PAST_TURNS = 8
"""Turns that are kept after their end, for a summary of what was said, and of each at most"""

MAX_PAST_CONTENT = 1024
"""characters of either side's words."""


class ToolReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a message says of a tool; None for what it does not say.

    Attributes:
        id: The tool call's id on the wire.
        kind: The dialect's word for the kind of tool.
        turn: The turn that it runs in.
        outcome: How it has ended; None while it runs.
        error_type: As `error.type` of OpenTelemetry, where it has failed.
        duration_ns: How long it ran, where the message says so.

    """

    name: str
    id: str | None = None
    kind: str | None = None
    turn: Turn | None = None
    arguments: Any = None
    result: Any = None
    outcome: Outcome | None = None
    error_type: str | None = None
    duration_ns: int | None = None


class Session:
    """State of one session.

    Attributes:
        info: Identity and totals.
        streams: Its open streams.
        connections: Keys of the connections that it is seen on.
        live: Between its start and its end.
        opening: The request that started it, as long as it is small; None where there was none.
        past: Its last turns, the oldest first.
        repeatable: Tools that, by the server's own list, are safe to call again.

    """

    def __init__(self, info: SessionInfo) -> None:
        self.info = info
        self.streams = Streams(info)
        self.connections: set[str] = set()
        self.live = False
        self.opening: Call | None = None
        self.past: deque[Turn] = deque(maxlen=MAX_PAST_TURNS)
        self.repeatable: set[str] = set()
        self._turns: list[Turn] = []
        self._turns_by_id: dict[str, Turn] = {}  # the open ones, like those without
        self._turns_without_id: dict[int, Turn] = {}
        self._past_turns: OrderedDict[str, Turn] = OrderedDict()
        self._tools: OrderedDict[str, Tool] = OrderedDict()
        self._tools_of_turn: dict[Turn, dict[str, None]] = {}
        self._past_tools: OrderedDict[str, None] = OrderedDict()
        self._tokens: tuple[int, int] = (0, 0)

    # -- life ---------------------------------------------------------------------------------

    def start(self, time_ns: int, out: list[Event], *, again: bool = False) -> None:
        """Begin; a session that has ended begins again only if the server said so (`again`)."""
        if self.live or (self.info.ended_ns is not None and not again):
            return
        self.live = True
        self.info.resumed = self.info.ended_ns is not None
        self.info.started_ns = time_ns
        self.info.ended_ns = None
        out.append(SessionStarted(self.info, time_ns))

    def end(self, time_ns: int, reason: str, out: list[Event]) -> None:
        """End everything that is open, then the session."""
        for key in list(self._tools):
            self._finish_tool(key, time_ns, Outcome.ABORTED, "session_ended", out)
        for turn in list(self._turns):
            self.end_turn(turn, time_ns, Outcome.ABORTED, out, error_type="session_ended")
        self.streams.end_all(time_ns, out)
        if self.live:
            self.live = False
            self.info.ended_ns = time_ns
            out.append(SessionEnded(self.info, time_ns, reason))

    def renew(self, time_ns: int, out: list[Event]) -> None:
        """Start again on a new server: running tools are lost, and ids may be used again."""
        for key in [key for key, tool in self._tools.items() if not tool.is_call]:
            self._finish_tool(key, time_ns, Outcome.ABORTED, "session_restarted", out)
        self.streams.end_all(time_ns, out)
        self._past_tools.clear()
        self._past_turns.clear()

    # -- turns --------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a turn is open."""
        return bool(self._turns)

    @property
    def open_turns(self) -> tuple[Turn, ...]:
        """Open turns, the oldest first."""
        return tuple(self._turns)

    @property
    def open_tools(self) -> tuple[Tool, ...]:
        """Running tools, the oldest first."""
        return tuple(self._tools.values())

    def turn(self, turn_id: str | None = None) -> Turn | None:
        """Return the turn of that id, open or recent; else the oldest open one.

        Of several that cannot be told apart the oldest is taken, as a serial server works on
        that one.
        """
        if turn_id is not None:
            known = self._turns_by_id.get(turn_id) or self._past_turns.get(turn_id)
            if known is not None:
                return known
        return self._turns[0] if self._turns else None

    def open_turn(
        self,
        time_ns: int,
        method: str,
        direction: MessageDirection,
        out: list[Event],
        *,
        call: Call | None = None,
        turn_id: str | None = None,
        text: str | None = None,
    ) -> Turn:
        """Open a turn; the session starts with it if it had not."""
        self.start(time_ns, out)
        if len(self._turns) >= MAX_OPEN:
            self.end_turn(self._turns[0], time_ns, Outcome.ABORTED, out, error_type="evicted")
        self.info.turns += 1
        turn = Turn(
            session=self.info,
            number=self.info.turns,
            started_ns=time_ns,
            method=method,
            direction=direction,
            id=turn_id,
            call=call,
            trace=None if call is None else call.trace,
            input=None if text is None else text[:MAX_CONTENT],
        )
        self._turns.append(turn)
        if turn_id is None:
            self._turns_without_id[turn.number] = turn
        else:
            self._turns_by_id.setdefault(turn_id, turn)
        out.append(TurnStarted(self.info, time_ns, turn))
        return turn

    def turn_started(
        self, turn_id: str, time_ns: int, method: str, direction: MessageDirection, out: list[Event]
    ) -> Turn:
        """Record that the server began a turn: a known one that had no id so far, or a new one."""
        known = self._turns_by_id.get(turn_id) or self._past_turns.get(turn_id)
        if known is None:
            known = next(iter(self._turns_without_id.values()), None)
            if known is not None:
                self.name_turn(known, turn_id)
        return known or self.open_turn(time_ns, method, direction, out, turn_id=turn_id)

    def name_turn(self, turn: Turn, turn_id: str | None) -> None:
        """Give an open turn its id, if it has none yet."""
        if turn.id is None and turn_id is not None:
            turn.id = turn_id
            if self._turns_without_id.pop(turn.number, None) is not None:
                self._turns_by_id.setdefault(turn_id, turn)

    def open_turn_of(self, turn_id: str) -> Turn | None:
        """Return the open turn of exactly that id."""
        return self._turns_by_id.get(turn_id)

    def knows_turn(self, turn_id: str) -> bool:
        """Whether that turn is open, or has ended not long ago."""
        return self.open_turn_of(turn_id) is not None or turn_id in self._past_turns

    def end_turn(
        self,
        turn: Turn,
        time_ns: int,
        outcome: Outcome,
        out: list[Event],
        *,
        error_type: str | None = None,
        error_message: str = "",
    ) -> None:
        """End a turn with the tools and streams that it left open."""
        if turn.ended_ns is not None:
            return
        # A cancelled turn cancels its tools; any other end cuts them off.
        left = Outcome.CANCELLED if outcome is Outcome.CANCELLED else Outcome.ABORTED
        for key in list(self._tools_of_turn.get(turn, ())):
            self._finish_tool(key, time_ns, left, "turn_ended", out)
        self.streams.end_all(time_ns, out, turn)
        turn.ended_ns = time_ns
        turn.outcome = outcome
        turn.error_type = error_type
        turn.error_message = error_message
        self._turns.remove(turn)
        self._turns_without_id.pop(turn.number, None)
        if turn.id is not None and self._turns_by_id.get(turn.id) is turn:
            del self._turns_by_id[turn.id]
        if self.past:
            _shorten(self.past[-1])  # only of the last turn the whole text is needed
        self.past.append(turn)
        if turn.id is not None:
            _remember(self._past_turns, turn.id, turn)
        out.append(TurnEnded(self.info, time_ns, turn))

    # -- tools --------------------------------------------------------------------------------

    def tool_seen(
        self, key: str, time_ns: int, report: ToolReport, out: list[Event]
    ) -> Tool | None:
        """Start, update or end the tool known by `key`; None if it had ended before."""
        tool = self._tools.get(key)
        if tool is None:
            if key in self._past_tools:
                return None
            started = time_ns if report.duration_ns is None else time_ns - report.duration_ns
            tool = self._new_tool(started, report)
            if len(self._tools) >= MAX_OPEN:
                self._finish_tool(next(iter(self._tools)), time_ns, Outcome.ABORTED, "evicted", out)
            self._tools[key] = tool
            if tool.turn is not None:
                self._tools_of_turn.setdefault(tool.turn, {})[key] = None
            self.streams.end_all_but_output(time_ns, out)
            out.append(ToolStarted(self.info, time_ns, tool))
        elif report.arguments is not None:
            tool.arguments = report.arguments
        if report.result is not None:
            tool.result = report.result
        if report.outcome is not None:
            self._finish_tool(key, time_ns, report.outcome, report.error_type, out)
        return tool

    def tool_reported(self, time_ns: int, report: ToolReport, out: list[Event]) -> None:
        """Count an execution that is reported only after it has ended, without times."""
        tool = self._new_tool(time_ns, report)
        tool.reported = True
        tool.ended_ns = time_ns
        tool.outcome = Outcome.COMPLETED
        out.append(ToolEnded(self.info, time_ns, tool))

    def tool_answered(
        self, key: str, time_ns: int, outcome: Outcome, error_type: str | None, out: list[Event]
    ) -> None:
        """End a tool that is a request of its own, with its response."""
        if key in self._tools:
            self._finish_tool(key, time_ns, outcome, error_type, out)

    def _new_tool(self, started_ns: int, report: ToolReport) -> Tool:
        turn = report.turn
        self.info.tools += 1
        if turn is not None:
            turn.tools += 1
        return Tool(
            session=self.info,
            name=report.name,
            started_ns=started_ns,
            id=report.id,
            kind=report.kind,
            turn=turn,
            arguments=report.arguments,
        )

    def _finish_tool(
        self, key: str, time_ns: int, outcome: Outcome, error_type: str | None, out: list[Event]
    ) -> None:
        tool = self._tools.pop(key)
        if tool.turn is not None:
            of_turn = self._tools_of_turn[tool.turn]
            del of_turn[key]
            if not of_turn:
                del self._tools_of_turn[tool.turn]
        if tool.id is not None:
            _remember(self._past_tools, key, None)
        tool.ended_ns = time_ns
        tool.outcome = outcome
        if outcome in (Outcome.FAILED, Outcome.ABORTED):
            tool.error_type = error_type
        if outcome is Outcome.FAILED:
            self.info.errors += tool.id is not None  # else its request counts the error
            if tool.turn is not None:
                tool.turn.failed_tools += 1
        self.streams.end_all_but_output(time_ns, out)
        out.append(ToolEnded(self.info, time_ns, tool))

    def tools_listed(self, time_ns: int, repeatable: Sequence[str], out: list[Event]) -> None:
        """Record which tools are safe to call again."""
        self.repeatable.update(repeatable[: MAX_REMEMBERED - len(self.repeatable)])
        out.append(ToolsListed(self.info, time_ns, tuple(repeatable)))

    # -- usage --------------------------------------------------------------------------------

    def usage(
        self,
        time_ns: int,
        tokens: tuple[int, int],
        out: list[Event],
        *,
        turn: Turn | None,
        total: bool,
    ) -> None:
        """Count tokens (input, output): a difference, or the session's total so far."""
        if total:
            before, self._tokens = self._tokens, tokens
            tokens = (max(0, tokens[0] - before[0]), max(0, tokens[1] - before[1]))
        if tokens == (0, 0):
            return
        if turn is not None and turn.ended_ns is None:
            turn.input_tokens += tokens[0]
            turn.output_tokens += tokens[1]
        out.append(UsageReported(self.info, time_ns, turn, *tokens))


def _shorten(turn: Turn) -> None:
    turn.input = turn.input and turn.input[:MAX_PAST_CONTENT]
    turn.output = turn.output and turn.output[:MAX_PAST_CONTENT]


def _remember(memory: OrderedDict[str, Any], key: str, value: Any) -> None:
    memory[key] = value
    if len(memory) > MAX_REMEMBERED:
        memory.popitem(last=False)
