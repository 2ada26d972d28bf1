"""Debbie around a batch client: what it says and hears is traced, watched, and helped along.

    python examples/usage_example.py

The batch client here is a small one, its agent a scripted one on this machine that stalls once.
AIWhisperer's own `ConversationReplayClient` takes its place as it is.
"""

from __future__ import annotations

import asyncio
import time

from debbie_otel import DebbieFactory, integrate_debbie_with_batch_client
from debbie_otel.demo.agent import ScriptedAgent
from debbie_otel.demo.client import AgentClient
from debbie_otel.demo.script import STALL
from debbie_otel.report.commentary import comment_on


class BatchClient:
    """Says a few things to an agent, one after the other."""

    def __init__(self, url: str, messages: list[str]) -> None:
        self.url = url
        self.messages = messages
        self.session_id = ""

    async def run(self) -> None:
        async with AgentClient(self.url) as agent:
            self.agent = agent
            started = await agent.call("startSession", userId="batch")
            self.session_id = started["sessionId"]
            for message in self.messages:
                await agent.call("sendUserMessage", sessionId=self.session_id, message=message)
                # The answer comes as a notification; a stalled agent owes it.
                said = await agent.wait_for("ChannelMessageNotification")
                print(f"agent: {said['params']['content']}")


async def main() -> None:
    async with ScriptedAgent(STALL, seed=time.time_ns()) as agent:
        batch_client = BatchClient(agent.url, ["Write the report on retries."])

        # Impatient, so that this takes seconds; what is not set comes from the profile.
        debbie = DebbieFactory.create_default(
            detection={"check_interval": 0.2, "stall_threshold": 1.0}
        )
        comment_on(debbie.monitor.events, print)

        await debbie.start()
        batch_client = await integrate_debbie_with_batch_client(batch_client, debbie)
        await batch_client.run()
        print(debbie.get_debugging_report())

        analysis = await debbie.analyze_session(batch_client.session_id)
        assert analysis is not None
        for recommendation in analysis.recommendations:
            print(f"- {recommendation.text}")


if __name__ == "__main__":
    asyncio.run(main())
