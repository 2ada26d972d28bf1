"""A strategy of one's own: what this program does when its agent stalls.

python examples/own_strategy.py
"""

from __future__ import annotations

import asyncio
import time

from debbie_otel import Attempt, DebbieFactory, Done
from debbie_otel.demo.agent import ScriptedAgent
from debbie_otel.demo.client import AgentClient
from debbie_otel.demo.script import STALL
from debbie_otel.report.commentary import comment_on


async def coach(attempt: Attempt) -> Done:
    """Tell the agent what the program knows; whether that helped, Debbie finds out."""
    said = attempt.say("The RFC has been read. Now write the summary, in one sentence.")
    if said is None:
        return Done.impossible("dialect", "this dialect has no way to say something")
    act, params = said
    await attempt.send(act, params)
    return Done.acted("the agent was coached")


async def main() -> None:
    async with ScriptedAgent(STALL, seed=time.time_ns()) as agent:
        debbie = DebbieFactory.create_default(
            proxy={"upstream": agent.url, "listen": "127.0.0.1:0"},
            detection={"check_interval": 0.2, "stall_threshold": 1.0},
            interventions={"alert_strategy_map": {"session_stall": ["custom:coach", "escalate"]}},
        )
        debbie.register_strategy("coach", coach)
        comment_on(debbie.monitor.events, print)
        async with (
            debbie,
            debbie.tap() as tap,
            AgentClient(f"ws://{tap.addresses[0]}/ws") as client,
        ):
            session_id = (await client.call("startSession", userId="u"))["sessionId"]
            await client.call("sendUserMessage", sessionId=session_id, message="Write the report.")
            said = await client.wait_for("ChannelMessageNotification")
            print(f"agent: {said['params']['content']}")
    analysis = await debbie.analyze_session(session_id)
    assert analysis is not None
    for record in analysis.interventions:
        print(f"{record.strategy}: {record.result}, after {record.recovery_seconds:.1f} s")


if __name__ == "__main__":
    asyncio.run(main())
