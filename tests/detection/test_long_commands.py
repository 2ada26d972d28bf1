from __future__ import annotations

from typing import Any

import pytest

from debbie_otel.detection.long_commands import LongCommands
from debbie_otel.detection.settings import DetectionSettings
from debbie_otel.session.model import SessionInfo, Tool

LONG = LongCommands(DetectionSettings().long_commands)


def tool(name: str, arguments: Any) -> Tool:
    session = SessionInfo(id="s", dialect="generic", agent="agent")
    return Tool(session=session, name=name, started_ns=0, arguments=arguments)


@pytest.mark.parametrize(
    ("command", "long"),
    [
        ("cargo build --release", True),
        ("cd app && sudo npm ci", True),
        ("FOO=1 make -j4", True),
        (["bash", "-lc", "pytest -q"], True),
        ("cat Makefile", False),
        ("git log --grep=build", False),
        ("ls", False),
    ],
)
def test_which_commands_may_be_silent_for_minutes(command: Any, long: bool) -> None:
    assert (tool("execute", {"command": command}) in LONG) is long


def test_a_command_line_by_other_names_and_as_json_within_json() -> None:
    assert tool("run", {"argv": ["npm", "run", "build"]}) in LONG
    assert tool("run", '{"cmd": "make all"}') in LONG
    assert tool("run", '{"cmd": ') not in LONG
    assert tool("run", ["make"]) not in LONG


def test_a_tool_may_itself_be_slow() -> None:
    assert tool("Docker", None) in LONG
    assert tool("read_file", {"path": "Makefile"}) not in LONG
