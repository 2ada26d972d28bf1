"""The command `debbie` from its first moment on: signals end it quietly while imports run."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module

_MODULES = {
    "proxy": "debbie_otel.cli.proxy",
    "demo": "debbie_otel.cli.demo",
    "replay": "debbie_otel.cli.replay",
    "report": "debbie_otel.report.after",
    "check": "debbie_otel.cli.check",
}
"""What the commands import before they do anything, by name."""


def main() -> None:
    """Run the command."""
    # The proxy ends by being asked to. Of another command, that it did not come to its end.
    code = 0 if sys.argv[1:2] == ["proxy"] else 130
    _on_signals(lambda: os._exit(code))  # nothing is open; an exception could get lost in an import
    from debbie_otel.cli.main import main as command

    needed = _MODULES.get("".join(sys.argv[1:2]))
    with contextlib.suppress(ValueError):  # a wrong OTEL_* limit, which the command itself tells
        if needed is not None:
            import_module(needed)
    _on_signals(lambda: sys.exit(code))  # from here on there may be something to close
    command()


def _on_signals(leave: Callable[[], object]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: leave())


if __name__ == "__main__":
    main()
