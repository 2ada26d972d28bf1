"""Tools that may be silent for minutes, told by their names and command lines."""

from __future__ import annotations

import re
import shlex
from typing import Any

from debbie_otel.session.message import loads
from debbie_otel.session.model import Tool

_COMMAND_NAMES = ("command", "cmd", "script", "commandLine", "argv", "args")
_COMMANDS = re.compile(r"(?:&&|\|\||[;|&\n'\"`(]|\b(?:sudo|time|nohup|env|exec|nice)\b|\w+=\S+)\s*")
"""Splits a shell's line where a command can begin."""


class LongCommands:
    """Knows tools that are slow by nature.

    Args:
        pattern: Regular expression of how their names or commands begin, in any case.

    """

    def __init__(self, pattern: str) -> None:
        self._long = re.compile(pattern, re.IGNORECASE)

    def __contains__(self, tool: Tool) -> bool:
        """Whether this tool is one."""
        commands = _COMMANDS.split(_command(tool.arguments)[:4096])
        return any(map(self._long.match, [tool.name.lower(), *commands]))


def _command(arguments: Any) -> str:
    """Return the command line in a tool's arguments, by the names that agents use; else ""."""
    if isinstance(arguments, str) and arguments[:1] == "{":  # JSON within JSON
        arguments = loads(arguments.encode())
    if not isinstance(arguments, dict):
        return ""
    found = next((arguments[name] for name in _COMMAND_NAMES if name in arguments), "")
    # Joined as a shell would write it: what is quoted may be a line of its own, as in bash -lc.
    return shlex.join(map(str, found)) if isinstance(found, list) else str(found)
