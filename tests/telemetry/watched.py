"""A debugger before a real receiver, whose time the test tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from debbie_otel.app.config import config_of
from debbie_otel.app.debugger import DebbieDebugger
from debbie_otel.detection.alerts import AnomalyAlert, Transition
from debbie_otel.wire.direction import MessageDirection
from tests.integration.received import Metrics, Spans
from tests.play import C2S, S2C, SECOND
from tests.telemetry.collector import GrpcCollector

START = [
    (C2S, '{"jsonrpc":"2.0","id":1,"method":"startSession","params":{"userId":"u"}}'),
    (S2C, '{"jsonrpc":"2.0","id":1,"result":{"sessionId":"s1","status":1}}'),
]
PROMPT = [(C2S, '{"id":2,"method":"sendUserMessage","params":{"sessionId":"s1","message":"go"}}')]
ANSWER = [
    (S2C, '{"method":"StreamingUpdate","params":{"sessionId":"s1","content":"done"}}'),
    (S2C, '{"id":2,"result":{"messageId":"m","status":0}}'),
]


class Watched:
    """A debugger whose time the test tells, before a real receiver."""

    def __init__(self, collector: GrpcCollector, data_dir: Path, **telemetry: Any) -> None:
        self.now = 1_000 * SECOND
        self.collector = collector
        enabled = telemetry.pop("enabled", True)
        config = config_of({"detection": {"stall_threshold": 30}})
        url = f"grpc://127.0.0.1:{collector.port}"
        fields = {"otlp": url, "data_dir": data_dir} | telemetry
        config = msgspec.structs.replace(
            config,
            telemetry=msgspec.structs.replace(config.telemetry, **fields),
            detection=msgspec.structs.replace(config.detection, silence=None),  # 30 s are too long
        )
        self.debbie = DebbieDebugger(config, environ={}, clock=lambda: self.now, telemetry=enabled)
        if self.debbie.pipeline is not None:
            self.debbie.pipeline.start()  # and nothing else, as time stands still
        self.interceptor = self.debbie.interceptor(key="conn-A")
        self.transitions: list[Transition] = []
        self.debbie.monitor.subscribe_to_alerts(self.transitions.append)

    def say(self, messages: list[tuple[MessageDirection, str]]) -> None:
        for direction, payload in messages:
            self.interceptor.message_received(direction, payload.encode(), self.now)

    def wait(self, seconds: float) -> list[Transition]:
        """Let time pass, and look then; return what alerts that led to."""
        self.now += round(seconds * SECOND)
        assert self.debbie.detector is not None
        transitions = self.debbie.detector.check(self.now)
        for transition in transitions:
            self.debbie.monitor.events.publish(transition)
        return transitions

    def publish(self, severity: Any = "medium", session_id: str = "s1") -> AnomalyAlert:
        """Have an alert fire that no detector has to find."""
        alert = AnomalyAlert(
            alert_type="memory_spike",
            severity=severity,
            session_id=session_id,
            subject="a subject",
            message="Too much",
            since_ns=self.now - 2 * SECOND,
            fired_ns=self.now,
            details={"value": 2, "threshold": 1.5, "other": ["x"]},
        )
        self.debbie.monitor.events.publish(Transition("alert", alert, self.now))
        return alert

    def resolve(self, alert: AnomalyAlert) -> None:
        alert.resolved_ns = self.now
        self.debbie.monitor.events.publish(Transition("resolved", alert, self.now))

    @property
    def spans(self) -> Spans:
        return Spans(self.collector.received.traces)

    @property
    def logs(self) -> list[Any]:
        return self.collector.received.log_records

    def metrics(self) -> Metrics:
        """Return what is measured so far."""
        assert self.debbie.pipeline is not None
        assert self.debbie.pipeline.flush(5)
        return Metrics(self.collector.received.metrics)
