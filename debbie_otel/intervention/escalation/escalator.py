"""Escalator: tells people, keeps telling Alertmanager, and takes it back when it is over.

An Alertmanager forgets an alert that it is not told of again: every `repeat` seconds it is, with an
end that lies `_AHEAD` times as far ahead, so that an alert ends by itself if Debbie does. What
could not be delivered at all waits, bounded, and is tried again then.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from debbie_otel.detection.alerts import AnomalyAlert
from debbie_otel.errors import FailOpen
from debbie_otel.intervention.escalation import alertmanager, webhook
from debbie_otel.intervention.escalation.delivery import Delivery, Receiver, Sender, receivers
from debbie_otel.intervention.intervention_config import EscalationSettings
from debbie_otel.intervention.records import InterventionRecord
from debbie_otel.intervention.snapshot import SessionSnapshot, clean

MAX_ACTIVE = 1000
"""Alerts that are kept alive at once; beyond, the oldest is no longer told again."""
MAX_UNDELIVERED = 1000
"""Messages that wait for receivers that are down; beyond, the oldest is given up."""

_AHEAD = 4
_BATCH = 100
_logger = logging.getLogger(__name__)


class Failed(msgspec.Struct, frozen=True):
    """A receiver that was not reached, and why."""

    receiver: str
    reason: str


class EscalationOutcome(msgspec.Struct, frozen=True):
    """Who was told.

    Attributes:
        delivered: Receivers that have it: kind and origin; `log` always.
        failed: Those that do not, yet: what a retry may help is tried again later.

    """

    delivered: tuple[str, ...]
    failed: tuple[Failed, ...] = ()


class _Active(msgspec.Struct, eq=False):
    """An alert that people have been told of."""

    alert: AnomalyAlert
    labels: dict[str, str]
    annotations: dict[str, str]
    told: set[str]
    lock: asyncio.Lock


class _Message(msgspec.Struct, frozen=True):
    receiver: Receiver
    payload: bytes
    delivery: str


class Escalator:
    """Tells people of alerts, until `stop`.

    Args:
        settings: Who is told, and how often it is tried.
        environ: Variables with secrets.
        clock: Nanoseconds since the epoch.
        guard: What happens when something here fails in the background.

    Raises:
        ConfigurationError: A receiver that cannot be one.

    """

    def __init__(
        self,
        settings: EscalationSettings,
        environ: Mapping[str, str],
        clock: Callable[[], int],
        guard: FailOpen | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._guard = guard or FailOpen()
        self._receivers = receivers(settings, environ)
        self._sender = Sender(settings, clock)
        self._task: asyncio.Task[None] | None = None
        self._active: OrderedDict[str, _Active] = OrderedDict()
        self._undelivered: OrderedDict[tuple[str, str], _Message] = OrderedDict()
        self._again = asyncio.Lock()  # held while something is told again

    @property
    def active(self) -> int:
        """Alerts that people have been told of and that are not over."""
        return len(self._active)

    @property
    def undelivered(self) -> int:
        """Messages that wait for receivers that are down."""
        return len(self._undelivered)

    async def start(self) -> None:
        """Get ready."""
        if self._receivers:
            await asyncio.to_thread(self._sender.open, self._receivers)  # reads certificates
            loop = asyncio.get_running_loop()
            self._task = loop.create_task(self._repeat(), name="escalation")

    async def stop(self) -> None:
        """End; what is undelivered is lost, and active alerts end by themselves at Alertmanager."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._sender.close()
        if self._undelivered:
            _logger.warning("%d escalations could not be delivered", len(self._undelivered))

    # -- what is told ------------------------------------------------------------------------

    async def raise_alert(
        self,
        alert: AnomalyAlert,
        snapshot: SessionSnapshot,
        records: Sequence[InterventionRecord] = (),
    ) -> EscalationOutcome:
        """Tell all receivers of an alert; one that was told before is told to those that missed it.

        Args:
            alert: What is wrong.
            snapshot: Its session.
            records: What has been tried.

        Returns:
            When each receiver has it, or has been tried often enough. An alert that has ended by
            what was tried, and not because the agent went on, is told once; its end is not told,
            and at an Alertmanager it ends by itself.

        """
        active = self._begin(alert, snapshot, records)
        if alert.resolved_ns is not None:  # its end will not be told later
            del self._active[webhook.alert_id(alert)]
        async with active.lock:
            now_ns = self._clock()
            hook = webhook.body("alert", alert, now_ns, snapshot, records)
            manager = self._alerts([active], now_ns)
            missing = [r for r in self._receivers if r.name not in active.told]
            outcome = await self._tell(active, missing, manager, hook, "alert")
            earlier = [
                r.name for r in self._receivers if r not in missing and not self._keeps(r, alert)
            ]
            return msgspec.structs.replace(outcome, delivered=(*outcome.delivered, *earlier))

    async def resolve(self, alert: AnomalyAlert) -> EscalationOutcome:
        """Tell the receivers that were told of an alert, and only them, that it is over."""
        active = self._active.pop(webhook.alert_id(alert), None)
        if active is None:
            return EscalationOutcome(())
        async with active.lock:  # never before the alert itself
            now_ns = self._clock()
            _logger.info("escalation resolved: %s", _line(alert))
            async with self._again:
                pass  # what is just being told again must not come after the end
            hook = webhook.body("resolved", alert, now_ns)
            manager = self._alerts([active], now_ns, ends_ns=now_ns)
            told = [r for r in self._receivers if r.name in active.told]
            return await self._tell(active, told, manager, hook, "resolved")

    def _begin(
        self,
        alert: AnomalyAlert,
        snapshot: SessionSnapshot,
        records: Sequence[InterventionRecord],
    ) -> _Active:
        key = webhook.alert_id(alert)
        active = self._active.get(key)
        text = alertmanager.described(alert, snapshot, records)
        if active is not None:
            active.annotations = text
            return active
        _logger.warning("escalated: %s", _line(alert))
        labels = alertmanager.identity(alert, snapshot, self._settings.labels)
        active = _Active(alert, labels, text, set(), asyncio.Lock())
        if len(self._active) >= MAX_ACTIVE:
            self._active.popitem(last=False)
        self._active[key] = active
        return active

    async def _tell(
        self,
        active: _Active,
        to: Sequence[Receiver],
        manager: bytes,
        hook: bytes,
        event: Literal["alert", "resolved"],
    ) -> EscalationOutcome:
        delivery = f"{webhook.alert_id(active.alert)}-{event}"
        messages = [_Message(r, hook if r.kind == "webhook" else manager, delivery) for r in to]
        results = await asyncio.gather(*(self._send(m, active.alert) for m in messages))
        failed = []
        for message, result in zip(messages, results, strict=True):
            name = message.receiver.name
            if result.error is None:
                active.told.add(name)
                continue
            failed.append(Failed(name, result.error))
            _logger.warning("%s was not told: %s", name, result.error)
            if result.again:
                active.told.add(name)  # it will be; and then of the end as well
                if message.receiver.kind == "webhook" or event == "resolved":
                    self._keep(message)  # an Alertmanager is told again of what is active anyway
        missed = {failure.receiver for failure in failed}
        delivered = tuple(r.name for r in to if r.name not in missed)
        return EscalationOutcome(("log", *delivered), tuple(failed))

    async def _send(self, message: _Message, alert: AnomalyAlert) -> Delivery:
        if self._keeps(message.receiver, alert):
            return Delivery("waits for an earlier message", again=True)
        return await self._sender.send(message.receiver, message.payload, message.delivery)

    def _alerts(self, active: Iterable[_Active], now_ns: int, ends_ns: int | None = None) -> bytes:
        ends_ns = ends_ns or now_ns + round(_AHEAD * self._settings.repeat * 1e9)
        return msgspec.json.encode(
            [
                alertmanager.postable(a.labels, a.annotations, a.alert.fired_ns, ends_ns)
                for a in active
            ]
        )

    # -- what is told again ------------------------------------------------------------------

    def _keep(self, message: _Message) -> None:
        if len(self._undelivered) >= MAX_UNDELIVERED:
            self._undelivered.popitem(last=False)
        self._undelivered[message.receiver.name, message.delivery] = message

    def _keeps(self, receiver: Receiver, alert: AnomalyAlert) -> bool:
        return (receiver.name, f"{webhook.alert_id(alert)}-alert") in self._undelivered

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(self._settings.repeat)
            with self._guard("escalation"):
                await self._deliver_again()
                await self._keep_alive()

    async def _deliver_again(self) -> None:
        """Try again to deliver what was not, in order, until a receiver fails again."""
        down: set[str] = set()
        for key, message in list(self._undelivered.items()):
            if message.receiver.name in down or key not in self._undelivered:
                continue
            async with self._again:
                result = await self._sender.send_once(
                    message.receiver, message.payload, message.delivery
                )
            if result.error is None or not result.again:
                self._undelivered.pop(key, None)
            else:
                down.add(message.receiver.name)

    async def _keep_alive(self) -> None:
        managers = [r for r in self._receivers if r.kind == "alertmanager"]
        active = list(self._active.values()) if managers else []
        for start in range(0, len(active), _BATCH):
            async with self._again:
                # Those that were resolved while others were told must not come back.
                batch = [a for a in active[start : start + _BATCH] if self._lives(a)]
                payload = self._alerts(batch, self._clock())
                tries = (self._sender.send_once(r, payload, "") for r in managers if batch)
                await asyncio.gather(*tries)

    def _lives(self, active: _Active) -> bool:
        return self._active.get(webhook.alert_id(active.alert)) is active


def _line(alert: AnomalyAlert) -> str:
    text = f"{alert.alert_type} ({alert.severity}) in session {alert.session_id}: {alert.message}"
    return clean(text, 500)
