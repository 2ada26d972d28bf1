"""Agents that do the same thing over and over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from tests.corpus import words
from tests.corpus.case import Expected
from tests.corpus.scene import TURNS, VISIBLE, Recipe, Scene
from tests.corpus.speaker import Speaker
from tests.corpus.words import Use

ALL = ("aiwhisperer", *VISIBLE)
_SLACK = 0.05
Times = list[tuple[float, float]]
"""Start and end of each call."""


def _calls(
    scene: Scene,
    uses: Sequence[Use],
    output: Callable[[int], str],
    *,
    failed: bool = False,
) -> Times:
    """Play a turn in which the agent makes these calls; AIWhisperer tells them at its end."""
    speaker = scene.task()
    for _ in range(scene.rng.randint(0, 2)):
        speaker.tool(words.any_use(scene.rng))
    seconds = scene.rng.uniform(0.05, 1.5)
    times: Times = []
    for number, use in enumerate(uses):
        if speaker.dialect in TURNS and scene.rng.random() < 0.2:
            speaker.say(words.chunks(scene.rng, words.sentence(scene.rng)))
        times.append(speaker.tool(use, seconds, output(number), failed=failed))
    speaker.answer()
    if speaker.dialect == "aiwhisperer":
        told = scene.wire.messages[-1].t
        times = [(told, told)] * len(uses)
    return times


def _loop(scene: Scene, times: Times, first: int, last: int) -> tuple[Expected, ...]:
    """Expect an alert between the start of call `first` and the end of call `last`, from 1 on."""
    deadline = times[last - 1][1] + scene.defaults.prompt + _SLACK
    return scene.expect("tool_loop", times[first - 1][0], deadline)


def _again(scene: Scene) -> int:
    """Return how often something is repeated: more often than is needed to notice it."""
    return scene.defaults.loop + scene.rng.randint(1, 5)


def identical(scene: Scene) -> tuple[Expected, ...]:
    """The same call with the same result."""
    use, result = words.any_use(scene.rng), words.output(scene.rng)
    times = _calls(scene, [use] * _again(scene), lambda _: result)
    return _loop(scene, times, scene.defaults.loop, scene.defaults.loop)


def cycle(scene: Scene) -> tuple[Expected, ...]:
    """Two to five different calls in turn, each with its own result every time."""
    period = scene.rng.choice((2, 2, 2, 3, 3, 4, 5))
    paths = words.files(scene.rng, period)
    ways = (words.read, lambda path: words.run(f"wc -l {path}"))
    uses = [scene.rng.choice(ways)(path) for path in paths]
    results = [words.output(scene.rng) for _ in uses]
    times = _calls(scene, uses * _again(scene), lambda n: results[n % period])
    return _loop(scene, times, 3 * period, scene.defaults.loop * period)


def drifting(scene: Scene) -> tuple[Expected, ...]:
    """Nearly the same search, again and again, that finds nothing."""
    base = f"where does {words.sentence(scene.rng)[:-1].lower()}"
    tails = ("", "?", " exactly", " now", " again", " please", " here", " really", "??", " code")
    uses = [Use("search_docs", {"query": base + tail, "limit": 10}, "search") for tail in tails]
    times = _calls(scene, uses, lambda _: "No matches found.")
    return _loop(scene, times, scene.defaults.loop, len(uses) - 1)


def past_the_end(scene: Scene) -> tuple[Expected, ...]:
    """Pages that do not exist, one after the other."""
    path, start = words.a_file(scene.rng), scene.rng.randrange(1000, 5000, 100)
    uses = [
        Use("read_file", {"path": path, "offset": start + 100 * n, "limit": 100}, "read")
        for n in range(9)
    ]
    times = _calls(scene, uses, lambda _: "(end of file)")
    return _loop(scene, times, scene.defaults.loop, 8)


def same_error(scene: Scene) -> tuple[Expected, ...]:
    """Whatever the arguments, the same thing is wrong."""
    scene.tolerated |= {"high_error_rate", "retry_storm"}
    error = scene.rng.choice(
        ("HTTP 401 Unauthorized", "Permission denied", "database is locked", "disk quota exceeded")
    )
    uses = [words.edit(scene.rng, path) for path in words.files(scene.rng, _again(scene))]
    times = _calls(scene, uses, lambda _: error, failed=True)
    return _loop(scene, times, 3, scene.defaults.loop)


def unknown_tool(scene: Scene) -> tuple[Expected, ...]:
    """A tool that does not exist does not come into being by calling it."""
    scene.tolerated |= {"high_error_rate", "retry_storm"}
    name = scene.rng.choice(("apply_diff", "browse_web", "ask_expert", "python_repl"))
    uses = [Use(name, {"input": words.sentence(scene.rng)}) for _ in range(_again(scene))]
    error = scene.rng.choice(("Unknown tool: {}", "Tool '{}' not found", "No such tool: {}"))
    times = _calls(scene, uses, lambda _: error.format(name), failed=True)
    return _loop(scene, times, 3, scene.defaults.loop)


def volatile_arguments(scene: Scene) -> tuple[Expected, ...]:
    """Only a request's id or its time differ."""
    path, result, rng = words.a_file(scene.rng), words.output(scene.rng), scene.rng
    field = rng.choice(("request_id", "timestamp", "trace_id"))

    def value(number: int) -> object:
        if field == "timestamp":
            return f"2026-11-22T14:{number:02d}:{rng.randint(0, 59):02d}Z"
        return words.uuid(rng)

    uses = [Use("read_file", {"path": path, field: value(n)}, "read") for n in range(_again(scene))]
    times = _calls(scene, uses, lambda _: result)
    return _loop(scene, times, scene.defaults.loop, scene.defaults.loop)


