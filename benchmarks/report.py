"""Rounds -> medians and ratios -> a table and a JSON object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

BASELINES = ("relay", "nginx")
"""Ratios are taken to these, where they ran."""


@dataclass(frozen=True)
class Round:
    """One variant under one shape, once.

    Attributes:
        cpu_us: CPU time of the program in the middle per round trip, in microseconds; None where
            nothing is in the middle.
        rate: Round trips per second.
        p50_us: Median time from a request to its answer, in microseconds.
        p99_us: So for the 99th percentile.

    """

    cpu_us: float | None
    rate: float
    p50_us: float
    p99_us: float


@dataclass
class Report:
    """Everything that one run of the benchmark found.

    Attributes:
        versions: Of the programs involved.
        parameters: What was set.
        rounds: By name of the shape, then of the variant; the n-th rounds ran side by side.
        memory: Resident bytes per idle connection, by variant.
        skipped: Variants that did not run, and why.
        exported: What the telemetry variants' receivers counted.

    """

    versions: dict[str, str]
    parameters: dict[str, Any]
    rounds: dict[str, dict[str, list[Round]]] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    exported: dict[str, dict[str, Any]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the report with its medians and ratios, of JSON types only."""
        return {
            **asdict(self),
            "medians": {
                shape: {name: asdict(_medians(rounds)) for name, rounds in variants.items()}
                for shape, variants in self.rounds.items()
            },
            "ratios": {
                shape: {name: _ratios(rounds, variants) for name, rounds in variants.items()}
                for shape, variants in self.rounds.items()
            },
        }

    def as_text(self) -> str:
        """Return the report as lines for people."""
        found = self.as_json()
        lines = [
            "versions: " + ", ".join(f"{name} {text}" for name, text in self.versions.items()),
            *(f"{name}: {value}" for name, value in self.parameters.items()),
            *(f"{name}: {why}, skipped" for name, why in self.skipped.items()),
            *(f"{name} exported: {count}" for name, count in self.exported.items()),
            "",
        ]
        baselines = [name for name in BASELINES if any(name in v for v in self.rounds.values())]
        heading = ["", "CPU us/trip", "trips/s", "p50 us", "p99 us"]
        for measure in ("CPU", "p50"):
            heading += [f"{measure} / {name}" for name in baselines]
        for shape, variants in found["medians"].items():
            rows = [[shape, *heading[1:]]]
            for name, medians in variants.items():
                ratios = found["ratios"][shape][name]
                row = [
                    name,
                    _number(medians["cpu_us"], 1),
                    _number(medians["rate"], 0),
                    _number(medians["p50_us"], 0),
                    _number(medians["p99_us"], 0),
                ]
                for measure in ("cpu", "p50"):
                    row += [_number(ratios.get(f"{measure}/{base}"), 2) for base in baselines]
                rows.append(row)
            lines += [*_table(rows), ""]
        if self.memory:
            rows = [["memory per idle connection", "KiB"]]
            rows += [[name, _number(size / 1024, 1)] for name, size in self.memory.items()]
            lines += [*_table(rows), ""]
        lines.append(
            "Every value is the median over the rounds; a ratio is the median of the ratios within"
            " a round.\nRatios are what counts: the absolute values are this machine's."
        )
        return "\n".join(lines)


def _medians(rounds: Sequence[Round]) -> Round:
    used = [item.cpu_us for item in rounds if item.cpu_us is not None]
    return Round(
        median(used) if used else None,
        median(item.rate for item in rounds),
        median(item.p50_us for item in rounds),
        median(item.p99_us for item in rounds),
    )


def _ratios(rounds: Sequence[Round], variants: dict[str, list[Round]]) -> dict[str, float]:
    ratios: dict[str, float] = {}
    for base in BASELINES:
        pairs = list(zip(rounds, variants.get(base, ()), strict=False))
        cpu = [mine.cpu_us / other.cpu_us for mine, other in pairs if mine.cpu_us and other.cpu_us]
        if cpu:
            ratios[f"cpu/{base}"] = median(cpu)
        if pairs:
            ratios[f"p50/{base}"] = median(mine.p50_us / other.p50_us for mine, other in pairs)
    return ratios


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    widths[0] = max(widths[0], 17)
    lines = [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return [lines[0], "-" * max(map(len, lines)), *lines[1:]]
