"""Sessions that have one name for the client and, since a restart, another for the server."""

from __future__ import annotations

import re

import msgspec


class Renaming:
    """Changes the names of sessions in JSON as it passes, both ways.

    A name is changed where it is a whole JSON string: `"name"` between its quotes. In the midst of
    another string the quotes would be escaped, so that no text that somebody wrote is touched.
    """

    __slots__ = ("_by_client", "_to_client", "_to_server")

    def __init__(self) -> None:
        self._by_client: dict[str, str] = {}
        self._to_server = _Table({})
        self._to_client = _Table({})

    def __bool__(self) -> bool:
        return bool(self._by_client)

    def learn(self, client: str, server: str) -> None:
        """Take note of the server's present name for what the client calls `client`."""
        self._by_client.pop(client, None)
        if client != server:
            self._by_client[client] = server
        pairs = {_token(ours): _token(theirs) for ours, theirs in self._by_client.items()}
        self._to_server = _Table(pairs)
        self._to_client = _Table({theirs: ours for ours, theirs in pairs.items()})

    def server_name(self, client: str) -> str:
        """Return the server's name for what the client calls `client`."""
        return self._by_client.get(client, client)

    def to_server(self, payload: bytes) -> bytes:
        """Return a payload as the server is to see it; the very same one if nothing changes."""
        return self._to_server.apply(payload)

    def to_client(self, payload: bytes) -> bytes:
        """Return a payload as the client is to see it; the very same one if nothing changes."""
        return self._to_client.apply(payload)


class _Table:
    __slots__ = ("_pairs", "_pattern")

    def __init__(self, pairs: dict[bytes, bytes]) -> None:
        self._pairs = pairs
        self._pattern = re.compile(b"|".join(map(re.escape, pairs))) if pairs else None

    def apply(self, payload: bytes) -> bytes:
        if self._pattern is None or self._pattern.search(payload) is None:
            return payload
        return self._pattern.sub(lambda match: self._pairs[match[0]], payload)


def _token(name: str) -> bytes:
    return msgspec.json.encode(name)
