"""Debbie watches AI-agent sessions on the wire and shows them in OpenTelemetry.

The way of a message:

    bytes -> frames -> messages -> session events -> spans + metrics

    transports/    tap: the proxy, a byte splice between client and server; it shows a copy to
    interceptor    WebSocketInterceptor, one a connection, which cannot fail towards the wire;
    core/          wire and frames find the messages in the bytes, message tells what they are,
                   connection and session what they mean, by a dialect's rules, and say so in
    core/events    events: a turn started, a tool ended. Nothing in core does I/O or knows a clock.
    dialects/      The rules, as TOML: AIWhisperer, ACP, Codex, MCP, and any JSON-RPC.
    telemetry/     recorder makes spans and measurements of events; pipeline exports them.
    monitor        DebbieMonitor: what is alive, and who else listens to the events:
    report/        the console's commentary and summary.
    debugger       DebbieDebugger puts it all together, from one config.
    cli            The command `debbie`: proxy, demo, replay, check, dialects.

Imports point downwards only: cli -> debugger -> transports, report -> interceptor -> monitor ->
telemetry -> core -> errors.
"""

from __future__ import annotations

from debbie_otel.core.dialect import Dialect
from debbie_otel.core.message import InterceptedMessage, MessageDirection, MessageType
from debbie_otel.debugger import DebbieDebugger
from debbie_otel.errors import DebbieError
from debbie_otel.interceptor import WebSocketInterceptor
from debbie_otel.monitor import DebbieMonitor

__all__ = [
    "DebbieDebugger",
    "DebbieError",
    "DebbieMonitor",
    "Dialect",
    "InterceptedMessage",
    "MessageDirection",
    "MessageType",
    "WebSocketInterceptor",
]
