"""What some platforms lack, in one place; `docs/platforms.md` says which is supported for what.

Nothing else in the package imports `fcntl`, `resource` or `termios`, or uses a name of `os`,
`signal` or `socket` that Windows does not have; only `intervention/scripts/_launch.py`, which is
never started there. A thing is used where it is found, whatever the platform is called.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

try:
    import fcntl
    import termios
except ImportError:
    _HAS_FCNTL = False
else:
    _HAS_FCNTL = True

HAS_UNIX_SOCKETS = hasattr(socket, "AF_UNIX") and hasattr(asyncio, "open_unix_connection")
NO_UNIX_SOCKETS = "this platform has no Unix-domain sockets"

CAN_LIMIT_PROCESSES = hasattr(os, "fork") and hasattr(os, "setpgid")
"""Whether a script can be run under limits (`intervention/sandbox.py`)."""

CAN_TELL_UNSENT = _HAS_FCNTL and hasattr(termios, "TIOCOUTQ")
"""Whether `is_all_sent` can say yes."""


def open_private(path: Path, flags: int) -> int:
    """Open a file that nobody else may read, for bytes; return its descriptor."""
    return os.open(path, flags | getattr(os, "O_BINARY", 0), 0o600)


def keep_private(descriptor: int) -> None:
    """Let nobody else read a file that was there already; where files have no modes, do nothing."""
    if hasattr(os, "fchmod"):
        os.fchmod(descriptor, 0o600)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold the lock on a file, and tell whether that file is still at its path.

    Where there are no such locks an open file cannot be renamed either: it stays closed, and the
    renaming itself fails for all but one.
    """
    if not _HAS_FCNTL:
        yield path.exists()
        return
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            current = path.stat().st_ino == os.fstat(handle).st_ino
        except FileNotFoundError:
            current = False
        yield current
    finally:
        os.close(handle)


async def open_unix_connection(path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Do as `asyncio.open_unix_connection` does; an OSError where there is none."""
    if not HAS_UNIX_SOCKETS:
        raise OSError(errno.EAFNOSUPPORT, NO_UNIX_SOCKETS)
    return await asyncio.open_unix_connection(path)


def is_unix_socket(sock: socket.socket) -> bool:
    """Tell whether a socket is a Unix-domain socket."""
    return HAS_UNIX_SOCKETS and sock.family == socket.AF_UNIX


def is_all_sent(sock: socket.socket) -> bool:
    """Tell whether the peer's kernel has acknowledged everything that was written."""
    if not CAN_TELL_UNSENT:
        return False
    try:
        answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
    except OSError:
        return False
    return int(struct.unpack("i", answer)[0]) == 0


def on_termination(stop: Callable[[], object]) -> None:
    """Have SIGINT and SIGTERM call something on the event loop that runs now."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop)
        except NotImplementedError:  # a loop of Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))
