"""Healthy sessions with long silences, of many kinds, in the words of each dialect.

A kind says what the agent does, step by step; a dialect, how that is told on the wire. Each is a
thing that real agents do for minutes while all is well.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from debbie_otel.app.recording import RecordedMessage
from debbie_otel.wire.direction import MessageDirection

_UP, _DOWN = MessageDirection.CLIENT_TO_SERVER, MessageDirection.SERVER_TO_CLIENT


class Think(msgspec.Struct, frozen=True):
    """Nothing is told for a while."""

    seconds: float


class Words(msgspec.Struct, frozen=True):
    """The agent says something, in chunks with a pause between each two."""

    chunks: int = 3
    pause: float = 0.2


class Tool(msgspec.Struct, frozen=True):
    """A tool runs and tells nothing meanwhile."""

    name: str
    seconds: float
    kind: str = "execute"
    fails: bool = False


class Permission(msgspec.Struct, frozen=True):
    """The agent waits for a person."""

    seconds: float


class User(msgspec.Struct, frozen=True):
    """The user thinks, and speaks again."""

    seconds: float


Step = Think | Words | Tool | Permission | User

KINDS: dict[str, tuple[Step, ...]] = {
    "slow first word": (Think(95), Words()),
    "very slow first word": (Think(240), Words()),
    "pause between words": (Words(4, 25.0),),
    "long pause between words": (Words(2, 100.0),),
    "thinking after a tool": (Tool("read", 1, "read"), Think(95), Words()),
    "silent command": (Tool("bash", 100), Words()),
    "four minutes of tests": (Tool("bash", 240), Words()),
    "eight minutes of a build": (Tool("build", 480), Words()),
    "web search": (Tool("web_search", 50, "search"), Words()),
    "fetch": (Tool("fetch_page", 90, "fetch"), Words()),
    "sub-agent": (Tool("task", 360, "think"), Words()),
    "long sub-agent": (Tool("spawn_agent", 1500, "think"), Words()),
    "vision": (Tool("analyze_frames", 500), Words()),
    "several slow tools": (Tool("bash", 70), Tool("bash", 80), Tool("bash", 90), Words()),
    "slow tool that fails once": (Tool("bash", 120, fails=True), Tool("bash", 60), Words()),
    "permission": (Permission(300), Tool("bash", 5), Words()),
    "permission after an hour": (Permission(3600), Tool("bash", 5), Words()),
    "user away": (Words(), User(1800), Words()),
    "user away, then slow": (Words(), User(600), Think(80), Words()),
    "a day of work": (
        *(Think(40), Tool("bash", 150), Words(), User(200)),
        *(Think(80), Tool("edit", 2, "edit"), Words(), User(300)),
        *(Think(110), Words()),
    ),
}

_Say = Callable[[str, dict[str, Any]], None]


class _Script:
    """Messages with their times, as they are made."""

    def __init__(self) -> None:
        self.messages: list[RecordedMessage] = []
        self.now = 0.0
        self._ids = 0

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def send(self, direction: MessageDirection, message: dict[str, Any]) -> None:
        payload = json.dumps(message).encode()
        self.messages.append(RecordedMessage(self.now, "1", direction, payload))
        self.now += 0.05

    def new_id(self) -> int:
        self._ids += 1
        return self._ids


def acp(kind: str) -> list[RecordedMessage]:
    """The Agent Client Protocol: a turn is the session/prompt request."""
    it = _Script()

    def ask(
        direction: MessageDirection, method: str, params: Any, result: Any, after: float
    ) -> None:
        number = it.new_id()
        it.send(direction, {"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        it.wait(after)
        it.send(direction.opposite, {"jsonrpc": "2.0", "id": number, "result": result})

    def update(**fields: Any) -> None:
        params = {"sessionId": "s1", "update": fields}
        it.send(_DOWN, {"jsonrpc": "2.0", "method": "session/update", "params": params})

    ask(_UP, "initialize", {"protocolVersion": 1}, {"protocolVersion": 1}, 0.1)
    ask(_UP, "session/new", {"cwd": "/srv", "mcpServers": []}, {"sessionId": "s1"}, 0.1)
    for steps in _turns(kind):
        turn = it.new_id()
        prompt = {"sessionId": "s1", "prompt": [{"type": "text", "text": f"do {turn}"}]}
        it.send(_UP, {"jsonrpc": "2.0", "id": turn, "method": "session/prompt", "params": prompt})
        for step in steps:
            match step:
                case Think(seconds):
                    it.wait(seconds)
                case Words(chunks, pause):
                    for number in range(chunks):
                        text = {"type": "text", "text": f"word {number} of turn {turn}. "}
                        update(sessionUpdate="agent_message_chunk", content=text)
                        it.wait(pause)
                case Tool(name, seconds, tool_kind, fails):
                    call = f"call{it.new_id()}"
                    raw = {"command": f"{name} {call}"}
                    fields = {"toolCallId": call, "title": name, "kind": tool_kind}
                    update(sessionUpdate="tool_call", status="in_progress", rawInput=raw, **fields)
                    it.wait(seconds)
                    status = "failed" if fails else "completed"
                    update(sessionUpdate="tool_call_update", toolCallId=call, status=status)
                case Permission(seconds):
                    options = [{"optionId": "a", "name": "Allow", "kind": "allow_once"}]
                    params = {
                        "sessionId": "s1",
                        "toolCall": {"toolCallId": "p"},
                        "options": options,
                    }
                    outcome = {"outcome": {"outcome": "selected", "optionId": "a"}}
                    ask(_DOWN, "session/request_permission", params, outcome, seconds)
                case User(seconds):
                    raise AssertionError(seconds)
        it.send(_DOWN, {"jsonrpc": "2.0", "id": turn, "result": {"stopReason": "end_turn"}})
        it.wait(_pause_after(kind, turn))
    return it.messages


def codex(kind: str) -> list[RecordedMessage]:
    """Codex app-server: turns end with a notification, tools are items."""
    it = _Script()

    def ask(method: str, params: Any, result: Any) -> None:
        number = it.new_id()
        it.send(_UP, {"id": number, "method": method, "params": params})
        it.wait(0.05)
        it.send(_DOWN, {"id": number, "result": result})

    ask("initialize", {"clientInfo": {"name": "c", "version": "1"}}, {"userAgent": "codex/0.171"})
    it.send(_UP, {"method": "initialized"})
    ask("thread/start", {"cwd": "/srv"}, {"thread": {"id": "th1"}})
    for steps in _turns(kind):
        turn = f"tu{it.new_id()}"

        def tell(method: str, turn_id: str = turn, **fields: Any) -> None:
            it.send(
                _DOWN,
                {"method": method, "params": {"threadId": "th1", "turnId": turn_id, **fields}},
            )

        words = [{"type": "text", "text": f"do {turn}", "text_elements": []}]
        ask(
            "turn/start",
            {"threadId": "th1", "input": words},
            {"turn": {"id": turn, "status": "inProgress"}},
        )
        tell("turn/started", turn={"id": turn, "status": "inProgress"})
        for step in steps:
            match step:
                case Think(seconds):
                    item: dict[str, Any] = {
                        "id": f"r{it.new_id()}",
                        "type": "reasoning",
                        "summary": [],
                    }
                    tell("item/started", item=item)
                    it.wait(seconds)
                    tell("item/completed", item=item)
                case Words(chunks, pause):
                    item = {"id": f"m{it.new_id()}", "type": "agentMessage", "text": ""}
                    tell("item/started", item=item)
                    for number in range(chunks):
                        delta = f"word {number} of {turn}. "
                        tell("item/agentMessage/delta", itemId=item["id"], delta=delta)
                        it.wait(pause)
                    tell("item/completed", item=item)
                case Tool(name, seconds, _, fails):
                    item = {"id": f"c{it.new_id()}", "cwd": "/srv", "status": "inProgress"}
                    if name in ("task", "spawn_agent"):
                        item |= {"type": "collabAgentToolCall", "tool": "spawn"}
                    elif name == "web_search":
                        item |= {"type": "webSearch", "query": "how"}
                    else:
                        item |= {"type": "commandExecution", "command": f"{name} {item['id']}"}
                    tell("item/started", item=item)
                    it.wait(seconds)
                    code = 1 if fails else 0
                    status = "failed" if fails else "completed"
                    tell("item/completed", item=item | {"status": status, "exitCode": code})
                case Permission(seconds):
                    number = it.new_id()
                    method = "item/commandExecution/requestApproval"
                    params = {"threadId": "th1", "turnId": turn, "itemId": "x"}
                    it.send(_DOWN, {"id": number, "method": method, "params": params})
                    it.wait(seconds)
                    it.send(_UP, {"id": number, "result": {"decision": "accept"}})
                case User(seconds):
                    raise AssertionError(seconds)
        tell("turn/completed", turn={"id": turn, "status": "completed"})
        it.wait(_pause_after(kind, int(turn[2:])))
    return it.messages


def mcp(kind: str) -> list[RecordedMessage]:
    """MCP, where the client is the agent: its tools are calls, its thinking is silence."""
    it = _Script()

    def ask(method: str, params: Any, result: Any, after: float) -> None:
        number = it.new_id()
        it.send(_UP, {"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        it.wait(after)
        it.send(_DOWN, {"jsonrpc": "2.0", "id": number, "result": result})

    started = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "c"}}
    info = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "s"}}
    ask("initialize", started, info, 0.1)
    it.send(_UP, {"jsonrpc": "2.0", "method": "notifications/initialized"})
    for steps in _turns(kind):
        for step in steps:
            match step:
                case Think(seconds) | Permission(seconds):
                    it.wait(seconds)
                case Words(chunks, pause):
                    it.wait(chunks * pause)
                case Tool(name, seconds, _, fails):
                    text = f"{'no' if fails else 'ok'} {it.new_id()}"
                    result = {"content": [{"type": "text", "text": text}], "isError": fails}
                    arguments = {"name": name, "arguments": {"number": it.new_id()}}
                    ask("tools/call", arguments, result, seconds)
                case User(seconds):
                    raise AssertionError(seconds)
        it.wait(_pause_after(kind, 0))
    return it.messages


def _turns(kind: str) -> Iterator[list[Step]]:
    """Yield the steps of each turn: the user speaks between them."""
    turn: list[Step] = []
    for step in KINDS[kind]:
        if isinstance(step, User):
            yield turn
            turn = []
        else:
            turn.append(step)
    yield turn


def _pause_after(kind: str, _: int) -> float:
    """Return how long the user thinks after each turn."""
    return max((step.seconds for step in KINDS[kind] if isinstance(step, User)), default=1.0)


DIALECTS: dict[str, Callable[[str], list[RecordedMessage]]] = {
    "acp": acp,
    "codex": codex,
    "mcp": mcp,
}
