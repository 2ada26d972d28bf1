from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import re
import signal
import sys
from typing import Any

import pytest

from debbie_otel.demo.agent import ScriptedAgent
from debbie_otel.demo.client import AgentClient, CallFailed, converse
from debbie_otel.demo.script import (
    DEMO_MESSAGES,
    Fault,
    ScriptedTurn,
    ToolCall,
)
from tests.play import Play

READ = ToolCall("read_file", {"path": "a.md"})
STALL = ScriptedTurn(tools=(READ,), fault=Fault.STALL)
ERROR = ScriptedTurn(fault=Fault.ERROR, think=0.02)
FAST = 200.0
"""Speed of the tests; a hang of a minute then takes 0.3 s."""


async def start(client: AgentClient) -> str:
    session_id: str = (await client.call("startSession", userId="u"))["sessionId"]
    return session_id


async def say(client: AgentClient, session_id: str, message: str) -> Any:
    return await client.call("sendUserMessage", sessionId=session_id, message=message)


def methods(client: AgentClient) -> list[str]:
    return [message["method"] for message in client.notifications]


async def test_a_session_starts_with_its_agent() -> None:
    async with ScriptedAgent() as agent, AgentClient(agent.url) as client:
        result = await client.call("startSession", userId="u")
        assert result == {"sessionId": result["sessionId"], "status": 1}
        assert [(m["method"], m["params"]) for m in client.notifications] == [
            ("agent.created", {"agent_id": "a", "active": True}),
            ("agent.switched", {"from": "a", "to": "a"}),
        ]


async def test_an_answer_streams_the_text_so_far_and_repeats_the_last() -> None:
    script = [
        ScriptedTurn(text="A text of more than one chunk, so that it streams.", tools=(READ,))
    ]
    async with ScriptedAgent(script, speed=FAST) as agent, AgentClient(agent.url) as client:
        session_id = await start(client)
        client.notifications.clear()
        result = await say(client, session_id, "go")
        *updates, channel = client.notifications
        texts = [m["params"]["content"] for m in updates if m["method"] == "StreamingUpdate"]
        assert len(texts) == len(updates)
        assert texts[0] == ""
        assert texts[-1] == texts[-2] == script[0].text
        assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(texts))
        assert channel["method"] == "ChannelMessageNotification"
        assert channel["params"]["content"] == script[0].text
        assert channel["params"]["metadata"]["sessionId"] == session_id
        assert result["ai_response"] == script[0].text
        assert result["tool_calls"] == [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "read_file", "arguments": '{"path": "a.md"}'},
            }
        ]


async def test_after_the_script_the_user_is_repeated() -> None:
    async with ScriptedAgent([], speed=FAST) as agent, AgentClient(agent.url) as client:
        result = await say(client, await start(client), "hello")
        assert (result["ai_response"], result["tool_calls"]) == ("You said: hello", [])


async def test_a_stall_ends_with_tools_and_no_words() -> None:
    script = [STALL] * 2
    async with ScriptedAgent(script, speed=FAST) as agent, AgentClient(agent.url) as client:
        session_id = await start(client)
        for _ in range(2):
            client.notifications.clear()
            result = await say(client, session_id, "go")
            assert methods(client) == ["StreamingUpdate"]
            assert result["ai_response"] == ""
            assert [call["function"]["name"] for call in result["tool_calls"]] == ["read_file"]
        assert (await say(client, session_id, "and now?"))["ai_response"] == "You said: and now?"


async def test_a_failing_model_is_a_success_without_an_answer() -> None:
    async with ScriptedAgent([ERROR] * 3, speed=FAST) as agent, AgentClient(agent.url) as client:
        session_id = await start(client)
        for _ in range(3):
            result = await say(client, session_id, "go")
            assert (result["status"], result["ai_response"], result["tool_calls"]) == (0, None, [])


async def hang(client: AgentClient, session_id: str) -> None:
    """Begin a turn that hangs (request 10), and wait until the server is in it."""
    client.notifications.clear()
    params = {"sessionId": session_id, "message": "go"}
    await client.send({"jsonrpc": "2.0", "id": 10, "method": "sendUserMessage", "params": params})
    assert (await client.receive())["method"] == "StreamingUpdate"


