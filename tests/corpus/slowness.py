"""Sessions that become slow after they have been quick."""

from __future__ import annotations

from tests.corpus import words
from tests.corpus.case import Expected
from tests.corpus.scene import TURNS, Recipe, Scene
from tests.corpus.speaker import Speaker
from tests.corpus.words import Use

CALLS = ("mcp", "generic")
_DEADLINE = 6
"""Slow calls in a row by which it should have been noticed."""


def _calm(scene: Scene) -> float:
    """Return how long a call takes while all is well."""
    return scene.rng.choice((0.15, 0.4, 1.0, 2.0)) * scene.rng.uniform(0.8, 1.2)


def _factor(scene: Scene) -> float:
    return scene.rng.uniform(2.7, 7.0)


def _slow(scene: Scene, times: list[tuple[float, float]]) -> tuple[Expected, ...]:
    """Expect an alert in the course of these slow calls, each with its start and its end."""
    deadline = times[_DEADLINE - 1][1] + scene.defaults.tick
    return scene.expect("slow_response", times[0][0], deadline)


def _call(scene: Scene, use: Use, seconds: float) -> tuple[float, float]:
    key = scene.speaker.start(use)
    started = scene.wire.now
    scene.wire.about(seconds, 0.12)
    scene.speaker.end(key, words.output(scene.rng))
    ended = scene.wire.now
    scene.wire.pause(0.3, 4.0)
    return started, ended


def one_method(scene: Scene) -> tuple[Expected, ...]:
    """A method becomes slow at once."""
    scene.open(turns=0)
    seconds, factor = _calm(scene), _factor(scene)
    for _ in range(scene.rng.randint(12, 40)):
        _call(scene, words.grep(scene.rng), seconds)
    count = scene.rng.randint(8, 14)
    return _slow(
        scene, [_call(scene, words.grep(scene.rng), seconds * factor) for _ in range(count)]
    )


def one_of_several(scene: Scene) -> tuple[Expected, ...]:
    """One becomes slow, others stay as they are, slower ones among them."""
    scene.open(turns=0)
    seconds, factor = _calm(scene), _factor(scene)

    def others() -> None:
        _call(scene, words.read(words.a_file(scene.rng)), 0.02)
        if scene.rng.random() < 0.5:
            _call(scene, words.run(f"git show HEAD~{scene.rng.randint(1, 999)}"), 6.0)

    for _ in range(scene.rng.randint(12, 25)):
        others()
        _call(scene, words.grep(scene.rng), seconds)
    times = []
    for _ in range(scene.rng.randint(8, 12)):
        times.append(_call(scene, words.grep(scene.rng), seconds * factor))
        others()
    return _slow(scene, times)


def ever_slower(scene: Scene) -> tuple[Expected, ...]:
    """It creeps: every call takes somewhat longer than the one before."""
    scene.open(turns=0)
    seconds = _calm(scene)
    for _ in range(scene.rng.randint(20, 40)):
        _call(scene, words.grep(scene.rng), seconds)
    factor, times = 1.0, []
    while factor < 6.0:
        factor *= 1.15
        called = _call(scene, words.grep(scene.rng), seconds * factor)
        if factor > scene.defaults.slow_factor:
            times.append(called)
    times += [_call(scene, words.grep(scene.rng), seconds * factor) for _ in range(8)]
    deadline = times[-3][1] + scene.defaults.tick
    return scene.expect("slow_response", times[0][0], deadline)


def slow_turns(scene: Scene) -> tuple[Expected, ...]:
    """Turns of the same kind take several times as long as they used to."""
    speaker = scene.open(turns=0)
    seconds, factor = scene.rng.uniform(1.5, 3.5), _factor(scene)

    def turn(seconds: float) -> tuple[float, float]:
        started = scene.wire.now
        _steady_turn(speaker, seconds)
        ended = scene.wire.now
        scene.wire.pause(2.0, 20.0)
        return started, ended

    for _ in range(scene.rng.randint(12, 24)):
        turn(seconds)
    return _slow(scene, [turn(seconds * factor) for _ in range(scene.rng.randint(8, 12))])


def _steady_turn(speaker: Speaker, seconds: float) -> None:
    """Play a turn of about that length: the model thinks, then answers in a few pieces."""
    speaker.begin(words.wish(speaker.rng))
    speaker.wire.about(0.7 * seconds, 0.1)
    pieces = words.chunks(speaker.rng, words.text(speaker.rng, 2))
    speaker.say(pieces, 0.3 * seconds / len(pieces))
    speaker.finish()


RECIPES = (
    Recipe(one_method, CALLS, 12),
    Recipe(one_of_several, CALLS, 12),
    Recipe(ever_slower, CALLS, 6),
    Recipe(slow_turns, TURNS, 12),
)
