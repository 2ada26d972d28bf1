"""Memory of the agent's process: RSS with its children, of whoever listens behind the upstream."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import psutil

from debbie_otel.detection.control_metrics import Reading

_BASELINE = 12
_MINIMUM = 3
_MAX_SKIP = 60


def resident(pid: int) -> int | None:
    """Return the RSS of a process and all its descendants in bytes; None if it is gone."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return None
    total = 0
    for member in family:
        try:
            total += member.memory_info().rss
        except psutil.Error:  # a child that has just ended
            continue
    return total or None  # a process that has ended and is not waited for has no memory


def listener(port: int) -> int | None:
    """Return the process that listens on a TCP port of this machine, if that can be told."""
    try:
        connections = psutil.net_connections("tcp")
    except (psutil.Error, OSError):
        return None
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,):
            return connection.pid
    return None


class MemoryWatch:
    """Compares a process's memory with its own baseline, the median of its first looks at work.

    The baseline begins with the first session: a server that starts its first thread, or a bridge
    that starts its agent, grows by as much as it has, and that is no spike.

    Args:
        find: Returns the process to watch; asked again when that one is gone. It may take a while
            (all sockets of the machine are looked through), so it is asked ever more rarely where
            it finds nothing.
        floor: Bytes by which memory must have grown to count.

    Attributes:
        current: Bytes at the last look; 0 where there is no process.

    """

    def __init__(self, find: Callable[[], int | None], floor: int) -> None:
        self._find = find
        self._floor = floor
        self._pid: int | None = None
        self._baseline: list[int] = []
        self._since_ns = 0
        self._misses = 0  # in a row
        self._skip = 0  # looks
        self.current = 0

    def __call__(self, now_ns: int, at_work: bool = True) -> Reading | None:
        """Look; return a reading once there is a baseline and memory is above it.

        Args:
            now_ns: When.
            at_work: Whether there is a session.

        """
        if self._skip:
            self._skip -= 1
            return None
        if self._pid is None:
            self._pid = self._find()
            self._baseline.clear()
        value = None if self._pid is None else resident(self._pid)
        if value is None:
            self._pid, self.current = None, 0
            self._skip = min(2**self._misses - 1, _MAX_SKIP)
            self._misses = min(self._misses + 1, 10)
            return None
        self.current, self._misses = value, 0
        if not at_work:
            return None
        base = median(self._baseline) if len(self._baseline) >= _MINIMUM else None
        if base is None or value - base < self._floor:
            if len(self._baseline) < _BASELINE:  # then it stays, or a slow leak would take it along
                self._baseline.append(value)
            self._since_ns = now_ns
            return None
        text = f"Memory at {value / 1e6:.0f} MB, usually {base / 1e6:.0f} MB"
        return Reading("memory.ratio", value / base, str(self._pid), self._since_ns, text)
