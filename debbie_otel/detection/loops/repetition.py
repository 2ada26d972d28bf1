"""Repetition among the calls of a session: the same again, cycles, failures, near-duplicates.

Calls come in one by one, in the order of their beginning, each with its result where the wire tells
one. Every rule is a count of calls in a row, kept up to date call by call; a result that is new,
other arguments, or a success ends the row. Identical calls with changing results are progress
(a build that is polled, a log that grows); where no results are on the wire, calls alone count.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import msgspec

from debbie_otel.detection.loops import outcomes
from debbie_otel.detection.loops.action import Action, read
from debbie_otel.detection.loops.canonical import Canonical, Leaves, canonical
from debbie_otel.detection.loops.findings import LoopFinding, LoopKind, LoopSettings, LoopTier
from debbie_otel.detection.loops.name_patterns import any_name
from debbie_otel.detection.loops.similar import dice, series
from debbie_otel.session.model import Tool


class Row(msgspec.Struct, eq=False, gc=False):
    """Calls in a row of which something holds: how many, and when the first began."""

    count: int = 0
    since_ns: int = 0

    def extend(self, goes_on: bool, action: Action) -> None:
        """Count the call, as the next one or as the first of a new row."""
        if goes_on and self.count:
            self.count += 1
        else:
            self.count, self.since_ns = 1, action.started_ns

    def clear(self) -> None:
        """No call is in the row."""
        self.count = 0


_DRIFTING = ("same_error", "near_duplicate", "name", "unknown_tool")
"""Loops in which a call is the same again though its arguments are others."""


class LoopSteps(msgspec.Struct, frozen=True):
    """Calls that would be the same again.

    Attributes:
        names: Their tools.
        keys: Hashes of tool and arguments; None where the tool alone counts.

    """

    names: frozenset[str]
    keys: frozenset[int] | None
    canonical: Canonical

    def include(self, tool: Tool) -> bool:
        """Tell whether a call is one of them."""
        if tool.name not in self.names:
            return False
        if self.keys is None or tool.arguments is None:
            return True
        return self.canonical.request(tool.name, tool.arguments).key in self.keys


class CallLoops:
    """Finds repetition in one sequence of calls.

    Attributes:
        active: The loop that goes on.

    """

    def __init__(self, settings: LoopSettings) -> None:
        self.active: LoopFinding | None = None
        self._latest: LoopFinding | None = None  # the last one since the user spoke
        self._settings = settings
        self._canonical = canonical(settings)
        self._polls = any_name(settings.polling, from_any_word=True)
        self._recent: deque[Action] = deque(maxlen=settings.max_period)
        self._keys: deque[int] = deque(maxlen=settings.max_period)
        self._matches = [0] * (settings.max_period + 1)  # [p]: in a row equal to the p-th before
        self._since = [0] * (settings.max_period + 1)
        self._same = Row()
        self._named = Row()
        self._failing = Row()
        self._erring = Row()
        self._lost = Row()
        self._alike = Row()
        self._group: deque[Leaves] = deque(maxlen=settings.similar_repetitions)

    def steps(self) -> LoopSteps:
        """Return the last calls, those of a loop if there is one."""
        names = frozenset(action.name for action in self._recent)
        # What drifts may differ a little too much for a moment.
        drifting = self._latest is not None and self._latest.kind in _DRIFTING
        return LoopSteps(names, None if drifting else frozenset(self._keys), self._canonical)

    def reset(self) -> None:
        """Forget everything."""
        self.active = self._latest = None
        self._recent.clear()
        self._keys.clear()
        self._matches = [0] * len(self._matches)
        for row in (self._same, self._named, self._failing, self._erring, self._lost, self._alike):
            row.clear()
        self._group.clear()

    # -- calls that begin ---------------------------------------------------------------------

    def begun(self, tool: Tool, ahead: int) -> None:
        """Take note that a call has begun: one that does not belong to the loop ends it.

        Args:
            tool: The call.
            ahead: Calls that began before it and have not come in yet.

        """
        if self.active is not None and not self._belongs(tool, self.active, ahead):
            self.active = None

    def _belongs(self, tool: Tool, loop: LoopFinding, ahead: int) -> bool:
        if loop.kind == "unknown_tool":
            return True  # its end will tell
        expected = self._recent[ahead % loop.period - loop.period]
        if tool.name != expected.name:
            return False
        if tool.arguments is None or loop.kind in _DRIFTING:
            return True
        return self._canonical.request(tool.name, tool.arguments).key == expected.key

    # -- calls that have ended ----------------------------------------------------------------

    def ended(self, tool: Tool) -> LoopFinding | None:
        """Take in a call that has ended; return a finding that is new or worse than before."""
        action = read(tool, self._canonical, self._polls)
        self._count(action)
        finding = self._worst()
        action.value = None
        before, self.active = self.active, finding
        self._latest = finding or self._latest
        if finding is None or before is None:
            return finding
        worse = finding.tier == "hard" and before.tier == "soft"
        return finding if worse or finding.since_ns > before.since_ns else None

    def _count(self, action: Action) -> None:
        recent, matches = self._recent, self._matches
        last = recent[-1] if recent else None
        if action.key in self._keys:
            self._match(action)
        elif any(matches):
            self._matches = [0] * len(matches)
        same_tool = last is not None and last.name == action.name
        same_call = last is not None and last.key == action.key
        self._named.extend(same_tool, action)
        self._same.extend(same_call, action)
        if action.failed:
            alike = last is not None and last.error == action.error is not None
            self._failing.extend(same_call, action)
            self._erring.extend(same_tool and alike, action)
        else:
            self._failing.clear()
            self._erring.clear()
        if action.unknown_tool:
            self._lost.extend(True, action)
        else:
            self._lost.clear()
        self._compare(action, last, same_tool)
        recent.append(action)
        self._keys.append(action.key)

    def _match(self, action: Action) -> None:
        """Compare with the calls before it that ask for the same."""
        recent, matches = self._recent, self._matches
        for period in range(1, len(matches)):
            earlier = recent[-period] if period <= len(recent) else None
            if earlier is None or earlier.key != action.key or _brings_news(action, earlier):
                matches[period] = 0
                continue
            if matches[period] == 0:
                self._since[period] = earlier.started_ns
            matches[period] += 1
            # Whether a result says "not yet" matters only if it was there before.
            if action.repeats is None:
                if earlier.repeats is None and action.value is not None:
                    earlier.repeats = outcomes.says_pending(action.value)
                action.repeats = earlier.repeats

    def _compare(self, action: Action, last: Action | None, same_tool: bool) -> None:
        """Count calls of a tool with arguments like those of the row's first."""
        if action.leaves is None or action.changes:
            self._alike.clear()
            self._group.clear()
            return
        alike = (
            same_tool
            and last is not None
            and bool(self._group)
            and not _brings_news(action, last)
            and (
                last.key == action.key
                or dice(self._group[0], action.leaves) >= self._settings.similarity
            )
        )
        if not alike:
            self._group.clear()
        self._group.append(action.leaves)
        self._alike.extend(alike, action)

    # -- verdicts -----------------------------------------------------------------------------

    def _worst(self) -> LoopFinding | None:
        """Return the gravest finding; among equals, the one that says most."""
        least = self._settings.warn_repetitions
        if self._named.count < least and self._lost.count < least and not any(self._matches):
            return None
        warning = None
        for finding in self._findings():
            if finding.tier == "hard":
                return finding
            warning = warning or finding
        return warning

    def _findings(self) -> Iterator[LoopFinding]:
        s = self._settings
        if max(self._named.count, self._lost.count) >= s.warn_repetitions:
            yield from self._failures()
        if s.match == "name":
            if tier := self._tier(self._named.count, s.repetitions):
                text = f"{self._last.name} was called {self._named.count} times in a row"
                yield self._found("name", tier, self._named, s.repetitions, text)
        else:
            yield from self._repetitions()
            if self._alike.count >= s.warn_repetitions:
                yield from self._near_duplicates()

    @property
    def _last(self) -> Action:
        return self._recent[-1]

    def _tier(self, count: int, hard: int) -> LoopTier | None:
        if count >= hard:
            return "hard"
        return "soft" if count >= self._settings.warn_repetitions else None

    def _found(
        self, kind: LoopKind, tier: LoopTier, row: Row, limit: int, text: str, period: int = 1
    ) -> LoopFinding:
        name = self._last.name
        return LoopFinding(kind, tier, name, row.count, limit, period, row.since_ns, text)

    def _failures(self) -> Iterator[LoopFinding]:
        s, last = self._settings, self._last
        limit = min(s.unknown_tool_repetitions, s.repetitions)
        if tier := self._tier(self._lost.count, limit):
            text = f"{self._lost.count} calls in a row of tools that do not exist, last {last.name}"
            yield self._found("unknown_tool", tier, self._lost, limit, text)
        # What may go away by itself gets as many tries as any other call.
        limit = s.repetitions if last.transient else min(s.failed_repetitions, s.repetitions)
        if not last.repeats and (tier := self._tier(self._failing.count, limit)):
            text = f"{last.name} failed {self._failing.count} times with the same arguments"
            yield self._found("repeated_failure", tier, self._failing, limit, text)
        limit = s.same_error_repetitions
        if tier := self._tier(self._erring.count, limit):
            text = (
                f"{last.name} failed {self._erring.count} times with the same error,"
                " whatever its arguments"
            )
            yield self._found("same_error", tier, self._erring, limit, text)

    def _repetitions(self) -> Iterator[LoopFinding]:
        s, last = self._settings, self._last
        for period, matched in enumerate(self._matches):
            rounds = matched // period + 1 if matched else 0
            if rounds < s.warn_repetitions:
                continue
            limit = s.repetitions
            tier = self._tier(rounds, limit)
            if any(self._recent[-i].repeats for i in range(1, period + 1)):
                limit = s.polling_repetitions
                tier = "soft" if rounds >= limit else None
            if tier is not None:
                row = Row(rounds, self._since[period])
                kind: LoopKind = "repeated_call" if period == 1 else "cycle"
                yield self._found(kind, tier, row, limit, self._story(period, rounds), period)
        limit = s.changing_repetitions
        if self._same.count >= limit and not (last.repeats or outcomes.says_pending(last.value)):
            text = f"{last.name} was called {self._same.count} times with the same arguments"
            yield self._found("repeated_call", "soft", self._same, limit, text)

    def _story(self, period: int, rounds: int) -> str:
        last = self._last
        blind = last.result is None
        if period == 1:
            rest = "" if blind else " and the same result"
            return f"{last.name} was called {rounds} times with the same arguments{rest}"
        names = ", ".join(action.name for action in list(self._recent)[-period:])
        rest = "" if blind else ", without progress"
        return f"a cycle of {period} calls ({names}) was repeated {rounds} times{rest}"

    def _near_duplicates(self) -> Iterator[LoopFinding]:
        last = self._last
        hard, count = self._settings.similar_repetitions, self._alike.count
        known = self.active is not None and self.active.kind == "near_duplicate"
        if not known and count > hard and count % hard:
            return  # a long series is looked at now and then
        if last.repeats or all(leaves == last.leaves for leaves in self._group):
            return
        running = series(self._group)
        # Other words for the same contents are a loop; for nothing found, they are a search.
        telling = last.result is not None and not last.failed and outcomes.says_much(last.value)
        if running == "names" or (running == "words" and not telling):
            return
        if running == "numbers" and last.result is None:
            return
        if tier := self._tier(count, hard):
            text = f"{last.name} was called {count} times with almost the same arguments"
            yield self._found("near_duplicate", tier, self._alike, hard, text)


def _brings_news(action: Action, earlier: Action) -> bool:
    """Whether both results are known, and differ."""
    return (
        action.result is not None and earlier.result is not None and action.result != earlier.result
    )
