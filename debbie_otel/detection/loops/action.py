"""One call that has ended, as far as the rules need it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from debbie_otel.detection.loops import outcomes
from debbie_otel.detection.loops.canonical import Canonical, Leaves
from debbie_otel.session.model import Tool


class Action(msgspec.Struct, eq=False, gc=False):
    """One call that has ended.

    Attributes:
        name: The tool.
        key: Hash of tool and arguments.
        leaves: Its arguments, if short.
        result: Hash of the result; None where the wire tells none.
        value: The result itself, dropped after the rules have seen it.
        failed: Whether it failed.
        error: The error's general form; None without a failure or a text.
        transient: Whether the error may go away by itself.
        unknown_tool: Whether the error says that there is no such tool.
        repeats: Whether it may repeat: a polling tool, or a result that says "not yet"; None
            where the result has not been asked.
        changes: Whether the tool changes things.
        started_ns: When it began.

    """

    name: str
    key: int
    leaves: Leaves | None
    result: int | None
    value: Any
    failed: bool
    error: str | None
    transient: bool
    unknown_tool: bool
    repeats: bool | None
    changes: bool
    started_ns: int


def read(tool: Tool, canonical: Canonical, polls: Callable[[str], bool]) -> Action:
    """Return what the rules need of a call.

    Args:
        tool: The call.
        canonical: Reads arguments and results.
        polls: Whether a tool of that name may repeat.

    """
    request = canonical.request(tool.name, tool.arguments)
    key = request.key
    if tool.arguments is None and tool.result is None and _nameless(tool):
        key = hash((id(tool), tool.started_ns))  # nothing at all is known of it
    failed = outcomes.has_failed(tool)
    text, error = outcomes.error_of(tool, request.leaves) if failed else ("", None)
    result = canonical.result(tool.result) if error is None else hash(error)
    return Action(
        name=tool.name,
        key=key,
        leaves=request.leaves,
        result=result,
        value=tool.result,
        failed=failed,
        error=error,
        transient=failed and outcomes.says_transient(text),
        unknown_tool=failed and outcomes.says_unknown_tool(text, tool),
        repeats=True if request.waits or polls(tool.name) else None,
        changes=outcomes.changes_things(tool.name, tool.kind),
        started_ns=tool.started_ns,
    )


def _nameless(tool: Tool) -> bool:
    """Whether a tool's name is only its kind (ACP), so that many tools share it."""
    return tool.name == "other" or tool.kind == tool.name
