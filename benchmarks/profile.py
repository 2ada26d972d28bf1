"""`python -m benchmarks.profile`: where the proxy's event loop spends its time.

Runs the debbie variant of the benchmark under cProfile with one shape of load. The profile slows
the proxy down and sees its main thread only: use it to find what to look at, not to measure.
"""

from __future__ import annotations

import pstats
import sys
import tempfile
from pathlib import Path

import click

from benchmarks.bench import Settings, run
from benchmarks.processes import BenchError
from benchmarks.variants import SHAPES, Place, Variant, debbie_arguments, debbie_environment


@click.command(help=__doc__)
@click.option("--seconds", default=3.0, show_default=True, help="Seconds of load.")
@click.option("--shape", default=0, show_default=True, type=click.IntRange(0, len(SHAPES) - 1))
@click.option(
    "--sort", default="tottime", show_default=True, type=click.Choice(["tottime", "cumtime"])
)
@click.option("--lines", default=30, show_default=True, help="Functions to print.")
def main(seconds: float, shape: int, sort: str, lines: int) -> None:
    with tempfile.TemporaryDirectory(prefix="profile-") as directory:
        output = Path(directory) / "profile"

        def command(place: Place) -> list[str]:
            return [sys.executable, "-m", "cProfile", "-o", str(output), *debbie_arguments(place)]

        variant = Variant("debbie", command, telemetry=True, environment=debbie_environment)
        settings = Settings(seconds=seconds, rounds=1, idle=0)
        try:
            report = run(settings, [variant], [SHAPES[shape]])
        except BenchError as error:
            click.echo(f"profile failed: {error}", err=True)
            sys.exit(1)
        click.echo(report.as_text())
        # Written by cProfile when the proxy, asked to stop, has ended by itself.
        pstats.Stats(str(output)).sort_stats(sort).print_stats(lines)


if __name__ == "__main__":
    main()
