"""What goes wrong with an agent, and what brings it back: data, the same for every dialect."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

MEGABYTE = 1 << 20
TURNS = ("aiwhisperer", "acp", "codex", "butler")
"""Dialects with turns."""
ALL = (*TURNS, "mcp")


class Cure(StrEnum):
    """What can be done to an agent from outside."""

    PROMPT = "prompt"
    """Words that it has not heard yet."""
    CANCEL = "cancel"
    """What runs is cancelled."""
    RESTART = "restart"
    """A new connection with a new or a resumed session."""


@dataclass(frozen=True)
class Tool:
    """A step: a tool runs.

    Attributes:
        seconds: How long; None for ever.
        error: What it fails with; None if it works, and then
        result: comes of it.

    """

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    seconds: float | None = 0.02
    error: str | None = None
    result: str = "as before"


@dataclass(frozen=True)
class Say:
    """A step: words of the agent's."""

    text: str


@dataclass(frozen=True)
class Think:
    """A step: the model thinks."""

    seconds: float


@dataclass(frozen=True)
class Ask:
    """A step: the agent asks its user whether it may; where a dialect can, and else goes on."""


@dataclass(frozen=True)
class Hang:
    """A step: the model does not answer any more."""


@dataclass(frozen=True)
class Stall:
    """A step: a continuation does not come. Where a dialect can tell, the turn ends mid-task."""


