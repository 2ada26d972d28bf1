"""The wire of the Codex app-server: no `jsonrpc` member; a turn outlives its request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.corpus import words
from tests.corpus.speaker import Speaker
from tests.corpus.wire import S2C, Wire
from tests.corpus.words import Use

_EPOCH_MS = 1_795_358_837_000


class Codex(Speaker):
    """A Codex app-server with one thread."""

    dialect = "codex"
    versioned = False

    def __init__(self, wire: Wire, conn: str = "A") -> None:
        super().__init__(wire, conn)
        self.turn_id = ""
        self._items = 0
        self._open: dict[str, dict[str, Any]] = {}
        self._used = 0

    @property
    def _now_ms(self) -> int:
        return _EPOCH_MS + round(self.wire.now * 1000)

    def open(self) -> None:
        client = {"name": "ide", "title": "IDE", "version": "2.1"}
        answer = {"userAgent": "ide/0.169.0", "platformFamily": "unix", "platformOs": "linux"}
        self.call("initialize", {"clientInfo": client}, 0.02, answer)
        self.tell("initialized")
        self.new_session()

    def new_session(self) -> None:
        self.session = self._uuid()
        params = {"cwd": "/workspace", "approvalPolicy": "never"}
        thread = {"id": self.session, "cwd": "/workspace", "status": {"type": "idle"}, "turns": []}
        self.call("thread/start", params, 0.04, {"thread": thread, "model": "gpt-5.2-codex"})
        self.notify("thread/started", {"thread": thread})
        self.wire.pause(0.5, 4.0)

    def notify(self, method: str, params: dict[str, Any]) -> None:
        for conn in self.listeners:
            message = {"method": method, "params": params, "emittedAtMs": self._now_ms}
            self.wire.say(conn, S2C, message)

    def begin(self, prompt: str) -> None:
        content = [{"type": "text", "text": prompt, "text_elements": []}]
        number = self.request("turn/start", {"threadId": self.session, "input": content})
        self.wire.pause(0.002, 0.03)
        self.turn_id = self._uuid()
        self.result(number, {"turn": self._state("inProgress")})
        self._status({"type": "active", "activeFlags": []})
        self.notify("turn/started", {"threadId": self.session, "turn": self._state("inProgress")})
        user = {"type": "userMessage", "id": self._uuid(), "content": content}
        self._item("item/started", user)
        self._item("item/completed", user)

    def start(self, use: Use) -> str:
        self._items += 1
        key = f"call_{self._items}"
        item: dict[str, Any] = {"id": key, "status": "inProgress", "durationMs": None}
        if use.kind == "execute":
            item |= {
                "type": "commandExecution",
                "command": f"/bin/bash -lc '{use.arguments['command']}'",
                "cwd": "/workspace",
                "processId": str(self.rng.randint(2000, 60000)),
                "aggregatedOutput": None,
                "exitCode": None,
            }
        else:
            item |= {
                "type": "mcpToolCall",
                "server": "workspace",
                "tool": use.name,
                "arguments": use.arguments,
                "result": None,
                "error": None,
            }
        self._open[key] = item
        self._item("item/started", item)
        return key

    def progress(self, key: str, text: str) -> None:
        ids = {"threadId": self.session, "turnId": self.turn_id, "itemId": key}
        self.notify("item/commandExecution/outputDelta", {**ids, "delta": text + "\n"})

    def end(self, key: str, output: str, *, failed: bool = False) -> None:
        item = self._open.pop(key)
        item = item | {"status": "failed" if failed else "completed", "durationMs": 100}
        if item["type"] == "commandExecution":
            item |= {"aggregatedOutput": output, "exitCode": int(failed)}
        elif failed:
            item |= {"error": {"message": output}}
        else:
            item |= {"result": {"content": [{"type": "text", "text": output}]}}
        self._item("item/completed", item)
        self._usage()

    def say(self, pieces: Iterable[str], gap: float = 0.05, *, cut: bool = False) -> None:
        self._items += 1
        key = f"msg_resp_{self._items}"
        self._item("item/started", {"type": "agentMessage", "id": key, "text": ""})
        said = ""
        for piece in pieces:
            self.wire.about(gap, 0.3)
            said += piece
            ids = {"threadId": self.session, "turnId": self.turn_id, "itemId": key}
            self.notify("item/agentMessage/delta", {**ids, "delta": piece})
        if not cut:
            self._item("item/completed", {"type": "agentMessage", "id": key, "text": said})

    def finish(self) -> None:
        self._usage()
        self._over("completed", {"type": "idle"})

    def fail_turn(self) -> None:
        text = "exceeded retry limit, last status: 429 Too Many Requests"
        ids = {"threadId": self.session, "turnId": self.turn_id}
        self.notify("error", {"error": {"message": text}, "willRetry": False, **ids})
        self._over("failed", {"type": "systemError"}, {"message": text})

    def will_retry(self, attempt: int, of: int) -> None:
        """Tell that the model could not be reached, and that it is tried again."""
        text = f"Reconnecting... {attempt}/{of}"
        ids = {"threadId": self.session, "turnId": self.turn_id}
        self.notify("error", {"error": {"message": text}, "willRetry": True, **ids})

    def cancel(self) -> None:
        params = {"threadId": self.session, "turnId": self.turn_id}
        number = self.request("turn/interrupt", params)
        self.wire.pause(0.01, 0.2)
        self.result(number, {})
        self._open.clear()  # what is cut never completes
        self._over("interrupted", {"type": "idle"})

    def await_user(self, use: Use) -> int:
        key = self.start(use)
        self._status({"type": "active", "activeFlags": ["waitingOnApproval"]})
        command = self._open[key]["command"]
        ids = {"threadId": self.session, "turnId": self.turn_id, "itemId": key}
        return self.ask(
            "item/commandExecution/requestApproval",
            {"kind": "command", **ids, "command": command, "cwd": "/workspace"},
        )

    def user_answers(self, number: int) -> None:
        self.reply(number, {"decision": "accept"})
        params = {"threadId": self.session, "requestId": number}
        self.notify("serverRequest/resolved", params)
        self._status({"type": "active", "activeFlags": []})
        for key in list(self._open):
            self.wire.pause(0.05, 0.5)
            self.end(key, "done\n")

    def _item(self, method: str, item: dict[str, Any]) -> None:
        self.notify(method, {"item": item, "threadId": self.session, "turnId": self.turn_id})

    def _state(self, status: str, error: Any = None) -> dict[str, Any]:
        return {"id": self.turn_id, "items": [], "status": status, "error": error}

    def _over(self, status: str, thread: dict[str, Any], error: Any = None) -> None:
        self._status(thread)
        params = {"threadId": self.session, "turn": self._state(status, error)}
        self.notify("turn/completed", params)

    def _status(self, status: dict[str, Any]) -> None:
        self.notify("thread/status/changed", {"threadId": self.session, "status": status})

    def _usage(self) -> None:
        self._used += self.rng.randint(400, 2000)
        total = {"totalTokens": self._used, "inputTokens": self._used, "outputTokens": 0}
        ids = {"threadId": self.session, "turnId": self.turn_id}
        self.notify("thread/tokenUsage/updated", {**ids, "tokenUsage": {"total": total}})
        self.notify("account/rateLimits/updated", {"rateLimits": {"limitId": "codex"}})

    def _uuid(self) -> str:
        return f"01a203b9-{words.uuid(self.rng)[9:]}"