async def test_one_socket_is_serial_and_a_second_one_is_not() -> None:
    script = [ScriptedTurn(fault=Fault.HANG, tools=(READ,)), ScriptedTurn(text="Here.")]
    async with (
        ScriptedAgent(script, speed=60) as agent,  # so that it hangs for a second
        AgentClient(agent.url) as first,
        AgentClient(agent.url) as second,
    ):
        session_id = await start(first)
        await hang(first, session_id)
        echo = {"jsonrpc": "2.0", "id": 11, "method": "echo", "params": {"message": "there?"}}
        await first.send(echo)
        assert (await say(second, session_id, "again"))["ai_response"] == "Here."
        assert second.notifications == []
        got = [await first.receive() for _ in range(5)]
        # What the second socket asked for is streamed on the first one.
        assert [message.get("method") for message in got[:3]] == [
            "StreamingUpdate",
            "StreamingUpdate",
            "ChannelMessageNotification",
        ]
        assert [message["id"] for message in got[3:]] == [10, 11]
        assert got[3]["result"]["ai_response"] is None
        assert got[4]["result"] == "there?"


async def test_a_session_can_be_stopped_while_it_hangs() -> None:
    async with (
        ScriptedAgent([ScriptedTurn(fault=Fault.HANG, tools=(READ,))]) as agent,
        AgentClient(agent.url) as first,
        AgentClient(agent.url) as second,
    ):
        session_id = await start(first)
        await hang(first, session_id)
        assert await second.call("stopSession", sessionId=session_id) == {"status": 2}
        with pytest.raises(CallFailed, match="Invalid session"):
            await say(second, session_id, "go")
    # Leaving the server, too, has not waited for the minute that the hang would take.


async def test_a_session_survives_its_socket() -> None:
    async with ScriptedAgent(
        [ScriptedTurn(text="One."), ScriptedTurn(text="Two.")], speed=FAST
    ) as agent:
        async with AgentClient(agent.url) as client:
            session_id = await start(client)
            assert (await say(client, session_id, "go"))["ai_response"] == "One."
        async with AgentClient(agent.url) as client:
            assert (await say(client, session_id, "go"))["ai_response"] == "Two."
            assert client.notifications == []


async def test_an_unknown_session_is_that_of_the_socket() -> None:
    async with ScriptedAgent([], speed=FAST) as agent, AgentClient(agent.url) as client:
        with pytest.raises(CallFailed, match="-32602: Invalid params: Invalid session: bogus"):
            await say(client, "bogus", "go")
        session_id = await start(client)
        assert (await say(client, "bogus", "go"))["ai_response"] == "You said: go"
        for _ in range(2):
            assert await client.call("stopSession", sessionId=session_id) == {"status": 2}
        with pytest.raises(CallFailed, match="-32602"):
            await say(client, session_id, "go")


async def test_a_message_as_a_notification_gets_no_answer() -> None:
    async with ScriptedAgent([], speed=FAST) as agent, AgentClient(agent.url) as client:
        params = {"sessionId": await start(client), "message": "go"}
        await client.send({"jsonrpc": "2.0", "method": "sendUserMessage", "params": params})
        await client.send({"jsonrpc": "2.0", "method": "nope"})
        client.notifications.clear()
        assert await client.call("echo", message="still there") == "still there"
        assert methods(client)[-1] == "ChannelMessageNotification"


async def test_other_methods() -> None:
    async with ScriptedAgent() as agent, AgentClient(agent.url) as client:
        session_id = await start(client)
        assert {a["agent_id"] for a in (await client.call("agent.list"))["agents"]} == {"a", "p"}
        assert await client.call("session.switch_agent", sessionId=session_id, agent_id="p") == {
            "success": True,
            "current_agent": "p",
        }
        assert client.notifications[-1]["params"] == {"from": "a", "to": "p"}
        assert await client.call("session.current_agent", sessionId=session_id) == {
            "current_agent": "p"
        }
        with pytest.raises(CallFailed, match="-32001"):
            await client.call("session.switch_agent", sessionId=session_id, agent_id="zz")
        assert await client.call(
            "provideToolResult", sessionId=session_id, toolCallId="x", result="y"
        ) == {"status": 0}
        assert await client.call("dispatchCommand", sessionId=session_id, command="/echo hi") == {
            "output": "hi"
        }
        with pytest.raises(CallFailed, match="0: Unknown command: nope"):
            await client.call("dispatchCommand", sessionId=session_id, command="/nope")


async def test_speed_scales_what_takes_time() -> None:
    loop = asyncio.get_running_loop()
    script = [ScriptedTurn(text="x", think=3.0, pace=0.0)]
    async with ScriptedAgent(script, speed=10) as agent, AgentClient(agent.url) as client:
        session_id = await start(client)
        before = loop.time()
        await say(client, session_id, "go")
        assert 0.29 < loop.time() - before < 2


