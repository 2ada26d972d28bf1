"""What the fake model behind the demo's agent says: data, a `ScriptedTurn` for each message."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec


class Fault(StrEnum):
    """How a turn goes wrong; each looks on the wire as it does with AIWhisperer."""

    NONE = "none"
    HANG = "hang"
    """After the tools nothing comes until the model call times out, which looks like ERROR."""
    STALL = "stall"
    """The turn ends with tool calls and an empty answer: a continuation that never comes."""
    ERROR = "error"
    """The model failed (HTTP 429, 500): a success without an answer."""
    LOOP = "loop"
    """The tools run again and again, until the session is stopped."""
    STUCK = "stuck"
    """Nothing comes any more, whatever is said, until the session is stopped."""


class ToolCall(msgspec.Struct, frozen=True):
    """A tool that the agent runs inside its server.

    Attributes:
        name: Of the tool.
        arguments: As the model gave them.
        seconds: How long it runs, at speed 1.

    """

    name: str
    arguments: dict[str, Any] = {}
    seconds: float = 0.1


class ScriptedTurn(msgspec.Struct, frozen=True, kw_only=True):
    """What follows on one user message.

    Attributes:
        text: The answer; empty repeats the user's message.
        tools: Run before the answer.
        think: Seconds before the model's first word, at speed 1.
        pace: Seconds between two chunks, at speed 1.
        fault: How it goes wrong.

    """

    text: str = ""
    tools: tuple[ToolCall, ...] = ()
    think: float = 0.1
    pace: float = 0.05
    fault: Fault = Fault.NONE


class Scene(msgspec.Struct, frozen=True):
    """A user message and the turn that answers it."""

    message: str
    turn: ScriptedTurn


_LIST_RFCS = ToolCall("list_rfcs", {"status": "in_progress"}, 0.25)

DEMO: tuple[Scene, ...] = (
    Scene(
        "Good morning. What can you do?", ScriptedTurn(text="I can read and write RFCs, and plans.")
    ),
    Scene(
        "List the open RFCs.",
        ScriptedTurn(
            text="Three RFCs are open: caching, retries, and sign-in.", tools=(_LIST_RFCS,)
        ),
    ),
    Scene(
        "Summarise the one about retries.",
        ScriptedTurn(
            text="It asks for exponential back-off, and a budget for each client.",
            tools=(
                ToolCall("read_rfc", {"rfc_id": "retries"}, 0.2),
                ToolCall("search_files", {"pattern": "backoff"}, 0.15),
            ),
        ),
    ),
    Scene("Is it ready for review?", ScriptedTurn(fault=Fault.ERROR)),
    Scene("Once more: is it ready?", ScriptedTurn(text="Yes. Two comments are left.", think=0.8)),
)
"""What `debbie demo` plays: answers, tool calls, one failure of the model, one slow answer."""

STALL = (
    ScriptedTurn(tools=(ToolCall("read_rfc", {"rfc_id": "retries"}, 0.3),), fault=Fault.STALL),
    ScriptedTurn(text="The report is written: back-off doubles up to a minute, four tries in all."),
)
"""A turn that ends after its tool call; asked to go on, the agent does."""

LOOP = (
    ScriptedTurn(tools=(ToolCall("search_files", {"pattern": "flaky"}, 0.6),), fault=Fault.LOOP),
    ScriptedTurn(text="Nothing is named flaky. The failing test is test_backoff, by its log."),
)
"""The same search for ever; told to take another way, the agent answers."""

ERRORS = (
    *(ScriptedTurn(fault=Fault.ERROR, think=0.5),) * 4,
    ScriptedTurn(text="It works again: the model was overloaded.", think=0.5),
)
"""The model fails and fails; later it works."""

STUCK = (
    ScriptedTurn(fault=Fault.STUCK),
    ScriptedTurn(text="The deployment is done, and both checks are green."),
)
"""A session that is lost; in a new one the agent does what it was asked."""

DEMO_MESSAGES = tuple(scene.message for scene in DEMO)
DEMO_TURNS = tuple(scene.turn for scene in DEMO)