Step = Tool | Say | Think | Ask | Hang | Stall
Steps = Callable[[], Iterator[Step]]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A way of going wrong.

    Attributes:
        name: For people.
        alert: What is to be detected.
        steps: What the agent does in the first turn of its illness, and
        again: in those that follow as long as it is ill; None has it do the same.
        cures: What helps, each by itself; nothing does if it is empty.
        dialects: Where it can be seen, and
        beyond: where no strategy can do what helps: words cannot be said in MCP, and a tool that
            hangs blocks the whole of AIWhisperer.
        frozen: Its sockets are not read any more, and nothing comes on them.
        unreachable: New connections are not answered either.
        grows: Bytes that its process takes up.
        passes: It is over with the last of its steps.
        heals_itself: It goes on by itself as soon as somebody begins to look into it.
        greetings: Turns before that go well.
        asks_again: Whether the user repeats what is not answered well.
        settings: `[interventions]` that differ from the defaults.

    """

    name: str
    alert: str
    steps: Steps
    again: Steps | None = None
    cures: frozenset[Cure] = frozenset()
    dialects: tuple[str, ...] = TURNS
    beyond: tuple[str, ...] = ()
    frozen: bool = False
    unreachable: bool = False
    grows: int = 0
    passes: bool = False
    heals_itself: bool = False
    greetings: int = 1
    asks_again: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


ANY = frozenset(Cure)
RESET = frozenset({Cure.CANCEL, Cure.RESTART})
RESTART = frozenset({Cure.RESTART})
WORDS = frozenset({Cure.PROMPT, Cure.RESTART})


def _then(last: Step) -> Steps:
    return lambda: iter([Tool("read_file", {"path": "plan.md"}), last])


def _only(step: Step) -> Steps:
    return lambda: iter([step])


def _identical() -> Iterator[Step]:
    return itertools.repeat(Tool("search_files", {"pattern": "TODO"}))


def _alternating() -> Iterator[Step]:
    read, listed = Tool("read_file", {"path": "a.py"}), Tool("list_files", {"folder": "src"})
    return itertools.cycle([read, listed])


_TAILS = ("", "?", " exactly", " now", " again", " please", " here", " really", "??", " code")


def _drifting() -> Iterator[Step]:
    for tail in itertools.cycle(_TAILS):
        query = f"where does the scheduler read its configuration from{tail}"
        yield Tool("search_docs", {"query": query, "limit": 10}, result="No matches found.")


_PLACES = ("fetch_page", "query_table", "read_mail", "run_query", "open_file", "call_api", "sync")


def _burst() -> Iterator[Step]:
    """Fail here, then there, so that it is no loop; more slowly after a while."""
    for number, name in enumerate(itertools.cycle(_PLACES)):
        yield Think(0.02 if number < 6 else 0.5)
        yield Tool(name, {"key": number * 7919}, error=f"error {number % 7}: out of order")


def _flaky() -> Iterator[Step]:
    for number, name in enumerate(_PLACES[:5]):
        yield Tool(name, {"key": number * 7919}, error=f"error {number}: temporarily unavailable")
    yield Say("I could not do it.")


def _slow() -> Iterator[Step]:
    yield Think(0.6)  # no stall yet
    yield Say("Here you are, at last.")


def _fails_twice() -> Iterator[Step]:
    yield Tool("fetch_page", {}, error="temporarily unavailable")
    yield Tool("fetch_page", {}, error="temporarily unavailable")


HANG = Fault(
    name="hang in a turn",
    alert="session_stall",
    steps=_then(Hang()),
    again=_only(Hang()),
    cures=ANY,
)
STALL = Fault(
    name="continuation stall",
    alert="session_stall",
    steps=_then(Stall()),
    again=_only(Stall()),
    cures=ANY,
)
HUNG_TOOL = Fault(
    name="hung tool",
    alert="session_stall",
    steps=lambda: iter([Tool("query_table", {"table": "orders"}, seconds=None)]),
    cures=RESET,
    dialects=ALL,
    beyond=("aiwhisperer",),
)
IDENTICAL_LOOP = Fault(
    name="loop, identical arguments",
    alert="tool_loop",
    steps=_identical,
    cures=RESET,
    dialects=ALL,
    beyond=("mcp",),
)
ALTERNATING_LOOP = Fault(
    name="loop, alternating",
    alert="tool_loop",
    steps=_alternating,
    cures=RESET,
    dialects=ALL,
    beyond=("mcp",),
)
DRIFTING_LOOP = Fault(
    name="loop, drifting arguments",
    alert="tool_loop",
    steps=_drifting,
    cures=RESET,
    dialects=ALL,
    beyond=("mcp",),
)
STUBBORN_LOOP = Fault(name="loop that goes on", alert="tool_loop", steps=_identical)
ERROR_BURST = Fault(
    name="error burst",
    alert="high_error_rate",
    steps=_burst,
    cures=WORDS,
    asks_again=True,
    dialects=ALL,
    beyond=("mcp",),
)
FLAKY_TOOL = Fault(
    name="tool fails N times",
    alert="high_error_rate",
    steps=_flaky,
    cures=WORDS,
    dialects=TURNS[1:],
)
FLAKY_CALL = Fault(
    name="call fails twice",
    alert="tool_error",
    steps=_fails_twice,
    cures=RESTART,
    passes=True,
    dialects=("mcp",),
)
IGNORES_PROMPTS = Fault(
    name="ignores prompts",
    alert="session_stall",
    steps=_then(Hang()),
    again=_only(Hang()),
    cures=RESTART,
)
IGNORES_ALL = Fault(
    name="acknowledges, stays stuck",
    alert="session_stall",
    steps=_then(Hang()),
    again=_only(Hang()),
    dialects=ALL,
)
ANSWERS_BESIDE = Fault(
    name="answers beside a hung turn",
    alert="session_stall",
    steps=_then(Hang()),
    again=_only(Say("Yes, I am here. What was it about?")),
    cures=RESTART,
)
ONLY_RESTART = Fault(
    name="stalls until restarted",
    alert="session_stall",
    steps=_then(Stall()),
    again=_only(Stall()),
    cures=RESTART,
)
DEAD_SOCKETS = Fault(
    name="dead upstream, new sockets work",
    alert="session_stall",
    steps=_only(Hang()),
    cures=RESTART,
    frozen=True,
    dialects=ALL,
)
DEAD = Fault(
    name="dead upstream, nothing works",
    alert="session_stall",
    steps=_only(Hang()),
    frozen=True,
    unreachable=True,
    dialects=ALL,
)
MEMORY = Fault(
    name="memory growth",
    alert="memory_spike",
    steps=_then(Say("That took some room.")),
    cures=ANY,
    grows=150 * MEGABYTE,
    greetings=25,
    dialects=ALL,
)
SLOW = Fault(
    name="slow-down",
    alert="slow_response",
    steps=_slow,
    cures=RESTART,
    greetings=25,
    asks_again=True,
    dialects=ALL,
    settings={"alert_strategy_map": {"slow_response": ("python_script", "session_restart")}},
)
SLOW_FOR_GOOD = Fault(
    name="slow-down for good",
    alert="slow_response",
    steps=_slow,
    greetings=25,
    asks_again=True,
    dialects=ALL,
)
HEALS_ITSELF = Fault(
    name="goes on by itself before",
    alert="session_stall",
    steps=_then(Hang()),
    again=_only(Hang()),
    heals_itself=True,
    dialects=ALL,
    settings={"alert_strategy_map": {"session_stall": ("python_script", "prompt_injection")}},
)

FAULTS = (
    HANG,
    STALL,
    HUNG_TOOL,
    IDENTICAL_LOOP,
    ALTERNATING_LOOP,
    DRIFTING_LOOP,
    STUBBORN_LOOP,
    ERROR_BURST,
    FLAKY_TOOL,
    FLAKY_CALL,
    IGNORES_PROMPTS,
    ANSWERS_BESIDE,
    ONLY_RESTART,
    IGNORES_ALL,
    DEAD_SOCKETS,
    DEAD,
    MEMORY,
    SLOW,
    SLOW_FOR_GOOD,
    HEALS_ITSELF,
)
