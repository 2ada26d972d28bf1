"""`debbie demo`: a scripted agent server, the proxy before it, and a session through both."""

from __future__ import annotations

import sys

import msgspec
from rich.console import Console

from debbie_otel.config import Config
from debbie_otel.debugger import DebbieDebugger
from debbie_otel.demo.agent import ScriptedAgent
from debbie_otel.demo.client import converse
from debbie_otel.proxy import farewell, greeting
from debbie_otel.report.commentary import comment_on
from debbie_otel.report.lines import LineWriter
from debbie_otel.report.summary import Summary
from debbie_otel.transports.addresses import parse_upstream


async def run_demo(config: Config, console: Console, speed: float) -> None:
    """Drive a conversation through the proxy, comment on it, and sum it up.

    Args:
        config: Where telemetry goes; upstream and listen are the demo's own.
        console: For the tables.
        speed: How many times faster than life the agent works.

    """
    lines = LineWriter(sys.stdout)
    summary = Summary()
    async with ScriptedAgent(speed=speed) as agent:
        proxy = msgspec.structs.replace(
            config.proxy, upstream=agent.url, listen="127.0.0.1:0", dialect="auto"
        )
        debbie = DebbieDebugger(msgspec.structs.replace(config, proxy=proxy))
        summary.listen_to(debbie.monitor)
        comment_on(debbie.monitor, lines)
        await debbie.start()
        try:
            async with debbie.tap() as tap:
                for line in greeting(debbie, tap):
                    lines(line)
                await converse(_through(agent.url, str(tap.addresses[0])))
        finally:
            report = await debbie.stop()
            lines.close()
    for table in summary.tables():
        console.print(table)
    if report is not None:
        console.print(farewell(debbie, report), markup=False, soft_wrap=True)


def _through(url: str, address: str) -> str:
    """Return the agent's URL with the proxy's address in it."""
    upstream = parse_upstream(url)
    return f"ws://{address}{upstream.target or '/'}"
