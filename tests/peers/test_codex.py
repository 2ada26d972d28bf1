"""A live Codex with a scripted model: Debbie sees its turns, and helps it when it is stuck."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="needs a server for Codex's model: make peers")

from debbie_otel.intervention.records import InterventionRecord, InterventionResult
from debbie_otel.intervention.steps import InterventionEvent
from tests.faults.codex import CodexClient
from tests.integration.received import Span
from tests.peers.between import Watched, watched
from tests.peers.codex import ISOLATE, codex_program, codex_server
from tests.peers.codex_model import ScriptedModel
from tests.transports.raw import until

SECONDS = 30.0
STALL = 1.5
DETECTION = {"enabled": True, "check_interval": 0.1, "stall_threshold": STALL}
INTERVENTIONS = {"recovery_timeout": 2.0, "request_timeout": 3.0, "retry_delay": 0.1}
HELLO = "hello there"


def isolated() -> bool:
    """Tell whether a network of one's own can be had here."""
    if shutil.which(ISOLATE[0]) is None:
        return False
    return subprocess.run([*ISOLATE, "true"], capture_output=True, check=False).returncode == 0


pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(codex_program() is None, reason="needs a live Codex: make peers, with npm"),
    pytest.mark.skipif(not isolated(), reason="needs a network of its own for Codex: unshare"),
]


@dataclass
class Visit:
    """A client of Codex behind Debbie, and what she does."""

    client: CodexClient
    watch: Watched
    records: list[InterventionRecord] = field(default_factory=list)

    def see(self, event: InterventionEvent) -> None:
        if event.record is not None:
            self.records.append(event.record)

    @property
    def tried(self) -> list[tuple[str, InterventionResult]]:
        return [(record.strategy, record.result) for record in self.records]

    async def get_stuck(self, text: str) -> None:
        """Have a turn that comes to nothing; wait until Debbie has helped, and go on."""
        assert HELLO in await self.client.turn(HELLO)
        self.client.words = ""
        assert await self.client.turn(text) == ""
        await until(lambda: any(r.result is InterventionResult.SUCCESS for r in self.records))
        await until(lambda: "You said: " in self.client.words)
        await self.client.settle()
        assert HELLO in await self.client.turn(HELLO)
        assert not self.client.closed

    def children(self, turn: Span, name: str) -> list[Span]:
        """Return a turn's children of a name, by start."""
        of_turn = (span for span in self.watch.spans.all if span.parent_id == turn.span_id)
        return sorted((s for s in of_turn if s.name == name), key=lambda span: span.start)


# -- what happens, all at once on one server --------------------------------------------------------


async def talk(visit: Visit) -> None:
    assert HELLO in await visit.client.turn(HELLO)
    assert "2 times" in await visit.client.turn("run 2 echo hi")
    assert "1 times" in await visit.client.turn("run 1 false")


async def take_time(visit: Visit) -> None:
    for _ in range(3):
        assert HELLO in await visit.client.turn(HELLO)
    assert "1 times" in await visit.client.turn("run 1 sleep 3")
    await asyncio.sleep(2 * STALL)  # the user thinks
    assert HELLO in await visit.client.turn(HELLO)


async def hang(visit: Visit) -> None:
    await visit.get_stuck("hang now")


async def loop(visit: Visit) -> None:
    await visit.get_stuck("loop echo same")


async def wait_for_a_command(visit: Visit) -> None:
    await visit.get_stuck("run 1 tail -f /dev/null")


WATCHING = {"detection": DETECTION, "interventions": INTERVENTIONS}
RESET = {"alert_strategy_map": {"session_stall": ("state_reset",)}}
SCENES: dict[str, tuple[Callable[[Visit], Awaitable[None]], dict[str, Any]]] = {
    "talk": (talk, {}),
    "take time": (take_time, WATCHING),
    "hang": (hang, WATCHING),
    "hang, reset": (hang, WATCHING | {"interventions": INTERVENTIONS | RESET}),
    "loop": (loop, WATCHING),
    "hung command": (wait_for_a_command, WATCHING),
}


async def play(name: str, server: Path, folder: Path) -> Visit:
    """Have a thread of its own, through a proxy of its own."""
    scene, sections = SCENES[name]
    async with asyncio.timeout(SECONDS), watched(server, folder, **sections) as watch:
        async with CodexClient(f"ws://127.0.0.1:{watch.port}/") as client:
            client.start["cwd"] = str(server.parent / "work")
            visit = Visit(client, watch)
            watch.debbie.monitor.subscribe_to_interventions(visit.see)
            await client.begin()
            await scene(visit)
        assert client.complaints == []
    return visit


