"""Runs a script in a process of its own: bounded time, CPU, memory, files, processes and output.

Whatever a script does is a result, never an exception. What it starts ends with it, and the
folder it ran in is removed. See `scripts/_launch.py` for how limits are kept, and their bounds:
this guards against mistakes in diagnostic scripts, and is not a jail for hostile code.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import msgspec
import psutil

from debbie_otel.intervention.intervention_config import ScriptSettings
from debbie_otel.intervention.scripts._launch import LIMIT_CODES

MAX_ERRORS = 8 << 10
"""Bytes of stderr that are kept: the last ones, as a traceback ends with what matters."""
MAX_FINDINGS = 50

_LAUNCH = Path(__file__).parent / "scripts" / "_launch.py"
_GRACE = 3.0  # seconds for the supervisor to end what it supervises
_THROTTLE = 0.02  # seconds between two reads of output that is thrown away
_LIMITS = {code: name for name, code in LIMIT_CODES.items()}

ScriptStatus = Literal["ok", "failed", "timeout", "limit"]


class ScriptOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a script.

    Attributes:
        name: Of the script.
        status: `ok`: it ended with exit code 0. `failed`: with another. `timeout`: it took longer
            than `wall_time`. `limit`: it was ended by the limit named in `limit`.
        limit: cpu_time, memory, file_size, open_files, processes, or empty.
        exit_code: None where it was ended from outside; 128 + N for signal N.
        seconds: How long it took.
        output: The beginning of stdout; `truncated`: whether that is not all.
        errors: The end of stderr.
        findings: Of its report, if stdout is `{"findings": [...], "summary": "..."}`.
        summary: Likewise; one sentence.

    """

    name: str
    status: ScriptStatus
    limit: str = ""
    exit_code: int | None = None
    seconds: float = 0.0
    output: str = ""
    truncated: bool = False
    errors: str = ""
    findings: tuple[Any, ...] = ()
    summary: str = ""


class _Report(msgspec.Struct):
    findings: list[Any]
    summary: str = ""


async def run_sandboxed(
    script: Path, stdin: bytes, settings: ScriptSettings, name: str | None = None
) -> ScriptOutcome:
    """Run a script; return what came of it.

    It gets an isolated interpreter (`-I -S`: the standard library alone), an environment without
    any variable of Debbie's, and an empty folder to work in; root's scripts run as `nobody`. If
    this is cancelled, the script is ended.

    Args:
        script: A Python file, by its absolute path.
        stdin: What it may read.
        settings: Limits.
        name: What to call it; by default as the file.

    """
    name = script.stem if name is None else name
    make = partial(TemporaryDirectory, prefix="debbie-script-", ignore_cleanup_errors=True)
    making = asyncio.get_running_loop().run_in_executor(None, make)
    try:
        await asyncio.shield(making)
    except asyncio.CancelledError:  # not between the making of the folder and its removal
        await asyncio.wait([making])
        await asyncio.to_thread(making.result().cleanup)
        raise
    except OSError as error:
        return _not_started(name, error)
    folder = making.result()
    try:
        return await _run(script, stdin, settings, name, folder.name)
    except OSError as error:  # no process, no descriptor left: ours, not the script's
        return _not_started(name, error)
    finally:
        await _finish(asyncio.to_thread(folder.cleanup))


def _not_started(name: str, error: OSError) -> ScriptOutcome:
    return ScriptOutcome(name=name, status="failed", errors=f"could not be started: {error}")


async def _finish(coroutine: Any) -> None:
    """Do something to its end, even if this task is cancelled meanwhile."""
    task = asyncio.get_running_loop().create_task(coroutine)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


