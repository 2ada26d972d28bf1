"""`debbie replay`: a recording through the same core, on the recording's own clock."""

from __future__ import annotations

from pathlib import Path

from debbie_otel.config import Config
from debbie_otel.debugger import DebbieDebugger
from debbie_otel.interceptor import WebSocketInterceptor
from debbie_otel.monitor import Subscriber
from debbie_otel.recording import read_recording
from debbie_otel.report.summary import Summary


def replay_file(path: Path, config: Config, *subscribers: Subscriber) -> Summary:
    """Play a recording; time is what its lines say.

    Args:
        path: The recording.
        config: Dialect and limits are taken from it; nothing is exported.
        subscribers: Hear every event.

    Raises:
        RecordingError: A line is not what the format says.

    """
    now = 0
    debbie = DebbieDebugger(config, clock=lambda: now, telemetry=False)
    summary = Summary()
    summary.listen_to(debbie.monitor)
    for subscriber in subscribers:
        debbie.monitor.subscribe(subscriber)
    connections: dict[str, WebSocketInterceptor] = {}
    for message in read_recording(path):
        now = round(message.t * 1e9)
        interceptor = connections.get(message.conn)
        if interceptor is None:
            interceptor = connections[message.conn] = debbie.interceptor(key=message.conn)
        interceptor.message_received(message.direction, message.payload, now)
    for interceptor in connections.values():
        interceptor.close(now, "end of recording")
    return summary
