"""How the tests are laid out."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import debbie_otel

TESTS = Path(__file__).parent

TEST_FILES = sorted(TESTS.rglob("test_*.py"))


def imported_tests(source: str) -> set[str]:
    """Return the test files that a source imports, or imports from, by their dotted names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            prefix = "." * node.level + (node.module or "")
            found |= {prefix} | {f"{prefix}.{alias.name}" for alias in node.names}
    files = {file.stem for file in TEST_FILES}
    return {name for name in found if name.rpartition(".")[2] in files}


@pytest.mark.parametrize(
    "source",
    [
        "import tests.test_structure",
        "from tests.test_structure import TESTS",
        "from tests import test_structure",
        "from .test_structure import TESTS",
        "def late():\n    from tests.test_structure import TESTS",
    ],
)
def test_an_import_of_a_test_is_found(source: str) -> None:
    assert imported_tests(source)


def test_no_test_is_imported() -> None:
    """What tests share is in modules that are no tests."""
    imported = {
        str(file.relative_to(TESTS)): names
        for file in sorted(TESTS.rglob("*.py"))
        if (names := imported_tests(file.read_text()))
    }
    assert imported == {}


# -- tests mirror modules --------------------------------------------------------------------------

PACKAGE = Path(debbie_otel.__file__).parent

WITHOUT_LOGIC = {
    "__main__": "one call of the command",
    "app/config/sections": "declarations, which test_validation reads from files",
    "intervention/steps": "value objects",
    "intervention/records": "value objects",
    "intervention/intervention_config": "declarations",
    "session/events": "value objects",
    "session/model": "value objects",
    "wire/direction": "one enum",
}
"""Modules of data, which have no test file, with what they are."""

TESTED_ELSEWHERE = {
    "app/channels/mediated": "app/channels/test_tap_channel.py",
    "app/channels/program_channel": "app/channels/test_client_channel.py",
    "app/ingest_queue": "app/test_program_interceptor.py",
    "app/shared_state": "app/test_debugger.py",
    "cli/main": "integration/test_command_line.py",
    "cli/proxy": "integration/test_proxy_command.py",
    "demo/agent_session": "demo/test_agent.py",
    "demo/client": "demo/test_agent.py",
    "demo/scenes": "integration/test_interventions.py",
    "demo/script": "demo/test_agent.py",
    "detection/loops/action": "detection/loops/test_loop_detector.py",
    "detection/loops/findings": "detection/loops/test_loop_detector.py",
    "detection/runner": "cli/test_replay.py",
    "detection/settings": "detection/test_detector.py",
    "intervention/channel": "app/channels/test_session_replay.py",
    "intervention/scripts/_launch": "intervention/test_sandbox.py",
    "intervention/strategies/tool_retry": "integration/test_tool_retry.py",
    "report/after": "integration/test_report_command.py",
    "report/document": "report/test_text.py",
    "report/live": "report/test_text.py",
    "report/metrics": "report/test_analysis.py",
    "session/dialect/schema": "session/dialect/test_dialect.py",
    "telemetry/export/otlp_json": "telemetry/export/test_otlp.py",
    "telemetry/export/otlp_protobuf": "telemetry/export/test_otlp.py",
    "telemetry/export/span_exporter": "telemetry/export/test_spool.py",
    "transports/program/injection": "transports/program/test_websocket_filter.py",
    "transports/program/link": "transports/program/test_websocket_filter.py",
    "transports/program/observed": "transports/program/test_websocket_filter.py",
    "transports/program/patches": "app/test_auto_instrumentation.py",
    "transports/tap/dialer": "transports/tap/test_upstream_connection.py",
}
"""Modules that are tested with what uses them, in the file named here."""

OF_SEVERAL_MODULES = {
    "app/channels/test_acting_edges": "all channels",
    "app/test_auto_instrumentation": "programs that opentelemetry-instrument starts",
    "detection/loops/test_healthy": "work that looks like a loop, before the whole detector of loops",
    "detection/test_silence": "obligations, as the detector judges them",
    "integrations/test_aiwhisperer_shapes": "versions of AIWhisperer's clients",
    "session/test_recordings": "whole recordings",
    "transports/program/test_websocket_filter": "connections of websockets, wrapped",
    "transports/program/test_websocket_sync": "connections of websockets.sync, plain and wrapped",
    "transports/program/test_websocket_trio": "connections of websockets.trio, plain and wrapped",
    "transports/tap/test_tap_secure": "the whole tap",
}
"""Test files in a part's folder that test no single module, with what they test."""

MODULES = {
    file.relative_to(PACKAGE).with_suffix("").as_posix()
    for file in PACKAGE.rglob("*.py")
    if file.stem != "__init__"
}

FOLDERS = {file.parent.relative_to(PACKAGE).as_posix() for file in PACKAGE.rglob("__init__.py")}


def module_of(test: Path) -> str:
    """Return the module that a test file is named after, whether there is one or not."""
    relative = test.relative_to(TESTS)
    return relative.with_name(relative.stem.removeprefix("test_")).as_posix()


def is_package(name: str) -> bool:
    """Whether a test file is named after the package that it lies in, as test_dialect is."""
    parent, _, last = name.rpartition("/")
    return parent.rpartition("/")[2] == last and parent in FOLDERS


NAMED_AFTER = {module_of(file) for file in TEST_FILES}


def test_every_module_has_a_test_file() -> None:
    exceptions = WITHOUT_LOGIC.keys() | TESTED_ELSEWHERE.keys()
    assert exceptions == MODULES - NAMED_AFTER
    assert not WITHOUT_LOGIC.keys() & TESTED_ELSEWHERE.keys()
    missing = {file for file in TESTED_ELSEWHERE.values() if not (TESTS / file).is_file()}
    assert missing == set()


def test_every_test_file_of_a_part_has_its_module() -> None:
    parts = FOLDERS - {"."}
    without = {
        file.relative_to(TESTS).with_suffix("").as_posix()
        for file in TEST_FILES
        if file.parent.relative_to(TESTS).as_posix() in parts
        and module_of(file) not in MODULES
        and not is_package(module_of(file))
    }
    assert without == OF_SEVERAL_MODULES.keys()
