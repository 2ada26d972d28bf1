"""Waiting for people, several sessions or connections, turns that are cancelled."""

from __future__ import annotations

from random import Random
from typing import Any

from tests.corpus import words
from tests.corpus.acp import Acp
from tests.corpus.aiwhisperer import AiWhisperer
from tests.corpus.case import Expected
from tests.corpus.codex import Codex
from tests.corpus.mcp import Mcp
from tests.corpus.scene import SESSIONS, VISIBLE, Recipe, Scene
from tests.corpus.words import Use

FINE: tuple[Expected, ...] = ()


def permission(scene: Scene) -> tuple[Expected, ...]:
    """The server may not go on before a person has said so, which takes ten minutes."""
    speaker, rng = scene.task(), scene.rng
    use = words.run(rng.choice(("rm -r build", "git push --force", "touch approved.txt")))
    key = speaker.start(use) if isinstance(speaker, Mcp) else None
    number = speaker.await_user(use)
    # A request of MCP is open all the while, and has its own limit.
    scene.wire.pause(60.0, 280.0) if key else scene.wire.pause(60.0, 900.0)
    speaker.user_answers(number)
    if key is not None:
        scene.wire.about(0.5)
        speaker.end(key, words.output(rng))
    scene.wire.about(1.5)
    speaker.answer()
    return FINE


def client_is_slow(scene: Scene) -> tuple[Expected, ...]:
    """It is the client that takes its time: the agent has asked it for something."""
    speaker, rng = scene.task(), scene.rng
    if isinstance(speaker, Mcp):
        key = speaker.start(Use("summarise", {"path": words.a_file(rng)}))
        question = {"role": "user", "content": {"type": "text", "text": words.wish(rng)}}
        number = speaker.ask("sampling/createMessage", {"messages": [question], "maxTokens": 400})
        scene.wire.pause(40.0, 200.0)
        content = {"type": "text", "text": words.text(rng, 3)}
        speaker.reply(number, {"role": "assistant", "content": content, "model": "m"})
        scene.wire.about(0.5)
        speaker.end(key, words.output(rng))
        return FINE
    ask = rng.choice(("terminal/wait_for_exit", "fs/read_text_file", "fs/write_text_file"))
    params = {"sessionId": speaker.session, "path": f"/workspace/{words.a_file(rng)}"}
    if ask.startswith("terminal"):
        params = {"sessionId": speaker.session, "terminalId": f"term-{rng.randint(1, 9)}"}
    number = speaker.ask(ask, params)
    scene.wire.pause(40.0, 250.0)
    speaker.reply(number, {"exitCode": 0} if ask.startswith("terminal") else {"content": ""})
    scene.wire.about(1.0)
    speaker.answer()
    return FINE


def one_busy_others_idle(scene: Scene) -> tuple[Expected, ...]:
    """Several sessions on one connection, of which one works for minutes."""
    speaker, rng = scene.open(), scene.rng
    others = [speaker.sibling() for _ in range(rng.randint(1, 3))]
    for other in others:
        if rng.random() < 0.7:
            other.turn()
            scene.wire.pause(1.0, 10.0)
    speaker.begin(words.wish(rng))
    until = scene.wire.now + rng.uniform(90.0, 300.0)
    while scene.wire.now < until:
        scene.wire.pause(1.0, 12.0)
        speaker.tool(words.any_use(rng))
    speaker.answer()
    return FINE


def cancelled(scene: Scene) -> tuple[Expected, ...]:
    """The user changes his mind, also while a tool runs, and goes away."""
    speaker, rng = scene.open(), scene.rng
    for _ in range(rng.randint(1, 4)):
        speaker.begin(words.wish(rng))
        scene.wire.pause(1.0, 15.0)
        if rng.random() < 0.7:
            key = speaker.start(words.any_use(rng))
            scene.wire.pause(0.5, 15.0)
            if isinstance(speaker, Acp):
                speaker.end(key, "cancelled", failed=True)
        else:
            speaker.say(words.chunks(rng, words.text(rng, 2)), cut=True)
        speaker.cancel()
        scene.wire.pause(5.0, 900.0)
        if rng.random() < 0.5:
            speaker.turn()
            scene.wire.pause(5.0, 60.0)
    return FINE


