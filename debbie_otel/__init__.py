"""Debbie watches AI-agent sessions on the wire, shows them, and notices when one goes wrong.

The way of a message:

    bytes -> frames -> messages -> session events -> spans + metrics -> (MetricReader) -> alerts

    transports/    tap: the proxy, a byte splice between client and server; websocket, patches:
                   connections of this process. Each shows what passes to
    interceptor    WebSocketInterceptor, one a connection, which cannot fail towards the wire;
                   shared_interceptor, backlog, the same inside a program, from any thread;
    core/          wire and frames find the messages in the bytes, message tells what they are,
                   connection and session what they mean, by a dialect's rules, and say so in
    core/events    events: a turn started, a tool ended. Nothing in core does I/O or knows a clock.
    dialects/      The rules, as TOML: AIWhisperer, ACP, Codex, MCP, and any JSON-RPC.
    telemetry/     recorder makes spans and measurements of events; pipeline exports them.
    detection/     vitals of each session become control metrics; a MetricReader of our own collects
                   them, rules compare, alerts fire and resolve. detector is the whole of it.
    intervention/  What is done about alerts, whether it helped, and what has worked before.
    monitor        DebbieMonitor: what is alive, and who else listens to the events:
    report/        the console's commentary and summary.
    runtime        What lives from a start to a stop: all parts, wired, from one config.
    debugger       DebbieDebugger, and the factory that makes one: Debbie as programs have her.
    integrations/  Other people's clients, looked after.
    cli            The command `debbie`: proxy, demo, replay, check, dialects.

Imports point downwards only: cli -> debugger -> transports, report -> interceptor -> monitor ->
detection -> telemetry -> core -> errors.
"""

from __future__ import annotations

from debbie_otel.core.dialect import Dialect
from debbie_otel.core.message import InterceptedMessage, MessageDirection, MessageType
from debbie_otel.core.metrics import MonitoringMetrics
from debbie_otel.debugger import DebbieDebugger
from debbie_otel.detection.alerts import AnomalyAlert
from debbie_otel.detection.detector import AnomalyDetector
from debbie_otel.errors import DebbieError
from debbie_otel.factory import DebbieFactory
from debbie_otel.handlers import MonitoringEvent
from debbie_otel.instrumentor import DebbieInstrumentor
from debbie_otel.integrations.aiwhisperer import integrate_debbie_with_batch_client
from debbie_otel.interceptor import WebSocketInterceptor
from debbie_otel.intervention.executor import InterventionExecutor
from debbie_otel.intervention.history import InterventionHistory
from debbie_otel.intervention.orchestrator import InterventionOrchestrator
from debbie_otel.intervention.records import (
    InterventionRecord,
    InterventionResult,
    InterventionStrategy,
)
from debbie_otel.intervention.settings import InterventionConfig
from debbie_otel.monitor import DebbieMonitor
from debbie_otel.transports.websocket import InterceptingWebSocket

__all__ = [
    "AnomalyAlert",
    "AnomalyDetector",
    "DebbieDebugger",
    "DebbieError",
    "DebbieFactory",
    "DebbieInstrumentor",
    "DebbieMonitor",
    "Dialect",
    "InterceptedMessage",
    "InterceptingWebSocket",
    "InterventionConfig",
    "InterventionExecutor",
    "InterventionHistory",
    "InterventionOrchestrator",
    "InterventionRecord",
    "InterventionResult",
    "InterventionStrategy",
    "MessageDirection",
    "MessageType",
    "MonitoringEvent",
    "MonitoringMetrics",
    "WebSocketInterceptor",
    "integrate_debbie_with_batch_client",
]
