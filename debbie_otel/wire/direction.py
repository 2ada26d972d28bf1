"""The two directions of a connection."""

from __future__ import annotations

from enum import StrEnum


class MessageDirection(StrEnum):
    """The direction in which a message travels."""

    CLIENT_TO_SERVER = "client->server"
    SERVER_TO_CLIENT = "server->client"

    # An enum's own hash is computed in Python; these are dictionary keys on the hot path.
    __hash__ = str.__hash__

    @property
    def opposite(self) -> MessageDirection:
        """The direction in which an answer travels."""
        return _OPPOSITE[self]


_OPPOSITE = {
    MessageDirection.CLIENT_TO_SERVER: MessageDirection.SERVER_TO_CLIENT,
    MessageDirection.SERVER_TO_CLIENT: MessageDirection.CLIENT_TO_SERVER,
}
