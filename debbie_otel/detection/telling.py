"""What becomes of an alert in the telemetry: a span event, a short span, metrics."""

from __future__ import annotations

from opentelemetry.trace import SpanContext, SpanKind

from debbie_otel import semconv
from debbie_otel.core.session import Session
from debbie_otel.detection.alerts import AnomalyAlert, Transition
from debbie_otel.telemetry.attributes import Attributes, SharedAttributes
from debbie_otel.telemetry.hub import Service, TelemetryHub
from debbie_otel.telemetry.recorder import SessionTrace
from debbie_otel.telemetry.spans import OpenSpan


class AlertRecorder:
    """Records alerts that fire and resolve.

    An open turn gets a span event, which is seen when the turn ends; and there is a short span at
    once, child of the turn, whose attributes can be searched.
    """

    def __init__(self, hub: TelemetryHub) -> None:
        self._hub = hub

    def record(self, transition: Transition, session: Session | None) -> None:
        """Record a transition of an alert; `session` is where it happened, if that still lives."""
        alert = transition.alert
        service = self._hub.named(None if session is None else session.info.dialect)
        if service is None:
            return
        service.instruments.alert(alert.alert_type, alert.severity, transition.event)
        if transition.event == "alert":
            self._show(transition, session, service)

    def _show(self, transition: Transition, session: Session | None, service: Service) -> None:
        attributes = describe(transition.alert)
        now = transition.time_ns
        parent: SpanContext | None = None
        if session is not None:
            trace = session.info.handle
            turn = session.turn()
            handle = None if turn is None else turn.handle
            if isinstance(handle, OpenSpan):
                handle.add_event(semconv.EVENT_ALERT, now, attributes)
                parent = handle.context
            elif isinstance(trace, SessionTrace):
                parent = trace.last_turn or trace.start
        span = service.writer.start(
            f"{semconv.EVENT_ALERT} {transition.alert.alert_type}",
            SpanKind.INTERNAL,
            now,
            parent,
            SharedAttributes({semconv.SESSION_ID: transition.alert.session_id}),
            attributes,
        )
        span.add_event(semconv.EVENT_ALERT, now, attributes)
        service.writer.end(span, now)


def describe(alert: AnomalyAlert) -> Attributes:
    """Return an alert as attributes."""
    attributes: Attributes = {
        semconv.ALERT_TYPE: alert.alert_type,
        semconv.ALERT_SEVERITY: alert.severity,
        semconv.ALERT_MESSAGE: alert.message,
        semconv.ALERT_DURATION: (alert.fired_ns - alert.since_ns) / 1e9,
    }
    if alert.subject or alert.details.get("subject"):
        attributes[semconv.ALERT_SUBJECT] = str(alert.subject or alert.details["subject"])
    for name in ("value", "threshold"):
        value = alert.details.get(name)
        if isinstance(value, int | float):
            attributes[f"debbie.alert.{name}"] = value
    return attributes
