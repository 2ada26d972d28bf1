"""Escalation over real HTTP: what is told, told again and taken back."""

from __future__ import annotations

import asyncio
import logging

import pytest

from debbie_otel.intervention.escalation import Failed
from debbie_otel.intervention.escalation.webhook import alert_id
from debbie_otel.intervention.intervention_config import WebhookSettings
from tests.intervention.escalation.escalating import escalating, hook, tell
from tests.intervention.receiver import receiving
from tests.intervention.told import alert, gone
from tests.telemetry.collector import free_port


async def test_a_webhook_gets_the_alert_and_its_end() -> None:
    stall = alert()
    async with receiving() as receiver, escalating(hook(receiver)) as escalator:
        outcome = await tell(escalator, stall, "prompt_injection", "session_restart")
        assert outcome.delivered == ("log", f"webhook {receiver.url}")
        assert outcome.failed == ()
        stall.resolved_ns = stall.fired_ns + 5 * 10**9
        await escalator.resolve(stall)
    raised, resolved = receiver.got
    assert raised.headers["content-type"] == "application/json"
    told = raised.json
    assert (told["version"], told["event"], told["id"]) == (1, "alert", alert_id(stall))
    assert told["alert"]["type"] == "session_stall"
    assert told["alert"]["since"] == "2023-11-14T22:13:20.000000+00:00"
    assert told["alert"]["details"]["value"] == 35
    assert told["session"]["session_id"] == "s1"
    assert [a["strategy"] for a in told["attempts"]] == ["prompt_injection", "session_restart"]
    assert told["attempts"][0] | {"detail": ""} == {
        "strategy": "prompt_injection",
        "attempt": 1,
        "result": "failure",
        "reason": "no_recovery",
        "detail": "",
        "started": "2023-11-14T22:13:55.000000+00:00",
        "seconds": 30.0,
    }
    assert (resolved.json["event"], resolved.json["id"]) == ("resolved", told["id"])
    assert resolved.json["alert"]["resolved"] == "2023-11-14T22:14:00.000000+00:00"


async def test_nobody_listens() -> None:
    nobody = WebhookSettings(url=f"http://127.0.0.1:{free_port()}/hook")
    async with escalating(nobody, attempts=2) as escalator:
        (failed,) = (await tell(escalator, alert())).failed
        assert failed.reason == "unreachable"
        assert escalator.undelivered == 1


async def test_what_could_not_be_told_is_told_later_and_in_order() -> None:
    stall = alert()
    async with (
        receiving(503, 503, 503) as receiver,
        escalating(hook(receiver), attempts=1, repeat=0.1) as escalator,
    ):
        assert len((await tell(escalator, stall)).failed) == 1
        (failed,) = (await escalator.resolve(stall)).failed
        assert failed.reason == "waits for an earlier message"
        await receiver.wait(5)
        async with asyncio.timeout(5):
            while escalator.undelivered:  # noqa: ASYNC110 - until the answer has come back
                await asyncio.sleep(0.01)
    assert receiver.events == ["alert", "alert", "alert", "alert", "resolved"]


async def test_an_alert_that_is_raised_twice_is_told_once() -> None:
    stall = alert()
    async with receiving() as receiver, escalating(hook(receiver)) as escalator:
        await tell(escalator, stall)
        again = await tell(escalator, stall)
        assert again.delivered == ("log", f"webhook {receiver.url}")
        await escalator.resolve(stall)
        assert (await escalator.resolve(stall)).delivered == ()
        assert escalator.active == 0
    assert receiver.events == ["alert", "resolved"]


async def test_nobody_hears_of_the_end_of_what_nobody_heard_of() -> None:
    async with receiving() as receiver, escalating(hook(receiver)) as escalator:
        await escalator.resolve(alert())
    assert receiver.got == []


async def test_what_has_ended_by_what_was_tried_is_told_once() -> None:
    over = alert(resolved_ns=1_700_000_040 * 10**9)
    async with receiving() as receiver, escalating(hook(receiver)) as escalator:
        outcome = await escalator.raise_alert(over, gone(over))
        assert outcome.delivered == ("log", f"webhook {receiver.url}")
        assert escalator.active == 0
        await escalator.resolve(over)
    assert receiver.events == ["alert"]


async def test_the_end_never_overtakes_the_alert() -> None:
    stall = alert()
    async with receiving(503) as receiver, escalating(hook(receiver), delay=0.2) as escalator:
        raising = asyncio.get_running_loop().create_task(tell(escalator, stall))
        await receiver.wait(1)
        await escalator.resolve(stall)
        await raising
    assert receiver.events == ["alert", "alert", "resolved"]


async def test_without_receivers_the_log_has_one_line(caplog: pytest.LogCaptureFixture) -> None:
    forged = alert(session_id="s1\nERROR forged", message="stalled\r\nfor 35s")
    with caplog.at_level(logging.INFO, "debbie_otel"):
        async with escalating() as escalator:
            assert (await tell(escalator, forged)).delivered == ("log",)
            await tell(escalator, forged)
            await escalator.resolve(forged)
    raised, resolved = (found.getMessage() for found in caplog.records)
    assert raised == "escalated: session_stall (high) in session s1�ERROR forged: stalled��for 35s"
    assert resolved.startswith("escalation resolved: session_stall")


async def test_each_alertmanager_is_told_again_until_it_is_over() -> None:
    loop_ = alert("tool_loop", severity="critical", subject="read")
    async with (
        receiving() as one,
        receiving(503) as other,
        escalating(
            alertmanager=(one.url, other.url + "/prefix/"),
            labels={"team": "agents", "severity": "none"},
            repeat=0.2,
            attempts=1,
        ) as escalator,
    ):
        outcome = await tell(escalator, loop_, "state_reset")
        assert outcome.failed == (Failed(f"alertmanager {other.url}", "HTTP 503"),)
        await one.wait(3)
        await other.wait(3)
        await escalator.resolve(loop_)
        count = len(one.got)
        await asyncio.sleep(0.45)  # two more rounds, in which nothing may come
        assert len(one.got) == count
    assert {got.target for got in other.got} == {"/prefix/api/v2/alerts"}
    for receiver in (one, other):
        (first,), (last,) = receiver.got[0].json, receiver.got[-1].json
        assert (
            first["labels"]
            == last["labels"]
            == {
                "alertname": "DebbieToolLoop",
                "alert_type": "tool_loop",
                "severity": "critical",
                "session_id": "s1",
                "subject": "read",
                "team": "agents",
            }
        )
        assert "Tried: state_reset failure (no_recovery)" in first["annotations"]["description"]
        assert first["startsAt"] == last["startsAt"] == "2023-11-14T22:13:55.000000+00:00"
        assert last["endsAt"] > first["startsAt"]
