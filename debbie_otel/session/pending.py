"""Requests that wait for their response, per direction.

Ids of the two directions never meet, and a request whose id is in use already waits behind the
older one: the first response belongs to the first request.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Any

import msgspec

from debbie_otel.session.dialect.paths import Fields, params_at
from debbie_otel.session.dialect.schema import Rule
from debbie_otel.session.message import JsonRpcId
from debbie_otel.session.model import Call
from debbie_otel.session.session import Session
from debbie_otel.wire.direction import MessageDirection

MAX_COMPARED = 64
"""Open requests, the latest first, of which a message may be part."""

MAX_CANCELLED = 256
"""Cancelled requests that are remembered, so that a late answer is known as one."""


class Pending(msgspec.Struct, eq=False):
    """An open request.

    Attributes:
        call: The request.
        session: Where it belongs.
        named: The id that the request named where that was not known as a session.
        tool_key: Under which the session knows the tool that the request runs.
        replays: Whether the server replays history while it is open.

    """

    call: Call
    session: Session
    named: str | None = None
    tool_key: str | None = None
    replays: bool = False


class PendingCalls:
    """All open requests of a connection, at most `limit` a direction."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._queues: dict[MessageDirection, dict[JsonRpcId, Pending]] = {
            direction: {} for direction in MessageDirection
        }
        self._behind: dict[tuple[MessageDirection, JsonRpcId], deque[Pending]] = {}
        self._cancelled: OrderedDict[tuple[MessageDirection, Any], str] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._queues.values())) + sum(map(len, list(self._behind.values())))

    def __iter__(self) -> Iterator[Pending]:
        for queue in self._queues.values():
            yield from queue.values()
        for waiting in self._behind.values():
            yield from waiting

    def add(self, entry: Pending) -> Pending | None:
        """Add a request; return the oldest one if it had to make room."""
        direction, call_id = entry.call.direction, entry.call.id
        queue = self._queues[direction]
        if call_id not in queue:
            queue[call_id] = entry
            return self.take(direction, next(iter(queue))) if len(queue) > self._limit else None
        waiting = self._behind.setdefault((direction, call_id), deque())
        waiting.append(entry)
        return waiting.popleft() if len(waiting) > self._limit else None

    def take(self, direction: MessageDirection, call_id: Any) -> Pending | None:
        """Remove and return the oldest request of that direction and id."""
        queue = self._queues[direction]
        entry = queue.pop(call_id, None)
        if entry is not None and self._behind:
            waiting = self._behind.get((direction, call_id))
            if waiting is not None:
                queue[call_id] = waiting.popleft()
                if not waiting:
                    del self._behind[direction, call_id]
        return entry

    def remember_cancelled(self, call: Call) -> None:
        """Expect that a request which has been cancelled may be answered all the same."""
        self._cancelled[call.direction, call.id] = call.method
        if len(self._cancelled) > MAX_CANCELLED:
            self._cancelled.popitem(last=False)

    def take_cancelled(self, direction: MessageDirection, call_id: Any) -> str | None:
        """Return the method of a cancelled request, once."""
        return self._cancelled.pop((direction, call_id), None)

    def oldest_ns(self) -> int | None:
        """When the oldest request was sent, as far as ids are unique; safe on other threads."""
        heads = [next(iter(list(queue.values())), None) for queue in self._queues.values()]
        return min((head.call.started_ns for head in heads if head is not None), default=None)

    def course_of(self, direction: MessageDirection, rule: Rule, fields: Fields) -> Call | None:
        """Return the open request of that direction that a message of the other is part of."""
        latest = itertools.islice(reversed(self._queues[direction].values()), MAX_COMPARED)
        if not rule.of:
            tools = [entry.call for entry in latest if entry.call.tool is not None]
            return tools[0] if len(tools) == 1 else None
        wanted = fields.first(rule.id)
        if wanted is None:
            return None
        for entry in latest:
            found = params_at(entry.call.params, rule.of)
            if found == wanted and type(found) is type(wanted):
                return entry.call
        return None

    def take_all(self) -> list[Pending]:
        """Remove and return every request."""
        entries = list(self)
        for queue in self._queues.values():
            queue.clear()
        self._behind.clear()
        return entries

    def take_older_than(self, time_ns: int) -> list[Pending]:
        """Remove and return requests sent before `time_ns`."""
        late = [entry for entry in self if entry.call.started_ns < time_ns]
        return [
            taken
            for entry in sorted(late, key=lambda entry: entry.call.started_ns)
            if (taken := self.take(entry.call.direction, entry.call.id)) is not None
        ]