def volatile_results(scene: Scene) -> tuple[Expected, ...]:
    """Only the time in the result differs."""
    rng, use = scene.rng, words.run("git status --short")

    def result(number: int) -> str:
        when = f"2026-11-22T14:{number:02d}:{rng.randint(10, 59)}Z"
        return f"[{when}] M src/parser.py (took {rng.randint(10, 99)}ms)"

    times = _calls(scene, [use] * _again(scene), result)
    return _loop(scene, times, scene.defaults.loop, scene.defaults.loop + 1)


def key_order(scene: Scene) -> tuple[Expected, ...]:
    """The same arguments in another order are the same arguments."""
    pattern, path, result = "def handle_", "src/core", words.output(scene.rng)
    names = {"pattern": pattern, "path": path, "recursive": True}
    turned = dict(reversed(names.items()))
    count = _again(scene)
    uses = [Use("search_files", (names, turned)[n % 2], "search") for n in range(count)]
    times = _calls(scene, uses, lambda _: result)
    return _loop(scene, times, scene.defaults.loop, scene.defaults.loop)


def chanting(scene: Scene) -> tuple[Expected, ...]:
    """The same words over and over in one stream."""
    speaker = scene.task()
    phrase = words.text(scene.rng, scene.rng.randint(1, 2))
    ends = _as_one_stream(scene, speaker, phrase, scene.rng.randint(24, 40))
    speaker.finish()
    return scene.expect("tool_loop", ends[4], ends[19] + scene.defaults.prompt + _SLACK)


def _as_one_stream(scene: Scene, speaker: Speaker, phrase: str, count: int) -> list[float]:
    """Stream a phrase many times; return when each had been said."""
    pieces = [words.chunks(scene.rng, phrase) for _ in range(count)]
    for once in pieces:
        once[-1] += " "
    before = len(scene.wire.messages)
    speaker.say([piece for once in pieces for piece in once], 0.06)
    said = [m.t for m in scene.wire.messages[before:] if _has_text(m.payload)]
    ends, index = [], -1
    for once in pieces:
        index += len(once)
        ends.append(said[index])
    assert all(a < b for a, b in pairwise(ends))
    return ends


def _has_text(payload: bytes) -> bool:
    marks = (b"agent_message_chunk", b"item/agentMessage/delta", b"StreamingUpdate")
    return any(mark in payload for mark in marks)


def monologue(scene: Scene) -> tuple[Expected, ...]:
    """The same message again and again, and nothing done in between."""
    speaker = scene.open()
    speaker.begin(words.wish(scene.rng))
    same = words.text(scene.rng, scene.rng.randint(1, 3))
    ends: list[float] = []
    for _ in range(_again(scene)):
        scene.wire.about(1.5)
        speaker.say(words.chunks(scene.rng, same))
        ends.append(scene.wire.messages[-1].t)
    speaker.finish()
    deadline = ends[scene.defaults.loop - 1] + scene.defaults.prompt + _SLACK
    return scene.expect("tool_loop", ends[2], deadline)


RECIPES = (
    Recipe(identical, ALL, 24),
    Recipe(cycle, ALL, 24),
    Recipe(drifting, VISIBLE, 9),
    Recipe(past_the_end, VISIBLE, 6),
    Recipe(same_error, VISIBLE, 12),
    Recipe(unknown_tool, ("acp", "mcp"), 8),
    Recipe(volatile_arguments, VISIBLE, 9),
    Recipe(volatile_results, VISIBLE, 6),
    Recipe(key_order, ("aiwhisperer", "acp", "codex", "mcp"), 8),
    Recipe(chanting, TURNS, 12),
    Recipe(monologue, ("codex",), 6),
)
