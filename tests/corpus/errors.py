"""Sessions in which too much fails."""

from __future__ import annotations

from collections.abc import Callable

from tests.corpus import words
from tests.corpus.case import Expected
from tests.corpus.scene import VISIBLE, Recipe, Scene

Outcomes = list[tuple[float, bool]]
"""When something ended, and whether it failed."""

_ERRORS = (
    "connection reset by peer",
    "timed out after 10s",
    "HTTP 503 Service Unavailable",
    "no space left on device",
    "No such file or directory",
    "AssertionError: expected 3, got 4",
    "Segmentation fault",
    "invalid argument",
    "syntax error near unexpected token",
    "HTTP 500 Internal Server Error",
)
_CODES = (-32603, -32000, -32602, -32001)


def _burst(scene: Scene, outcomes: Outcomes) -> tuple[Expected, ...]:
    """Expect an alert once enough has failed, and before it is beyond doubt."""
    d = scene.defaults
    errors, onset, deadline = 0, None, None
    for count, (when, failed) in enumerate(outcomes, 1):
        errors += failed
        high = errors >= d.error_rate * count
        if onset is None and failed and errors >= d.error_minimum and high:
            onset = when
        if deadline is None and errors >= d.error_minimum + 2 and count >= 2 * d.error_calls:
            deadline = when + d.tick if errors >= 1.25 * d.error_rate * count else None
    assert onset is not None
    assert deadline is not None, outcomes
    return scene.expect("high_error_rate", onset, deadline)


def _sequence(scene: Scene, good: int, bad: int, share: float) -> list[bool]:
    """Return which of a number of attempts fail: none at first, then about that share."""
    later = [scene.rng.random() < share for _ in range(bad)]
    later[0] = later[2] = later[3] = later[5] = later[6] = True  # so that it is never in doubt
    return [False] * good + later


def _attempts(scene: Scene) -> list[bool]:
    share = scene.rng.choice((0.45, 0.6, 0.75))
    return _sequence(scene, scene.rng.randint(0, 8), scene.rng.randint(12, 18), share)


def _run(scene: Scene, attempts: list[bool], attempt: Callable[[bool], float]) -> Outcomes:
    """Play attempts; `attempt` returns when its outcome is told."""
    outcomes: Outcomes = []
    for failed in attempts:
        outcomes.append((attempt(failed), failed))
        scene.wire.pause(0.2, 3.0)
    return outcomes


def failing_tools(scene: Scene) -> tuple[Expected, ...]:
    """Different tools fail for different reasons, in one turn."""
    speaker = scene.task()
    errors = scene.rng.sample(_ERRORS, len(_ERRORS)) * 3
    seconds = scene.rng.uniform(0.1, 0.6)

    def attempt(failed: bool) -> float:
        use = words.any_use(scene.rng)
        key = speaker.start(use)
        scene.wire.about(seconds)
        text = f"{use.title}: {errors.pop()}" if failed else words.output(scene.rng)
        told = scene.wire.now
        speaker.end(key, text, failed=failed)
        return told

    outcomes = _run(scene, _attempts(scene), attempt)
    speaker.answer()
    return _burst(scene, outcomes)


def outage(scene: Scene) -> tuple[Expected, ...]:
    """What works at first fails from then on, always in the same way."""
    scene.tolerated |= {"tool_loop"}
    speaker = scene.task()
    error = scene.rng.choice(_ERRORS)

    def attempt(failed: bool) -> float:
        key = speaker.start(words.any_use(scene.rng))
        scene.wire.about(0.3)
        told = scene.wire.now
        speaker.end(key, error if failed else words.output(scene.rng), failed=failed)
        return told

    attempts = [False] * scene.rng.randint(2, 6) + [True] * scene.rng.randint(9, 14)
    outcomes = _run(scene, attempts, attempt)
    speaker.answer()
    return _burst(scene, outcomes)


def rpc_errors(scene: Scene) -> tuple[Expected, ...]:
    """Requests are answered with JSON-RPC errors."""
    speaker = scene.open()
    code, names = scene.rng.choice(_CODES), words.files(scene.rng, 40)
    methods = ("resources/read", "prompts/get", "completion/complete")
    if speaker.dialect != "mcp":
        methods = ("documents.open", "documents.query", "jobs.submit")

    def attempt(failed: bool) -> float:
        method = scene.rng.choice(methods)
        number = speaker.request(method, {"name": names.pop()})
        scene.wire.about(0.15)
        told = scene.wire.now
        if failed:
            speaker.error(number, code, scene.rng.choice(_ERRORS))
        else:
            speaker.result(number, {"items": [words.sentence(scene.rng)]})
        return told

    return _burst(scene, _run(scene, _attempts(scene), attempt))


def failed_turns(scene: Scene) -> tuple[Expected, ...]:
    """The model behind the agent cannot be reached: turn after turn ends with an error."""
    good, bad = scene.rng.randint(1, 4), scene.rng.randint(10, 12)
    return _turns(scene, [False] * good + [True] * bad)


def null_answers(scene: Scene) -> tuple[Expected, ...]:
    """AIWhisperer calls it a success when its model fails, off and on; the answer is null."""
    return _turns(scene, _sequence(scene, scene.rng.randint(1, 5), scene.rng.randint(12, 15), 0.6))


def _turns(scene: Scene, attempts: list[bool]) -> tuple[Expected, ...]:
    speaker = scene.open()

    def attempt(failed: bool) -> float:
        speaker.begin(words.wish(scene.rng))
        scene.wire.about(2.0)
        told = scene.wire.now
        if failed:
            speaker.fail_turn()
        else:
            speaker.answer(2)
        return told

    return _burst(scene, _run(scene, attempts, attempt))


RECIPES = (
    Recipe(failing_tools, VISIBLE, 18),
    Recipe(outage, VISIBLE, 9),
    Recipe(rpc_errors, ("mcp", "generic"), 14),
    Recipe(failed_turns, ("acp", "codex"), 8),
    Recipe(null_answers, ("aiwhisperer",), 10),
)
