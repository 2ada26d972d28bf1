"""Repetition in what the agent says: the same message again, or chanting within one.

Chanting is looked for every few characters: does the last piece of the text come again and again
within the last stretch of it? Lists, tables, headings, rulers and code repeat themselves by nature;
each begins the search anew.
"""

from __future__ import annotations

import re
from hashlib import blake2b

from debbie_otel.detection.loops.findings import LoopFinding, LoopSettings, LoopTier

STEP = 64
"""Characters from one look to the next."""

SUBSTANTIAL = 40
"""Characters of a message that says more than "still working"."""

_STRUCTURE = re.compile(
    r"[ \t]{0,12}(?:(?P<fence>```|~~~)|\#{1,6}\s|[-*+•]\s|\d{1,4}[.)]\s|\||>|[-=*_]{3,}\s*$)",
    re.MULTILINE,
)


class Speech:
    """Finds repetition in what the agent says.

    Attributes:
        active: The loop that goes on.

    """

    def __init__(self, settings: LoopSettings) -> None:
        self.active: LoopFinding | None = None
        self._settings = settings
        self._window = (settings.chant_repetitions - 1) * settings.chant_distance
        self._window += settings.chant_size
        self._pending: list[str] = []
        self._size = 0
        self._begin()
        self._last: bytes | None = None
        self._row = 0
        self._row_since_ns = 0

    def _begin(self) -> None:
        """Begin a message."""
        self._pending.clear()
        self._size = 0
        self._total = 0
        self._since_ns = 0
        self._hash = blake2b(digest_size=16)
        self._fenced = False
        self._search_anew()

    def _search_anew(self, rest: str = "") -> None:
        self._tail = rest
        self._line = 0

    # -- input --------------------------------------------------------------------------------

    def observed(self) -> None:
        """Take note of a tool: whatever is said next is no repetition of what was said before."""
        if self._total or self._size:
            self._begin()
        self._last = None
        self._row = 0
        self.active = None

    def text(self, text: str, time_ns: int) -> LoopFinding | None:
        """Take in a chunk; return chanting that is found in it."""
        if not self._size and not self._total:
            text = text.lstrip()
            self._since_ns = time_ns
        self._pending.append(text)
        self._size += len(text)
        if self._size < STEP:
            return None
        whole = "".join(self._pending)
        found = None
        end = len(whole) - len(whole) % STEP
        for start in range(0, end, STEP):
            found = self._look(whole[start : start + STEP]) or found
        self._pending = [whole[end:]]
        self._size = len(whole) - end
        return found

    def message_cut(self) -> None:
        """Take note that the message broke off and will be said again: it does not count."""
        self._begin()

    def message_ended(self, time_ns: int) -> LoopFinding | None:
        """Take in the end of a message; return a monologue that it makes."""
        rest = "".join(self._pending).rstrip()
        size = self._total + len(rest)
        if size == 0:
            return None
        self._hash.update(rest.encode("utf-8", "surrogatepass"))
        digest = self._hash.digest()
        since = self._since_ns or time_ns
        self._begin()
        if digest != self._last:
            self._last, self._row, self._row_since_ns = digest, 1, since
            self.active = None
            return None
        self._row += 1
        limit = self._settings.monologue_repetitions
        if self._row < limit:
            return None
        limit = limit if size >= SUBSTANTIAL else 2 * limit
        tier: LoopTier = "hard" if self._row >= limit else "soft"
        text = f"the agent said the same {self._row} times, with nothing between"
        return self._set(
            LoopFinding("monologue", tier, None, self._row, limit, 1, self._row_since_ns, text)
        )

    # -- chanting -----------------------------------------------------------------------------

    def _look(self, piece: str) -> LoopFinding | None:
        self._hash.update(piece.encode("utf-8", "surrogatepass"))
        self._total += STEP
        self._tail += piece
        if "\n" in piece or self._total == STEP or self._tail == piece:
            self._skip_structure()
        if len(self._tail) > 2 * self._window:
            cut = len(self._tail) - self._window
            self._tail = self._tail[cut:]
            self._line = max(0, self._line - cut)
        s = self._settings
        probe = self._tail[-s.chant_size :]
        if self._fenced or len(probe) < s.chant_size:
            self._chants_no_more()
            return None
        count = self._tail.count(probe, max(0, len(self._tail) - self._window))
        needed = s.chant_repetitions
        if not any(map(str.isalnum, probe)):
            needed *= 4  # dots, dashes and blanks are often drawn with
        if count < needed:
            if count <= 2:
                self._chants_no_more()
            return None
        text = f"the agent repeats itself {count} times within a message"
        return self._set(
            LoopFinding("chanting", "hard", None, count, needed, 1, self._since_ns, text)
        )

    def _chants_no_more(self) -> None:
        if self.active is not None and self.active.kind == "chanting":
            self.active = None

    def _skip_structure(self) -> None:
        """Begin anew behind the last line that is part of a list, a table, code, or the like."""
        tail, line, keep = self._tail, self._line, 0
        while True:
            mark = _STRUCTURE.match(tail, line)
            end = tail.find("\n", line)
            if end < 0:
                # Not complete: it is looked at again, and a fence must count only once.
                if mark is not None and mark["fence"] is None:
                    keep = len(tail)
                break
            if mark is not None:
                keep = end + 1
                if mark["fence"] is not None:
                    self._fenced = not self._fenced
            line = end + 1
        self._line = line
        if keep:
            self._search_anew(tail[keep:])
            self._line = max(0, line - keep)

    def _set(self, finding: LoopFinding) -> LoopFinding | None:
        before, self.active = self.active, finding
        worse = before is not None and before.tier == "soft" and finding.tier == "hard"
        return finding if before is None or worse or before.kind != finding.kind else None
