"""Sessions that owe something and fall silent."""

from __future__ import annotations

from tests.corpus import words
from tests.corpus.acp import Acp
from tests.corpus.aiwhisperer import AiWhisperer
from tests.corpus.case import Expected
from tests.corpus.mcp import Mcp
from tests.corpus.scene import SESSIONS, TURNS, VISIBLE, Recipe, Scene
from tests.corpus.words import Use


def _silence(scene: Scene, threshold: float | None = None) -> tuple[Expected, ...]:
    """Let nothing happen for long enough; what should be noticed is the stall."""
    threshold = scene.defaults.stall if threshold is None else threshold
    onset = scene.wire.messages[-1].t
    scene.wire.wait(threshold * scene.rng.uniform(1.8, 5.0))
    return _stall(scene, onset, threshold)


def _stall(scene: Scene, onset: float, threshold: float) -> tuple[Expected, ...]:
    """Expect a stall; what stays open will be overdue as well."""
    scene.tolerated.add("request_timeout")
    return scene.expect("session_stall", onset, onset + threshold + scene.defaults.tick)


def _short(scene: Scene) -> Use:
    """Return a use of a tool that should be done in a moment."""
    path = words.a_file(scene.rng)
    command = words.run(scene.rng.choice(words.SHORT_COMMANDS))
    fetch = Use("fetch_url", {"url": f"https://example.org/{path}"}, "fetch")
    return scene.rng.choice((command, words.read(path), words.grep(scene.rng), fetch))


def _maybe_late(scene: Scene, key: str | None = None) -> None:
    """In half of the cases it goes on after all, too late."""
    if scene.rng.random() < 0.5:
        if key is not None:
            scene.speaker.end(key, words.output(scene.rng))
            scene.wire.pause(0.3, 2.0)
        scene.speaker.answer()


def hung_turn(scene: Scene) -> tuple[Expected, ...]:
    """The user said something, and nothing comes, be it at once or after some tools."""
    speaker = scene.open()
    speaker.begin(words.wish(scene.rng))
    for _ in range(scene.rng.choice((0, 0, 1, 3))):
        scene.wire.about(1.0)
        speaker.tool(words.any_use(scene.rng))
    expected = _silence(scene)
    _maybe_late(scene)
    return expected


def hung_tool(scene: Scene) -> tuple[Expected, ...]:
    """A tool or a request starts that should be quick, and never ends."""
    speaker = scene.task()
    key = speaker.start(_short(scene))
    expected = _silence(scene)
    _maybe_late(scene, key)
    return expected


def hung_tool_of_old(scene: Scene) -> tuple[Expected, ...]:
    """The same with the older server of AIWhisperer."""
    speaker = scene.speaker = AiWhisperer(scene.wire, classic=True)
    scene.open()
    speaker.begin(words.wish(scene.rng))
    speaker.tool(words.read(words.a_file(scene.rng)))
    key = speaker.start(_short(scene))
    expected = _silence(scene)
    _maybe_late(scene, key)
    return expected


def stream_cut(scene: Scene) -> tuple[Expected, ...]:
    """An answer stops in the middle of a sentence."""
    speaker = scene.task()
    pieces = words.chunks(scene.rng, words.text(scene.rng, 6))
    speaker.say(pieces[: scene.rng.randint(3, len(pieces) // 2)], cut=True)
    expected = _silence(scene)
    if scene.rng.random() < 0.5:
        speaker.answer()
    return expected


def continuation_stall(scene: Scene) -> tuple[Expected, ...]:
    """The turn ends with tools called and no answer; then silence."""
    speaker = scene.opened(AiWhisperer)
    for _ in range(scene.rng.randint(0, 2)):
        speaker.turn()
        scene.wire.pause(3.0, 40.0)
    speaker.begin(words.wish(scene.rng))
    scene.wire.about(2.0)
    for use in [words.any_use(scene.rng) for _ in range(scene.rng.randint(1, 3))]:
        speaker.start(use)
    speaker.finish_with("")
    expected = _silence(scene)
    if scene.rng.random() < 0.5:
        speaker.begin("continue")
        scene.wire.about(1.0)
        speaker.answer()
    return expected


def hung_beside_a_busy_one(scene: Scene) -> tuple[Expected, ...]:
    """Of two sessions on one connection, one hangs and the other works on."""
    speaker = scene.open(turns=0)
    other = speaker.sibling()
    speaker.begin(words.wish(scene.rng))
    if scene.rng.random() < 0.5:
        scene.wire.about(1.0)
        speaker.start(_short(scene))
    onset = scene.wire.now
    other.begin(words.wish(scene.rng))
    while scene.wire.now < onset + 3 * scene.defaults.stall:
        scene.wire.about(2.0)
        other.tool(words.any_use(scene.rng), 1.0)
    other.answer()
    return _stall(scene, onset, scene.defaults.stall)


def hung_with_heartbeats(scene: Scene) -> tuple[Expected, ...]:
    """The connection is alive and says so; the call hangs all the same."""
    speaker = scene.open()
    speaker.begin(words.wish(scene.rng))
    if speaker.dialect == "mcp" or scene.rng.random() < 0.5:
        speaker.start(_short(scene))
    onset = scene.wire.now
    while scene.wire.now < onset + 4 * scene.defaults.stall:
        scene.wire.pause(8.0, 20.0)
        if isinstance(speaker, Mcp):
            speaker.ping()
        else:
            speaker.notify("account/rateLimits/updated", {"rateLimits": {"limitId": "codex"}})
    return _stall(scene, onset, scene.defaults.stall)


def hung_after_permission(scene: Scene) -> tuple[Expected, ...]:
    """The user has answered, and the agent does not go on."""
    speaker = scene.opened(Acp)
    speaker.begin(words.wish(scene.rng))
    scene.wire.about(1.0)
    number = speaker.await_user(words.run("rm -r build"))
    scene.wire.pause(4.0, 300.0)
    speaker.user_answers(number)
    expected = _silence(scene)
    _maybe_late(scene)
    return expected


def build_without_end(scene: Scene) -> tuple[Expected, ...]:
    """Even a build should be done, or say something, by now."""
    speaker = scene.task("Build it.")
    speaker.start(words.run(scene.rng.choice(words.BUILDS)))
    return _silence(scene, scene.defaults.long_tool)


RECIPES = (
    Recipe(hung_turn, TURNS, 24),
    Recipe(hung_tool, (*VISIBLE, "generic"), 36),
    Recipe(hung_tool_of_old, ("aiwhisperer",), 6),
    Recipe(stream_cut, TURNS, 15),
    Recipe(continuation_stall, ("aiwhisperer",), 15),
    Recipe(hung_beside_a_busy_one, SESSIONS, 10),
    Recipe(hung_with_heartbeats, ("mcp", "codex"), 10),
    Recipe(hung_after_permission, ("acp",), 6),
    Recipe(build_without_end, VISIBLE, 6),
)
