"""Executions of tools, without a wire."""

from __future__ import annotations

from typing import Any

from debbie_otel.session.model import SessionInfo, Tool


def tool(name: str, **fields: Any) -> Tool:
    session = SessionInfo(id="s", dialect="generic", agent="agent")
    return Tool(session=session, name=name, started_ns=0, **fields)