async def test_the_same_seed_gives_the_same_conversation() -> None:
    async def heard(seed: int) -> list[Any]:
        script = [ScriptedTurn(text="An answer of a few words.", tools=(READ,)), STALL, ERROR]
        async with (
            ScriptedAgent(script, speed=2000, seed=seed) as agent,
            AgentClient(agent.url) as client,
        ):
            session_id = await start(client)
            results = [await say(client, session_id, f"message {n}") for n in range(4)]
            for message in client.notifications:
                message["params"].get("metadata", {}).pop("timestamp", None)
            return [*results, *client.notifications]

    assert await heard(7) == await heard(7)
    assert await heard(7) != await heard(8)


async def test_the_demo_has_answers_tools_and_errors() -> None:
    async with ScriptedAgent(speed=FAST) as agent:
        told = await converse(agent.url)
    assert [answer is None for answer in told.answers] == [False, False, False, True, False]
    assert len(told.answers) == len(DEMO_MESSAGES)
    assert told.tools == ["list_rfcs", "read_rfc", "search_files"]
    assert told.errors == ["-32601: Method not found"]


def begin(session_id: str) -> dict[str, Any]:
    """A user message whose answer nobody waits for yet."""
    params = {"sessionId": session_id, "message": "go"}
    return {"jsonrpc": "2.0", "id": "later", "method": "sendUserMessage", "params": params}


async def answer(client: AgentClient) -> Any:
    async with asyncio.timeout(5):
        while (message := await client.receive()).get("id") != "later":
            pass
    return message["result"]["ai_response"]


async def test_a_loop_runs_its_tool_until_the_session_is_stopped() -> None:
    script = [ScriptedTurn(tools=(READ,), fault=Fault.LOOP)]
    async with (
        ScriptedAgent(script, speed=FAST) as agent,
        AgentClient(agent.url) as client,
        AgentClient(agent.url) as other,
    ):
        session_id = await start(client)
        await client.send(begin(session_id))
        for _ in range(3):
            await client.wait_for("toolExecutionCompleted")
        await other.call("stopSession", sessionId=session_id)
        assert await answer(client) is None


async def test_a_stuck_session_hears_nothing_and_a_new_one_goes_on_with_the_script() -> None:
    script = [ScriptedTurn(tools=(READ,), fault=Fault.STUCK), ScriptedTurn(text="here")]
    async with (
        ScriptedAgent(script, one_script=True, speed=FAST) as agent,
        AgentClient(agent.url) as client,
        AgentClient(agent.url) as deaf,
        AgentClient(agent.url) as other,
    ):
        session_id = await start(client)
        await client.send(begin(session_id))
        await client.wait_for("StreamingUpdate")
        await deaf.send(begin(session_id))
        new = await start(other)
        await other.call("stopSession", sessionId=session_id)
        assert await answer(client) is None
        assert await answer(deaf) is None
        assert (await say(other, new, "go"))["ai_response"] == "here"


async def test_the_core_understands_it_as_aiwhisperer() -> None:
    """What the agent says must mean to the dialect what AIWhisperer's own words mean."""
    async with (
        ScriptedAgent([STALL, ERROR], speed=FAST) as agent,
        AgentClient(agent.url) as client,
    ):
        session_id = await start(client)
        results = [await say(client, session_id, "go") for _ in range(2)]
    stage = Play()
    params = json.dumps({"sessionId": session_id, "message": "go"})
    told: list[str] = []
    for number, result in enumerate(results, 1):
        told += stage.play(f"""
            >> {{"jsonrpc":"2.0","id":{number},"method":"sendUserMessage","params":{params}}}
            << {{"jsonrpc":"2.0","id":{number},"result":{json.dumps(result)}}}
        """)
    assert stage.connection.dialect.name == "aiwhisperer"
    assert "tool read_file completed in turn 1" in told
    assert "turn 1 incomplete" in told
    assert "turn 2 failed null_response" in told


async def test_the_command_runs_until_interrupted() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "debbie_otel.demo.agent",
        "--speed=500",
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    try:
        async with asyncio.timeout(20):
            assert process.stdout is not None
            line = (await process.stdout.readline()).decode()
            found = re.fullmatch(r"agent on (ws://127\.0\.0\.1:\d+/ws)\n", line)
            assert found is not None, line
            assert (await converse(found.group(1))).errors != []
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