async def _run(
    script: Path, stdin: bytes, settings: ScriptSettings, name: str, folder: str
) -> ScriptOutcome:
    loop = asyncio.get_running_loop()
    began = loop.time()
    transport, process = await loop.subprocess_exec(
        lambda: _Process(settings.output),
        *(sys.executable, "-I", "-S", "-B", "-X", "utf8", "-u"),
        *(str(_LAUNCH), _limits(settings), str(script)),
        cwd=folder,
        env=_environment(folder),
        start_new_session=True,
    )
    in_time = False
    try:
        process.say(stdin)
        async with asyncio.timeout(settings.wall_time):
            await asyncio.shield(process.ended)
        in_time = True
    except TimeoutError:
        pass
    finally:
        await _finish(_end(transport, process))
    code = transport.get_returncode() if in_time else None
    return _outcome(name, process, code, round(loop.time() - began, 3))


def _limits(settings: ScriptSettings) -> str:
    names = (*LIMIT_CODES,)
    return msgspec.json.encode({name: getattr(settings, name) for name in names}).decode()


def _environment(folder: str) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": folder, "TMPDIR": folder}


async def _end(transport: asyncio.SubprocessTransport, process: _Process) -> None:
    """Have nothing left of it, by the supervisor or without it."""
    if not process.ended.done():
        with suppress(ProcessLookupError):
            transport.send_signal(signal.SIGTERM)
        await asyncio.wait([process.ended], timeout=_GRACE)
    if not process.ended.done():  # the supervisor itself was stopped or killed
        _kill_family(transport.get_pid())
        await asyncio.wait([process.ended], timeout=_GRACE)
    transport.close()


def _kill_family(pid: int) -> None:
    with suppress(psutil.Error):
        supervisor = psutil.Process(pid)
        for member in [*supervisor.children(recursive=True), supervisor]:
            with suppress(psutil.Error):
                member.kill()


def _outcome(name: str, process: _Process, code: int | None, seconds: float) -> ScriptOutcome:
    limit = _LIMITS.get(code, "") if code is not None else ""
    status: ScriptStatus = "failed"
    if code is None:
        status = "timeout"
    elif limit:
        status = "limit"
    elif code == 0:
        status = "ok"
    report = _Report([])
    if not process.truncated:
        with suppress(msgspec.DecodeError, RecursionError):
            report = msgspec.json.decode(bytes(process.output), type=_Report)
    return ScriptOutcome(
        name=name,
        status=status,
        limit=limit,
        exit_code=None if limit else code,
        seconds=seconds,
        output=process.output.decode("utf-8", "replace"),
        truncated=process.truncated,
        errors=process.errors.decode("utf-8", "replace").strip(),
        findings=tuple(report.findings[:MAX_FINDINGS]),
        summary=report.summary,
    )


class _Process(asyncio.SubprocessProtocol):
    """Takes in what a process says, up to a bound.

    Args:
        limit: Bytes of stdout that are kept.

    Attributes:
        ended: Done when the process has ended and its pipes are closed.

    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.SubprocessTransport | None = None
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self.output = bytearray()
        self.truncated = False
        self.errors = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.SubprocessTransport)
        self._transport = transport

    def say(self, data: bytes) -> None:
        """Write all of stdin; what the process does not read is thrown away when it ends."""
        pipe = self._pipe(0)
        assert isinstance(pipe, asyncio.WriteTransport)
        pipe.write(data)
        pipe.close()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 1:
            room = self._limit - len(self.output)
            self.output += data[:room]
            if len(data) > room:
                self.truncated = True
                self._slow_down(fd)
            return
        self.errors += data
        if len(self.errors) > MAX_ERRORS:
            del self.errors[:-MAX_ERRORS]
            self._slow_down(fd)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if not self.ended.done():
            self.ended.set_result(None)

    def _slow_down(self, fd: int) -> None:
        """Read on only after a while: who floods us must not take the time of the wire."""
        pipe = self._pipe(fd)
        assert isinstance(pipe, asyncio.ReadTransport)
        if not pipe.is_closing():
            pipe.pause_reading()
            self._loop.call_later(_THROTTLE, _resume, pipe)

    def _pipe(self, fd: int) -> asyncio.BaseTransport | None:
        assert self._transport is not None
        return self._transport.get_pipe_transport(fd)


def _resume(pipe: asyncio.ReadTransport) -> None:
    if not pipe.is_closing():
        pipe.resume_reading()
