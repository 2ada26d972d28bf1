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

from debbie_otel.session.dialect.paths import Fields, Paths, params_at
from debbie_otel.session.dialect.schema import Rule
from debbie_otel.session.message import JsonRpcId
from debbie_otel.session.model import Call
from debbie_otel.session.session import Session
from debbie_otel.wire.direction import MessageDirection

MAX_COMPARED = 64
"""Requests between two messages that ask which open one they are part of: the latest so many."""

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
        self._queues = {direction: _Queue() for direction in MessageDirection}
        self._cancelled: OrderedDict[tuple[MessageDirection, Any], str] = OrderedDict()

    def __len__(self) -> int:
        return sum(queue.size for queue in self._queues.values())

    def __iter__(self) -> Iterator[Pending]:
        for queue in self._queues.values():
            yield from queue

    def add(self, entry: Pending) -> Pending | None:
        """Add a request; return the oldest one if it had to make room."""
        call = entry.call
        queue = self._queues[call.direction]
        if queue.by_id.setdefault(call.id, entry) is not entry:
            queue.behind.setdefault(call.id, deque()).append(entry)
        queue.size += 1
        if call.tool is not None:
            queue.tool_calls[id(call)] = call
        for index in queue.indexes.values():
            index.add(call)
        if queue.size > self._limit:
            return self.take(call.direction, next(iter(queue.by_id)))
        return None

    def take(self, direction: MessageDirection, call_id: Any) -> Pending | None:
        """Remove and return the oldest request of that direction and id."""
        queue = self._queues[direction]
        entry = queue.by_id.pop(call_id, None)
        if entry is None:
            return None
        queue.size -= 1
        if entry.call.tool is not None:
            queue.tool_calls.pop(id(entry.call), None)
        for index in queue.indexes.values():
            index.remove(entry.call)
        if queue.behind:
            waiting = queue.behind.get(call_id)
            if waiting is not None:
                queue.by_id[call_id] = waiting.popleft()
                if not waiting:
                    del queue.behind[call_id]
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
        heads = [queue.first() for queue in self._queues.values()]
        return min((head.call.started_ns for head in heads if head is not None), default=None)

    def find_parent_call(
        self, direction: MessageDirection, rule: Rule, fields: Fields
    ) -> Call | None:
        """Return the open request of that direction that a message of the other is part of.

        Args:
            direction: Of the request.
            rule: A `part_of` rule.
            fields: Of the message.

        """
        queue = self._queues[direction]
        if not rule.of:
            return queue.only_tool_call()
        value = fields.first(rule.id)
        return None if value is None else queue.find(rule.of, value)

    def take_all(self) -> list[Pending]:
        """Remove and return every request."""
        entries = list(self)
        self._queues = {direction: _Queue() for direction in MessageDirection}
        return entries

    def take_older_than(self, time_ns: int) -> list[Pending]:
        """Remove and return requests sent before `time_ns`."""
        late = [entry for entry in self if entry.call.started_ns < time_ns]
        return [
            taken
            for entry in sorted(late, key=lambda entry: entry.call.started_ns)
            if (taken := self.take(entry.call.direction, entry.call.id)) is not None
        ]


class _Queue:
    """The open requests of one direction.

    Attributes:
        size: How many there are.
        by_id: The oldest request of each id.
        behind: Those behind it with the same id.
        tool_calls: Those that run a tool.
        indexes: By the paths that a `part_of` rule compares.

    """

    __slots__ = ("behind", "by_id", "indexes", "size", "tool_calls")

    def __init__(self) -> None:
        self.size = 0
        self.by_id: dict[JsonRpcId, Pending] = {}
        self.behind: dict[JsonRpcId, deque[Pending]] = {}
        self.tool_calls: dict[int, Call] = {}
        self.indexes: dict[tuple[str, ...], _ValueIndex] = {}

    def __iter__(self) -> Iterator[Pending]:
        yield from self.by_id.values()
        for waiting in self.behind.values():
            yield from waiting

    def first(self) -> Pending | None:
        try:
            return next(iter(self.by_id.values()), None)
        except RuntimeError:  # another thread has just changed it
            return None

    def only_tool_call(self) -> Call | None:
        """Return the open request that runs a tool, where there is only one."""
        return next(iter(self.tool_calls.values())) if len(self.tool_calls) == 1 else None

    def find(self, paths: Paths, value: Any) -> Call | None:
        """Return the latest open request that has that value in its `params`."""
        key = (paths,) if isinstance(paths, str) else tuple(paths)
        index = self.indexes.get(key)
        if index is None:
            index = self.indexes[key] = _ValueIndex(paths)
            latest = itertools.islice(reversed(self.by_id.values()), MAX_COMPARED)
            for entry in reversed(list(latest)):
                index.add(entry.call)
        return index.find(value)


class _ValueIndex:
    """The open requests of one direction by a value in their `params`.

    Requests are decoded only when a value is asked for, each of them once.
    """

    __slots__ = ("_by_value", "_key_of", "_new", "_paths")

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._new: deque[Call] = deque(maxlen=MAX_COMPARED)
        self._by_value: dict[tuple[type, Any], dict[int, Call]] = {}
        self._key_of: dict[int, tuple[type, Any]] = {}

    def add(self, call: Call) -> None:
        self._new.append(call)

    def remove(self, call: Call) -> None:
        key = self._key_of.pop(id(call), None)
        if key is not None:
            calls = self._by_value[key]
            del calls[id(call)]
            if not calls:
                del self._by_value[key]

    def find(self, value: Any) -> Call | None:
        for call in self._new:
            if call.ended_ns is None:
                found = params_at(call.params, self._paths)
                if isinstance(found, str | int | float):
                    key = self._key_of[id(call)] = (type(found), found)
                    self._by_value.setdefault(key, {})[id(call)] = call
        self._new.clear()
        if not isinstance(value, str | int | float):
            return None
        calls = self._by_value.get((type(value), value))
        return None if calls is None else next(reversed(calls.values()))
