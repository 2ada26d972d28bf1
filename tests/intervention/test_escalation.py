"""Escalation over real HTTP: delivery, retries, signatures, the end of an alert, secrets."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import time
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

import pytest

from debbie_otel.app.clock import wall_clock
from debbie_otel.detection.alerts import AnomalyAlert
from debbie_otel.errors import ConfigurationError
from debbie_otel.intervention.escalation import Escalator, Failed
from debbie_otel.intervention.escalation.delivery import MAX_WAITING
from debbie_otel.intervention.escalation.webhook import alert_id
from debbie_otel.intervention.records import InterventionRecord
from debbie_otel.intervention.settings import EscalationSettings, WebhookSettings
from debbie_otel.intervention.strategies.escalate import EscalateStrategy
from tests.intervention.receiver import Receiver, receiving
from tests.intervention.told import alert, failed, gone
from tests.telemetry.collector import free_port

SECRET = "a-secret-of-the-receiver-s"
ENVIRON = {"HOOK_SECRET": SECRET, "HOOK_TOKEN": "Bearer abc.def"}


@contextlib.asynccontextmanager
async def escalating(
    *hooks: WebhookSettings, environ: dict[str, str] | None = None, **settings: Any
) -> AsyncIterator[Escalator]:
    given = EscalationSettings(webhooks=hooks, **{"delay": 0.01, "timeout": 2.0, **settings})
    escalator = Escalator(given, ENVIRON if environ is None else environ, wall_clock())
    await escalator.start()
    try:
        yield escalator
    finally:
        await escalator.stop()


def hook(receiver: Receiver, path: str = "/hook", **more: Any) -> WebhookSettings:
    return WebhookSettings(url=receiver.url + path, **more)


async def tell(escalator: Escalator, of: AnomalyAlert, *tried: str) -> Any:
    return await escalator.raise_alert(of, gone(of), [failed(of, name) for name in tried])


# -- a webhook ------------------------------------------------------------------------------------


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


async def test_a_receiver_can_verify_the_signature() -> None:
    async with receiving(503) as receiver:
        signed = hook(
            receiver, secret_env="HOOK_SECRET", headers_env={"Authorization": "HOOK_TOKEN"}
        )
        async with escalating(signed) as escalator:
            await tell(escalator, alert())
    first, again = receiver.got
    assert first.headers["x-debbie-delivery"] == again.headers["x-debbie-delivery"]
    for got in receiver.got:
        timestamp = got.headers["x-debbie-timestamp"]
        assert abs(time.time() - int(timestamp)) < 60
        expected = hmac.new(SECRET.encode(), timestamp.encode() + b"." + got.body, sha256)
        assert got.headers["x-debbie-signature"] == f"sha256={expected.hexdigest()}"
        assert got.headers["authorization"] == "Bearer abc.def"


async def test_without_a_secret_nothing_is_signed() -> None:
    async with receiving() as receiver, escalating(hook(receiver)) as escalator:
        await tell(escalator, alert())
    assert "x-debbie-signature" not in receiver.got[0].headers


# -- retries --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [500, 503, 429, "drop"])
async def test_what_may_pass_is_tried_again(fault: Any) -> None:
    async with receiving(fault, fault) as receiver, escalating(hook(receiver)) as escalator:
        outcome = await tell(escalator, alert())
    assert outcome.failed == ()
    assert len(receiver.got) == 3


@pytest.mark.parametrize("answer", [400, 401, 404, "redirect"])
async def test_what_will_not_pass_is_not_tried_again(answer: Any) -> None:
    async with receiving(answer) as receiver, escalating(hook(receiver)) as escalator:
        (failed,) = (await tell(escalator, alert())).failed
        assert escalator.owed == 0
        assert (await escalator.resolve(alert())).delivered == ("log",)  # whom nobody told
    assert failed.reason == f"HTTP {307 if answer == 'redirect' else answer}"
    assert [got.target for got in receiver.got] == ["/hook"]


async def test_retry_after_is_heeded() -> None:
    async with (
        receiving((429, {"Retry-After": "1"})) as receiver,
        escalating(hook(receiver)) as escalator,
    ):
        await tell(escalator, alert())
    first, again = receiver.got
    assert 0.95 < again.time - first.time < 3


@pytest.mark.parametrize("fault", ["hang", "drip"])
async def test_a_receiver_that_does_not_come_to_an_end_is_left(fault: str) -> None:
    async with (
        receiving(fault) as receiver,
        escalating(hook(receiver), timeout=0.2, attempts=1) as escalator,
    ):
        (failed,) = (await tell(escalator, alert())).failed
    assert failed.reason == "timeout"


async def test_of_an_answer_without_end_little_is_read() -> None:
    async with receiving("flood") as receiver, escalating(hook(receiver)) as escalator:
        assert (await tell(escalator, alert())).failed == ()


async def test_nobody_listens() -> None:
    nobody = WebhookSettings(url=f"http://127.0.0.1:{free_port()}/hook")
    async with escalating(nobody, attempts=2) as escalator:
        (failed,) = (await tell(escalator, alert())).failed
        assert failed.reason == "unreachable"
        assert escalator.owed == 1


async def test_what_could_not_be_told_is_told_later_and_in_order() -> None:
    stall = alert()
    async with (
        receiving(503, 503, 503) as receiver,
        escalating(hook(receiver), attempts=1, repeat=0.1) as escalator,
    ):
        assert len((await tell(escalator, stall)).failed) == 1
        (failed,) = (await escalator.resolve(stall)).failed
        assert failed.reason == "waits for what is owed before"
        await receiver.wait(5)
        async with asyncio.timeout(5):
            while escalator.owed:  # noqa: ASYNC110 - until the answer has come back
                await asyncio.sleep(0.01)
    assert receiver.events == ["alert", "alert", "alert", "alert", "resolved"]


async def test_one_receiver_that_hangs_holds_up_no_other() -> None:
    async with (
        receiving(*["hang"] * 50) as slow,
        receiving() as quick,
        escalating(hook(slow), hook(quick), timeout=1.0, attempts=1) as escalator,
    ):
        alerts = [alert(session_id=f"s{n}") for n in range(MAX_WAITING + 5)]
        tasks = [asyncio.get_running_loop().create_task(tell(escalator, a)) for a in alerts]
        await quick.wait(MAX_WAITING)
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        reasons = {failure.reason for task in done for failure in task.result().failed}
        assert reasons == {"too many wait"}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_the_end_waits_for_one_try_at_most() -> None:
    async with receiving("hang") as slow, receiving(503) as busy:
        async with escalating(hook(slow), hook(busy), timeout=0.4, delay=60.0) as escalator:
            task = asyncio.get_running_loop().create_task(tell(escalator, alert()))
            await slow.wait(1)
            await busy.wait(1)
            began = time.monotonic()
        failures = (await task).failed
    assert {failure.reason for failure in failures} == {"timeout", "HTTP 503"}
    assert time.monotonic() - began < 2


# -- once, and to whom ----------------------------------------------------------------------------


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
        done = await EscalateStrategy(escalator, lambda a, _: gone(a), tried_nothing)(over, None)
        assert done.kind == "escalated"
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


# -- secrets and settings -------------------------------------------------------------------------


async def test_secrets_are_in_no_text(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with receiving(404, 503) as receiver:
            url = (
                receiver.url.replace("//", "//me:passphrase@") + "/T00/path-secret?key=query-secret"
            )
            secret = WebhookSettings(
                url=url, secret_env="HOOK_SECRET", headers_env={"X-Key": "HOOK_TOKEN"}
            )
            async with escalating(secret, secret, attempts=1) as escalator:
                outcome = await tell(escalator, alert())
    assert [failure.receiver for failure in outcome.failed] == [
        f"webhook {receiver.url}",
        f"webhook {receiver.url} #2",  # told apart
    ]
    assert receiver.got[0].target == "/T00/path-secret?key=query-secret"
    assert receiver.got[0].headers["authorization"].startswith("Basic ")
    shown = "".join(found.getMessage() for found in caplog.records) + repr(outcome)
    for hidden in ("passphrase", "path-secret", "query-secret", SECRET, "abc.def"):
        assert hidden not in shown


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"webhooks": (WebhookSettings(url="ftp://x/tok"),)}, "webhooks[0].url: expected a URL"),
        ({"webhooks": (WebhookSettings(url="http://x:tok"),)}, "webhooks[0].url: is no URL"),
        ({"webhooks": (WebhookSettings(url="http://x", secret_env="NO"),)}, "NO is not set"),
        ({"webhooks": (WebhookSettings(url="http://x", headers_env={"A:": "HOOK_TOKEN"}),)}, "'A:'"),
        ({"webhooks": (WebhookSettings(url="http://x", headers_env={"A": "BAD"}),)}, "BAD has"),
        ({"alertmanager": ("x:9093",)}, "alertmanager[0]: expected a URL"),
        ({"labels": {"a-b": "c"}}, "'a-b' is no name of a label"),
    ],
)  # fmt: skip
def test_wrong_settings_are_named_without_their_values(settings: Any, where: str) -> None:
    environ = {**ENVIRON, "BAD": "tok\nX-Injected: 1"}
    with pytest.raises(ConfigurationError) as failure:
        Escalator(EscalationSettings(**settings), environ, wall_clock())
    assert where in str(failure.value)
    assert "interventions.escalation" in str(failure.value)
    assert "tok" not in str(failure.value)


async def test_the_environment_redirects_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    async with receiving() as receiver, escalating(hook(receiver)) as escalator:
        assert (await tell(escalator, alert())).failed == ()


# -- Alertmanager's words -------------------------------------------------------------------------


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


# -- the strategy ---------------------------------------------------------------------------------


async def tried_nothing(_: AnomalyAlert) -> list[InterventionRecord]:
    return []


async def tried_once(about: AnomalyAlert) -> list[InterventionRecord]:
    return [failed(about)]


async def test_the_strategy_tells_who_was_told() -> None:
    async with (
        receiving() as receiver,
        receiving(404) as other,
        escalating(hook(receiver), hook(other)) as escalator,
    ):
        strategy = EscalateStrategy(escalator, lambda a, _: gone(a), tried_once)
        done = await strategy(alert(), None)
    assert done.kind == "escalated"
    assert done.evidence["told"] == ["log", f"webhook {receiver.url}"]
    assert done.detail.endswith(f"; not webhook {other.url} (HTTP 404)")
    assert len(receiver.got[0].json["attempts"]) == 1


async def test_the_strategy_fails_where_only_the_log_was_told() -> None:
    async with receiving(404) as receiver, escalating(hook(receiver)) as escalator:
        strategy = EscalateStrategy(escalator, lambda a, _: gone(a), tried_nothing)
        done = await strategy(alert(), None)
        assert (done.kind, done.reason) == ("failed", "undelivered")
    async with escalating() as escalator:
        strategy = EscalateStrategy(escalator, lambda a, _: gone(a), tried_nothing)
        assert (await strategy(alert(), None)).kind == "escalated"
