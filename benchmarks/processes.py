"""Programs of the rig: started, watched, measured and ended."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

START_TIMEOUT = 20.0
STOP_TIMEOUT = 10.0


class BenchError(Exception):
    """The benchmark cannot go on, or what it measured is no measurement."""


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Cores:
    """Which cores the program in the middle has, and which all others.

    Attributes:
        middle: Cores of the program in the middle; empty where nothing is pinned.
        others: Cores of the load, the echo server and the receiver.
        text: The same in words.

    """

    def __init__(self) -> None:
        self.middle: set[int] = set()
        self.others: set[int] = set()
        self.text = "not pinned: this system cannot pin processes to cores"
        if not hasattr(os, "sched_setaffinity"):
            return
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            self.text = "not pinned: there is one core only"
            return
        try:
            os.sched_setaffinity(0, cores[:-1])
        except OSError as error:
            self.text = f"not pinned: {error.strerror}"
            return
        self.middle, self.others = {cores[-1]}, set(cores[:-1])
        self.text = (
            f"middle on core {cores[-1]}, all others on {', '.join(map(str, sorted(self.others)))}"
        )

    @contextlib.contextmanager
    def as_middle(self) -> Iterator[None]:
        """Start processes here that run, with all their threads, on the middle's core."""
        if not self.middle:
            yield
            return
        os.sched_setaffinity(0, self.middle)
        try:
            yield
        finally:
            os.sched_setaffinity(0, self.others)

    def release(self) -> None:
        """Let this process run on all cores again."""
        if self.middle:
            os.sched_setaffinity(0, self.middle | self.others)


class Program:
    """A running program, in a process (and a session) of its own.

    Args:
        name: For messages.
        command: Its command line.
        log: Where its stderr goes (and its stdout, unless `talks`).
        environment: Variables on top of ours; None removes one.
        talks: Whether stdin and stdout are pipes (see `ask`).

    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str | None] | None = None,
        *,
        talks: bool = False,
    ) -> None:
        self.name = name
        self._log = log
        merged = {**os.environ, **(environment or {})}
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                env={key: value for key, value in merged.items() if value is not None},
                stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talks else output,
                stderr=output,
                start_new_session=True,
            )
        self._watched = psutil.Process(self._process.pid)

    def wait_listening(self, port: int) -> None:
        """Return once something accepts connections on 127.0.0.1:`port`."""
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            self.check()
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise BenchError(f"{self.name} does not listen on port {port}\n{self.log_tail()}")

    def check(self) -> None:
        """Raise if it has ended."""
        code = self._process.poll()
        if code is not None:
            raise BenchError(f"{self.name} ended with code {code}\n{self.log_tail()}")

    def log_tail(self) -> str:
        """Return the last lines of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])

    def cpu_seconds(self) -> float:
        """Return user and system time of it and all its children, living and ended."""
        return sum(sum(process.cpu_times()[:4]) for process in self._family())

    def resident_bytes(self) -> int:
        """Return the resident memory of it and its living children."""
        return sum(process.memory_info().rss for process in self._family())

    def _family(self) -> list[psutil.Process]:
        self.check()
        return [self._watched, *self._watched.children(recursive=True)]

    def ask(self, question: str) -> Any:
        """Write a line to its stdin, and return the JSON on the line that it answers."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(question.encode() + b"\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())
        except (OSError, ValueError) as error:
            raise BenchError(f"{self.name} does not answer: {error}\n{self.log_tail()}") from error

    def stop(self) -> int:
        """End it, and return its exit code."""
        process = self._process
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        process.terminate()
        try:
            return process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


def python(module: str, *arguments: object) -> list[str]:
    """Return the command line that runs a module with this interpreter."""
    return [sys.executable, "-m", module, *map(str, arguments)]
