"""The way of a message in docs/architecture.md is the one that it takes, in at most 15 calls."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import debbie_otel
from tests.integration.proxied import config, proxied, raw_upstream, wire
from tests.telemetry.collector import http_collector
from tests.transports.raw import DOWN, until

PACKAGE = Path(debbie_otel.__file__).parent
DOCUMENT = PACKAGE.parent / "docs" / "architecture.md"
LIMIT = 15

CALL = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{}}}'
RESULT = '{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"done"}]}}'


def steps() -> list[tuple[str, str]]:
    """Function and file of each step, as the document has them."""
    found = re.findall(r"^\d+\. `([\w.]+)` in `([\w/.]+)`", DOCUMENT.read_text(), re.MULTILINE)
    numbers = re.findall(r"^(\d+)\. `", DOCUMENT.read_text(), re.MULTILINE)
    assert [int(number) for number in numbers] == list(range(1, len(found) + 1))
    return found


class Walk:
    """Calls of the package's functions, in their order, with how deep each one is."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, int]] = []

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(str(PACKAGE)):
            depth, outer = 0, frame.f_back
            while outer is not None:
                depth += outer.f_code.co_filename.startswith(str(PACKAGE))
                outer = outer.f_back
            self.calls.append((*_named(frame.f_code), depth + 1))


def _named(code: CodeType) -> tuple[str, str]:
    return code.co_qualname, str(Path(code.co_filename).relative_to(PACKAGE))


async def test_a_tool_result_goes_the_way_that_is_drawn(tmp_path: Path) -> None:
    walk = Walk()
    with http_collector() as collector:
        otlp = f"http://127.0.0.1:{collector.port}"
        async with (
            raw_upstream() as (listener, url),
            proxied(config(url, tmp_path, otlp, proxy={"dialect": "mcp"})) as it,
            wire(it, listener) as opened,
        ):
            await opened.message(CALL)
            connections = it.debbie.monitor.connections
            await until(lambda: bool(connections[0].pending_calls))
            sys.setprofile(walk)
            try:
                await opened.message(RESULT, DOWN)
                await until(lambda: not connections[0].pending_calls)
            finally:
                sys.setprofile(None)
    drawn = steps()
    assert len(drawn) <= LIMIT
    called = iter(walk.calls)
    for step in drawn:  # in this order, whatever is called between two of them
        assert any(call[:2] == step for call in called), f"{step} is not on the way"
    depths = [depth for name, file, depth in walk.calls if (name, file) == drawn[-1]]
    assert depths
    assert min(depths) <= LIMIT
