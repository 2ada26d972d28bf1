"""The servers with faults behave as the real ones do, and so do their clients."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import psutil
import pytest

from tests.faults.client import Client
from tests.faults.dialects import PEERS
from tests.faults.faults import (
    DEAD_SOCKETS,
    FAULTS,
    FLAKY_CALL,
    HANG,
    HUNG_TOOL,
    IDENTICAL_LOOP,
    IGNORES_PROMPTS,
    MEGABYTE,
    STALL,
    Cure,
    Fault,
)
from tests.faults.memory import hog
from tests.faults.mind import DONE, TASK, Mind
from tests.transports.raw import until

SECONDS = 5.0
NEW_WORDS = "Please go on."


@contextlib.asynccontextmanager
async def ill(dialect: str, fault: Fault) -> AsyncIterator[tuple[Mind, Client, asyncio.Task[str]]]:
    """Yield an agent in the grip of a fault, its client, and the turn that it is in."""
    mind = Mind(fault)
    async with (
        asyncio.timeout(SECONDS),
        PEERS[dialect].server(mind) as server,
        PEERS[dialect].client(server.url) as client,
    ):
        await client.begin()
        turn = asyncio.get_running_loop().create_task(client.turn(TASK))
        await mind.fell_ill()
        try:
            yield mind, client, turn
        finally:
            turn.cancel()
            await asyncio.gather(turn, return_exceptions=True)
        assert client.complaints == []


@contextlib.asynccontextmanager
async def second(client: Client) -> AsyncIterator[Client]:
    """Yield a second connection to the same server, which has begun nothing."""
    async with type(client)(client._url) as other:
        yield other


def told(client: Client, method: str) -> list[Any]:
    return [m["params"] for m in client.received if m.get("method") == method]


@pytest.mark.parametrize("dialect", PEERS)
async def test_a_healthy_agent(dialect: str) -> None:
    async with (
        asyncio.timeout(SECONDS),
        PEERS[dialect].server(Mind()) as server,
        PEERS[dialect].client(server.url) as client,
    ):
        await client.converse()
    assert client.complaints == []
    assert client.failures == []


def test_every_dialect_has_at_least_twelve_faults() -> None:
    for dialect in PEERS:
        assert sum(dialect in fault.dialects for fault in FAULTS) >= 12


@pytest.mark.parametrize("dialect", ["aiwhisperer", "acp", "codex", "butler"])
async def test_an_ill_agent_goes_on_only_when_it_is_well(dialect: str) -> None:
    async with ill(dialect, HANG) as (mind, _, turn):
        await asyncio.sleep(0.1)
        assert not turn.done()
        mind.recover()
        assert DONE in await turn


# -- AIWhisperer -------------------------------------------------------------------------------


async def test_aiwhisperer_serves_a_socket_strictly_and_a_second_one_at_once() -> None:
    async with ill("aiwhisperer", IGNORES_PROMPTS) as (_, client, turn):
        behind = await client.request("agent.list", {})
        async with second(client) as other:
            answer = await other.call("stopSession", {"sessionId": client.session})
            assert answer == {"status": 2}
            new = await other.call("startSession", {"userId": "user"})
            assert new["sessionId"] != client.session
        assert not behind.done()
        assert not turn.done() or DONE in await turn


async def test_aiwhisperer_answers_a_prompt_on_a_second_socket_and_streams_on_the_first() -> None:
    async with ill("aiwhisperer", HANG) as (mind, client, _), second(client) as other:
        params = {"sessionId": client.session, "message": NEW_WORDS}
        answer = await other.call("sendUserMessage", params)
        assert DONE in answer["ai_response"]
        assert mind.treatments == [Cure.PROMPT]
        await until(lambda: bool(told(client, "ChannelMessageNotification")))
        assert told(other, "ChannelMessageNotification") == []


async def test_aiwhisperer_ends_a_stalled_turn_without_an_answer() -> None:
    async with ill("aiwhisperer", STALL) as (mind, client, turn):
        assert await turn == ""
        assert DONE in await client.turn(NEW_WORDS)
        assert not mind.ill


async def test_a_hung_tool_blocks_all_of_aiwhisperer() -> None:
    async with ill("aiwhisperer", HUNG_TOOL) as (_, client, turn), second(client) as other:
        stopping = await other.request("stopSession", {"sessionId": client.session})
        await asyncio.wait([stopping], timeout=0.3)
        assert not stopping.done()
        assert not turn.done()


# -- ACP ---------------------------------------------------------------------------------------


async def test_acp_cancels_a_prompt_and_then_is_well() -> None:
    async with ill("acp", IDENTICAL_LOOP) as (mind, client, _):
        await until(lambda: len(told(client, "session/update")) > 10)
        await client.notify("session/cancel", {"sessionId": client.session})
        assert not mind.treatments
        await until(lambda: mind.treatments == [Cure.CANCEL])
        reasons = [m["result"]["stopReason"] for m in client.received if "stopReason" in str(m)]
        assert reasons in ([], ["cancelled"])  # its answer may be on its way
        assert DONE in await client.turn(NEW_WORDS)


async def test_acp_runs_a_second_prompt_beside_one_that_hangs() -> None:
    async with ill("acp", IGNORES_PROMPTS) as (mind, client, turn):
        beside = asyncio.get_running_loop().create_task(client.turn(NEW_WORDS))
        await until(lambda: mind.turns[-1] == NEW_WORDS)
        assert not turn.done()
        beside.cancel()
        await asyncio.gather(beside, return_exceptions=True)


# -- Codex -------------------------------------------------------------------------------------


async def test_codex_takes_words_that_a_hanging_model_never_hears() -> None:
    async with ill("codex", HANG) as (mind, client, turn):
        await until(lambda: len(told(client, "item/completed")) == 2)
        (started,) = told(client, "turn/started")
        where = {"threadId": client.session, "expectedTurnId": started["turn"]["id"]}
        said = {"input": [{"type": "text", "text": NEW_WORDS, "text_elements": []}]}
        before = len(client.received)
        answer = await client.call("turn/steer", {**where, **said})
        assert answer == {"turnId": started["turn"]["id"]}
        await asyncio.sleep(0.1)
        assert len(client.received) == before + 1
        assert mind.treatments == []
        assert not turn.done()


async def test_codex_interrupts_from_a_second_connection_and_tells_the_first() -> None:
    async with ill("codex", IGNORES_PROMPTS) as (mind, client, turn):
        await until(lambda: bool(told(client, "turn/started")))
        (started,) = told(client, "turn/started")
        async with second(client) as other:
            where = {"threadId": client.session}
            await other.call("thread/resume", {**where, "excludeTurns": True})
            assert mind.treatments == [Cure.RESTART]
            assert DONE in await turn
            with pytest.raises(Exception, match="no active turn"):
                await other.call("turn/interrupt", {**where, "turnId": started["turn"]["id"]})


async def test_a_turn_of_codex_survives_its_connection() -> None:
    async with ill("codex", HANG) as (mind, client, _), second(client) as other:
        await other.call("thread/resume", {"threadId": client.session, "excludeTurns": True})
        await client._connection.close()
        await until(lambda: bool(told(other, "turn/completed")))
        assert not mind.ill


# -- MCP ---------------------------------------------------------------------------------------


async def test_mcp_calls_fail_twice_and_then_work() -> None:
    async with ill("mcp", FLAKY_CALL) as (_, client, turn):
        with pytest.raises(Exception, match="temporarily unavailable"):
            await turn
        with pytest.raises(Exception, match="temporarily unavailable"):
            await client.turn(TASK)
        assert DONE in await client.turn(TASK)
        tools = (await client.call("tools/list", {}))["tools"]
        assert tools[0]["annotations"] == {"idempotentHint": True}


async def test_a_cancelled_call_of_mcp_is_never_answered() -> None:
    async with ill("mcp", HUNG_TOOL) as (mind, client, turn):
        (open_call,) = client._waiting
        await client.notify("notifications/cancelled", {"requestId": open_call})
        await until(lambda: mind.treatments == [Cure.CANCEL])
        assert DONE in await client.turn(TASK)
        assert not turn.done()


# -- surroundings ------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", PEERS)
async def test_dead_sockets_say_nothing_and_new_ones_work(dialect: str) -> None:
    async with ill(dialect, DEAD_SOCKETS) as (mind, client, _):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                await client.begin()
                raise AssertionError("it answered on a dead socket")
        async with second(client) as other:
            await other.begin()
            if dialect == "codex":  # whose threads go on where they were
                await other.call("thread/resume", {"threadId": client.session})
            assert not mind.ill


async def test_a_process_that_grows_and_frees_it_again() -> None:
    async with asyncio.timeout(SECONDS), hog() as process:
        watched = psutil.Process(process.pid)
        before = watched.memory_info().rss
        await process.grow(150 * MEGABYTE)
        assert watched.memory_info().rss > before + 140 * MEGABYTE
        await process.shrink()
        assert watched.memory_info().rss < before + 20 * MEGABYTE
