from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import debbie_otel

PACKAGE = Path(debbie_otel.__file__).parent


def test_the_public_names() -> None:
    assert sorted(debbie_otel.__all__) == [
        "AnomalyAlert",
        "AnomalyDetector",
        "Attempt",
        "ChannelError",
        "ConfigurationError",
        "DebbieDebugger",
        "DebbieError",
        "DebbieFactory",
        "DebbieInstrumentor",
        "DebbieMonitor",
        "Dialect",
        "Done",
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
    for name in debbie_otel.__all__:
        assert getattr(debbie_otel, name).__doc__, name


def test_a_name_is_imported_when_it_is_asked_for() -> None:
    script = (
        "import sys, debbie_otel\n"
        "assert set(debbie_otel.__all__) <= set(dir(debbie_otel))\n"
        "assert not hasattr(debbie_otel, 'Nobody')\n"
        "debbie_otel.MessageType, debbie_otel.Dialect, debbie_otel.ConfigurationError\n"
        "assert not {'opentelemetry', 'asyncio', 'debbie_otel.app'} & set(sys.modules)\n"
        "from debbie_otel import *\n"
        "assert DebbieFactory.__module__ == 'debbie_otel.app.factory'\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_the_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()
