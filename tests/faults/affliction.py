"""What a fault does to an agent's sockets and to its process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from websockets.asyncio.server import ServerConnection

from tests.faults.memory import Hog
from tests.faults.mind import Mind


class Affliction:
    """The surroundings of an agent.

    Args:
        mind: The agent.
        hog: The process whose memory counts as the agent's.

    Attributes:
        connections: Those that are open.
        frozen: Those on which nothing is read or sent any more.

    """

    def __init__(self, mind: Mind, hog: Hog | None) -> None:
        self.connections: set[ServerConnection] = set()
        self.frozen: set[ServerConnection] = set()
        self._mind = mind
        self._hog = hog
        self._blocked = False

    @contextlib.contextmanager
    def connected(self, connection: ServerConnection) -> Iterator[None]:
        """Keep a connection in the books as long as it is open."""
        self.connections.add(connection)
        if self._blocked:
            self.frozen.add(connection)
        try:
            yield
        finally:
            self.connections.discard(connection)
            self.frozen.discard(connection)

    def block(self) -> None:
        """Have nothing come out of the process any more, and nothing go in."""
        self._blocked = True
        self.frozen |= self.connections

    async def suffer(self) -> None:
        """Once the fault shows, do what it says."""
        await self._mind.fell_ill()
        fault = self._mind.fault
        assert fault is not None
        if fault.unreachable:
            self.block()
        elif fault.frozen:
            self.frozen |= self.connections
        if fault.grows and self._hog is not None:
            await self._hog.grow(fault.grows)
            await self._mind.well()
            await self._hog.shrink()
