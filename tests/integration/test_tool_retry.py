"""tool_retry on a live wire: failures of tools that may be called again never reach the client."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from debbie_otel.intervention.recovery import RecoveryWatch
from debbie_otel.session.events import CallStarted
from tests.integration.flaky import Flaky, stage, told
from tests.intervention.alerts import alert
from tests.intervention.attempts import INERT


async def test_a_tool_that_fails_twice_succeeds_for_its_client(tmp_path: Path) -> None:
    for compress in (True, False):
        flaky = Flaky(look=2)
        folder = tmp_path / str(compress)
        async with stage(flaky, folder, compress=compress) as (client, it):
            answer = await client.use("look", at="x")
            assert answer["result"] == {"content": [], "isError": False, "call": 3}
            assert flaky.calls == [("look", {"at": "x"})] * 3
            assert told(it) == ["tool_retry 1 failure", "tool_retry 2 success"]
            again = await client.use("look", at="y")
            assert again["result"]["call"] == 4, "the connection goes on"
        assert [message["id"] for message in client.received] == [1, 2, 3], "and nothing else came"
        assert len({str(call_id) for call_id in flaky.ids}) == 4


async def test_json_rpc_errors_are_failures_too(tmp_path: Path) -> None:
    flaky = Flaky(put=1)
    flaky.rpc_errors = True
    async with stage(flaky, tmp_path) as (client, it):
        assert (await client.use("put"))["result"]["isError"] is False
        assert told(it) == ["tool_retry 1 success"]


async def test_a_tool_that_keeps_failing_fails_for_its_client(tmp_path: Path) -> None:
    flaky = Flaky(look=100)
    async with stage(flaky, tmp_path, max_attempts=2) as (client, it):
        answer = await client.use("look")
        assert answer["result"]["isError"] is True
        assert answer["result"]["call"] == 1, "the server's own answer"
        assert len(flaky.calls) == 3
        assert told(it) == ["tool_retry 1 failure", "tool_retry 2 failure"]


@pytest.mark.parametrize(
    "error",
    [
        "MCP error -32602: Input validation error: Invalid arguments for tool look",
        "1 validation error for call[look]\nx\n  Input should be a valid integer",
        "ENOENT: no such file or directory, open '/a/none.txt'",
        "Access denied - path outside allowed directories: /etc/passwd not in /a",
        "Entity with name nobody not found",
        "Could not find exact match for edit:\nnope",
        "Request failed with status code 404",
    ],
)
async def test_what_another_attempt_would_not_mend_fails_at_once(
    tmp_path: Path, error: str
) -> None:
    flaky = Flaky(look=100)
    flaky.error = error
    async with stage(flaky, tmp_path) as (client, it):
        answer = await client.use("look")
        assert answer["result"]["content"] == [{"type": "text", "text": error}]
        assert len(flaky.calls) == 1
        assert told(it) == []


@pytest.mark.parametrize(
    "error",
    [
        "getaddrinfo EAI_AGAIN api.example.org: host not found",
        "connect ECONNREFUSED 127.0.0.1:5432",
        "Request failed with status code 503",
        "Error calling tool 'look': read timed out",
        "file 404.txt is locked",
    ],
)
async def test_what_may_pass_is_tried_again(tmp_path: Path, error: str) -> None:
    flaky = Flaky(look=1)
    flaky.error = error
    async with stage(flaky, tmp_path) as (client, it):
        assert (await client.use("look"))["result"]["isError"] is False
        assert told(it) == ["tool_retry 1 success"]


async def test_invalid_params_are_an_error_that_stays(tmp_path: Path) -> None:
    flaky = Flaky(look=100)
    flaky.rpc_errors, flaky.code = True, -32602
    async with stage(flaky, tmp_path) as (client, it):
        assert (await client.use("look"))["error"]["code"] == -32602
        assert told(it) == []


async def test_a_failure_that_becomes_permanent_is_not_tried_further(tmp_path: Path) -> None:
    flaky = Flaky(look=100)
    fail = flaky.answer

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        flaky.error = "permission denied" if flaky.calls else "not now"
        return fail(request)

    flaky.answer = answer  # type: ignore[method-assign]
    async with stage(flaky, tmp_path) as (client, it):
        assert (await client.use("look"))["result"]["call"] == 1
        assert told(it) == ["tool_retry 1 failure"]


async def test_the_user_says_what_is_permanent(tmp_path: Path) -> None:
    for pattern, repeated in (("", True), ("LOCKED", False), ("other", True)):
        flaky = Flaky(look=1)
        flaky.error = "no such file: it is locked"
        async with stage(flaky, tmp_path / pattern, permanent=pattern) as (client, _):
            assert (await client.use("look"))["result"]["isError"] is not repeated


async def test_a_server_that_leaves_a_repetition_unanswered_is_not_asked_again(
    tmp_path: Path,
) -> None:
    """So a bridge that does not keep the ids of others costs its client one wait, not three."""
    flaky = Flaky(look=100)
    fail = flaky.answer

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        said = fail(request)
        return said if request["id"] in range(1000) else {}  # the client's own, or Debbie's

    flaky.answer = answer  # type: ignore[method-assign]
    async with stage(flaky, tmp_path, policy={"recovery_timeout": 0.2}) as (client, it):
        assert (await client.use("look"))["result"]["call"] == 1
        assert len(flaky.calls) == 2
        assert told(it) == ["tool_retry 1 failure"]


async def test_a_bridge_that_takes_all_ids_for_numbers(tmp_path: Path) -> None:
    flaky = Flaky(look=2)
    flaky.numbers_only = True
    async with stage(flaky, tmp_path, policy={"recovery_timeout": 5.0}) as (client, it):
        assert (await client.use("look"))["result"]["isError"] is False
        assert told(it) == ["tool_retry 1 failure", "tool_retry 2 success"]


async def test_a_tool_that_may_not_be_repeated_is_not(tmp_path: Path) -> None:
    flaky = Flaky(pay=1, search_web=1)
    async with stage(flaky, tmp_path) as (client, it):
        assert (await client.use("pay"))["result"]["isError"] is True
        assert (await client.use("search_web"))["result"]["isError"] is True
        assert told(it) == []
        assert len(flaky.calls) == 2


async def test_the_allow_list_and_arguments_by_rule(tmp_path: Path) -> None:
    flaky = Flaky(search_web=1)
    rules: dict[str, Any] = {
        "tools": ("search_*",),
        "arguments": {"search_web": {"limit": 5}},
    }
    async with stage(flaky, tmp_path, **rules) as (client, _):
        assert (await client.use("search_web", q="x", limit=50))["result"]["isError"] is False
        assert flaky.calls == [
            ("search_web", {"q": "x", "limit": 50}),
            ("search_web", {"q": "x", "limit": 5}),
        ]


async def test_switched_off_it_does_nothing(tmp_path: Path) -> None:
    flaky = Flaky(look=1)
    async with stage(flaky, tmp_path, enabled=False) as (client, it):
        assert (await client.use("look"))["result"]["isError"] is True
        assert told(it) == []


@pytest.mark.parametrize(("policy", "reason"), INERT)
async def test_who_may_not_act_says_once_what_would_have_been_done(
    tmp_path: Path, policy: dict[str, Any], reason: str
) -> None:
    flaky = Flaky(look=2, pay=1)
    async with stage(flaky, tmp_path, policy=policy) as (client, it):
        for tool in ("look", "look", "look", "pay"):
            answer = await client.use(tool)
        assert answer["result"]["isError"] is True
        assert told(it) == ["tool_retry 0 skipped"]
        assert it.debbie.interventions is not None
        (record,) = it.debbie.interventions.history.recent()
        assert (record.reason, record.detail) == (reason, "would have called look again")
    assert len(flaky.calls) == 4


async def test_it_keeps_within_the_budget_of_the_session(tmp_path: Path) -> None:
    flaky = Flaky(look=10_000)
    async with stage(flaky, tmp_path, max_attempts=3) as (client, it):
        limit = it.debbie.config.interventions.rate_limit
        for _ in range(10):
            assert (await client.use("look"))["result"]["isError"] is True
        assert 10 < len(flaky.calls) <= 10 + limit
        # What is not done is told with the reason, once: fifteen calls more are no news.
        # (The detector may have raised an alert about all these errors: its attempts are others.)
        assert it.debbie.interventions is not None
        records = it.debbie.interventions.history.recent()
        refused = [
            r.reason for r in records if (r.alert_type, r.result) == ("tool_error", "skipped")
        ]
        assert len(refused) == 1, refused


async def test_a_reset_leaves_no_client_waiting(tmp_path: Path) -> None:
    """The server does not answer what is cancelled, so its client gets an error."""
    hung = Flaky()
    answered = hung.answer
    hung.answer = lambda request: {} if "hang" in str(request) else answered(request)  # type: ignore[method-assign]
    async with stage(hung, tmp_path) as (client, it):
        interventions = it.debbie.interventions
        assert interventions is not None
        (connection,) = it.debbie.monitor.connections
        passed = asyncio.Event()
        it.debbie.monitor.subscribe(lambda _: passed.set(), CallStarted)
        call = asyncio.create_task(client.use("hang"))  # noqa: TID251
        await asyncio.wait_for(passed.wait(), 5)
        stuck = alert("tool_loop", session_id=connection.session.info.id)
        watch = RecoveryWatch(stuck)
        done = await interventions.executor.execute(stuck, "state_reset", 0, watch, stuck.fired_ns)
        assert done.kind == "acted"
        answer = await call
        assert answer["error"] == {"code": -32000, "message": "cancelled: the session was reset"}
        assert (await client.use("look"))["result"]["isError"] is False
