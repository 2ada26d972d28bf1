"""A Python that lacks what Windows lacks: `python -m tests.without_posix FOLDER`.

It prints one JSON object: which modules of debbie_otel could not be imported, and what came of
using Debbie there. The standard library and other packages are imported before, as they have
their own ways on Windows.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import pkgutil
import signal
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

MODULES = ("fcntl", "grp", "pwd", "resource", "termios")
NAMES: dict[ModuleType, tuple[str, ...]] = {
    os: (
        "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "chown", "fchmod", "fchown", "fork", "forkpty", "getegid", "geteuid",
        "getgid", "getloadavg", "getpgid", "getuid", "killpg", "mkfifo", "nice", "register_at_fork", "sched_getaffinity",
        "setpgid", "setsid", "statvfs",
    ),
    signal: (
        "SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGSTOP", "SIGUSR1", "SIGUSR2", "SIGXCPU",
        "SIGXFSZ", "setitimer",
    ),
    asyncio: ("open_unix_connection", "start_unix_server"),
}  # fmt: skip
LOOP = ("add_signal_handler", "create_unix_connection", "create_unix_server")


class _Refusal(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in MODULES:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        return None


def all_modules() -> list[str]:
    import debbie_otel

    found = pkgutil.walk_packages(debbie_otel.__path__, "debbie_otel.")
    return sorted(module.name for module in found)


def take_away() -> None:
    """Import what is not Debbie's; then take away what Windows does not have."""
    for name in all_modules():
        importlib.import_module(name)
    for name in [*sys.modules]:
        if name in MODULES or name.partition(".")[0] == "debbie_otel":
            del sys.modules[name]
    sys.meta_path.insert(0, _Refusal())
    for module, names in NAMES.items():
        for name in names:
            delattr(module, name)
    loop = asyncio.SelectorEventLoop
    for name in LOOP:
        setattr(loop, name, getattr(asyncio.AbstractEventLoop, name))


def not_importable() -> dict[str, str]:
    failed = {}
    for name in all_modules():
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 - what is asked for
            failed[name] = repr(error)
    return failed


def command(*arguments: str) -> dict[str, Any]:
    from click.testing import CliRunner

    from debbie_otel.cli.main import main

    done = CliRunner().invoke(main, list(arguments))
    return {"code": done.exit_code, "output": done.output, "error": repr(done.exception)}


async def in_process(folder: Path) -> None:
    """A program with both ends of a connection, whose client's is observed."""
    from websockets.asyncio.client import connect
    from websockets.asyncio.server import ServerConnection, serve

    from debbie_otel.app.config import config_of
    from debbie_otel.app.debugger import DebbieDebugger

    async def answer(connection: ServerConnection) -> None:
        async for text in connection:
            call = json.loads(text)
            await connection.send(json.dumps({"jsonrpc": "2.0", "id": call["id"], "result": {}}))

    config = config_of({"telemetry": {"data_dir": folder}, "proxy": {"dialect": "generic"}}, {})
    async with (
        DebbieDebugger(config) as debbie,
        serve(answer, "127.0.0.1", 0) as server,
        connect(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", proxy=None) as plain,
    ):
        connection = debbie.intercept_websocket(plain)
        await connection.send('{"jsonrpc":"2.0","id":1,"method":"greet"}')
        await connection.recv()


async def signalled() -> bool:
    from debbie_otel.compat.platforms import on_termination

    stop = asyncio.Event()
    on_termination(stop.set)
    signal.raise_signal(signal.SIGTERM)
    await asyncio.wait_for(stop.wait(), 10)
    return stop.is_set()


def recorded_twice(file: Path) -> int:
    from debbie_otel.app.recording import RecordingWriter, read_recording
    from debbie_otel.wire.direction import MessageDirection

    for time_ns in (1, 2):
        with RecordingWriter(file) as writer:
            writer.write(time_ns, "c", MessageDirection.CLIENT_TO_SERVER, b'{"a":1}')
    return len(list(read_recording(file)))


def damaged_history(file: Path) -> str:
    from debbie_otel.intervention.history_store import move_aside

    file.write_bytes(b"not SQLite")
    aside = move_aside(file, 0)
    return "" if aside is None else aside.name


async def diagnosis() -> str:
    from debbie_otel.detection.alerts import AnomalyAlert
    from debbie_otel.intervention.intervention_config import ScriptSettings
    from debbie_otel.intervention.snapshot import snapshot
    from debbie_otel.intervention.strategies.python_script import ScriptStrategy

    alert = AnomalyAlert(
        alert_type="slow_response",
        severity="medium",
        session_id="s",
        subject="",
        message="slow",
        since_ns=0,
        fired_ns=0,
        details={},
    )
    strategy = ScriptStrategy(ScriptSettings(), lambda alert, session: snapshot(session, alert, 0))
    return (await strategy(alert, None)).detail


def unix_socket() -> str:
    from debbie_otel.errors import ConfigurationError
    from debbie_otel.transports.addresses import parse_listen

    try:
        parse_listen("unix:/tmp/debbie.sock", "--listen")
    except ConfigurationError as error:
        return str(error)
    return ""


def main() -> None:
    folder, recording = Path(sys.argv[1]), sys.argv[2]
    os.environ["XDG_DATA_HOME"] = str(folder)
    data_dir = folder / "debbie_otel"
    take_away()
    result: dict[str, Any] = {"not_importable": not_importable()}
    result["replay"] = command("replay", recording, "--json")
    asyncio.run(in_process(data_dir))
    result["report"] = command("report")
    result["stopped"] = asyncio.run(signalled())
    result["recorded"] = recorded_twice(folder / "recording.jsonl")
    result["aside"] = damaged_history(folder / "history.sqlite3")
    result["script"] = asyncio.run(diagnosis())
    result["unix_socket"] = unix_socket()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
