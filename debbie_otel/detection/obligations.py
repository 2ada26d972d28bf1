"""What a session's agent owes, since when it has been silent, and how big its turns are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from math import inf
from typing import Any

from debbie_otel.detection.control_metrics import Reading
from debbie_otel.detection.settings import DetectionSettings
from debbie_otel.session.message import loads
from debbie_otel.session.model import Call, Tool, Turn
from debbie_otel.wire.direction import MessageDirection

AGENT = MessageDirection.SERVER_TO_CLIENT
HEARTBEATS = frozenset({"ping", "pong", "heartbeat", "keepalive", "$/ping", "notifications/ping"})
_MAX_OPEN = 1024
_CALLS_A_CLEANING = 64  # so that it costs little beside what a call costs anyhow

_COMMAND_NAMES = ("command", "cmd", "script", "commandLine", "argv", "args")
_COMMANDS = re.compile(r"(?:&&|\|\||[;|&\n'\"`(]|\b(?:sudo|time|nohup|env|exec|nice)\b|\w+=\S+)\s*")
"""Splits a shell's line where a command can begin."""


class OpenWork:
    """What is open in one session; `SessionVitals` keeps it up to date.

    Args:
        started_ns: When the session began.
        settings: Thresholds.

    Attributes:
        progress_ns: When the agent last moved, or began to owe again.
        told_ns: When it last said something of its own,
        words_ns: when that was words, and
        tool_ended_ns: when a tool last ended.
        calls, turns, tools: Those that are open, by identity.
        unfinished: The last turn, where it ended mid-task.

    """

    def __init__(self, started_ns: int, settings: DetectionSettings) -> None:
        self.progress_ns = started_ns
        self.told_ns = 0
        self.turns: dict[int, Turn] = {}
        self.tools: dict[int, Tool] = {}
        self.unfinished: Turn | None = None
        self.calls: dict[int, Call] = {}
        self._left_out = 0
        self.words_ns = self.tool_ended_ns = -1
        self._settings = settings
        self._long = LongCommands(settings.long_commands)
        self._stall_ns = settings.stall_threshold * 1e9
        silence = settings.silence
        self._sub_agent = re.compile(silence.sub_agents if silence else "(?!)", re.IGNORECASE)

    def call_started(self, call: Call) -> None:
        """Note a call that has begun."""
        if len(self.calls) >= _MAX_OPEN:
            self._left_out += 1
            if self._left_out % _CALLS_A_CLEANING == 0:
                self.calls = {key: c for key, c in self.calls.items() if c.ended_ns is None}
        if len(self.calls) < _MAX_OPEN:
            self.calls[id(call)] = call

    def told(self, now_ns: int, turn: Turn | None) -> None:
        """Note that the agent says something; in a turn, as far as that can be known.

        Where turns have no ids and one of ours is open beside one that hangs, it may be of ours.
        """
        self.told_ns = now_ns
        if len(self.turns) < 2 or (turn is not None and turn.id is not None):
            self.progress_ns = now_ns
            return
        ours = [is_ours(one) for one in self.turns.values()]
        if all(ours) or not any(ours):
            self.progress_ns = now_ns

    def open_calls(self) -> list[Call]:
        """Return the calls that are open."""
        # A call that began the session may have ended within it, and was noted before.
        return [call for call in list(self.calls.values()) if call.ended_ns is None]

    def silence(self, now_ns: int) -> Iterator[Reading]:
        """Yield how long the agent has been silent while it owes something."""
        calls = self.open_calls()
        if any(call.direction is AGENT and call.method not in HEARTBEATS for call in calls):
            return  # the agent itself is waiting, for a person or for its client
        owed = [c for c in calls if c.method not in HEARTBEATS]
        # A turn of ours counts once the agent has taken it up: a prompt is no sign of life.
        turns = [
            turn
            for turn in list(self.turns.values())
            if not is_ours(turn) or self.told_ns > turn.started_ns
        ]
        tools = list(self.tools.values())
        if turns or owed or tools:
            started = [turn.started_ns for turn in turns] + [call.started_ns for call in owed]
            since = max(self.progress_ns, min(started, default=0))
        elif self.unfinished is not None:
            since = max(self.progress_ns, self.unfinished.ended_ns or 0)
        else:
            return
        metric = "silence"
        if tools:
            subject = tools[-1].name
            why = f": tool {subject} does not end"
            if any(tool in self._long for tool in tools):
                metric = "silence.long"
        elif turns:
            subject, why = turns[0].method, f" in turn {turns[0].number}"
        elif owed:
            subject = owed[0].method
            why = f": no answer to {subject}"
        else:
            assert self.unfinished is not None
            subject, why = self.unfinished.method, f": turn {self.unfinished.number} ended mid-task"
        seconds = (now_ns - since) / 1e9
        text = f"Session stalled for {seconds:.0f}s{why}"
        yield Reading(metric, seconds, subject, since, text, self._patience(tools, turns))

    def _patience(self, tools: list[Tool], turns: list[Turn]) -> float:
        """Return for how many seconds silence is no alarm, by what is owed."""
        settings, marks = self._settings, self._settings.silence
        if marks is None:
            long = any(tool in self._long for tool in tools)
            return settings.long_tool_threshold if long else settings.stall_threshold
        if tools:
            if any(self._sub_agent.match(tool.name) for tool in tools):
                return marks.sub_agent
            return marks.tool
        if turns:
            latest = max(turn.started_ns for turn in turns)
            if self.tool_ended_ns >= max(self.words_ns, latest):
                return marks.after_tool
            return marks.between_tokens if self.words_ns >= latest else marks.first_token
        if self.unfinished is not None:
            return marks.mid_task or settings.stall_threshold
        return inf  # a request outside of turns: `request_timeout` is about it

    def oldest_call(self, now_ns: int) -> Iterator[Reading]:
        """Yield the age of the oldest call outside a turn."""
        speaking = now_ns - self.told_ns < self._stall_ns
        waiting = [
            call
            for call in self.open_calls()
            if not (call.opens_turn or call.waits_for_user or call.direction is AGENT)
            and not (call.tool is not None and (speaking or self._is_patient_with(call.tool)))
        ]
        if waiting:
            oldest = min(waiting, key=lambda call: call.started_ns)
            age = (now_ns - oldest.started_ns) / 1e9
            text = f"{oldest.method} has been open for {age:.0f}s"
            yield Reading("call.age", age, oldest.method, oldest.started_ns, text)

    def _is_patient_with(self, tool: Tool) -> bool:
        """Whether the silence of a running tool is judged by a mark of its own."""
        return self._settings.silence is not None or tool in self._long

    def turn_budgets(self, now_ns: int) -> Iterator[Reading]:
        """Yield steps, tokens and age of each open turn."""
        for turn in list(self.turns.values()):
            since, number = turn.started_ns, f"turn {turn.number}"
            steps = turn.tools + turn.calls - (turn.call is not None)
            tokens = turn.input_tokens + turn.output_tokens
            age = (now_ns - since) / 1e9
            yield Reading("turn.steps", steps, number, since, f"{number} took {steps} steps")
            yield Reading("turn.tokens", tokens, number, since, f"{number} used {tokens} tokens")
            yield Reading("turn.time", age, number, since, f"{number} has run for {age:.0f}s")


def is_ours(turn: Turn) -> bool:
    """Whether a request of Debbie's opened this turn."""
    return turn.call is not None and turn.call.injected


class LongCommands:
    """Knows tools that are slow by nature.

    Args:
        pattern: Regular expression of how their names or commands begin, in any case.

    """

    def __init__(self, pattern: str) -> None:
        self._long = re.compile(pattern, re.IGNORECASE)

    def __contains__(self, tool: Tool) -> bool:
        """Whether this tool is one."""
        commands = _COMMANDS.split(_command(tool.arguments)[:4096])
        return any(map(self._long.match, [tool.name.lower(), *commands]))


def _command(arguments: Any) -> str:
    """Return the command line in a tool's arguments, by the names that agents use; else ""."""
    if isinstance(arguments, str) and arguments[:1] == "{":  # JSON within JSON
        arguments = loads(arguments.encode())
    if not isinstance(arguments, dict):
        return ""
    found = next((arguments[name] for name in _COMMAND_NAMES if name in arguments), "")
    # Joined as a shell would write it: what is quoted may be a line of its own, as in bash -lc.
    return shlex.join(map(str, found)) if isinstance(found, list) else str(found)