async def play_all(folder: Path) -> dict[str, Visit | BaseException]:
    async with codex_server(folder, ScriptedModel()) as server:
        playing = (play(name, server, folder / name) for name in SCENES)
        return dict(
            zip(SCENES, await asyncio.gather(*playing, return_exceptions=True), strict=True)
        )


@pytest.fixture(scope="module")
def visits(bare_environment: None) -> dict[str, Visit | BaseException]:
    with tempfile.TemporaryDirectory(prefix="codex") as folder:  # short, for the sockets in it
        return asyncio.run(play_all(Path(folder)))


@pytest.fixture
def visit(request: pytest.FixtureRequest, visits: dict[str, Visit | BaseException]) -> Visit:
    """The one of the scene that the test is marked with."""
    found = visits[request.param]
    if isinstance(found, BaseException):
        raise found
    return found


def scene(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("visit", [name], indirect=True)


# -- without interventions ---------------------------------------------------------------------------


@scene("talk")
def test_every_byte_passes_unchanged(visit: Visit) -> None:
    assert visit.watch.before == visit.watch.behind
    assert visit.watch.metrics.total("debbie.uninspected") == 0


@scene("talk")
def test_a_trace_per_turn(visit: Visit) -> None:
    turns = visit.watch.spans.turns
    assert [turn.name for turn in turns] == ["invoke_agent codex"] * 3
    assert {turn.attributes["session.id"] for turn in turns} == {visit.client.session}
    assert {turn.attributes["debbie.turn.outcome"] for turn in turns} == {"completed"}
    assert len({turn.trace_id for turn in turns}) == 3
    assert visit.watch.spans.orphans == []


@scene("talk")
def test_words_are_a_stream_of_their_turn(visit: Visit) -> None:
    (stream,) = visit.children(visit.watch.spans.turns[0], "item/agentMessage/delta")
    assert stream.attributes["debbie.stream.kind"] == "message"
    assert stream.attributes["debbie.stream.chunks"] == len(f"You said: {HELLO}".split())


@scene("talk")
def test_commands_are_tools_of_their_turn(visit: Visit) -> None:
    _, work, failed = visit.watch.spans.turns
    tools = visit.children(work, "execute_tool commandExecution")
    assert [tool.attributes["debbie.tool.outcome"] for tool in tools] == ["completed"] * 2
    assert all(work.start <= tool.start <= tool.end <= work.end for tool in tools)
    (tool,) = visit.children(failed, "execute_tool commandExecution")
    assert tool.attributes["debbie.tool.outcome"] == "failed"
    assert failed.error is None


@scene("talk")
def test_tokens_are_those_of_each_turn(visit: Visit) -> None:
    used = [turn.attributes["gen_ai.usage.input_tokens"] for turn in visit.watch.spans.turns]
    assert used == [100, 300, 200]  # a hundred for each request to the model


@scene("take time")
def test_a_healthy_codex_is_left_alone(visit: Visit) -> None:
    assert visit.records == []
    assert visit.watch.before == visit.watch.behind


# -- with them -----------------------------------------------------------------------------------------


@scene("hang")
def test_a_hanging_turn_is_steered_in_vain_and_then_begun_anew(visit: Visit) -> None:
    assert visit.tried == [
        ("prompt_injection", InterventionResult.FAILURE),  # a model that hangs hears nothing
        ("session_restart", InterventionResult.SUCCESS),
    ]
    assert {record.alert_type for record in visit.records} == {"session_stall"}
    assert visit.records[-1].recovery_seconds is not None


@scene("hang, reset")
def test_a_hanging_turn_is_interrupted_and_prompted(visit: Visit) -> None:
    assert visit.tried == [("state_reset", InterventionResult.SUCCESS)]
    ended = [m["params"]["turn"] for m in visit.client.received if _is(m, "turn/completed")]
    assert [turn["status"] for turn in ended] == ["completed", "interrupted", *["completed"] * 2]


@scene("loop")
def test_a_loop_of_identical_commands_is_ended(visit: Visit) -> None:
    assert visit.tried == [("state_reset", InterventionResult.SUCCESS)]
    assert visit.records[0].alert_type == "tool_loop"
    begun = [n for n, m in enumerate(visit.client.received) if _is(m, "item/started", "commandEx")]
    turns = [n for n, m in enumerate(visit.client.received) if _is(m, "turn/completed")]
    assert len(begun) >= 5
    assert turns[0] < begun[0] < begun[-1] < turns[1]  # nothing goes on beside


@scene("hung command")
def test_a_hung_command_is_ended(visit: Visit) -> None:
    assert visit.tried[-1] == ("session_restart", InterventionResult.SUCCESS)


def _is(message: dict[str, Any], method: str, item: str = "") -> bool:
    return message.get("method") == method and item in str(message["params"].get("item"))
