"""Records alerts: as a span event, a short span, metrics and log events."""

from __future__ import annotations

from opentelemetry.trace import SpanContext, SpanKind

from debbie_otel import semconv
from debbie_otel.detection.alerts import AnomalyAlert, Transition
from debbie_otel.session.session import Session
from debbie_otel.telemetry.attributes import Attributes, SharedAttributes
from debbie_otel.telemetry.hub import Service, TelemetryHub
from debbie_otel.telemetry.logs import LogEvent, LogSeverity
from debbie_otel.telemetry.spans import OpenSpan

_GRAVE = ("high", "critical")


class AlertRecorder:
    """Records alerts that fire and resolve.

    An open turn gets a span event, which is seen when the turn ends; and there is a short span at
    once, child of the turn, whose attributes can be searched. A log event tells of both ends.

    Args:
        hub: Where telemetry goes.
        log_events: Whether there are log events.

    """

    def __init__(self, hub: TelemetryHub, *, log_events: bool = True) -> None:
        self._hub = hub
        self._log_events = log_events
        # Of active alerts, by identity: when one is resolved, its session may be gone.
        self._shown: dict[AnomalyAlert, tuple[Service, SpanContext]] = {}

    def record(self, transition: Transition, session: Session | None) -> None:
        """Record a transition of an alert; `session` is where it happened, if that still lives."""
        alert = transition.alert
        if transition.event == "alert":
            service = self._hub.named(None if session is None else session.info.dialect)
            if service is None:
                return
            self._shown[alert] = shown = service, self._show(transition, session, service)
        else:
            known = self._shown.pop(alert, None)
            if known is None:
                return
            shown = known
        shown[0].alerts.alert(alert.alert_type, alert.severity, transition.event)
        if alert.alert_type == "tool_loop" and transition.event == "alert":
            shown[0].alerts.tool_loop(_subject(alert))
        if self._log_events:
            self._log(transition, *shown)

    def _show(
        self, transition: Transition, session: Session | None, service: Service
    ) -> SpanContext:
        """Show an alert in the trace; return the span that it is about: the turn's, if any."""
        attributes = describe(transition.alert)
        now = transition.time_ns
        turn, parent = self._hub.traces.place_of(session)
        if turn is not None:
            turn.add_event(semconv.EVENT_ALERT, now, attributes)
        span = service.writer.start(
            OpenSpan(
                f"{semconv.EVENT_ALERT} {transition.alert.alert_type}",
                SpanKind.INTERNAL,
                now,
                parent,
                SharedAttributes({semconv.SESSION_ID: transition.alert.session_id}),
                attributes,
            )
        )
        span.add_event(semconv.EVENT_ALERT, now, attributes)
        service.writer.end(span, now)
        return parent or span.context

    def _log(self, transition: Transition, service: Service, about: SpanContext) -> None:
        alert = transition.alert
        severity: LogSeverity = "ERROR" if alert.severity in _GRAVE else "WARN"
        fired = transition.event == "alert"
        self._hub.pipeline.emit_event(
            service.name,
            LogEvent(
                semconv.EVENT_ALERT if fired else semconv.EVENT_ALERT_RESOLVED,
                severity if fired else "INFO",
                alert.message if fired else f"resolved: {alert.message}",
                {semconv.SESSION_ID: alert.session_id, **describe(alert)},
                transition.time_ns,
                about,
            ),
        )


def describe(alert: AnomalyAlert) -> Attributes:
    """Return an alert as attributes; its duration is up to now: until it fired, or was resolved."""
    until = alert.fired_ns if alert.resolved_ns is None else alert.resolved_ns
    attributes: Attributes = {
        semconv.ALERT_TYPE: alert.alert_type,
        semconv.ALERT_SEVERITY: alert.severity,
        semconv.ALERT_MESSAGE: alert.message,
        semconv.ALERT_DURATION: (until - alert.since_ns) / 1e9,
    }
    if subject := _subject(alert):
        attributes[semconv.ALERT_SUBJECT] = subject
    for attribute, name in ((semconv.ALERT_VALUE, "value"), (semconv.ALERT_THRESHOLD, "threshold")):
        value = alert.details.get(name)
        if isinstance(value, int | float):
            attributes[attribute] = value
    return attributes


def _subject(alert: AnomalyAlert) -> str:
    return alert.subject or str(alert.details.get("subject", ""))
