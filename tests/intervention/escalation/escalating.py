"""Escalators for tests, with receivers over real HTTP."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from debbie_otel.app.clock import wall_clock
from debbie_otel.detection.alerts import AnomalyAlert
from debbie_otel.intervention.escalation import Escalator
from debbie_otel.intervention.intervention_config import EscalationSettings, WebhookSettings
from tests.intervention.receiver import Receiver
from tests.intervention.told import failed, gone

SECRET = "a-secret-of-the-receiver-s"
ENVIRON = {"HOOK_SECRET": SECRET, "HOOK_TOKEN": "Bearer abc.def"}


@contextlib.asynccontextmanager
async def escalating(
    *hooks: WebhookSettings, environ: dict[str, str] | None = None, **settings: Any
) -> AsyncIterator[Escalator]:
    """Run an escalator that tells these hooks, soon."""
    given = EscalationSettings(webhooks=hooks, **{"delay": 0.01, "timeout": 2.0, **settings})
    escalator = Escalator(given, ENVIRON if environ is None else environ, wall_clock())
    await escalator.start()
    try:
        yield escalator
    finally:
        await escalator.stop()


def hook(receiver: Receiver, path: str = "/hook", **more: Any) -> WebhookSettings:
    """Return the settings for a receiver."""
    return WebhookSettings(url=receiver.url + path, **more)


async def tell(escalator: Escalator, of: AnomalyAlert, *tried: str) -> Any:
    return await escalator.raise_alert(of, gone(of), [failed(of, name) for name in tried])


# -- a webhook ------------------------------------------------------------------------------------
