"""`debbie replay`: a recording through the same core, on the recording's own clock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from debbie_otel.app.config import Config
from debbie_otel.app.debugger import DebbieDebugger
from debbie_otel.app.interceptor import WebSocketInterceptor
from debbie_otel.app.live_detection import detector_of
from debbie_otel.app.recording import RecordedMessage, read_recording
from debbie_otel.detection.alerts import Transition
from debbie_otel.detection.runner import ReplayRunner
from debbie_otel.report.summary import Summary


class Replay:
    """Plays messages through the core and the detector.

    Args:
        config: Dialect, limits and thresholds; nothing is exported.

    Attributes:
        summary: What was seen so far.
        transitions: Alerts that fired and were resolved, in order.

    """

    def __init__(self, config: Config) -> None:
        self._now = 0
        # The recording's clock drives the detector here, not the wall clock.
        quiet = msgspec.structs.replace(
            config, detection=msgspec.structs.replace(config.detection, enabled=False)
        )
        self._debbie = DebbieDebugger(
            quiet, clock=lambda: self._now, telemetry=False, reports=False
        )
        self.summary = Summary()
        self.summary.listen_to(self._debbie.monitor.events)
        self.transitions: list[Transition] = []
        self._detector = detector_of(config)
        self._runner = ReplayRunner(self._detector, self._take)
        self._debbie.monitor.events.subscribe_handlers(self._detector.handlers)
        self._connections: dict[str, WebSocketInterceptor] = {}

    def play(self, messages: Iterable[RecordedMessage], end: float | None = None) -> None:
        """Play a recording to its end.

        Args:
            messages: In order; time that runs backwards stands still instead.
            end: Seconds until which the clock runs on. By default it runs on for a stall's
                threshold and a look, so that what the recording leaves hanging is judged too.

        """
        for message in messages:
            self._now = max(self._now, round(message.t * 1e9))
            self._runner.advance(self._now)
            self._connection(message.conn).message_received(
                message.direction, message.payload, self._now
            )
            self._runner.settle(self._now)
        settings = self._detector.settings
        patience = settings.stall_threshold + settings.check_interval
        self._now = round(end * 1e9) if end is not None else self._now + round(patience * 1e9)
        self._runner.advance(self._now)
        for interceptor in self._connections.values():
            interceptor.close(self._now, "end of recording")
        self._runner.settle(self._now)
        self._detector.shutdown()

    def _take(self, transition: Transition) -> None:
        self.transitions.append(transition)
        self._debbie.monitor.events.publish(transition)  # for the summary

    def _connection(self, name: str) -> WebSocketInterceptor:
        interceptor = self._connections.get(name)
        if interceptor is None:
            interceptor = self._connections[name] = self._debbie.interceptor(key=name)
        return interceptor


def replay_file(path: Path, config: Config) -> Replay:
    """Play a recording from a file.

    Raises:
        RecordingError: A line is not what the format says.

    """
    replay = Replay(config)
    replay.play(read_recording(path))
    return replay


def judge(
    messages: Iterable[RecordedMessage], config: Config, end: float | None = None
) -> list[Transition]:
    """Return the alerts that a recording raises and resolves."""
    replay = Replay(config)
    replay.play(messages, end)
    return replay.transitions


def json_lines(transitions: Iterable[Transition]) -> Iterator[str]:
    """Yield one JSON object for each alert that fired or was resolved; `t` is in seconds."""
    for transition in transitions:
        alert = transition.alert
        line: dict[str, Any] = {
            "t": round(transition.time_ns / 1e9, 6),
            "event": transition.event,
            "alert_type": alert.alert_type,
            "severity": alert.severity,
            "session_id": alert.session_id,
            "message": alert.message,
            "details": {**alert.details, "since": round(alert.since_ns / 1e9, 6)},
        }
        yield msgspec.json.encode(line).decode()
