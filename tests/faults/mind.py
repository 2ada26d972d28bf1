"""What an agent does in its sessions: healthy turns, or those of its fault until it is cured."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from tests.faults.faults import Cure, Fault, Say, Step, Think, Tool

GREETING = "Good morning. What can you do?"
TASK = "Please do the task that we talked about."
AFTERWARDS = "Thank you. And now the next one."
DONE = "all done"
"""What an agent says at the end of a turn that goes well, and else never."""

USUAL = 0.06
"""Seconds of a turn that goes well: enough that how busy the machine is makes no difference."""


class Mind:
    """The agent behind a server, whichever sessions and connections it has.

    It falls ill with the first turn about the `TASK`.

    Args:
        fault: How it goes wrong; None never does.

    Attributes:
        ill: In the grip of the fault.
        turns: What opened each turn so far.
        treatments: All that was done to it while it was ill.

    """

    def __init__(self, fault: Fault | None = None) -> None:
        self.fault = fault
        self.ill = False
        self.turns: list[str] = []
        self.treatments: list[Cure] = []
        self._cured = fault is None
        self._fell_ill = asyncio.Event()
        self._well = asyncio.Event()

    def steps(self, text: str) -> Iterator[Step]:
        """Yield the steps of a turn; a cure in the midst of it is followed by healthy ones."""
        self.turns.append(text)
        if self.fault is not None and not self._cured and (self.ill or TASK in text):
            again = self.fault.again if self.ill else None
            self.ill = True
            self._fell_ill.set()
            for step in (again or self.fault.steps)():
                yield step
                if self._cured:
                    break
            else:
                return
        yield from self.healthy(text)

    def healthy(self, text: str) -> Iterator[Step]:
        """Yield the steps of a turn that goes well."""
        number = len(self.turns)
        yield Think(USUAL)
        yield Tool("read_file", {"path": f"docs/{number}.md"})
        yield Say(f"That was number {number}: {DONE}.")

    def hear(self, text: str) -> None:
        """Take in words: new ones may help, those that it has heard before do not."""
        if not any(text in known for known in self.turns):
            self.treat(Cure.PROMPT)

    def treat(self, cure: Cure) -> None:
        """Have something done to it."""
        if not self.ill:
            return
        self.treatments.append(cure)
        if self.fault is not None and cure in self.fault.cures:
            self.recover()

    def recover(self) -> None:
        """Be well again."""
        self.ill = False
        self._cured = True
        self._well.set()

    async def fell_ill(self) -> None:
        """Wait until the fault shows."""
        await self._fell_ill.wait()

    async def well(self) -> None:
        """Wait until it is cured."""
        await self._well.wait()
