"""Every span, attribute, metric and event name that debbie_otel emits.

Names of OpenTelemetry's semantic conventions (JSON-RPC, MCP, GenAI, session: Development status)
stand here as plain strings, because the Python package marks them deprecated while they move. Names
that begin with `debbie.` are its own.
"""

from __future__ import annotations

from typing import Final

SCOPE: Final = "debbie_otel"
SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.40.0"

# -- spans ----------------------------------------------------------------------------------------
SPAN_SESSION_START: Final = "debbie.session.start"
SPAN_SESSION_END: Final = "debbie.session.end"
SPAN_UNMATCHED: Final = "debbie.message.unmatched"
SPAN_UNKNOWN: Final = "debbie.message.unknown"

# -- attributes: general --------------------------------------------------------------------------
ERROR_TYPE: Final = "error.type"
SESSION_ID: Final = "session.id"
NETWORK_TRANSPORT: Final = "network.transport"
NETWORK_PROTOCOL_NAME: Final = "network.protocol.name"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"

# -- attributes: JSON-RPC and MCP -----------------------------------------------------------------
RPC_SYSTEM_NAME: Final = "rpc.system.name"
RPC_METHOD: Final = "rpc.method"
RPC_RESPONSE_STATUS_CODE: Final = "rpc.response.status_code"
JSONRPC_REQUEST_ID: Final = "jsonrpc.request.id"
JSONRPC_PROTOCOL_VERSION: Final = "jsonrpc.protocol.version"
MCP_METHOD_NAME: Final = "mcp.method.name"

# -- attributes: GenAI ----------------------------------------------------------------------------
GEN_AI_OPERATION_NAME: Final = "gen_ai.operation.name"
GEN_AI_AGENT_NAME: Final = "gen_ai.agent.name"
GEN_AI_AGENT_ID: Final = "gen_ai.agent.id"
GEN_AI_CONVERSATION_ID: Final = "gen_ai.conversation.id"
GEN_AI_TOOL_NAME: Final = "gen_ai.tool.name"
GEN_AI_TOOL_CALL_ID: Final = "gen_ai.tool.call.id"
GEN_AI_TOOL_CALL_ARGUMENTS: Final = "gen_ai.tool.call.arguments"
GEN_AI_TOOL_CALL_RESULT: Final = "gen_ai.tool.call.result"
GEN_AI_INPUT_MESSAGES: Final = "gen_ai.input.messages"
GEN_AI_OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
GEN_AI_USAGE_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
GEN_AI_USAGE_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
GEN_AI_RESPONSE_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
INVOKE_AGENT: Final = "invoke_agent"
EXECUTE_TOOL: Final = "execute_tool"

# -- attributes: Debbie's own ----------------------------------------------------------------------
DIALECT: Final = "debbie.dialect"
CONNECTION_ID: Final = "debbie.connection.id"
MESSAGE_DIRECTION: Final = "debbie.message.direction"
MESSAGE_TYPE: Final = "debbie.message.type"
MESSAGE_SIZE: Final = "debbie.message.size"
REQUEST_SIZE: Final = "debbie.request.size"
RESPONSE_SIZE: Final = "debbie.response.size"
CALL_OUTCOME: Final = "debbie.call.outcome"
TURN_ID: Final = "debbie.turn.id"
TURN_NUMBER: Final = "debbie.turn.number"
TURN_OUTCOME: Final = "debbie.turn.outcome"
TURN_TOOLS: Final = "debbie.turn.tools"
TURN_FAILED_TOOLS: Final = "debbie.turn.failed_tools"
TURN_CALLS: Final = "debbie.turn.calls"
TOOL_OUTCOME: Final = "debbie.tool.outcome"
TOOL_KIND: Final = "debbie.tool.kind"
TOOL_TIMING: Final = "debbie.tool.timing"
STREAM_KIND: Final = "debbie.stream.kind"
STREAM_CHUNKS: Final = "debbie.stream.chunks"
STREAM_BYTES: Final = "debbie.stream.bytes"
STREAM_FIRST: Final = "debbie.stream.time_to_first_chunk"
STREAM_GAP: Final = "debbie.stream.longest_gap"
SESSION_TURNS: Final = "debbie.session.turns"
SESSION_CALLS: Final = "debbie.session.calls"
SESSION_TOOLS: Final = "debbie.session.tools"
SESSION_ERRORS: Final = "debbie.session.errors"
SESSION_MESSAGES: Final = "debbie.session.messages"
SESSION_RESUMED: Final = "debbie.session.resumed"
SESSION_END_REASON: Final = "debbie.session.end_reason"
UNINSPECTED_REASON: Final = "debbie.uninspected.reason"
LINK_TYPE: Final = "debbie.link"

