"""Records interventions: as spans, span events, metrics and log events."""

from __future__ import annotations

import msgspec
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode

from debbie_otel import semconv
from debbie_otel.intervention.records import InterventionRecord, InterventionResult
from debbie_otel.intervention.steps import Done, InterventionEvent
from debbie_otel.session.redact import content
from debbie_otel.session.session import Session
from debbie_otel.telemetry.attributes import Attributes, SharedAttributes
from debbie_otel.telemetry.connection_spans import link_to
from debbie_otel.telemetry.hub import Service, TelemetryHub
from debbie_otel.telemetry.logs import LogEvent
from debbie_otel.telemetry.record_alerts import describe
from debbie_otel.telemetry.spans import UNSET, OpenSpan

MAX_TEXT = 2048
_SEVERE = (InterventionResult.FAILURE, InterventionResult.ESCALATED)


class _Shown(msgspec.Struct, eq=False):
    """An attempt under way: where it is shown."""

    service: Service
    turn: OpenSpan | None
    parent: SpanContext | None
    started_ns: int
    span: OpenSpan | None = None


class InterventionRecorder:
    """Records attempts.

    A short span tells at once what was done, as a child of the turn, with the alert and the
    attempt as span events; a `debbie.recovery` span tells later what came of it, and links back.
    The turn's own span gets the events too while it is open.

    Args:
        hub: Where telemetry goes.
        log_events: Whether there are log events.

    """

    def __init__(self, hub: TelemetryHub, *, log_events: bool = True) -> None:
        self._hub = hub
        self._log_events = log_events
        self._under_way: dict[tuple[str, str, int], _Shown] = {}

    def record(self, event: InterventionEvent, session: Session | None) -> None:
        """Record what is told of an attempt; `session` is where, if that still lives."""
        key = (event.alert.session_id, event.alert.alert_type, event.alert.fired_ns)
        if event.phase == "ended" and event.record is not None:
            shown = self._under_way.pop(key, None) or self._begin(event, session)
            if shown is not None:
                self._end(event, event.record, shown)
            return
        if event.phase == "triggered":
            begun = self._begin(event, session)
            if begun is not None:
                self._under_way[key] = begun
                self._log(event, begun, semconv.EVENT_ATTEMPT, self._facts(event))
        elif (acted := self._under_way.get(key)) is not None:
            led_to = self._hub.traces.injected_turn(session, acted.started_ns)
            acted.span = self._attempt_span(event, acted, self._facts(event), led_to)
            acted.service.writer.end(acted.span, event.time_ns)

    def _begin(self, event: InterventionEvent, session: Session | None) -> _Shown | None:
        service = self._hub.named(None if session is None else session.info.dialect)
        if service is None:
            return None
        turn, parent = self._hub.traces.place_of(session)
        if turn is not None and event.phase == "triggered":
            turn.add_event(semconv.EVENT_ATTEMPT, event.time_ns, self._facts(event))
        return _Shown(service, turn, parent, event.time_ns)

    def _end(self, event: InterventionEvent, record: InterventionRecord, shown: _Shown) -> None:
        facts = {**self._facts(event), **_outcome(record)}
        failed = record.result is InterventionResult.FAILURE
        status = Status(StatusCode.ERROR, record.detail) if failed else UNSET
        if shown.turn is not None and not shown.turn.end_ns:
            shown.turn.add_event(semconv.EVENT_OUTCOME, event.time_ns, facts)
        if shown.span is None:
            about = span = self._attempt_span(event, shown, facts)
        else:
            about = shown.span
            links = [link_to(about.context, "intervention")]
            name = semconv.SPAN_RECOVERY
            span = self._start(name, about.end_ns, event, shown, facts, links)
        span.add_event(semconv.EVENT_OUTCOME, event.time_ns, facts)
        shown.service.writer.end(span, event.time_ns, status)
        shown.service.alerts.intervention(record, *about.exemplar)
        self._log(event, shown, semconv.EVENT_OUTCOME, facts)

    def _attempt_span(
        self,
        event: InterventionEvent,
        shown: _Shown,
        facts: Attributes,
        led_to: SpanContext | None = None,
    ) -> OpenSpan:
        name = f"{semconv.SPAN_INTERVENTION} {event.strategy}"
        links = [] if led_to is None else [link_to(led_to, "injected_turn")]
        span = self._start(name, shown.started_ns, event, shown, facts, links)
        span.add_event(semconv.EVENT_ALERT, event.alert.fired_ns, describe(event.alert))
        if event.attempt:  # else nothing was attempted
            span.add_event(semconv.EVENT_ATTEMPT, shown.started_ns, self._facts(event))
        return span

    def _start(
        self,
        name: str,
        start_ns: int,
        event: InterventionEvent,
        shown: _Shown,
        facts: Attributes,
        links: list[Link],
    ) -> OpenSpan:
        session = SharedAttributes({semconv.SESSION_ID: event.alert.session_id})
        kind, parent = SpanKind.INTERNAL, shown.parent
        return shown.service.writer.start(
            OpenSpan(name, kind, start_ns, parent, session, dict(facts), links)
        )

    def _facts(self, event: InterventionEvent) -> Attributes:
        facts: Attributes = {
            semconv.INTERVENTION_STRATEGY: event.strategy,
            semconv.INTERVENTION_ATTEMPT: event.attempt,
            semconv.ALERT_TYPE: event.alert.alert_type,
            semconv.ALERT_SEVERITY: event.alert.severity,
        }
        if event.done is not None:
            facts |= self._done(event.done)
        return facts

    def _done(self, done: Done) -> Attributes:
        facts: Attributes = {semconv.INTERVENTION_DETAIL: done.detail}
        if done.text is not None and self._hub.options.capture_content:
            facts[semconv.INTERVENTION_TEXT] = content(done.text, MAX_TEXT)
        return facts

    def _log(self, event: InterventionEvent, shown: _Shown, name: str, facts: Attributes) -> None:
        if not self._log_events:
            return
        record = event.record
        about = shown.parent if shown.span is None else shown.span.context
        text = f"{event.strategy} for {event.alert.alert_type}"
        if record is not None:
            text += f": {record.result}" + (f" ({record.reason})" if record.reason else "")
            text += f", {record.detail}" if record.detail else ""
        self._hub.pipeline.emit_event(
            shown.service.name,
            LogEvent(
                name,
                "WARN" if record is not None and record.result in _SEVERE else "INFO",
                text,
                {semconv.SESSION_ID: event.alert.session_id, **facts},
                event.time_ns,
                about,
            ),
        )


def _outcome(record: InterventionRecord) -> Attributes:
    facts: Attributes = {
        semconv.INTERVENTION_ID: record.id,
        semconv.INTERVENTION_RESULT: str(record.result),
        semconv.INTERVENTION_DETAIL: record.detail,
    }
    if record.reason:
        facts[semconv.INTERVENTION_REASON] = record.reason
    if record.recovery_seconds is not None:
        facts[semconv.RECOVERY_TIME] = record.recovery_seconds
    return facts
