"""LiveConnections: the connections that are open now, and the sessions that are seen on them."""

from __future__ import annotations

from debbie_otel.session.connection import Connection
from debbie_otel.session.directory import Limits, Sessions
from debbie_otel.session.model import Call
from debbie_otel.session.session import Session


class LiveConnections:
    """The open connections by key. May be read on any thread.

    Args:
        limits: Bounds on sessions and calls.

    Attributes:
        sessions: The sessions of all connections.

    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.sessions = Sessions(limits)
        self._by_key: dict[str, Connection] = {}

    def add(self, connection: Connection) -> None:
        """Take note of a connection that has been opened."""
        self._by_key[connection.key] = connection

    def remove(self, connection: Connection) -> None:
        """Forget one that has ended."""
        self._by_key.pop(connection.key, None)

    def all(self) -> list[Connection]:
        """Return them, in the order in which they were opened."""
        return list(self._by_key.values())

    def session(self, session_id: str) -> Session | None:
        """Return a session that is seen on an open connection, live or not."""
        return self.sessions.find(session_id)

    def calls_of(self, session: Session) -> list[Call]:
        """Return the open requests of a session, on whatever connection."""
        found = map(self._by_key.get, list(session.connections))
        calls = (call for connection in found if connection for call in connection.pending_calls)
        return [call for call in calls if call.session is session.info]

    def live_sessions(self) -> list[Session]:
        """Return every session that has started and not ended."""
        found = {id(s): s for c in self.all() for s in c.sessions if s.live}
        return list(found.values())

    def open_calls(self, dialect: str, now_ns: int) -> tuple[int, float]:
        """Count the open requests of a dialect; return also the age of the oldest in seconds."""
        open_calls = [c.open_calls() for c in self.all() if c.dialect.name == dialect]
        oldest = min((sent for _, sent in open_calls if sent is not None), default=now_ns)
        return sum(count for count, _ in open_calls), (now_ns - oldest) / 1e9
