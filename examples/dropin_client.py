"""A client whose connection is observed: one line, and it goes on as before.

python examples/dropin_client.py
"""

from __future__ import annotations

import asyncio
import json

from websockets.asyncio.client import connect

from debbie_otel import DebbieFactory
from debbie_otel.demo.agent import ScriptedAgent
from debbie_otel.report.commentary import comment_on


async def main() -> None:
    debbie = DebbieFactory.create_default()
    comment_on(debbie.monitor.events, print)
    async with (
        ScriptedAgent(speed=10) as agent,
        debbie,
        connect(agent.url, proxy=None) as connection,
    ):
        websocket = debbie.intercept_websocket(connection)  # the one line

        request = {"jsonrpc": "2.0", "id": 1, "method": "startSession", "params": {"userId": "u"}}
        await websocket.send(json.dumps(request))
        async for text in websocket:
            message = json.loads(text)
            if message.get("id") == 1:
                break
        print(f"session {message['result']['sessionId']}")
    print(f"{debbie.get_statistics()['messages']} messages seen")


if __name__ == "__main__":
    asyncio.run(main())
