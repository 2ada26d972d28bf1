"""Sessions in which much time passes, or times vary, and all is well."""

from __future__ import annotations

from collections.abc import Callable

from tests.corpus import words
from tests.corpus.aiwhisperer import AiWhisperer
from tests.corpus.case import Expected
from tests.corpus.mcp import Mcp
from tests.corpus.scene import TURNS, VISIBLE, Recipe, Scene
from tests.corpus.speaker import Speaker

EVERY = ("aiwhisperer", "acp", "codex", "mcp", "generic")
FINE: tuple[Expected, ...] = ()


def slow_stream(scene: Scene) -> tuple[Expected, ...]:
    """A chunk every twenty seconds, for minutes."""
    speaker, rng = scene.task(), scene.rng
    for _ in range(rng.randint(8, 30)):
        scene.wire.pause(14.0, 25.0)
        speaker.say([words.sentence(rng) + " "], 0.01, cut=True)
    speaker.finish()
    return FINE


def user_away(scene: Scene) -> tuple[Expected, ...]:
    """Nobody says anything for an hour; nothing is open."""
    speaker, rng = scene.open(), scene.rng
    for _ in range(rng.randint(1, 3)):
        speaker.turn()
        scene.wire.pause(1200.0, 6000.0)
    speaker.turn()
    return FINE


def build_with_output(scene: Scene) -> tuple[Expected, ...]:
    """A build of many minutes that tells how far it is."""
    count = scene.rng.randint(20, 60)

    def work(speaker: Speaker, key: str) -> None:
        for number in range(count):
            scene.wire.pause(3.0, 22.0)
            speaker.progress(key, f"[{number}/{count}] Compiling {words.a_file(scene.rng)}")

    return _build(scene, work)


def silent_build(scene: Scene) -> tuple[Expected, ...]:
    """A build that says nothing for some minutes, and is done then."""
    return _build(scene, lambda *_: scene.wire.wait(scene.rng.uniform(40.0, 240.0)))


def _build(scene: Scene, work: Callable[[Speaker, str], None]) -> tuple[Expected, ...]:
    speaker = scene.task("Build it.")
    key = speaker.start(words.run(scene.rng.choice(words.BUILDS)))
    work(speaker, key)
    speaker.end(key, "finished without errors")
    scene.wire.about(1.0)
    speaker.answer()
    return FINE


def long_thought(scene: Scene) -> tuple[Expected, ...]:
    """The model thinks for a while, though not for too long, again and again."""
    speaker, rng = scene.open(), scene.rng
    for _ in range(rng.randint(3, 7)):
        speaker.begin(words.wish(rng))
        scene.wire.pause(12.0, 25.0)
        for _ in range(rng.randint(0, 2)):
            key = speaker.start(words.any_use(rng))
            scene.wire.pause(8.0, 25.0)
            speaker.end(key, words.output(rng))
            if isinstance(speaker, AiWhisperer):  # whose tools are not seen: it says something
                speaker.say([words.sentence(rng) + " "])
        speaker.answer()
        scene.wire.pause(5.0, 40.0)
    return FINE


def cold_start(scene: Scene) -> tuple[Expected, ...]:
    """The first call of every method takes ten times as long as the others."""
    speaker, rng = scene.open(turns=0), scene.rng
    seconds = rng.uniform(0.1, 0.8)
    seen: set[str] = set()
    for _ in range(rng.randint(25, 50)):
        use = words.any_use(rng)
        cold = 1 if use.name in seen else 10
        seen.add(use.name)
        speaker.tool(use, cold * seconds)
    return FINE


def slow_by_nature(scene: Scene) -> tuple[Expected, ...]:
    """Some methods are fast, others take seconds, always."""
    speaker, rng = scene.open(turns=0), scene.rng
    slow = rng.uniform(3.0, 15.0)
    for _ in range(rng.randint(15, 30)):
        for _ in range(rng.randint(1, 4)):
            speaker.tool(words.read(words.a_file(rng)), 0.02)
        if rng.random() < 0.6:
            speaker.tool(words.run(f"python report.py --year {rng.randint(1900, 2026)}"), slow)
    return FINE


def fast_then_other(scene: Scene) -> tuple[Expected, ...]:
    """The agent turns from something quick to something slow; each is as it always is."""
    speaker, rng = scene.open(turns=0), scene.rng
    for _ in range(rng.randint(20, 30)):
        speaker.tool(words.read(words.a_file(rng)), 0.03)
    for _ in range(rng.randint(12, 20)):
        speaker.tool(words.grep(rng), 2.5)
    return FINE


def variable_turns(scene: Scene) -> tuple[Expected, ...]:
    """A turn may take two seconds or a minute: log-normal, as people's wishes are."""
    speaker, rng = scene.open(turns=0), scene.rng
    for _ in range(rng.randint(12, 30)):
        speaker.begin(words.wish(rng))
        left = min(240.0, 6.0 * rng.lognormvariate(0.0, rng.uniform(0.6, 1.0)))
        while left > 0:
            step = min(left, rng.uniform(0.5, 9.0))
            scene.wire.wait(step)
            left -= step
            speaker.say([words.sentence(rng) + " "], 0.05, cut=True)
        speaker.finish()
        scene.wire.pause(3.0, 60.0)
    return FINE


def variable_calls(scene: Scene) -> tuple[Expected, ...]:
    """How long a search takes depends on what is searched."""
    speaker, rng = scene.open(turns=0), scene.rng
    spread = rng.uniform(0.5, 0.9)
    for _ in range(rng.randint(25, 60)):
        key = speaker.start(words.grep(rng))
        scene.wire.wait(min(20.0, 0.8 * rng.lognormvariate(0.0, spread)))
        speaker.end(key, words.output(rng))
        scene.wire.pause(0.2, 5.0)
    return FINE


def one_hiccup(scene: Scene) -> tuple[Expected, ...]:
    """Once or twice a call takes much longer; then all is as before."""
    speaker, rng = scene.open(turns=0), scene.rng
    count = rng.randint(30, 50)
    slow = {rng.randint(10, 18), rng.randint(22, 28)}
    for number in range(count):
        speaker.tool(words.grep(rng), 4.0 if number in slow else 0.4)
    return FINE


def heartbeats(scene: Scene) -> tuple[Expected, ...]:
    """An idle connection that is kept alive for a long time."""
    speaker, rng = scene.opened(Mcp), scene.rng
    speaker.turn()
    for _ in range(rng.randint(20, 60)):
        scene.wire.pause(14.0, 31.0)
        speaker.ping()
    speaker.turn()
    return FINE


RECIPES = (
    Recipe(slow_stream, TURNS, 18),
    Recipe(user_away, EVERY, 25),
    Recipe(build_with_output, VISIBLE, 18),
    Recipe(silent_build, VISIBLE, 15),
    Recipe(long_thought, TURNS, 15),
    Recipe(cold_start, ("mcp", "generic"), 14),
    Recipe(slow_by_nature, ("mcp", "generic"), 14),
    Recipe(fast_then_other, ("mcp", "generic"), 8),
    Recipe(variable_turns, TURNS, 24),
    Recipe(variable_calls, ("mcp", "generic"), 12),
    Recipe(one_hiccup, ("mcp", "generic"), 8),
    Recipe(heartbeats, ("mcp",), 6),
)
