"""A session of the scripted agent: where it is, and what it tells its client."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from debbie_otel.demo.server import Params, dumps


class AgentSession:
    """What outlives a socket: the place in the script, the agent, and who is told of progress."""

    def __init__(self, session_id: str, owner: ServerConnection) -> None:
        self.id = session_id
        self.owner = owner
        self.agent = "a"
        self.turns = 0
        self.sequence = 0
        self.stuck = False
        self.stopped = asyncio.Event()

    async def notify(self, method: str, params: Params) -> None:
        """Tell the socket that began the session; nobody if that one is gone."""
        with contextlib.suppress(ConnectionClosed):
            await self.owner.send(dumps({"jsonrpc": "2.0", "method": method, "params": params}))

    async def stream(self, content: str) -> None:
        """Tell all that was said so far of a text."""
        await self.notify(
            "StreamingUpdate",
            {
                "type": "streaming_chunk",
                "content": content,
                "sessionId": self.id,
                "agentId": self.agent,
                "isPartial": True,
                "format": "text",
                "rawContent": True,
            },
        )

    async def say(self, text: str, *, structured: bool) -> None:
        """Say a text as a whole; where no tools ran, it is `structured`."""
        self.sequence += 1
        channels = {"analysis": "", "commentary": "", "final": text}
        metadata: Params = {
            "sequence": self.sequence,
            "timestamp": datetime.now(UTC).isoformat(),
            "agentId": self.agent,
            "sessionId": self.id,
            "toolCalls": None,
            "continuationDepth": None,
            "isPartial": False,
            "responseFormat": "json",
            "fullResponse": channels,
        }
        if structured:
            metadata |= {"structuredResponse": channels, "analysis": "", "commentary": ""}
        await self.notify(
            "ChannelMessageNotification",
            {"type": "channel_message", "channel": "final", "content": text, "metadata": metadata},
        )
