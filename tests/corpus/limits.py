"""Requests that are open for too long, that are retried too often; budgets."""

from __future__ import annotations

from tests.corpus import words
from tests.corpus.case import Expected
from tests.corpus.codex import Codex
from tests.corpus.scene import TURNS, Recipe, Scene


def overdue(scene: Scene) -> tuple[Expected, ...]:
    """One request is open for minutes while others are answered."""
    scene.tolerated |= {"session_stall"}
    speaker = scene.open(turns=0)
    d = scene.defaults
    speaker.start(words.grep(scene.rng))
    onset = scene.wire.messages[-1].t
    while scene.wire.now < onset + d.call_timeout * 1.3:
        scene.wire.pause(4.0, 20.0)
        speaker.tool(words.read(words.a_file(scene.rng)), 0.2)
    return scene.expect("request_timeout", onset + d.call_timeout, onset + d.call_timeout + d.tick)


def hammering(scene: Scene) -> tuple[Expected, ...]:
    """The same request fails and is sent again, at once and without end."""
    scene.tolerated |= {"high_error_rate", "tool_loop"}
    speaker = scene.open()
    d = scene.defaults
    method = "resources/read" if speaker.dialect == "mcp" else "documents.open"
    params = {"uri": f"file:///workspace/{words.a_file(scene.rng)}"}
    text, code = scene.rng.choice(((("Resource busy"), -32000), ("Internal error", -32603)))
    failures: list[float] = []
    for _ in range(d.retries + scene.rng.randint(2, 8)):
        number = speaker.request(method, params)
        scene.wire.about(0.2)
        speaker.error(number, code, text)
        failures.append(scene.wire.messages[-1].t)
        scene.wire.pause(0.3, d.retry_window / d.retries / 2)
    return scene.expect("retry_storm", failures[2], failures[d.retries - 1] + d.tick)


def reconnecting(scene: Scene) -> tuple[Expected, ...]:
    """The agent tells that it cannot reach its model, and tries again and again."""
    scene.tolerated |= {"high_error_rate"}
    speaker = scene.opened(Codex)
    d = scene.defaults
    speaker.begin(words.wish(scene.rng))
    attempts = d.retries + scene.rng.randint(2, 5)
    failures: list[float] = []
    for attempt in range(1, attempts + 1):
        scene.wire.pause(0.6, d.retry_window / d.retries / 2)
        speaker.will_retry(attempt, attempts)
        failures.append(scene.wire.messages[-1].t)
    speaker.fail_turn()
    return scene.expect("retry_storm", failures[2], failures[d.retries - 1] + d.tick)


def big_turn(scene: Scene) -> tuple[Expected, ...]:
    """A turn of very many calls that takes very long; wrong only if there are budgets."""
    d = scene.defaults
    speaker = scene.open()
    speaker.begin("Port the whole project to the new API.")
    started = scene.wire.messages[-1].t
    expected: tuple[Expected, ...] = ()
    calls, least = 0, d.call_budget or 120
    while calls <= least or scene.wire.now < started + (d.turn_time or 1200.0):
        speaker.say([words.sentence(scene.rng) + " "], 0.4, cut=True)
        speaker.tool(words.any_use(scene.rng), 2.0)
        scene.wire.pause(0.5, 8.0)
        calls += 1
        if calls == d.call_budget:
            when = scene.wire.messages[-1].t
            # A detector may count more than tools as calls.
            expected += scene.expect("call_budget", started, when + d.tick)
    if d.turn_time is not None:
        due = started + d.turn_time
        expected += scene.expect("turn_time", due, due + d.tick)
    speaker.answer()
    if d.token_budget is not None:
        scene.tolerated |= {"token_budget"}
    return expected


RECIPES = (
    Recipe(overdue, ("mcp", "generic"), 8),
    Recipe(hammering, ("mcp", "generic"), 10),
    Recipe(reconnecting, ("codex",), 8),
    Recipe(big_turn, TURNS, 9),
)
