"""A live Codex app-server with a scripted model behind it, and a client of it.

`npm install @openai/codex` brings it (`make peers`); `DEBBIE_CODEX` may name the program instead.
It runs in a network of its own (`isolated`) with its own home, and logs in nowhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from tests.peers.between import serving
from tests.peers.codex_model import ScriptedModel
from tests.peers.isolated import MODEL_PORT, MODEL_SOCKET, SERVER_PORT, SERVER_SOCKET
from tests.transports.raw import until

VERSION = "0.169.0"
# With its processes in a namespace of their own, none of them outlives the first.
ISOLATE = ("unshare", "--map-root-user", "--net", "--pid", "--fork", "--kill-child")
_ROOT = Path(__file__).parents[2]

_CONFIG = f"""
model = "scripted"
model_provider = "fake"
check_for_update_on_startup = false

[model_providers.fake]
name = "fake"
base_url = "http://127.0.0.1:{MODEL_PORT}/v1"
env_key = "FAKE_KEY"
wire_api = "responses"
request_max_retries = 1
stream_max_retries = 1
"""


def codex_program() -> str | None:
    """Return where Codex is: DEBBIE_CODEX, what `make peers` installed, or what is on the PATH."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    installed = Path(cache, "debbie-peers", f"codex-{VERSION}", "node_modules", ".bin", "codex")
    named = os.environ.get("DEBBIE_CODEX")
    return named or shutil.which(str(installed)) or shutil.which("codex")


@contextlib.asynccontextmanager
async def codex_server(folder: Path, model: ScriptedModel) -> AsyncIterator[Path]:
    """Run an app-server with that model; yield the socket that it is reached by.

    Args:
        folder: For its files; short, because of the sockets in it.
        model: What it asks.

    """
    program = codex_program()
    assert program is not None
    home = folder / "home"
    home.mkdir()
    (folder / "work").mkdir()
    (home / "config.toml").write_text(_CONFIG)
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "CODEX_HOME": str(home),
        "FAKE_KEY": "none",
        "PYTHONPATH": str(_ROOT),
    }
    listen = f"ws://127.0.0.1:{SERVER_PORT}"
    log = folder / "stderr"
    async with serving(model, at=folder / MODEL_SOCKET):
        stderr = log.open("wb")
        process = await asyncio.create_subprocess_exec(
            *(*ISOLATE, sys.executable, "-m", "tests.peers.isolated", str(folder)),
            *(program, "app-server", "--listen", listen),
            cwd=folder / "work",
            env=environ,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=stderr,
        )
        stderr.close()  # it has its own
        try:
            await until(lambda: b"listening" in log.read_bytes())
            yield folder / SERVER_SOCKET
        finally:  # SIGTERM would have Codex wait for the turns that run, and one may hang
            process.kill()
            await process.wait()
