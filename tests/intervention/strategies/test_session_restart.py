"""session_restart: what a new connection says; with sockets: tests/app/channels."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from debbie_otel.intervention.channel import Channel
from debbie_otel.intervention.steps import DoneKind
from debbie_otel.intervention.strategies.session_restart import restart_plan, restart_session
from tests.intervention.stage import HUNG, LivePlay
from tests.session.openings import ACP_START, CODEX_START, START


@pytest.mark.parametrize(
    ("dialect", "begins", "replayed", "start"),
    [
        ("aiwhisperer", f"{START}\n{HUNG}", [], "startSession"),
        ("acp", ACP_START, ["initialize"], "session/new"),
        ("codex", CODEX_START, ["initialize"], "thread/resume"),
    ],
)
async def test_what_a_new_connection_says_first(
    dialect: str, begins: str, replayed: list[str], start: str
) -> None:
    attempt = await LivePlay(dialect, begins).attempt()
    spec = attempt.dialect.document.restart
    assert spec is not None
    plan = restart_plan(attempt, spec)
    assert [json.loads(message)["method"] for message in plan.replay] == replayed
    assert plan.start is not None
    assert json.loads(plan.start)["method"] == start
    assert plan.session_id == attempt.session.info.id
    assert plan.replaces is attempt.turn_call


async def test_the_open_request_is_asked_again() -> None:
    attempt = await LivePlay().attempt()
    spec = attempt.dialect.document.restart
    assert spec is not None
    plan = restart_plan(attempt, spec)
    assert plan.request is not None
    method, params = plan.request
    assert method == "sendUserMessage"
    assert msgspec.json.decode(msgspec.json.encode(params)) == {"sessionId": "s1", "message": "go"}


async def test_other_sessions_on_the_connection_are_not_lost() -> None:
    attempt = msgspec.structs.replace(await LivePlay().attempt(), others=2)
    done = await restart_session(attempt)
    assert (done.kind, done.reason) == (DoneKind.IMPOSSIBLE, "other_sessions")


async def test_nothing_is_ended_that_could_not_begin_again() -> None:
    """Inside a program the session was once stopped first, and could not be started anew then."""
    channel = SimpleNamespace(no_restart="a connection cannot be restarted in-process")
    attempt = msgspec.structs.replace(
        await LivePlay().attempt(), channel=cast("Channel", channel), others=0
    )
    done = await restart_session(attempt)  # all that is sent would fail: the channel has no way
    assert (done.kind, done.reason) == (DoneKind.IMPOSSIBLE, "channel")
    assert done.detail == channel.no_restart
