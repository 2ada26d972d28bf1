"""`debbie proxy`: runs until SIGTERM or Ctrl-C, then ends cleanly."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys

from rich.console import Console

from debbie_otel.app.config import Config
from debbie_otel.app.config.validation import check_files
from debbie_otel.app.debugger import DebbieDebugger
from debbie_otel.compat.platforms import on_termination
from debbie_otel.report.commentary import comment_on
from debbie_otel.report.lines import LineWriter
from debbie_otel.report.summary import Summary
from debbie_otel.telemetry.export.pipeline import ShutdownReport
from debbie_otel.transports.tap.listener import Tap

_CLOSE_GRACE = 0.5
"""Seconds for open connections to end; the rest of the five is for the telemetry."""


class CommandDebugger(DebbieDebugger):
    """Debbie in a process of its own: a command."""

    own_process = True


async def run_proxy(config: Config, console: Console, *, commentary: bool) -> None:
    """Stand before the upstream until a signal comes; then stop accepting, end spans, flush."""
    check_files(config)
    logging.basicConfig(level=logging.WARNING, format="debbie: %(message)s", stream=sys.stderr)
    stop = asyncio.Event()
    on_termination(stop.set)
    debbie = CommandDebugger(config, reports=False)
    tap = debbie.tap()
    summary = Summary()
    summary.listen_to(debbie.monitor.events)
    lines = LineWriter(sys.stdout)
    if commentary:
        comment_on(debbie.monitor.events, lines)
    try:
        await debbie.start()
        await tap.start()
        calm_interpreter()
        for line in greeting(debbie, tap):
            lines(line)
        await stop.wait()
    finally:
        await tap.stop(_CLOSE_GRACE)
        report = await debbie.stop()
        lines.close()
    for table in summary.tables() if any(summary.messages.values()) else []:
        console.print(table)
    if report is not None and debbie.pipeline is not None:
        console.print(farewell(debbie, report), markup=False, soft_wrap=True)


def calm_interpreter() -> None:
    """Have the cyclic collector look less often, and not at what lives as long as the process.

    Spans that wait for their export are tens of thousands of objects without cycles; with the
    default thresholds the collector walks over them all many times a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)


def greeting(debbie: DebbieDebugger, tap: Tap) -> list[str]:
    """Say where it listens, and where telemetry goes and how to look at it."""
    proxy = debbie.config.proxy
    tls = "s" if proxy.tls_cert is not None else ""
    listening = [
        str(address) if address.path is not None else f"ws{tls}://{address}"
        for address in tap.addresses
    ]
    upstream = (proxy.upstream or "").partition("?")[0]
    lines = [f"Debbie listens on {', '.join(listening)} and passes on to {upstream}"]
    if debbie.pipeline is not None:
        where = debbie.pipeline.destination
        lines.append(f"Telemetry: {where.where or 'off'} ({where.chosen_by}). {where.hint}")
    return lines


def farewell(debbie: DebbieDebugger, report: ShutdownReport) -> str:
    """Say what became of the spans."""
    if debbie.pipeline is None:
        return ""
    destination = debbie.pipeline.destination
    if not destination.spans:
        text = "No spans were exported"
    elif destination.kind == "files" and not report.delivered:
        text = "No spans were written"
    elif destination.kind == "files":
        text = f"{report.delivered} spans written to {destination.spans}"
    else:
        text = f"{report.delivered} spans delivered to {destination.spans}"
    if report.spooled:
        text += f", {report.spooled} kept in {report.path}"
    if report.dropped:
        text += f", {report.dropped} lost"
    return text
