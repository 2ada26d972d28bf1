"""The command `debbie` as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

LIMIT = 20.0
"""Seconds that anything may take before the test fails."""

_FOREIGN = ("OTEL_", "DEBBIE_", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_", "COLUMNS")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "debbie_otel", *arguments]


def environment(data_dir: Path, **variables: str) -> dict[str, str]:
    """Return our environment without what would tell telemetry where to go."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN)}
    wide = {"COLUMNS": "200", "PYTHONWARNINGS": "error::ResourceWarning"}
    return kept | wide | {"DEBBIE_DATA_DIR": str(data_dir)} | variables


def debbie(*arguments: str, data_dir: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        command(*arguments),
        env=environment(data_dir, **variables),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


@dataclass
class Ended:
    """How a process ended: exit code, seconds since the signal, and its output as lines."""

    code: int
    seconds: float
    out: list[str]
    err: list[str]


class ProxyCommand:
    """`debbie proxy` under way.

    Attributes:
        out: Lines of its standard output so far.

    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.out: list[str] = []
        self._process = process

    @property
    def url(self) -> str:
        """Where it says that it listens; without a path."""
        return self.out[0].split()[3].rstrip(",")

    async def line(self, part: str) -> str:
        """Return the first line with `part` in it; wait for it where it has not come."""
        assert self._process.stdout is not None
        for line in self.out:
            if part in line:
                return line
        async with asyncio.timeout(LIMIT):
            while line := (await self._process.stdout.readline()).decode():
                self.out.append(line.rstrip("\n"))
                if part in line:
                    return self.out[-1]
        raise AssertionError(f"{part!r} was not said: {self.out}")

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def end(self, number: signal.Signals = signal.SIGTERM) -> Ended:
        """Send a signal and wait for the end."""
        started = time.monotonic()
        self.send_signal(number)
        async with asyncio.timeout(LIMIT):
            out, err = await self._process.communicate()
        seconds = time.monotonic() - started
        self.out += out.decode().splitlines()
        code = self._process.returncode
        assert code is not None
        return Ended(code, seconds, self.out, err.decode().splitlines())


@contextlib.asynccontextmanager
async def proxy_command(
    upstream: str, *flags: str, data_dir: Path, listen: str = "127.0.0.1:0", **variables: str
) -> AsyncIterator[ProxyCommand]:
    """Start `debbie proxy`, wait until it listens, and kill it if the test has not ended it."""
    process = await asyncio.create_subprocess_exec(
        *command("proxy", "--upstream", upstream, "--listen", listen, *flags),
        env=environment(data_dir, **variables),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    started = ProxyCommand(process)
    try:
        await started.line("Telemetry: ")
        yield started
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def totals(lines: list[str]) -> list[str]:
    """Return the first table of a summary."""
    start = lines.index(next(line for line in lines if line.startswith("What Debbie saw")))
    end = lines.index(next(line for line in lines if line.startswith("Response times")))
    return lines[start:end]
