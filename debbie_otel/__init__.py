"""Debbie watches AI-agent sessions on the wire, shows them, and notices when one goes wrong.

    bytes -> frames -> messages -> session events -> spans + metrics -> (MetricReader) -> alerts
          <- frames <- messages <- interventions <--------------------------------------'

Each part is a context of its own and says in its docstring what it is about:

    wire           RFC 6455 and HTTP bytes to payloads. No I/O.
    session        JSON-RPC payloads to session events, by the rules of a dialect. No I/O.
    detection      session events to alerts.
    intervention   alerts to acts on a live session, and whether they helped.
    telemetry      session events, alerts and interventions to spans, metrics and logs, and out.
    report         the same for people: console, summary, page.
    transports     sockets: the tap, and the connections of a program.
    app            configuration, composition, and the public API.
    integrations   clients of other projects.
    cli, demo      the command `debbie`, and an agent to try it on.
    compat         what differs between platforms, and between versions of the SDK.

Imports point downwards only: cli -> demo -> integrations -> app -> transports -> report ->
telemetry -> intervention -> detection -> session -> wire -> compat -> errors, semconv. The table is
in tests/test_layers.py.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from debbie_otel.app.callbacks import MonitoringEvent as MonitoringEvent
    from debbie_otel.app.debugger import DebbieDebugger as DebbieDebugger
    from debbie_otel.app.factory import DebbieFactory as DebbieFactory
    from debbie_otel.app.instrumentor import DebbieInstrumentor as DebbieInstrumentor
    from debbie_otel.app.interceptor import WebSocketInterceptor as WebSocketInterceptor
    from debbie_otel.app.monitor import DebbieMonitor as DebbieMonitor
    from debbie_otel.detection.alerts import AnomalyAlert as AnomalyAlert
    from debbie_otel.detection.detector import AnomalyDetector as AnomalyDetector
    from debbie_otel.errors import ChannelError as ChannelError
    from debbie_otel.errors import ConfigurationError as ConfigurationError
    from debbie_otel.errors import DebbieError as DebbieError
    from debbie_otel.integrations.aiwhisperer import (
        integrate_debbie_with_batch_client as integrate_debbie_with_batch_client,
    )
    from debbie_otel.intervention.attempt import Attempt as Attempt
    from debbie_otel.intervention.attempt import InterventionExecutor as InterventionExecutor
    from debbie_otel.intervention.history import InterventionHistory as InterventionHistory
    from debbie_otel.intervention.intervention_config import (
        InterventionConfig as InterventionConfig,
    )
    from debbie_otel.intervention.orchestrator import (
        InterventionOrchestrator as InterventionOrchestrator,
    )
    from debbie_otel.intervention.records import InterventionRecord as InterventionRecord
    from debbie_otel.intervention.records import InterventionResult as InterventionResult
    from debbie_otel.intervention.records import InterventionStrategy as InterventionStrategy
    from debbie_otel.intervention.steps import Done as Done
    from debbie_otel.report.metrics import MonitoringMetrics as MonitoringMetrics
    from debbie_otel.session.dialect.dialect import Dialect as Dialect
    from debbie_otel.session.message import InterceptedMessage as InterceptedMessage
    from debbie_otel.session.message import MessageType as MessageType
    from debbie_otel.transports.program.intercepting_websocket import (
        InterceptingWebSocket as InterceptingWebSocket,
    )
    from debbie_otel.wire.direction import MessageDirection as MessageDirection

_HOMES: dict[str, str] = {
    "AnomalyAlert": "detection.alerts",
    "AnomalyDetector": "detection.detector",
    "Attempt": "intervention.attempt",
    "ChannelError": "errors",
    "ConfigurationError": "errors",
    "DebbieDebugger": "app.debugger",
    "DebbieError": "errors",
    "DebbieFactory": "app.factory",
    "DebbieInstrumentor": "app.instrumentor",
    "DebbieMonitor": "app.monitor",
    "Dialect": "session.dialect.dialect",
    "Done": "intervention.steps",
    "InterceptedMessage": "session.message",
    "InterceptingWebSocket": "transports.program.intercepting_websocket",
    "InterventionConfig": "intervention.intervention_config",
    "InterventionExecutor": "intervention.attempt",
    "InterventionHistory": "intervention.history",
    "InterventionOrchestrator": "intervention.orchestrator",
    "InterventionRecord": "intervention.records",
    "InterventionResult": "intervention.records",
    "InterventionStrategy": "intervention.records",
    "MessageDirection": "wire.direction",
    "MessageType": "session.message",
    "MonitoringEvent": "app.callbacks",
    "MonitoringMetrics": "report.metrics",
    "WebSocketInterceptor": "app.interceptor",
    "integrate_debbie_with_batch_client": "integrations.aiwhisperer",
}
"""The public names, each with the module it is imported from when it is first asked for."""

__all__ = sorted(_HOMES)


if not TYPE_CHECKING:  # a checker reads the names above, and complains of others

    def __getattr__(name: str) -> object:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(import_module(f"{__name__}.{home}"), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
