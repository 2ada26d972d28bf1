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
    public         All that is exported here, imported when the first of it is asked for.
    cli            The command `debbie`: proxy, demo, replay, report, check, dialects.

Imports point downwards only: cli -> debugger -> transports, report -> interceptor -> monitor ->
detection -> telemetry -> core -> errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from debbie_otel.public import *

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


if not TYPE_CHECKING:  # a checker reads the names above, and complains of others

    def __getattr__(name: str) -> object:
        """Import all of them with the first that is asked for.

        That takes half a second, in which the command could not yet end quietly.
        """
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from debbie_otel import public

        globals().update({known: getattr(public, known) for known in __all__})
        return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
