"""Spans and measurements through providers of the program's, real ones of the SDK."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from debbie_otel.session.dialect.registry import builtin_dialects
from debbie_otel.telemetry.connection_spans import ConnectionFacts, RecorderOptions
from debbie_otel.telemetry.host_providers import Borrowed, Providers, providers_of_program
from debbie_otel.telemetry.hub import TelemetryHub
from debbie_otel.telemetry.instruments import OpenCalls
from debbie_otel.telemetry.logs import LogEvent
from debbie_otel.telemetry.spans import OpenSpan
from tests.play import Play
from tests.telemetry.program import Program
from tests.telemetry.spantree import tree

SCOPE = InstrumentationScope("debbie_otel", "1", "https://example.org/schema")
TURN = """
>> {"jsonrpc": "2.0", "id": 1, "method": "startSession", "params": {"userId": "u"}}
<< {"jsonrpc": "2.0", "id": 1, "result": {"sessionId": "s", "status": 1}}
>> {"jsonrpc": "2.0", "id": 2, "method": "sendUserMessage", "params": {"sessionId": "s", "message": "hi"}}
+1
<< {"jsonrpc": "2.0", "id": 2, "result": {"messageId": "m", "status": 0, "ai_response": "hi", "tool_calls": []}}
"""


class Debbie:
    """What records a stage with an outlet."""

    def __init__(self, outlet: Borrowed) -> None:
        self.stage = Play("aiwhisperer")
        hub = TelemetryHub(outlet, RecorderOptions(), 64, lambda _: OpenCalls())
        self.service = hub.service(builtin_dialects()["aiwhisperer"])
        self._recorder = hub.recorder(
            builtin_dialects()["aiwhisperer"], ConnectionFacts({"debbie.connection.id": "A"})
        )

    def play(self, transcript: str = TURN) -> None:
        before = len(self.stage.events)
        self.stage.play(transcript)
        for event in self.stage.events[before:]:
            self._recorder.on_event(event)


def test_spans_are_the_programs() -> None:
    program = Program()
    Debbie(Borrowed(program.providers, SCOPE)).play()
    spans = list(program.exporter.get_finished_spans())
    assert sorted(tree(spans)) == [
        "debbie.session.start [INTERNAL]",
        "invoke_agent aiwhisperer [SERVER]",
        "startSession [SERVER]",
    ]
    named = {span.name: span for span in spans}
    turn = named["invoke_agent aiwhisperer"]
    assert turn.resource.attributes["service.name"] == "the-program"
    assert turn.instrumentation_scope is not None
    assert turn.instrumentation_scope.name == "debbie_otel"
    assert turn.instrumentation_scope.version == "1"
    attributes = turn.attributes or {}
    assert attributes["stamped"] is True
    assert attributes["session.id"] == "s"
    assert attributes["debbie.turn.outcome"] == "completed"
    assert turn.end_time is not None
    assert turn.start_time is not None
    assert turn.end_time - turn.start_time == 10**9
    started = named["debbie.session.start"].context
    assert [link.context.span_id for link in turn.links] == [started.span_id]


def test_errors_events_and_links_arrive() -> None:
    program = Program()
    debbie = Debbie(Borrowed(program.providers, SCOPE))
    debbie.play(
        """
        >> {"jsonrpc": "2.0", "id": 1, "method": "agent.list", "params": {}}
        << {"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "no such method"}}
        """
    )
    span = program.exporter.get_finished_spans()[-1]
    assert not span.status.is_ok
    assert span.status.description == "no such method"
    writer = debbie.service.writer
    opened = writer.start(OpenSpan("own", trace.SpanKind.INTERNAL, 5, None, span_shared(), {}))
    opened.add_event("happened", 6, {"a": 1})
    writer.end(opened, 7)
    (event,) = program.exporter.get_finished_spans()[-1].events
    assert (event.name, event.timestamp, dict(event.attributes or {})) == ("happened", 6, {"a": 1})


def span_shared() -> Any:
    from debbie_otel.telemetry.attributes import SharedAttributes

    return SharedAttributes({"session.id": "s"})


def test_no_span_is_a_child_of_what_the_program_is_at() -> None:
    program = Program()
    tracer = program.tracers.get_tracer("the program's")
    with tracer.start_as_current_span("something else"):
        Debbie(Borrowed(program.providers, SCOPE)).play()
    others = [s for s in program.exporter.get_finished_spans() if s.name != "something else"]
    assert others
    assert all(span.parent is None for span in others)


def test_the_programs_sampler_decides() -> None:
    program = Program(ALWAYS_OFF)
    Debbie(Borrowed(program.providers, SCOPE)).play()
    assert program.exporter.get_finished_spans() == ()
    assert program.metrics()["debbie.turn.duration"][0].exemplars == []


def test_measurements_are_the_programs() -> None:
    program = Program()
    Debbie(Borrowed(program.providers, SCOPE)).play()
    found = program.metrics()
    assert sum(point.value for point in found["debbie.messages"]) == 4
    (turn,) = found["debbie.turn.duration"]
    assert (turn.count, turn.sum) == (1, 1.0)
    assert turn.explicit_bounds[0] == 0.01
    (exemplar,) = turn.exemplars
    assert exemplar.trace_id == program.exporter.get_finished_spans()[-1].context.trace_id


def test_several_share_a_provider_and_leave_nothing_behind() -> None:
    program = Program()
    outlets = [Borrowed(program.providers, SCOPE) for _ in range(2)]
    debbies = [Debbie(outlet) for outlet in outlets]
    for debbie in debbies:
        debbie.play()
    assert sum(point.value for point in program.metrics()["debbie.messages"]) == 8
    outlets[0].release()
    assert sum(point.value for point in program.metrics()["debbie.messages"]) == 4
    debbies[0].play(TURN.replace('"s"', '"t"'))
    assert sum(point.count for point in program.metrics()["debbie.turn.duration"]) == 2
    outlets[1].release()
    assert "debbie.messages" not in program.metrics()
    again = Debbie(Borrowed(program.providers, SCOPE))
    again.play()
    assert sum(point.value for point in program.metrics()["debbie.messages"]) == 4


def test_log_events_go_where_the_programs_go() -> None:
    exporter = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
    logs = LoggerProvider(Resource({"service.name": "the-program"}), shutdown_on_exit=False)
    logs.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    program = Program()
    lent = Providers(program.tracers, program.meters, logs)
    Borrowed(lent, SCOPE).emit_event(
        "x-agent", LogEvent("debbie.alert", "WARN", "text", {"a": "b"}, 7)
    )
    (log,) = exporter.get_finished_logs()
    assert log.log_record.event_name == "debbie.alert"
    assert log.resource.attributes["service.name"] == "the-program"
    Borrowed(program.providers, SCOPE).emit_event(
        "x-agent", LogEvent("debbie.alert", "WARN", "text", {}, 7)
    )
    assert len(exporter.get_finished_logs()) == 1


def test_what_is_passed_wins_and_the_global_ones_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert providers_of_program() == Providers()
    assert not providers_of_program().any
    program, other = Program(), Program()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", program.tracers)
    assert providers_of_program().tracer is program.tracers
    assert providers_of_program().meter is None
    passed = providers_of_program(other.tracers, other.meters)
    assert (passed.tracer, passed.meter) == (other.tracers, other.meters)
    assert passed.complete
