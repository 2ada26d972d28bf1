"""Delivery over real HTTP: receivers, signatures, retries, secrets."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from hashlib import sha256
from typing import Any

import pytest

from debbie_otel.app.clock import wall_clock
from debbie_otel.errors import ConfigurationError
from debbie_otel.intervention.escalation import Escalator
from debbie_otel.intervention.escalation.delivery import MAX_WAITING
from debbie_otel.intervention.intervention_config import EscalationSettings, WebhookSettings
from tests.intervention.escalation.escalating import ENVIRON, SECRET, escalating, hook, tell
from tests.intervention.receiver import receiving
from tests.intervention.told import alert
from tests.telemetry.collector import free_port


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
        assert escalator.undelivered == 0
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
        ({"webhooks": (WebhookSettings(url="http://x:tok"),)}, "webhooks[0].url: is not a valid URL"),
        ({"webhooks": (WebhookSettings(url="http://x", secret_env="NO"),)}, "NO is not set"),
        ({"webhooks": (WebhookSettings(url="http://x", headers_env={"A:": "HOOK_TOKEN"}),)}, "'A:'"),
        ({"webhooks": (WebhookSettings(url="http://x", headers_env={"A": "BAD"}),)}, "BAD has"),
        ({"alertmanager": ("x:9093",)}, "alertmanager[0]: expected a URL"),
        ({"labels": {"a-b": "c"}}, "'a-b' is not a valid name of a label"),
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
