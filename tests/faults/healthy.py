"""Sessions in which all is well, however strange some of it looks."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Iterator

from tests.faults.client import Client
from tests.faults.faults import Ask, Say, Step, Think, Tool
from tests.faults.mcp import McpClient
from tests.faults.mind import DONE, Mind

STALL = 1.5
"""Seconds of silence that would be a stall of a session that owes something."""
LONG = 1.5 * STALL
"""Seconds that are longer."""

_FILES = ("auth.py", "README.md", "schema.sql", "router.ts", "main.go", "theme.css", "Makefile")


class HealthyMind(Mind):
    """An agent that does well.

    Args:
        seed: The same seed does the same.
        shows_tools: Whether its tools are seen as they run; else a long one looks like a hang.

    """

    def __init__(self, seed: int, *, shows_tools: bool) -> None:
        super().__init__()
        self._dice = random.Random(seed)
        self._numbers = itertools.count(1)
        kinds = [self._reads, self._thinks, self._polls, self._asks]
        if shows_tools:
            kinds += [self._builds, self._retries, self._errs]
        self._kinds: tuple[Callable[[], Iterator[Step]], ...] = tuple(kinds)

    def healthy(self, text: str) -> Iterator[Step]:
        """Yield what looks one way or another, and an answer."""
        yield from self._dice.choice(self._kinds)()
        yield Say(f"Number {next(self._numbers)} is {DONE}.")

    def _file(self) -> Tool:
        path = f"{self._dice.choice(_FILES)}.{self._dice.randrange(10**6)}"
        return Tool("read_file", {"path": path})

    def _reads(self) -> Iterator[Step]:
        for _ in range(self._dice.randint(1, 4)):
            yield self._file()

    def _thinks(self) -> Iterator[Step]:
        yield Think(self._dice.uniform(0.2, 0.5) * STALL)

    def _polls(self) -> Iterator[Step]:
        for done in range(12):
            yield Tool("get_status", {"job": 7}, 0.05, result=f"{done} of 12 are done")

    def _asks(self) -> Iterator[Step]:
        yield Ask()
        yield self._file()

    def _builds(self) -> Iterator[Step]:
        yield Tool("make", {"target": "test"}, LONG)

    def _retries(self) -> Iterator[Step]:
        tool = self._file()
        yield Tool(tool.name, tool.arguments, error="the file is locked")
        yield tool

    def _errs(self) -> Iterator[Step]:
        for number in range(8):
            tool = self._file()
            yield Tool(tool.name, tool.arguments, error="no such file" if number == 3 else None)


async def live(client: Client, seed: int, turns: int) -> None:
    """Have a session with that many turns, and a user who thinks in between."""
    dice = random.Random(seed)
    client.ponders = LONG
    await client.begin()
    for number in range(turns):
        await asyncio.sleep(dice.choice((0.05, 0.3, LONG)))
        if isinstance(client, McpClient):
            await _use_tools(client, dice, fails=number == turns // 2)
        else:
            answer = await client.turn(f"Please do number {number} of {seed}.")
            assert DONE in answer, (client, answer, client.received[-3:])


async def _use_tools(client: McpClient, dice: random.Random, *, fails: bool) -> None:
    """Do what an agent does with its tools: here the client is the agent."""
    match 4 if fails else dice.randrange(4):
        case 0:
            await client.use("make", {"target": "test", "seconds": LONG})
        case 1:
            for _ in range(12):
                await client.use("get_status", {"job": 7, "seconds": 0.05})
        case 2:
            for _ in range(dice.randint(1, 4)):
                await client.use("read_file", {"path": dice.randbytes(20).hex()})
        case 3:
            assert DONE in await client.turn("Please do it.")
        case _:
            for attempt_fails in (True, False):  # the agent tries again by itself
                await client.use("send", {"to": dice.randbytes(20).hex(), "fails": attempt_fails})
