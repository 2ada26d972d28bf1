"""Changes of a request's head that configuration asks for; all other bytes stay as they are.

The rules:

- **Host** passes as the client sent it (`preserve`), or is replaced by the upstream's authority
  (`upstream`). `auto`, the default, preserves it for `ws` and unix-domain upstreams, and names
  the upstream for a `wss` upstream that is addressed by name: such a server, or the balancer
  before it, selects by Host, and its certificate is that name's.
- **Target**: a client that asks for exactly `/` gets the path and query of the upstream's URL, if
  that has one; any other target passes as sent. So `ws://proxy/` and `ws://proxy/ws` both reach
  `/ws` behind `--upstream ws://host/ws`.

Source: RFC 9112 section 3 (request line, Host).
"""

from __future__ import annotations

import re

from debbie_otel.wire.handshake import MAX_HEAD_SIZE

_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_LENGTH = re.compile(rb"\ncontent-length[ \t]*:[ \t]*(\d{1,18})[ \t]*\r?\n", re.IGNORECASE)
_CODED = re.compile(rb"\ntransfer-encoding[ \t]*:", re.IGNORECASE)
_HOST = re.compile(rb"(\nhost[ \t]*:[ \t]*)[^\r\n]*?([ \t]*\r?\n)", re.IGNORECASE)
_ROOT = re.compile(rb"\A([A-Z]+ )/( HTTP/1\.[01]\r?\n)")
# First letters of HTTP methods, none of which can begin a valid frame: after a refused upgrade the
# next request is recognised by them.
_METHOD_STARTS = frozenset(b"CDGHOPT")


def end_of_head(data: bytes | bytearray, start: int = 0) -> int:
    """Return the index after the blank line that ends a head, or -1; `start` as in `find`."""
    match = _END_OF_HEAD.search(data, start)
    return -1 if match is None else match.end()


def rewrite_head(head: bytes, authority: bytes | None, root_target: bytes | None) -> bytes:
    """Return a request's head with its Host and, if it is `/`, its target replaced.

    Args:
        head: Request line and headers, with the blank line that ends them.
        authority: `host[:port]` to put into Host; None leaves it.
        root_target: Path and query in the place of `/`; None leaves it.

    """
    if root_target is not None:
        head = _ROOT.sub(lambda match: match[1] + root_target + match[2], head, count=1)
    if authority is not None:
        head = _HOST.sub(lambda match: match[1] + authority + match[2], head)
    return head


class RequestRewriter:
    """Rewrites the heads of the requests in a client's bytes, until these are frames.

    Bytes are held back only while a head is incomplete, and at most `MAX_HEAD_SIZE` of them: a
    longer head passes as it is. After a chunked request nothing is rewritten any more.

    """

    def __init__(self, authority: bytes | None, root_target: bytes | None) -> None:
        self._authority = authority
        self._root_target = root_target
        self._held = bytearray()
        self._body = 0
        self._upgrading = False
        self.done = authority is None and root_target is None
        """Whether everything from here on passes as it is."""

    def receive_data(self, data: bytes) -> bytes:
        """Take the client's next bytes and return those to pass on now; may be empty."""
        output = bytearray()
        while data and not self.done:
            if self._body:
                output += data[: self._body]
                rest = data[self._body :]
                self._body -= len(data) - len(rest)
                data = rest
            elif self._upgrading and not self._held and data[0] not in _METHOD_STARTS:
                self.done = True
            else:
                data = self._receive_head(data, output)
        return bytes(output) + data if output else data

    def finish(self) -> bytes:
        """Return what is still held back: the client sends no more."""
        self.done = True
        held = bytes(self._held)
        self._held.clear()
        return held

    def _receive_head(self, data: bytes, output: bytearray) -> bytes:
        """Take bytes of a head; return those after it."""
        searched = max(0, len(self._held) - 3)
        self._held += data
        stop = end_of_head(self._held, searched)
        if stop < 0 and len(self._held) <= MAX_HEAD_SIZE:
            return b""
        if stop < 0 or stop > MAX_HEAD_SIZE:
            output += self.finish()
            return b""
        head, rest = bytes(self._held[:stop]), bytes(self._held[stop:])
        self._held.clear()
        output += rewrite_head(head, self._authority, self._root_target)
        length = _LENGTH.search(head)
        self._body = int(length[1]) if length else 0
        self._upgrading = b"\nupgrade" in head.lower()
        self.done = _CODED.search(head) is not None
        return rest
