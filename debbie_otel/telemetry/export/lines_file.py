"""Files of JSON lines: bounded, private, and for several processes at once."""

from __future__ import annotations

import os
from pathlib import Path

from debbie_otel.compat.platforms import open_private


class LinesFile:
    """A file of JSON lines that is appended to, and rotated: bounded, private, never raising.

    `DIR/name.jsonl` is the newest; `DIR/name.1.jsonl` the one before, up to `files - 1`. Each
    write opens the file anew, so that several processes can append to the same one.

    Args:
        directory: Created with mode 0700 where missing.
        name: Without suffix.
        max_bytes: Size beyond which the next write goes to a new file.
        files: How many files there are at most.

    """

    def __init__(
        self, directory: Path, name: str, max_bytes: int = 64 << 20, files: int = 4
    ) -> None:
        self.path = directory / f"{name}.jsonl"
        self.problem = ""
        self._directory = directory
        self._name = name
        self._max_bytes = max_bytes
        self._files = files
        self._torn = False

    def append(self, lines: bytes) -> bool:
        """Append whole lines; return whether all of it was written. `problem` says why not."""
        if self._torn:
            lines = b"\n" + lines  # readers skip the torn line before it
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._rotate(len(lines))
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            handle = open_private(self.path, flags)
            try:
                written = os.write(handle, lines)
            finally:
                os.close(handle)
        except OSError as error:
            self.problem = str(error)
            return False
        self._torn = written != len(lines)
        self.problem = "no space left" if self._torn else ""
        return not self._torn

    def _rotate(self, more: int) -> None:
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            return
        if size == 0 or size + more <= self._max_bytes:
            return
        for number in range(self._files - 1, 0, -1):
            older = self._directory / f"{self._name}.{number}.jsonl"
            newer = self._directory / f"{self._name}.{number - 1}.jsonl"
            source = self.path if number == 1 else newer
            if source.exists():
                source.replace(older)
        if self._files == 1:
            self.path.unlink()