# -- alerts ---------------------------------------------------------------------------------------
EVENT_ALERT: Final = "debbie.alert"
EVENT_ALERT_RESOLVED: Final = "debbie.alert.resolved"
ALERT_TYPE: Final = "debbie.alert.type"
ALERT_SEVERITY: Final = "debbie.alert.severity"
ALERT_MESSAGE: Final = "debbie.alert.message"
ALERT_SUBJECT: Final = "debbie.alert.subject"
ALERT_DURATION: Final = "debbie.alert.duration"
ALERT_VALUE: Final = "debbie.alert.value"
ALERT_THRESHOLD: Final = "debbie.alert.threshold"
METRIC_ALERTS: Final = "debbie.alerts"
METRIC_ALERTS_ACTIVE: Final = "debbie.alerts.active"
METRIC_AGENT_MEMORY: Final = "debbie.agent.memory"

# -- interventions --------------------------------------------------------------------------------
INTERVENTION_STRATEGY: Final = "debbie.intervention.strategy"
INTERVENTION_RESULT: Final = "debbie.intervention.result"
INTERVENTION_REASON: Final = "debbie.intervention.reason"
INTERVENTION_ID: Final = "debbie.intervention.id"
INTERVENTION_ATTEMPT: Final = "debbie.intervention.attempt"
INTERVENTION_DETAIL: Final = "debbie.intervention.detail"
INTERVENTION_TEXT: Final = "debbie.intervention.text"
RECOVERY_TIME: Final = "debbie.recovery.time"
SPAN_INTERVENTION: Final = "debbie.intervention"
SPAN_RECOVERY: Final = "debbie.recovery"
EVENT_ATTEMPT: Final = "debbie.intervention.attempt"
EVENT_OUTCOME: Final = "debbie.intervention.outcome"
INJECTED: Final = "debbie.injected"
METRIC_INTERVENTIONS: Final = "debbie.interventions"
METRIC_INTERVENTION_DURATION: Final = "debbie.intervention.duration"
METRIC_RECOVERY_TIME: Final = "debbie.recovery.time"

# -- metrics --------------------------------------------------------------------------------------
METRIC_MESSAGES: Final = "debbie.messages"
METRIC_IO: Final = "debbie.io"
METRIC_RPC_SERVER_DURATION: Final = "rpc.server.call.duration"
METRIC_RPC_CLIENT_DURATION: Final = "rpc.client.call.duration"
METRIC_MCP_SERVER_DURATION: Final = "mcp.server.operation.duration"
METRIC_MCP_CLIENT_DURATION: Final = "mcp.client.operation.duration"
METRIC_TOOL_DURATION: Final = "gen_ai.execute_tool.duration"
METRIC_TOOLS: Final = "debbie.tools"
METRIC_TOOL_LOOPS: Final = "debbie.tool.loops"
METRIC_TURN_DURATION: Final = "debbie.turn.duration"
METRIC_TOKENS: Final = "debbie.tokens"
GEN_AI_TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105
METRIC_SESSIONS_ACTIVE: Final = "debbie.sessions.active"
METRIC_SESSION_DURATION: Final = "debbie.session.duration"
METRIC_CALLS_PENDING: Final = "debbie.calls.pending"
METRIC_OLDEST_PENDING: Final = "debbie.call.oldest_pending.age"
METRIC_UNINSPECTED: Final = "debbie.messages.uninspected"
METRIC_INSPECTION_ERRORS: Final = "debbie.inspection.errors"

# -- metrics: Debbie itself -----------------------------------------------------------------------
SERVICE_DEBBIE: Final = "debbie"
"""The service of Debbie's own metrics, where the user has not named one for everything."""
CPU_MODE: Final = "cpu.mode"
EXPORT_OUTCOME: Final = "debbie.export.outcome"
EXPORT_SIGNAL: Final = "debbie.export.signal"
CONNECTION_OUTCOME: Final = "debbie.connection.outcome"
METRIC_PROCESS_CPU: Final = "debbie.process.cpu.time"
METRIC_PROCESS_MEMORY: Final = "debbie.process.memory.usage"
METRIC_PROCESS_RUNNING: Final = "debbie.process.running"
METRIC_PROCESS_UPTIME: Final = "debbie.process.uptime"
METRIC_LOOP_LAG: Final = "debbie.process.event_loop.lag"
METRIC_EXPORT_SPANS: Final = "debbie.export.spans"
METRIC_EXPORT_FAILURES: Final = "debbie.export.failures"
METRIC_EXPORT_QUEUE: Final = "debbie.export.queue.size"
METRIC_EXPORT_CAPACITY: Final = "debbie.export.queue.capacity"
METRIC_SPOOL_SIZE: Final = "debbie.spool.size"
METRIC_CONNECTIONS: Final = "debbie.connections"
METRIC_CONNECTIONS_ACTIVE: Final = "debbie.connections.active"

OTHER: Final = "_OTHER"
"""Stands for values beyond the bound of a metric attribute."""

DURATION_BUCKETS: Final = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5,
    1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
)  # fmt: skip
"""Seconds: MCP's convention, and three finer ones below for servers on the same machine."""

TURN_BUCKETS: Final = (
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 45.0,
    60.0, 90.0, 120.0, 300.0, 600.0, 1800.0, 3600.0,
)  # fmt: skip
"""Seconds, of turns and recoveries: finer about their usual length, and up to an hour."""

SESSION_BUCKETS: Final = (
    1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0, 86400.0,
)  # fmt: skip
"""Seconds, of sessions: up to a day."""
