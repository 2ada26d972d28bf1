"""Sessions for tests of reports: played through the core, seen live or read back from spans."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from debbie_otel.app.config import Config, TelemetryConfig
from debbie_otel.app.debugger import DebbieDebugger
from debbie_otel.app.interceptor import WebSocketInterceptor
from debbie_otel.app.monitor import DebbieMonitor
from debbie_otel.app.recording import read_recording
from debbie_otel.detection.alerts import AnomalyAlert, Transition
from debbie_otel.detection.settings import DetectionSettings
from debbie_otel.intervention.history import InterventionHistory
from debbie_otel.intervention.intervention_config import HistorySettings
from debbie_otel.report.live import LiveReporter, record_alerts
from debbie_otel.report.readback import read_sessions, trace_files
from debbie_otel.session import events as ev
from debbie_otel.session.record import MAX_MESSAGES, SessionRecord, SessionRecords, Step
from debbie_otel.telemetry.connection_spans import RecorderOptions
from debbie_otel.telemetry.export.files import FileSpanExporter
from tests.intervention.attempts import NOW, attempt
from tests.play import DATA, SECOND, Play
from tests.telemetry.spantree import Recorded

LOOP = """
    >> {"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}
    << {"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"s","version":"1"}}}
""" + "".join(
    f"""
    >> {{"jsonrpc":"2.0","id":{n},"method":"tools/call","params":{{"name":"list_files","arguments":{{"path":"/secret"}}}}}}
    +0.5
    << {{"jsonrpc":"2.0","id":{n},"result":{{"content":[]}}}}
    """
    for n in range(2, 11)
)
"""Nine calls of one tool with the same arguments, four and a half seconds in all."""


class Watched:
    """A stage with records."""

    def __init__(
        self, dialect: str | None = None, messages: int = MAX_MESSAGES, **options: Any
    ) -> None:
        self.stage = Play(dialect)
        self.monitor = DebbieMonitor()
        self.stage.sessions = self.monitor.sessions
        self.records = SessionRecords(self.monitor.live, **options)
        self.records.listen_to(self.monitor.events, report=True, messages=messages)
        record_alerts(self.records, self.monitor.events)

    def play(self, transcript: str) -> None:
        """Play lines."""
        before = len(self.stage.events)
        self.monitor.live.add(self.stage.connection)
        self.stage.play(transcript)
        self.monitor.events.publish_all(self.stage.events[before:])

    def close(self) -> None:
        """Close the connection."""
        before = len(self.stage.events)
        self.monitor.live.remove(self.stage.connection)
        self.stage.close()
        self.monitor.events.publish_all(self.stage.events[before:])

    def alert(self, alert_type: str, message: str, session_id: str | None = None) -> AnomalyAlert:
        """Have an alert fire."""
        found = AnomalyAlert(
            alert_type=alert_type,
            severity="high",
            session_id=session_id or self.records.session_ids()[-1],
            subject="",
            message=message,
            since_ns=self.stage.now,
            fired_ns=self.stage.now,
            details={},
        )
        self.monitor.events.publish(Transition("alert", found, self.stage.now))
        return found

    def facts(self) -> SessionRecord:
        """Return what is known of the only session."""
        (session_id,) = self.records.session_ids()
        found = self.records.find(session_id)
        assert found is not None
        return found


def collected(events: list[ev.Event], **options: Any) -> SessionRecords:
    """Records that have heard events."""
    monitor = DebbieMonitor()
    records = SessionRecords(monitor.live, **options)
    records.listen_to(monitor.events, report=True)
    monitor.events.publish_all(events)
    return records


def written(stage: Play, folder: Path, *, capture: bool = False, mcp: bool = False) -> None:
    """Write the spans of what was played so far to `folder/traces.jsonl`."""
    recorded = Recorded(stage, RecorderOptions(capture_content=capture), mcp=mcp)
    recorded.catch_up()
    exporter = FileSpanExporter(folder)
    for start in range(0, len(recorded.finished), 40):
        exporter.export(recorded.finished[start : start + 40])


async def played(name: str, folder: Path) -> LiveReporter:
    """Play a recording through all of Debbie, spans into a folder; return who was there."""
    config = Config(
        telemetry=TelemetryConfig(data_dir=folder), detection=DetectionSettings(enabled=False)
    )
    debbie = DebbieDebugger(config, environ={}, clock=lambda: 10**12)
    records = SessionRecords(debbie.monitor.live)
    live = LiveReporter(debbie.monitor.events, records, debbie.clock)
    async with debbie:
        connections: dict[str, WebSocketInterceptor] = {}
        for message in read_recording(DATA / name / "transcript.jsonl"):
            if message.conn not in connections:
                connections[message.conn] = debbie.interceptor(key=message.conn)
            connections[message.conn].message_received(
                message.direction, message.payload, round(message.t * 1e9)
            )
    return live


def read_back(folder: Path, session_id: str | None = None) -> list[SessionRecord]:
    return read_sessions(trace_files(folder), session_id)


def facts(*steps: Step, **fields: Any) -> SessionRecord:
    """Facts of a session of that many steps."""
    return SessionRecord(session_id="s1", steps=steps, **fields)


def step(**fields: Any) -> Step:
    """A call of a second's length, at second 100, that went well."""
    took = fields.pop("took", 1.0)
    started = fields.pop("started_ns", 100 * SECOND)
    given = {"kind": "call", "name": "ask", "turn": 1, "outcome": "completed", **fields}
    return Step(started_ns=started, ended_ns=started + round(took * SECOND), **given)


def filled_history(path: Path | None, *records: dict[str, Any]) -> InterventionHistory:
    """A history with attempts in it."""
    history = InterventionHistory(path, HistorySettings(), lambda: NOW)
    for fields in records:
        history.add(attempt(**fields))
    return history
