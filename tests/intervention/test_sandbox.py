"""The sandbox, against scripts that misbehave. Each of them is harmless if the sandbox fails: none
starts more than a few dozen processes, and all end by themselves soon.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from debbie_otel.intervention.intervention_config import ScriptSettings
from debbie_otel.intervention.sandbox import MAX_ERRORS, ScriptOutcome, run_sandboxed

Run = Callable[..., Any]
MARK = f"debbie-sandbox-test-{os.getpid()}"


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where scripts get their folders."""
    folder = tmp_path / "folders"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def run(tmp_path: Path, folders: Path) -> Run:
    async def run_source(source: str, stdin: bytes = b"{}", **settings: Any) -> ScriptOutcome:
        script = tmp_path / f"{MARK}.py"
        script.write_text(source)
        outcome = await run_sandboxed(script, stdin, ScriptSettings(**settings))
        assert left() == []
        assert os.listdir(folders) == []  # noqa: PTH208
        return outcome

    return run_source


def left() -> list[int]:
    """Return processes of the script or its supervisor that still live."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline", "status"])
        if any(MARK in argument for argument in process.info["cmdline"] or ())
        and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


async def test_a_report_is_read_and_stdin_arrives(run: Run) -> None:
    outcome = await run(
        "import json, sys\n"
        "told = json.load(sys.stdin)\n"
        "print(json.dumps({'findings': [{'size': len(told['x'])}], 'summary': 'big'}))\n",
        json.dumps({"x": "y" * 300_000}).encode(),
    )
    assert (outcome.status, outcome.exit_code, outcome.summary) == ("ok", 0, "big")
    assert outcome.findings == ({"size": 300_000},)
    assert not outcome.truncated


async def test_other_output_is_output(run: Run) -> None:
    outcome = await run("print('plain words')")
    assert (outcome.status, outcome.output, outcome.findings) == ("ok", "plain words\n", ())


@pytest.mark.parametrize(
    ("source", "code", "said"),
    [
        ("import sys; sys.exit(3)", 3, ""),
        ("import sys; sys.exit('sorry')", 1, "sorry"),
        ("1 / 0", 1, "ZeroDivisionError"),
        ("def broken(:", 1, "SyntaxError"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", 139, ""),
        ("import httpx", 1, "ModuleNotFoundError"),  # the standard library alone
    ],
)
async def test_a_script_that_fails(run: Run, source: str, code: int, said: str) -> None:
    outcome = await run(source)
    assert (outcome.status, outcome.exit_code) == ("failed", code)
    assert said in outcome.errors


async def test_nothing_is_inherited(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEBBIE_TEST_SECRET", "hush")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    outcome = await run(
        "import json, os, sys\n"
        "print(json.dumps({'findings': [dict(os.environ), os.listdir('.'), sys.path,\n"
        "    os.listdir('/proc/self/fd'), os.getuid(), os.getpgid(0) == os.getpid()]}))"
    )
    environment, folder, path, descriptors, user, own_group = outcome.findings
    assert set(environment) == {"PATH", "LANG", "HOME", "TMPDIR"}
    assert environment["HOME"].rpartition("/")[2].startswith("debbie-script-")
    assert folder == []
    assert not any("site-packages" in entry or entry == "/nowhere" for entry in path)
    assert set(descriptors) <= {"0", "1", "2", "3"}  # 3 lists them
    assert user != 0  # root's scripts run as nobody
    assert own_group


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
async def test_no_right_of_roots_is_left_but_to_read(run: Run) -> None:
    outcome = await run(
        "import os\n"
        "rights = [l.split()[1] for l in open('/proc/self/status') if l.startswith('Cap')]\n"
        "print(*rights, os.getgroups())\n"
    )
    inherited, permitted, effective, *_ = (int(word, 16) for word in outcome.output.split()[:3])
    assert inherited == 0
    assert permitted | effective in (0, 1 << 2)  # CAP_DAC_READ_SEARCH


@pytest.mark.parametrize(
    ("source", "limit"),
    [
        ("while True: pass", "cpu_time"),
        ("kept = bytearray(400 << 20)", "memory"),
        ("open('big', 'wb').write(b'x' * (2 << 20))", "file_size"),
        ("files = [open('/dev/null') for _ in range(200)]", "open_files"),
    ],
)
async def test_limits_end_a_script(run: Run, source: str, limit: str) -> None:
    outcome = await run(source, cpu_time=1, memory=200 << 20, file_size=1 << 20, wall_time=8)
    assert (outcome.status, outcome.limit, outcome.exit_code) == ("limit", limit, None)


async def test_processes_are_limited(run: Run) -> None:
    outcome = await run(
        "import os, time\n"
        "for made in range(40):\n"
        "    try:\n"
        "        child = os.fork()\n"
        "    except OSError:\n"
        "        print(made, flush=True)\n"
        "        raise\n"
        "    if child == 0:\n"
        "        time.sleep(5)\n"
        "        os._exit(0)\n",
        processes=4,
    )
    assert (outcome.status, outcome.limit) == ("limit", "processes")
    assert int(outcome.output) == 3  # and the script itself
    assert outcome.seconds < 4  # the children did not have to be waited for


@pytest.mark.parametrize(
    "source",
    [
        "import time; time.sleep(20)",
        "import signal, time\n"
        "for name in ('SIGTERM', 'SIGINT', 'SIGHUP'): signal.signal(getattr(signal, name), signal.SIG_IGN)\n"
        "time.sleep(20)",
        # Its children hold the pipes, in sessions of their own.
        "import os, time\nfor _ in range(3):\n    if os.fork() == 0: os.setsid()\ntime.sleep(20)",
    ],
    ids=["sleeps", "ignores signals", "has children"],
)
async def test_the_wall_time_ends_a_script_and_its_children(run: Run, source: str) -> None:
    outcome = await run(source, wall_time=0.3)
    assert (outcome.status, outcome.exit_code) == ("timeout", None)
    assert outcome.seconds < 2


async def test_what_a_script_leaves_behind_ends_with_it(run: Run) -> None:
    outcome = await run(
        "import os, time\n"
        "read, write = os.pipe()\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"  # out of the group, and of the script's descent: a daemon
        "    if os.fork() == 0:\n"
        "        os.write(write, b'%d' % os.getpid())\n"
        "        time.sleep(20)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "print(os.read(read, 20).decode())\n"
    )
    assert outcome.status == "ok"
    assert outcome.seconds < 2
    assert not psutil.pid_exists(int(outcome.output))


async def test_a_flood_is_cut_and_does_not_starve_the_event_loop(run: Run) -> None:
    source = "import os\nwhile True: os.write(1, b'x' * 65536); os.write(2, b'y' * 65536)"
    script = asyncio.get_running_loop().create_task(run(source, wall_time=1.0, output=4096))
    await asyncio.sleep(0.3)
    spent = time.process_time()
    await asyncio.sleep(0.5)
    spent = time.process_time() - spent
    outcome = await script
    assert (outcome.status, outcome.truncated) == ("timeout", True)
    assert outcome.output == "x" * 4096
    assert outcome.errors == "y" * MAX_ERRORS
    assert spent < 0.25


@pytest.mark.parametrize("source", ["import os\nos.close(0)\nprint(1)", "print(1)"])
async def test_who_does_not_read_stdin_ends_as_well(run: Run, source: str) -> None:
    outcome = await run(source, b"x" * (1 << 20))
    assert (outcome.status, outcome.output) == ("ok", "1\n")


async def test_a_script_can_use_its_folder_and_threads(run: Run) -> None:
    outcome = await run(
        "import os, threading\n"
        "os.makedirs('a/b')\n"
        "open('a/b/c', 'w').write('x')\n"
        "os.chmod('a', 0)\n"
        "t = threading.Thread(target=print, args=['from a thread']); t.start(); t.join()\n"
    )
    assert (outcome.errors, outcome.output) == ("", "from a thread\n")


async def test_a_cancelled_run_leaves_nothing(tmp_path: Path, folders: Path) -> None:
    script = tmp_path / f"{MARK}.py"
    script.write_text("import time\nprint('x', flush=True)\ntime.sleep(20)")
    task = asyncio.get_running_loop().create_task(run_sandboxed(script, b"", ScriptSettings()))
    async with asyncio.timeout(5):
        while not left():  # noqa: ASYNC110 - another process tells us by no event
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert left() == []
    assert os.listdir(folders) == []  # noqa: PTH208


async def test_no_interpreter_is_a_result(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", os.devnull)
    outcome = await run("print(1)")
    assert outcome.status == "failed"
    assert "could not be started" in outcome.errors
