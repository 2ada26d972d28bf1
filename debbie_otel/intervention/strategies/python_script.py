"""python_script: a diagnosis of the session, by a built-in script or one of the user's."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from debbie_otel.compat.platforms import CAN_LIMIT_PROCESSES
from debbie_otel.detection.alerts import AnomalyAlert
from debbie_otel.intervention import scripts
from debbie_otel.intervention.intervention_config import ScriptSettings
from debbie_otel.intervention.sandbox import ScriptOutcome, run_sandboxed
from debbie_otel.intervention.snapshot import SessionSnapshot, clean
from debbie_otel.intervention.steps import Done, DoneKind
from debbie_otel.session.session import Session

TakeSnapshot = Callable[[AnomalyAlert, Session | None], SessionSnapshot]
"""Takes the snapshot of a session, which may be gone."""

BUILT_IN = ("analyze_stall", "check_performance", "diagnose_errors")

_NAME = re.compile(r"[\w-]{1,64}", re.ASCII)
_FOLDER = Path(scripts.__file__).parent
_MAX_SUMMARY = 300
_MAX_FINDINGS = 10
_MAX_FINDING = 1000
_MAX_TOLD = 2000


def find_script(directory: Path | None, name: str) -> Path | None:
    """Return the file of a script; the user's own win over built-in ones.

    Args:
        directory: The user's; None for the built-in ones alone.
        name: Letters, digits, `_` and `-`: it can lead to no other folder. Nor can a link.

    """
    if _NAME.fullmatch(name) is None:
        return None
    if directory is not None:
        folder = directory.resolve()
        path = (folder / f"{name}.py").resolve()
        if path.parent == folder and path.is_file():
            return path
    return _FOLDER / f"{name}.py" if name in BUILT_IN else None


class ScriptStrategy:
    """Runs the script for an alert.

    Args:
        settings: Which script, and its limits.
        take: Takes the snapshot that it reads.

    """

    def __init__(self, settings: ScriptSettings, take: TakeSnapshot) -> None:
        self._settings = settings
        self._take = take
        self._room = asyncio.Semaphore(settings.at_once)

    async def __call__(self, alert: AnomalyAlert, session: Session | None) -> Done:
        """Diagnose; a finding or its absence is a diagnosis, a script that breaks is a failure."""
        if not CAN_LIMIT_PROCESSES:
            return Done.impossible("platform", "this platform cannot limit what a script uses")
        by_alert = self._settings.by_alert
        name = by_alert.get(alert.alert_type, by_alert.get("*", ""))
        if not name:
            detail = f"no script is set for {alert.alert_type}"
            return Done.impossible("no_script", detail)
        outcome = await self.run(name, self._take(alert, session))
        if outcome is None:
            detail = f"there is no script {clean(name)}"
            return Done.impossible("no_script", detail)
        return _done(outcome)

    async def run(self, name: str, snapshot: SessionSnapshot) -> ScriptOutcome | None:
        """Run a script by its name; None if there is no such script."""
        path = await asyncio.to_thread(find_script, self._settings.directory, name)
        if path is None:
            return None
        async with self._room:
            return await run_sandboxed(path, msgspec.json.encode(snapshot), self._settings, name)


def _done(outcome: ScriptOutcome) -> Done:
    evidence: dict[str, Any] = {
        "script": outcome.name,
        "status": outcome.status,
        "seconds": outcome.seconds,
        "findings": [
            found
            for found in outcome.findings[:_MAX_FINDINGS]
            if len(msgspec.json.encode(found)) <= _MAX_FINDING
        ],
    }
    if outcome.status == "ok":
        said = outcome.summary or outcome.output.strip() or "it found nothing"
        if not outcome.findings and outcome.output:
            evidence["output"] = outcome.output[:_MAX_TOLD]
        detail = f"{outcome.name}: {clean(said, _MAX_SUMMARY)}"
        return Done(kind=DoneKind.DIAGNOSED, detail=detail, evidence=evidence)
    evidence |= {"exit_code": outcome.exit_code, "limit": outcome.limit}
    evidence |= {"output": outcome.output[:_MAX_TOLD], "errors": outcome.errors[-_MAX_TOLD:]}
    reason = outcome.limit or ("timeout" if outcome.status == "timeout" else "script_failed")
    return Done.failed(reason, _complaint(outcome), evidence)


def _complaint(outcome: ScriptOutcome) -> str:
    if outcome.status == "timeout":
        return f"{outcome.name} took longer than {outcome.seconds:.0f} s and was ended"
    if outcome.status == "limit":
        return f"{outcome.name} was ended by its limit of {outcome.limit.replace('_', ' ')}"
    last = clean(outcome.errors.rpartition("\n")[2], _MAX_SUMMARY)
    return f"{outcome.name} failed with exit code {outcome.exit_code}" + (f": {last}" * bool(last))
