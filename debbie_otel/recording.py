"""Recordings: JSON lines `{"t", "conn", "dir", "msg"}`, written by the proxy and replayed.

`t` is in seconds; `msg` is the decoded JSON of the message, or its text where it is no JSON; `conn`
(which connection; default one) and `note` may be there.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from debbie_otel.core.message import MessageDirection
from debbie_otel.errors import ConfigurationError, RecordingError

logger = logging.getLogger(__name__)

DEFAULT_CONNECTION = "1"


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


class _Line(msgspec.Struct):
    t: float
    dir: MessageDirection
    msg: msgspec.Raw
    conn: str | int = DEFAULT_CONNECTION
    note: str | None = None


_decode_line = msgspec.json.Decoder(_Line).decode
_decode_text = msgspec.json.Decoder(str).decode
_strict = msgspec.json.Decoder().decode


class RecordingWriter:
    """Appends messages to a file that only its owner can read.

    Args:
        path: The file; a recording that is there already goes on.
        max_bytes: Where it stops, with a warning.

    Raises:
        ConfigurationError: The file cannot be opened.

    """

    def __init__(self, path: Path, max_bytes: int = 1 << 30) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._full = False
        self._start_ns: int | None = None
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            reason = error.strerror or str(error)
            raise ConfigurationError(f"--record {path}", f"cannot be opened: {reason}") from None
        self._file = os.fdopen(descriptor, "ab")
        self._size = self._file.tell()

    def write(self, time_ns: int, conn: str, direction: MessageDirection, payload: bytes) -> None:
        """Append a message that was seen at `time_ns`."""
        if self._full:
            return
        if self._start_ns is None:
            self._start_ns = time_ns
        line = b'{"t":%.6f,"conn":%b,"dir":"%b","msg":%b}\n' % (
            (time_ns - self._start_ns) / 1e9,
            msgspec.json.encode(conn),
            direction.value.encode(),
            _message(payload),
        )
        if self._size + len(line) > self._max_bytes:
            self._full = True
            logger.warning("the recording %s is full; it ends here", self.path)
            return
        self._size += len(line)
        self._file.write(line)

    def close(self) -> None:
        """Write what is buffered, and close the file."""
        self._file.close()


def _message(payload: bytes) -> bytes:
    """Return a message as JSON on one line: as it is if it is JSON, else its text."""
    try:
        value = _strict(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return msgspec.json.encode(payload.decode("utf-8", "replace"))
    if isinstance(value, str):  # would be read back as the text of a message that is no JSON
        return msgspec.json.encode(payload.decode("utf-8", "replace"))
    if b"\n" in payload or b"\r" in payload:
        return json.dumps(value, separators=(",", ":")).encode()
    return payload


def read_recording(path: Path) -> Iterator[RecordedMessage]:
    """Read a recording line by line.

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
        cut = "" if line.endswith(b"\n") else "; the line is cut off"
        hint = 'expected {"t": seconds, "dir": "client->server"|"server->client", "msg": ...}'
        raise RecordingError(where, f"{error}{cut}", hint) from None
    return RecordedMessage(entry.t, str(entry.conn), entry.dir, payload, entry.note)
