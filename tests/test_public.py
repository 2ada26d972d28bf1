from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import debbie_otel

PACKAGE = Path(debbie_otel.__file__).parent


def test_the_public_names() -> None:
    assert sorted(debbie_otel.__all__) == [
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
    for name in debbie_otel.__all__:
        assert getattr(debbie_otel, name).__doc__, name


def test_they_are_imported_when_the_first_is_asked_for() -> None:
    script = (
        "import sys, debbie_otel\n"
        "assert 'opentelemetry' not in sys.modules\n"
        "assert set(debbie_otel.__all__) <= set(dir(debbie_otel))\n"
        "assert not hasattr(debbie_otel, 'Nobody')\n"
        "assert 'opentelemetry' not in sys.modules\n"
        "from debbie_otel import *\n"
        "assert DebbieFactory.__module__ == 'debbie_otel.factory'\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_the_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()


LAYERS = [
    ["errors", "failopen", "clock", "onloop", "semconv", "profiles"],
    ["complaints"],
    ["core"],
    ["dialects", "recording"],
    ["telemetry"],
    ["detection"],
    ["intervention"],
    ["handlers", "backlog"],
    ["monitor"],
    ["interceptor"],
    ["shared_interceptor"],
    ["transports", "report", "config"],
    ["origins", "places", "runtime"],
    ["debugger"],
    ["factory", "integrations", "resident"],
    ["instrumentor"],
    ["proxy", "replay", "check"],
    ["demo"],
    ["cli", "public"],
    ["__main__"],
]
"""From the bottom to the top; a module may import what is below it, and its own part."""

LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}


def imports(module: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


MODULES = sorted(
    path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem != "__init__"
)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(module: Path) -> None:
    own = module.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for name in imports(module):
        parts = name.split(".")
        if parts[0] == "debbie_otel" and len(parts) > 1 and parts[1] != own and parts[1] in LEVEL:
            assert LEVEL[parts[1]] < LEVEL[own], f"{own} imports {parts[1]}"


@pytest.mark.parametrize(
    "module", sorted((PACKAGE / "core").glob("*.py")), ids=lambda path: path.name
)
def test_the_core_does_no_io(module: Path) -> None:
    banned = {"asyncio", "time", "socket", "opentelemetry", "threading", "os", "datetime"}
    assert not {name.split(".")[0] for name in imports(module)} & banned
