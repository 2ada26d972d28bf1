"""`debbie demo`: a scripted agent server, the proxy before it, and sessions through both."""

from __future__ import annotations

import sys
import time

import msgspec
from rich.console import Console

from debbie_otel.app.config import Config
from debbie_otel.app.config.validation import check_files
from debbie_otel.cli.proxy import CommandDebugger, farewell, greeting
from debbie_otel.demo.agent import ScriptedAgent
from debbie_otel.demo.client import TIMEOUT, converse
from debbie_otel.demo.scenes import MISHAPS, play
from debbie_otel.demo.script import DEMO_MESSAGES, DEMO_TURNS
from debbie_otel.report.commentary import comment_on
from debbie_otel.report.lines import LineWriter
from debbie_otel.report.summary import Summary
from debbie_otel.transports.addresses import parse_upstream

_LEAST_PATIENCE = 10.0
"""Seconds: the computer is not faster than life."""


async def run_demo(config: Config, console: Console, speed: float) -> None:
    """Drive a conversation and four mishaps through the proxy, comment on them, and sum up.

    Args:
        config: Where telemetry goes; upstream and listen are the demo's own.
        console: For the tables.
        speed: How many times faster than life everything goes, Debbie's patience included.

    """
    check_files(config)
    lines = LineWriter(sys.stdout)
    patience = max(TIMEOUT / speed, _LEAST_PATIENCE)
    summary = Summary()
    turns = (*DEMO_TURNS, *(turn for mishap in MISHAPS for turn in mishap.turns))
    async with ScriptedAgent(turns, one_script=True, seed=time.time_ns(), speed=speed) as agent:
        debbie = CommandDebugger(demo_config(config, agent.url, speed))
        summary.listen_to(debbie.monitor.events)
        comment_on(debbie.monitor.events, lines)
        await debbie.start()
        try:
            async with debbie.tap() as tap:
                for line in greeting(debbie, tap):
                    lines(line)
                url = _through(agent.url, str(tap.addresses[0]))
                lines("\n-- All is well.")
                await converse(url, DEMO_MESSAGES, patience=patience)
                await _play_mishaps(url, patience, lines)
        finally:
            report = await debbie.stop()
            lines.close()
    for table in summary.tables():
        console.print(table)
    if report is not None:
        console.print(farewell(debbie, report), markup=False, soft_wrap=True)
        hint = "What happened, session by session: debbie report (as a page: --html FILE)"
        console.print(hint, markup=False, soft_wrap=True)


async def _play_mishaps(url: str, patience: float, lines: LineWriter) -> None:
    for mishap in MISHAPS:
        lines(f"\n-- {mishap.title}")
        try:
            lines(f"   The agent, in the end: {await play(mishap, url, patience)}")
        except TimeoutError:  # the agent's script and the user's do not go together any more
            lines(f"   Nothing came for {patience:g} s, and nobody helped: the demo ends here.")
            return


def demo_config(config: Config, upstream: str, speed: float) -> Config:
    """Return the configuration with the demo's upstream, and every time divided by `speed`."""
    proxy = msgspec.structs.replace(
        config.proxy, upstream=upstream, listen="127.0.0.1:0", dialect="auto"
    )
    config = msgspec.structs.replace(config, proxy=proxy)
    detection, interventions = config.detection, config.interventions
    return msgspec.structs.replace(
        config,
        detection=msgspec.structs.replace(
            detection,
            check_interval=detection.check_interval / speed,
            stall_threshold=detection.stall_threshold / speed,
            silence=None,
            cooldown=detection.cooldown / speed,
        ),
        interventions=msgspec.structs.replace(
            interventions,
            retry_delay=interventions.retry_delay / speed,
            recovery_timeout=interventions.recovery_timeout / speed,
        ),
    )


def _through(url: str, address: str) -> str:
    """Return the agent's URL with the proxy's address in it."""
    upstream = parse_upstream(url)
    return f"ws://{address}{upstream.target or '/'}"
