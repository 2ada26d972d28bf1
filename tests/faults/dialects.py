"""A server and a client for each dialect."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from tests.faults.acp import AcpClient, AcpServer
from tests.faults.aiwhisperer import AiWhispererClient, AiWhispererServer
from tests.faults.butler import ButlerClient, ButlerServer
from tests.faults.client import Client
from tests.faults.codex import CodexClient, CodexServer
from tests.faults.mcp import McpClient, McpServer
from tests.faults.memory import Hog
from tests.faults.mind import Mind


class Serving(Protocol):
    """A server that listens."""

    @property
    def url(self) -> str:
        """Where to connect."""


class Serve(Protocol):
    """Makes a server with one agent."""

    def __call__(self, mind: Mind, hog: Hog | None = None) -> AbstractAsyncContextManager[Any]: ...


@dataclass(frozen=True)
class Peers:
    """Both sides of a dialect."""

    server: Serve
    client: type[Client]


PEERS = {
    "aiwhisperer": Peers(AiWhispererServer, AiWhispererClient),
    "acp": Peers(AcpServer, AcpClient),
    "codex": Peers(CodexServer, CodexClient),
    "butler": Peers(ButlerServer, ButlerClient),
    "mcp": Peers(McpServer, McpClient),
}