def replayed_history(scene: Scene) -> tuple[Expected, ...]:
    """A client loads an old session; what happened then, loops and all, happens not now."""
    speaker, rng = scene.opened(Acp), scene.rng
    speaker.session = f"sess_{words.hexadecimal(rng, 12)}"
    params = {"sessionId": speaker.session, "cwd": "/workspace", "mcpServers": []}
    number = speaker.request("session/load", params)
    scene.wire.about(0.1)
    same, result = words.any_use(rng), words.output(rng)
    for _ in range(rng.randint(4, 12)):
        _history(speaker, rng, "user_message_chunk", words.wish(rng))
        for _ in range(rng.randint(0, 3)):
            key = f"call_{words.hexadecimal(rng, 8)}"
            speaker.update(
                "tool_call",
                toolCallId=key,
                title=same.title,
                kind=same.kind,
                status=rng.choice(("completed", "failed")),
                rawInput=same.arguments,
                rawOutput={"output": result},
            )
        _history(speaker, rng, "agent_message_chunk", words.text(rng, 2))
    speaker.result(number, {})
    scene.wire.pause(3.0, 200.0)
    speaker.turn()
    return FINE


def _history(speaker: Acp, rng: Random, kind: str, text: str) -> None:
    speaker.wire.pause(0.0002, 0.001)
    speaker.update(kind, content={"type": "text", "text": text})


def second_socket(scene: Scene) -> tuple[Expected, ...]:
    """AIWhisperer's session is used from two sockets; answers come on the one that asked."""
    speaker, rng = scene.opened(AiWhisperer), scene.rng
    for conn in rng.choices("AB", k=rng.randint(4, 9)):
        speaker.conn = conn
        speaker.turn()
        scene.wire.pause(3.0, 120.0)
    return FINE


def two_viewers(scene: Scene) -> tuple[Expected, ...]:
    """Two connections watch one thread, and so everything is said twice."""
    speaker, rng = scene.opened(Codex), scene.rng
    speaker.turn()
    scene.wire.pause(2.0, 20.0)
    speaker.conn = "B"
    client = {"clientInfo": {"name": "viewer", "title": "Viewer", "version": "1.0"}}
    speaker.call("initialize", client, 0.02, {"userAgent": "viewer/0.169.0"})
    thread: dict[str, Any] = {"id": speaker.session, "cwd": "/workspace", "turns": []}
    params = {"threadId": speaker.session, "excludeTurns": True}
    speaker.call("thread/resume", params, 0.05, {"thread": thread})
    speaker.listeners = ["A", "B"]
    for _ in range(rng.randint(1, 3)):
        speaker.conn = rng.choice("AB")
        speaker.begin(words.wish(rng))
        scene.wire.about(1.5)
        use, result = words.any_use(rng), words.output(rng)
        for _ in range(rng.randint(1, 3)):
            speaker.tool(use, 0.4, result)
        speaker.answer()
        scene.wire.pause(5.0, 100.0)
    return FINE


def model_hiccups(scene: Scene) -> tuple[Expected, ...]:
    """The agent reconnects to its model once or twice, and goes on."""
    speaker, rng = scene.opened(Codex), scene.rng
    for _ in range(rng.randint(1, 3)):
        speaker.begin(words.wish(rng))
        for attempt in range(rng.randint(1, 2)):
            scene.wire.pause(0.5, 4.0)
            speaker.will_retry(attempt + 1, 5)
        scene.wire.about(1.5)
        speaker.answer()
        scene.wire.pause(20.0, 90.0)
    return FINE


RECIPES = (
    Recipe(permission, VISIBLE, 24),
    Recipe(client_is_slow, ("acp", "mcp"), 16),
    Recipe(one_busy_others_idle, SESSIONS, 14),
    Recipe(cancelled, SESSIONS, 18),
    Recipe(replayed_history, ("acp",), 8),
    Recipe(second_socket, ("aiwhisperer",), 8),
    Recipe(two_viewers, ("codex",), 8),
    Recipe(model_hiccups, ("codex",), 6),
)
