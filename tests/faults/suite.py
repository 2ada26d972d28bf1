"""Every fault in every dialect: `python -m tests.faults.suite [NAME]...` prints what came of it.

A name is a part of that of a fault or of a dialect.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.faults.case import Case, Result, run
from tests.faults.faults import FAULTS

AT_ONCE = 16
"""Cases that run at the same time."""

CASES = tuple(Case(fault, dialect) for fault in FAULTS for dialect in fault.dialects)


async def run_all(cases: Iterable[Case], folder: Path) -> list[Result]:
    """Run cases, some at a time, each in a folder of its own."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def run_one(number: int, case: Case) -> Result:
        own = folder / str(number)
        own.mkdir()
        async with slots:
            return await run(case, own)

    return await asyncio.gather(*(run_one(*numbered) for numbered in enumerate(cases)))


def recovery_rate(results: Sequence[Result]) -> float:
    """Return the share of the recoverable that recovered."""
    recoverable = [result for result in results if result.case.recoverable]
    return sum(result.verdict == "recovered" for result in recoverable) / len(recoverable)


def table(results: Sequence[Result]) -> str:
    """Return a table: fault, dialect, what was tried, what came of it, seconds to recover."""
    rows = [("fault", "dialect", "outcome", "s", "tried")]
    for result in results:
        seconds = result.time_to_recover
        tried = ", ".join(
            f"{record.strategy} {record.result}"
            + (f" ({record.reason})" if record.reason else "")
            + ("" if record in result.about else f" for {record.alert_type}")
            for record in result.records
        )
        rows.append(
            (
                result.case.fault.name,
                result.case.dialect,
                result.verdict,
                "" if seconds is None else f"{seconds:.2f}",
                tried,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]])
        for row in rows
    ]
    recoverable = sum(result.case.recoverable for result in results)
    rate = f"{recovery_rate(results):.0%} of {recoverable}" if recoverable else "none"
    return "\n".join([*lines, "", f"recovered of the recoverable: {rate}"])


def main(names: Sequence[str]) -> int:
    """Run the cases that the names are part of; return 1 if something is not as it should be."""
    cases = [c for c in CASES if not names or any(name in str(c) for name in names)]
    with tempfile.TemporaryDirectory() as folder:
        results = asyncio.run(run_all(cases, Path(folder)))
    print(table(results))
    wrong = [(result, problem) for result in results for problem in result.wrong()]
    for result, problem in wrong:
        print(f"WRONG {result.case}: {problem}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
