"""AIWhisperer's wire: tools run inside the server and are told of in the answer only."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tests.corpus import words
from tests.corpus.speaker import Speaker
from tests.corpus.wire import Wire
from tests.corpus.words import Use


class AiWhisperer(Speaker):
    """Today's server; `classic` is the older one, which tells of tools while they run."""

    dialect = "aiwhisperer"

    def __init__(self, wire: Wire, conn: str = "A", *, classic: bool = False) -> None:
        super().__init__(wire, conn)
        self.classic = classic
        self._turn = 0
        self._sequence = 0
        self._said = ""
        self._calls: list[dict[str, Any]] = []

    def open(self) -> None:
        number = self.request("startSession", {"userId": "user", "sessionParams": {}})
        self.wire.about(0.05)
        self.notify("agent.created", {"agent_id": "a", "active": True})
        self.notify("agent.switched", {"from": "a", "to": "a"})
        self.session = words.uuid(self.rng)
        self.result(number, {"sessionId": self.session, "status": 1})
        self.wire.pause(0.5, 4.0)

    def begin(self, prompt: str) -> None:
        params = {"sessionId": self.session, "message": prompt}
        self._turn = self.request("sendUserMessage", params)
        self._said, self._calls = "", []

    def start(self, use: Use) -> str:
        if self.classic:
            self.notify("toolExecutionStarted", {"sessionId": self.session, "toolName": use.name})
            return use.name
        function = {"name": use.name, "arguments": json.dumps(use.arguments)}
        key = f"call_{words.hexadecimal(self.rng, 8)}"
        self._calls.append({"id": key, "type": "function", "function": function})
        self._update()  # with a call the model streams no more text, but an update comes
        return key

    def end(self, key: str, output: str, *, failed: bool = False) -> None:
        if self.classic:
            params = {"sessionId": self.session, "toolName": key, "durationMs": 100}
            self.notify("toolExecutionCompleted", params)

    def say(self, pieces: Iterable[str], gap: float = 0.05, *, cut: bool = False) -> None:
        for piece in pieces:
            self.wire.about(gap, 0.3)
            self._said += piece
            if self.classic:
                params = {"sessionId": self.session, "chunk": piece, "isFinal": False}
                self.notify("AIMessageChunkNotification", params)
            else:
                self._update()

    def finish(self) -> None:
        self.finish_with(self._said)

    def finish_with(self, response: str | None) -> None:
        """End the turn with that response."""
        if self._said and not self.classic:
            self._update()
            self.notify("ChannelMessageNotification", self._final())
        self.result(
            self._turn,
            {
                "messageId": words.uuid(self.rng),
                "status": 0,
                "ai_response": response,
                "tool_calls": self._calls,
            },
        )

    def fail_turn(self) -> None:
        self._calls = []
        self.finish_with(None)

    def _update(self) -> None:
        self.notify(
            "StreamingUpdate",
            {
                "type": "streaming_chunk",
                "content": self._said,
                "sessionId": self.session,
                "agentId": "a",
                "isPartial": True,
                "format": "text",
                "rawContent": True,
            },
        )

    def _final(self) -> dict[str, Any]:
        self._sequence += 1
        return {
            "type": "channel_message",
            "channel": "final",
            "content": self._said,
            "metadata": {
                "sequence": self._sequence,
                "agentId": "a",
                "sessionId": self.session,
                "toolCalls": None,
                "isPartial": False,
            },
        }
