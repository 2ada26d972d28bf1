"""The Agent Client Protocol's wire."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.corpus import words
from tests.corpus.speaker import Speaker
from tests.corpus.wire import Wire
from tests.corpus.words import Use


class Acp(Speaker):
    """An ACP agent; some put the names of their tools into `_meta`."""

    dialect = "acp"

    def __init__(self, wire: Wire, conn: str = "A", *, names: bool | None = None) -> None:
        super().__init__(wire, conn)
        self._names = self.rng.random() < 0.5 if names is None else names
        self._turn = 0
        self._used = self.rng.randint(900, 5000)

    def open(self) -> None:
        self.initialize()
        self.new_session()

    def initialize(self) -> None:
        """Shake hands."""
        client = {"name": "editor", "version": "1.4.2"}
        params = {"protocolVersion": 1, "clientInfo": client, "clientCapabilities": {}}
        agent = {"name": "coder", "title": "Coder", "version": "0.9.1"}
        answer = {
            "protocolVersion": 1,
            "agentCapabilities": {"loadSession": True},
            "authMethods": [],
            "agentInfo": agent,
        }
        self.call("initialize", params, 0.05, answer)

    def new_session(self) -> None:
        """Begin a session, on a connection that has shaken hands."""
        self.session = f"sess_{words.hexadecimal(self.rng, 12)}"
        params = {"cwd": "/workspace", "mcpServers": []}
        self.call("session/new", params, 0.08, {"sessionId": self.session})
        self.wire.pause(0.5, 4.0)

    def begin(self, prompt: str) -> None:
        content = [{"type": "text", "text": prompt}]
        self._turn = self.request("session/prompt", {"sessionId": self.session, "prompt": content})

    def update(self, what: str, /, **fields: Any) -> None:
        """Send a session/update."""
        update = {**fields, "sessionUpdate": what}
        self.notify("session/update", {"sessionId": self.session, "update": update})

    def start(self, use: Use) -> str:
        key = f"call_{words.hexadecimal(self.rng, 8)}"
        more: dict[str, Any] = {}
        if self._names:
            more["_meta"] = {"claudeCode": {"toolName": use.name}}
        self.update(
            "tool_call",
            toolCallId=key,
            title=use.title,
            kind=use.kind,
            status="pending",
            rawInput=use.arguments,
            **more,
        )
        self.wire.pause(0.005, 0.04)
        self.update("tool_call_update", toolCallId=key, status="in_progress")
        return key

    def progress(self, key: str, text: str) -> None:
        content = [{"type": "content", "content": {"type": "text", "text": text}}]
        self.update("tool_call_update", toolCallId=key, status="in_progress", content=content)

    def end(self, key: str, output: str, *, failed: bool = False) -> None:
        self.update(
            "tool_call_update",
            toolCallId=key,
            status="failed" if failed else "completed",
            content=[{"type": "content", "content": {"type": "text", "text": output}}],
            rawOutput={"exitCode": int(failed), "output": output},
        )

    def say(self, pieces: Iterable[str], gap: float = 0.05, *, cut: bool = False) -> None:
        for piece in pieces:
            self.wire.about(gap, 0.3)
            self.update("agent_message_chunk", content={"type": "text", "text": piece})

    def finish(self) -> None:
        used = self.rng.randint(400, 3000)
        self._used += used
        self.update("usage_update", used=self._used, size=200_000)
        usage = {"totalTokens": used, "inputTokens": used - 90, "outputTokens": 90}
        self.result(self._turn, {"stopReason": "end_turn", "usage": usage})

    def fail_turn(self) -> None:
        details = {"details": "model backend returned 500"}
        self.error(self._turn, -32603, "Internal error", details)

    def cancel(self) -> None:
        self.tell("session/cancel", {"sessionId": self.session})
        self.wire.pause(0.01, 0.4)
        self.result(self._turn, {"stopReason": "cancelled"})

    def await_user(self, use: Use) -> int:
        call = {
            "toolCallId": f"call_{words.hexadecimal(self.rng, 8)}",
            "kind": use.kind,
            "status": "pending",
            "title": use.title,
        }
        options = [
            {"optionId": "allow", "name": "Allow once", "kind": "allow_once"},
            {"optionId": "reject", "name": "Reject", "kind": "reject_once"},
        ]
        params = {"sessionId": self.session, "toolCall": call, "options": options}
        return self.ask("session/request_permission", params)

    def user_answers(self, number: int) -> None:
        self.reply(number, {"outcome": {"outcome": "selected", "optionId": "allow"}})
