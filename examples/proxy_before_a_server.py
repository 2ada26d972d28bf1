"""The proxy inside a program, before an agent server; neither client nor server know of it.

    python examples/proxy_before_a_server.py

From a shell: debbie proxy --upstream ws://127.0.0.1:8000/ws
"""

from __future__ import annotations

import asyncio

from debbie_otel import DebbieFactory
from debbie_otel.demo.agent import ScriptedAgent
from debbie_otel.demo.client import converse
from debbie_otel.report.commentary import comment_on


async def main() -> None:
    async with ScriptedAgent(speed=5) as agent:
        debbie = DebbieFactory.create_default(
            proxy={"upstream": agent.url, "listen": "127.0.0.1:0"}
        )
        comment_on(debbie.monitor.events, print)
        async with debbie, debbie.tap() as tap:
            url = f"ws://{tap.addresses[0]}/ws"
            print(f"Clients of {agent.url} connect to {url} now.")
            told = await converse(url)
        print(f"{len(told.answers)} answers, {len(told.tools)} tools")


if __name__ == "__main__":
    asyncio.run(main())
