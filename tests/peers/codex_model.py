"""The model behind a live Codex: its answer follows from the conversation that it is sent.

`POST /v1/responses`, answered with server-sent events, as far as Codex reads them. The first word
of the last thing that the user said chooses what happens:

    run N COMMAND    calls a shell with that command until it has N results, then says so
    loop COMMAND     calls it for ever
    hang             sends no answer as long as the connection lives
    anything else    is repeated
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import Iterator
from typing import Any

SHELL = "exec_command"
Item = dict[str, Any]


class ScriptedModel:
    """An ASGI application.

    Attributes:
        requests: Every request body so far.

    """

    def __init__(self) -> None:
        self.requests: list[Item] = []
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        body = await _body(receive)
        if scope["path"] != "/v1/responses":
            await _respond(send, 404, "application/json", [b"{}"])
            return
        asked = json.loads(body)
        self.requests.append(asked)
        said, results = last_turn(asked["input"])
        if said.split(" ", 1)[0] == "hang":
            await _gone(receive)
            return
        events = self._events(self._item(said, results))
        await _respond(send, 200, "text/event-stream", map(_sse, events))

    def _item(self, said: str, results: int) -> Item:
        word, _, rest = said.partition(" ")
        number = next(self._numbers)
        if word == "run" and results < int(rest.split(" ", 1)[0]):
            return _call(number, rest.split(" ", 1)[1])
        if word == "loop":
            return _call(number, rest)
        text = f"I have run it {results} times." if word == "run" else f"You said: {said}"
        content = [{"type": "output_text", "text": text}]
        return {"type": "message", "role": "assistant", "id": f"msg_{number}", "content": content}

    def _events(self, item: Item) -> Iterator[Item]:
        response = {"id": f"resp_{next(self._numbers)}"}
        yield {"type": "response.created", "response": response}
        if item["type"] == "message":
            yield {"type": "response.output_item.added", "item": {**item, "content": []}}
            for word in item["content"][0]["text"].split(" "):
                delta = {"delta": f"{word} ", "item_id": item["id"]}
                yield {"type": "response.output_text.delta", **delta}
        yield {"type": "response.output_item.done", "item": item}
        usage = {
            "input_tokens": 100,
            "input_tokens_details": None,
            "output_tokens": 10,
            "output_tokens_details": None,
            "total_tokens": 110,
        }
        yield {"type": "response.completed", "response": {**response, "usage": usage}}


def last_turn(conversation: list[Item]) -> tuple[str, int]:
    """Return what the user said last, and how many tools have answered since."""
    said, results = "", 0
    for item in conversation:
        if item.get("type") == "message" and item.get("role") == "user":
            words = " ".join(part.get("text", "") for part in item["content"])
            if not words.startswith("<"):  # what Codex itself adds about its surroundings
                said, results = words, 0
        elif str(item.get("type")).endswith("_call_output"):
            results += 1
    return said, results


def _call(number: int, command: str) -> Item:
    arguments = json.dumps({"cmd": command})
    return {
        "type": "function_call",
        "call_id": f"call_{number}",
        "name": SHELL,
        "arguments": arguments,
    }


def _sse(event: Item) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


async def _body(receive: Any) -> bytes:
    body: bytes = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def _gone(receive: Any) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        while (await receive())["type"] != "http.disconnect":
            pass


async def _respond(send: Any, status: int, kind: str, pieces: Any) -> None:
    headers = [(b"content-type", kind.encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})
