"""A process that takes up memory on demand: a real child, whose size the operating system tells.

`python -m tests.faults.memory` reads a number of bytes from each line, has that many mapped, and
says so. It never holds more than `LIMIT`, and ends with its input.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import sys
from collections.abc import AsyncIterator

LIMIT = 256 << 20
_PAGE = mmap.PAGESIZE


class Hog:
    """The child."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    async def grow(self, size: int) -> None:
        """Have so many bytes in use."""
        await self._say(size)

    async def shrink(self) -> None:
        """Give them back."""
        await self._say(0)

    async def _say(self, size: int) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{size}\n".encode())
        await self._process.stdin.drain()
        assert await self._process.stdout.readline() == f"{size}\n".encode()


@contextlib.asynccontextmanager
async def hog() -> AsyncIterator[Hog]:
    """Run the child."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults.memory"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    child = Hog(process)
    try:
        await child.shrink()  # it answers: it is as large as it is of itself
        yield child
    finally:
        process.stdin.close()
        await process.wait()


def _main() -> None:
    held: mmap.mmap | None = None
    for line in sys.stdin:
        size = min(int(line), LIMIT)
        if held is not None:
            held.close()
            held = None
        if size:
            held = mmap.mmap(-1, size)
            for offset in range(0, size, _PAGE):
                held[offset] = 1
        print(size, flush=True)


if __name__ == "__main__":
    _main()
