"""Traffic for docker-compose.yml: a scripted agent, and users who talk to it through the proxy.

Round after round, a good conversation and then each of the mishaps of `debbie demo`; what comes of
them is up to the Debbie in between.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import signal
from collections.abc import Sequence

from websockets.exceptions import WebSocketException

from debbie_otel.demo.agent import ScriptedAgent
from debbie_otel.demo.client import converse
from debbie_otel.demo.scenes import MISHAPS, play
from debbie_otel.demo.script import DEMO_MESSAGES, DEMO_TURNS
from debbie_otel.errors import DebbieError

_RETRY = 2.0
"""Seconds until a proxy that is not there is tried again."""
_EXPECTED = (DebbieError, WebSocketException, OSError, TimeoutError)


async def _round(address: tuple[str, int], through: str, speed: float) -> None:
    """Play everything once, on a fresh agent, so that its script and the users' go together."""
    host, port = address
    turns = (*DEMO_TURNS, *(turn for mishap in MISHAPS for turn in mishap.turns))
    async with ScriptedAgent(turns, one_script=True, speed=speed, host=host, port=port):
        try:
            await converse(through, DEMO_MESSAGES)
            for mishap in MISHAPS:
                words = await play(mishap, through)
                _say(f"{mishap.title} The agent, in the end: {words}")
        except _EXPECTED as error:
            _say(f"{type(error).__name__}: {error}")
            await asyncio.sleep(_RETRY)


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - for the container's log


async def _run(address: tuple[str, int], through: str, speed: float, rounds: int) -> None:
    task = asyncio.current_task()
    assert task is not None
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, task.cancel)
    for number in itertools.count(1):
        await _round(address, through, speed)
        if number == rounds:
            return


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until interrupted, or for so many rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:9000", help="HOST:PORT of the agent")
    parser.add_argument("--through", required=True, help="URL of the agent, as the proxy has it")
    parser.add_argument("--speed", type=float, default=1.0, help="this many times as fast")
    parser.add_argument("--rounds", type=int, default=0, help="0 goes on for ever")
    given = parser.parse_args(arguments)
    host, _, port = given.listen.rpartition(":")
    try:
        asyncio.run(_run((host, int(port)), given.through, given.speed, given.rounds))
    except asyncio.CancelledError:
        _say("ended")


if __name__ == "__main__":
    main()
