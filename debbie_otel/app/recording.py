"""Recordings: JSON lines `{"t", "conn", "dir", "msg"}`, written by the proxy and replayed.

`t` is in seconds since the recording began; `msg` is the message's JSON, or its text as a string
where it is no JSON; `conn` (which connection; default one) and `note` may be there. So that a
string is always text, a message that is itself a JSON string is recorded as text too.
"""

from __future__ import annotations

import logging
import mmap
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Annotated, Self

import msgspec

from debbie_otel.compat.platforms import keep_private, open_private
from debbie_otel.errors import ConfigurationError, RecordingError
from debbie_otel.wire.direction import MessageDirection

_log = logging.getLogger(__name__)

DEFAULT_CONNECTION = "1"
DEFAULT_MAX_BYTES = 1 << 30

_FORMAT = 'expected {"t": seconds, "dir": "client->server"|"server->client", "msg": ...}'
_SPACES = bytes.maketrans(b"\r\n", b"  ")
_PLAIN_NESTING = 100


class RecordedMessage(msgspec.Struct, frozen=True):
    """One line of a recording.

    Attributes:
        t: Seconds since the recording began.
        conn: Connection.
        direction: Who sent it.
        payload: The message as bytes.
        note: What the recorder remarked.

    """

    t: float
    conn: str
    direction: MessageDirection
    payload: bytes
    note: str | None = None


class _RecordedLine(msgspec.Struct):
    t: Annotated[float, msgspec.Meta(ge=0, le=1e9)]
    dir: MessageDirection
    msg: msgspec.Raw
    conn: str | int = DEFAULT_CONNECTION
    note: str | None = None


_decode_line = msgspec.json.Decoder(_RecordedLine).decode
_decode_text = msgspec.json.Decoder(str).decode
_skip_over = msgspec.json.Decoder(msgspec.Raw).decode  # checks the grammar, builds nothing
_encode = msgspec.json.Encoder().encode


class RecordingWriter:
    """Appends messages to a file that only its owner can read, a write for each.

    A disk that is full, like a recording that is, ends the recording with a warning, never a
    message on the wire.

    Args:
        path: The file; a recording that is there already goes on, in size and in time.
        max_bytes: Size at which it stops.

    Attributes:
        dropped: Messages that came after it stopped.

    Raises:
        ConfigurationError: The file cannot be opened, or it is there and no recording.

    """

    def __init__(self, path: Path, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self.path = path
        self.dropped = 0
        self._max_bytes = max_bytes
        self._began_ns: int | None = None
        self._before, self._size = 0.0, 0
        self._full = False
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
        try:
            self._descriptor = open_private(path, flags)
        except OSError as error:
            reason = error.strerror or str(error)
            raise ConfigurationError(f"--record {path}", f"cannot be opened: {reason}") from None
        try:
            self._resume()
        except BaseException:
            self.close()
            raise

    def write(self, time_ns: int, conn: str, direction: MessageDirection, payload: bytes) -> None:
        """Append a message that was seen at `time_ns` (nanoseconds since the epoch)."""
        if self._full or self._descriptor < 0:
            self.dropped += 1
            return
        if self._began_ns is None:
            self._began_ns = time_ns
        line = b'{"t":%.6f,"conn":%b,"dir":"%b","msg":%b}\n' % (
            self._before + max(0, time_ns - self._began_ns) / 1e9,
            _encode(conn),
            direction.encode(),
            _message(payload),
        )
        if self._size + len(line) > self._max_bytes:
            self._stop(f"it has reached {self._max_bytes} bytes")
            return
        try:
            written = os.write(self._descriptor, line)
        except OSError as error:
            self._stop(error.strerror or str(error))
            return
        self._size += written
        if written < len(line):
            self._stop("the disk is full", cut=written)

    def close(self) -> None:
        """Close the file; what comes later is dropped."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def _resume(self) -> None:
        """Go on after the last line that is there."""
        facts = os.fstat(self._descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size == 0:
            return
        with mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ) as content:
            last = content[content.rfind(b"\n", 0, len(content) - 1) + 1 :]
        where = f"--record {self.path}"
        try:
            self._before = _decode_line(last).t
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            what = "is there already, and does not end as a recording does"
            raise ConfigurationError(where, what, "name another file") from None
        keep_private(self._descriptor)
        self._size = facts.st_size
        if not last.endswith(b"\n"):
            self._size += os.write(self._descriptor, b"\n")

    def _stop(self, why: str, cut: int = 0) -> None:
        self._full = True
        self.dropped += 1
        _log.warning("the recording %s ends here: %s", self.path, why)
        if cut:  # a part of a line would make all of it unreadable
            self._size -= cut
            os.ftruncate(self._descriptor, self._size)


def _message(payload: bytes) -> bytes:
    """Return a message as JSON on one line: as it is if it is JSON, else its text."""
    if _is_json(payload):
        # Between tokens is the only place where JSON can have line breaks.
        return payload.translate(_SPACES) if b"\n" in payload or b"\r" in payload else payload
    return _encode(payload.decode("utf-8", "replace"))


def _is_json(payload: bytes) -> bool:
    try:
        payload.decode()
        _skip_over(payload)
        if payload.lstrip(b" \t\r\n").startswith(b'"'):
            return False
        if payload.count(b"[") + payload.count(b"{") > _PLAIN_NESTING:
            # It may be nested so deeply that only we can read it: ask for some room.
            _skip_over(b"[" * _PLAIN_NESTING + payload + b"]" * _PLAIN_NESTING)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def read_recording(path: Path) -> Iterator[RecordedMessage]:
    """Read a recording line by line; blank lines are nothing.

    Raises:
        RecordingError: File and line, and what is wrong there.

    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise RecordingError(str(path), f"cannot be read: {error.strerror or error}") from None
    with file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield _parse(line, f"{path}:{number}")


def _parse(line: bytes, where: str) -> RecordedMessage:
    try:
        entry = _decode_line(line)
        raw = bytes(entry.msg)
        payload = _decode_text(raw).encode() if raw.startswith(b'"') else raw
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if not line.endswith(b"\n"):
            what = "the line is incomplete; the recording was cut off here"
            raise RecordingError(where, what, "remove the line") from None
        raise RecordingError(where, str(error), _FORMAT) from None
    return RecordedMessage(entry.t, str(entry.conn), entry.dir, payload, entry.note)
