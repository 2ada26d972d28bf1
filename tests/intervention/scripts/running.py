"""Built-in scripts, run in the sandbox on snapshots of real sessions."""

from __future__ import annotations

from typing import Any

from debbie_otel.detection.alerts import AnomalyAlert
from debbie_otel.intervention.intervention_config import ScriptSettings
from debbie_otel.intervention.sandbox import ScriptOutcome
from debbie_otel.intervention.snapshot import SessionSnapshot
from debbie_otel.intervention.strategies.python_script import ScriptStrategy
from debbie_otel.session.session import Session
from tests.intervention.told import Told, alert
from tests.session.openings import ACP_START, update

HUNG_TOOL = (
    ACP_START
    + update(sessionUpdate="tool_call", toolCallId="c1", title="grep", kind="search")
    + "\n+40"
)


AIWHISPERER = """
    >> {"id":1,"method":"startSession","params":{"userId":"u"}}
    << {"id":1,"result":{"sessionId":"s1","status":1}}
    >> {"id":2,"method":"sendUserMessage","params":{"sessionId":"s1","message":"go"}}
"""


MID_TASK = AIWHISPERER + (
    '<< {"id":2,"result":{"ai_response":"","tool_calls":[{"id":"a","function":'
    '{"name":"list_rfcs","arguments":"{}"}}]}}\n+40'
)


HEALTHY = AIWHISPERER + '+2\n<< {"id":2,"result":{"ai_response":"done"}}\n+5'


def never(_: AnomalyAlert, __: Session | None) -> SessionSnapshot:
    raise AssertionError


def calls(*answers: tuple[str, float, bool]) -> str:
    """Return a transcript of MCP calls: tool, seconds, and whether it failed."""
    lines = []
    for number, (tool, seconds, failed) in enumerate(answers):
        lines += [
            f'>> {{"jsonrpc":"2.0","id":{number},"method":"tools/call","params":{{"name":"{tool}","arguments":{{"n":{number}}}}}}}',
            f"+{seconds}",
            f'<< {{"jsonrpc":"2.0","id":{number},"result":{{"content":[],"isError":{str(failed).lower()}}}}}',
        ]
    return "\n".join(lines)


async def run(name: str, snapshot: SessionSnapshot) -> ScriptOutcome:
    outcome = await ScriptStrategy(ScriptSettings(), never).run(name, snapshot)
    assert outcome is not None
    assert (outcome.status, outcome.errors) == ("ok", "")
    return outcome


def causes(outcome: ScriptOutcome) -> list[tuple[str, str]]:
    return [(found["cause"], found["subject"]) for found in outcome.findings]


def session_of(stage: Told, **more: Any) -> SessionSnapshot:
    (info,) = [s.info for c in stage.connections.values() for s in c.sessions]
    return stage.snapshot(alert(session_id=info.id, **more))
