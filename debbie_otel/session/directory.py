"""Which session a message belongs to.

It is the session that the message names, if that one is known; else the connection's own. A session
becomes known by a message of the server's (the answer to a start, a message that names it), not by
a client's request alone, which may name one that does not exist. Only on a connection without a
named session a request that opens a turn, or that succeeded, is enough: a client has come back.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterator

import msgspec

from debbie_otel.session.dialect.dialect import Dialect
from debbie_otel.session.events import Event
from debbie_otel.session.message import InterceptedMessage
from debbie_otel.session.model import SessionInfo
from debbie_otel.session.session import Session
from debbie_otel.wire.direction import MessageDirection


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on what is held.

    Attributes:
        pending_calls: Open requests a connection and direction.
        sessions: Live sessions of all connections.
        call_timeout_ns: Age at which an open request is given up, nanoseconds.

    """

    pending_calls: int = 10_000
    sessions: int = 10_000
    call_timeout_ns: int = 3_600 * 10**9


MAX_PAST = 1000
"""Ended sessions that are remembered, so that a resumed one keeps its identity and totals."""

MAX_ENDED = 256
"""Ended sessions that a connection still knows by name, for late messages that name them."""


class Sessions:
    """The named sessions that are alive, shared by all connections to one server."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._by_id: dict[str, Session] = {}
        # By the time of the last message when the session was put there, which is looked up again
        # before one is evicted.
        self._silent: list[tuple[int, str]] = []
        self._past: OrderedDict[str, SessionInfo] = OrderedDict()
        self._seen: dict[str, Session] = {}  # on open connections: also unnamed and ended ones

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._by_id.values()))

    def get(self, session_id: str) -> Session | None:
        """Return a live session."""
        return self._by_id.get(session_id)

    def find(self, session_id: str) -> Session | None:
        """Return a session that is seen on an open connection, live or not, named or not."""
        return self._by_id.get(session_id) or self._seen.get(session_id)

    def add(self, session: Session, time_ns: int, out: list[Event]) -> None:
        """Add one; the one that has been silent longest makes room."""
        if len(self._by_id) >= self.limits.sessions:
            oldest = self._longest_silent()
            oldest.end(time_ns, "evicted", out)
            self.remove(oldest)
        self._by_id[session.info.id] = session
        heapq.heappush(self._silent, (session.info.last_ns, session.info.id))
        if len(self._silent) > 2 * len(self._by_id) + MAX_PAST:
            self._silent = [(other.info.last_ns, name) for name, other in self._by_id.items()]
            heapq.heapify(self._silent)

    def _longest_silent(self) -> Session:
        while True:
            last_ns, name = self._silent[0]
            session = self._by_id.get(name)
            if session is not None and session.info.last_ns == last_ns:
                return session
            if session is None:
                heapq.heappop(self._silent)
            else:
                heapq.heapreplace(self._silent, (session.info.last_ns, name))

    def remove(self, session: Session) -> None:
        """Take one out; of its state only identity and totals are kept."""
        info = session.info
        if self._by_id.get(info.id) is session:
            del self._by_id[info.id]
            self._past[info.id] = info
            if len(self._past) > MAX_PAST:
                self._past.popitem(last=False)

    def joined(self, session: Session, connection: str) -> None:
        """Record that a session is seen on a connection."""
        session.connections.add(connection)
        self._seen[session.info.id] = session

    def left(self, session: Session, connection: str) -> None:
        """Record that a session is not seen on a connection any more."""
        session.connections.discard(connection)
        if not session.connections and self._seen.get(session.info.id) is session:
            del self._seen[session.info.id]

    def recall(self, session_id: str) -> Session | None:
        """Return a session that has ended, ready to go on."""
        info = self._past.pop(session_id, None)
        return None if info is None else Session(info)


class Directory:
    """The sessions of one connection.

    Attributes:
        own: The session of messages that name none.
        used: Named sessions that the client began or sent messages in; others it only received.

    """

    def __init__(self, connection: str, dialect: Dialect, shared: Sessions) -> None:
        self._connection = connection
        self._dialect = dialect
        self._shared = shared
        self._named: dict[str, Session] = {}
        self._forget_above = 2 * MAX_ENDED
        self.used: set[Session] = set()
        self.own = self._new(connection)
        self.own.info.unnamed = True

    @property
    def sessions(self) -> list[Session]:
        """The connection's own session and all that it has joined."""
        return list({id(s): s for s in (self.own, *self._named.values())}.values())

    def speak(self, dialect: Dialect) -> None:
        """Take up the dialect that was recognised."""
        self._dialect = dialect
        if not self.own.live:
            self.own.info.dialect, self.own.info.agent = dialect.name, dialect.agent

    def route(
        self, message: InterceptedMessage, named: str | None, out: list[Event]
    ) -> tuple[Session, str | None]:
        """Return the session of a message that named one, and the name if that is not known."""
        if named is None or named == self.own.info.id:
            return self.own, None
        session = self._named.get(named)
        if session is None and (session := self._shared.get(named)) is not None:
            self._join(session)
        if session is None and message.direction is MessageDirection.SERVER_TO_CLIENT:
            session = self.begin(named, message.time_ns, out)
        return (self.own, named) if session is None else (session, None)

    def begin(self, session_id: str, time_ns: int, out: list[Event]) -> Session:
        """Begin the session of that id: the connection's own if that has no name yet, else new."""
        session = (
            self._shared.get(session_id)
            or self._named.get(session_id)
            or self._shared.recall(session_id)
        )
        if session is None:
            if self._named:
                session = self._new(session_id)
                session.info.agent = self.own.info.agent
            else:
                session = self.own
                self._shared.left(session, self._connection)
                session.info.id = session_id
                session.info.unnamed = False
        self._join(session)
        session.start(time_ns, out, again=True)
        if self._shared.get(session_id) is None:
            self._shared.add(session, time_ns, out)
        return session

    def use(self, session: Session) -> None:
        """Mark a session as one that the client itself uses."""
        if session.info.unnamed or session in self.used:
            return
        if session.live and not (self.own.info.unnamed or self.own in self.used):
            self.own = session
        self.used.add(session)

    def confirm(self, named: str | None, time_ns: int, out: list[Event]) -> Session | None:
        """Begin the session that a request named, on a connection that has none yet."""
        return None if named is None or self._named else self.begin(named, time_ns, out)

    def stop(
        self, session_id: str | None, session: Session, time_ns: int, out: list[Event]
    ) -> None:
        """End the session of that id, else the given one."""
        stopped = session if session_id is None else self._named.get(session_id, session)
        stopped.end(time_ns, "stopped", out)
        self._shared.remove(stopped)

    def close(self, time_ns: int, reason: str, out: list[Event]) -> None:
        """End the sessions that no other connection shares."""
        for session in self.sessions:
            self._shared.left(session, self._connection)
            session.streams.end_connection(self._connection, time_ns, out)
            if not session.connections:
                session.end(time_ns, reason, out)
                self._shared.remove(session)
        self._named.clear()
        self.used.clear()

    def _forget_ended(self) -> None:
        """Forget the sessions that ended first, once there are many more than the last time."""
        if len(self._named) <= self._forget_above:
            return
        ended = [name for name, session in self._named.items() if not session.live]
        for name in ended[:-MAX_ENDED]:
            session = self._named.pop(name)
            self._shared.left(session, self._connection)
            self.used.discard(session)
        self._forget_above = len(self._named) + MAX_ENDED

    def _join(self, session: Session) -> None:
        if not self.own.live and self.own is not session:
            if self.own.info.unnamed:
                self._shared.left(self.own, self._connection)
            self.own = session
        self._shared.joined(session, self._connection)
        self._named[session.info.id] = session
        self._forget_ended()

    def _new(self, session_id: str) -> Session:
        session = Session(
            SessionInfo(id=session_id, dialect=self._dialect.name, agent=self._dialect.agent)
        )
        self._shared.joined(session, self._connection)
        return session
