"""What `debbie_otel` exports, imported when the first of it is asked for."""

from __future__ import annotations

from debbie_otel.core.dialect import Dialect as Dialect
from debbie_otel.core.message import InterceptedMessage as InterceptedMessage
from debbie_otel.core.message import MessageDirection as MessageDirection
from debbie_otel.core.message import MessageType as MessageType
from debbie_otel.core.metrics import MonitoringMetrics as MonitoringMetrics
from debbie_otel.debugger import DebbieDebugger as DebbieDebugger
from debbie_otel.detection.alerts import AnomalyAlert as AnomalyAlert
from debbie_otel.detection.detector import AnomalyDetector as AnomalyDetector
from debbie_otel.errors import DebbieError as DebbieError
from debbie_otel.factory import DebbieFactory as DebbieFactory
from debbie_otel.handlers import MonitoringEvent as MonitoringEvent
from debbie_otel.instrumentor import DebbieInstrumentor as DebbieInstrumentor
from debbie_otel.integrations.aiwhisperer import (
    integrate_debbie_with_batch_client as integrate_debbie_with_batch_client,
)
from debbie_otel.interceptor import WebSocketInterceptor as WebSocketInterceptor
from debbie_otel.intervention.executor import InterventionExecutor as InterventionExecutor
from debbie_otel.intervention.history import InterventionHistory as InterventionHistory
from debbie_otel.intervention.orchestrator import (
    InterventionOrchestrator as InterventionOrchestrator,
)
from debbie_otel.intervention.records import InterventionRecord as InterventionRecord
from debbie_otel.intervention.records import InterventionResult as InterventionResult
from debbie_otel.intervention.records import InterventionStrategy as InterventionStrategy
from debbie_otel.intervention.settings import InterventionConfig as InterventionConfig
from debbie_otel.monitor import DebbieMonitor as DebbieMonitor
from debbie_otel.transports.websocket import InterceptingWebSocket as InterceptingWebSocket
