"""A protocol of one's own: a dialect tells Debbie what its methods mean.

python examples/own_dialect/kitchen.py
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from debbie_otel import DebbieFactory
from debbie_otel.report.commentary import comment_on

DIALECT = Path(__file__).with_name("kitchen.toml")


async def robot(connection: ServerConnection) -> None:
    """Cook, and tell of the oven meanwhile."""

    async def say(message: dict[str, Any]) -> None:
        await connection.send(json.dumps({"jsonrpc": "2.0", **message}))

    async for text in connection:
        request = json.loads(text)
        if request["method"] == "cook":
            for run, state in enumerate(("ok", "burnt")):
                oven = {"room": "kitchen-1", "run": run, "what": "bake"}
                await say({"method": "oven", "params": {**oven, "state": "on"}})
                await asyncio.sleep(0.1)
                await say({"method": "oven", "params": {**oven, "state": state}})
        await say({"id": request["id"], "result": {"room": "kitchen-1"}})


async def main() -> None:
    async with serve(robot, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        debbie = DebbieFactory.create_default(
            proxy={"upstream": f"ws://127.0.0.1:{port}", "listen": "127.0.0.1:0"},
            dialects={"paths": [DIALECT]},
        )
        comment_on(debbie.monitor.events, print)
        async with (
            debbie,
            debbie.tap() as tap,
            connect(f"ws://{tap.addresses[0]}", proxy=None) as connection,
        ):
            for number, method in enumerate(("join", "cook")):
                params = {"room": "kitchen-1"}
                request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
                await connection.send(json.dumps(request))
                while json.loads(await connection.recv()).get("id") != number:
                    continue
            analysis = await debbie.analyze_session("kitchen-1")
            assert analysis is not None
            print(
                f"{analysis.dialect}: {analysis.metrics.tools} tools, {analysis.metrics.errors} bad"
            )


if __name__ == "__main__":
    asyncio.run(main())
