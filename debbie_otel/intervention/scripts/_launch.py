"""Runs one script under limits: `python -I -S _launch.py LIMITS SCRIPT`. Standard library only.

Two processes: the supervisor, and its child, which sets its resource limits and then is the script.
The supervisor adopts what the script leaves behind (it is a subreaper where the system is Linux)
and ends all of it when the script ends, on SIGTERM, and when its own parent is gone. No code of
Debbie's own process runs between fork and exec that way.

Root is exempt from RLIMIT_NPROC, and counting from outside is too slow for a fork bomb: a script of
root's therefore runs as `nobody`. All this guards against mistakes; it is not a jail for hostile
code.

LIMITS is a JSON object: cpu_time (s), memory (bytes of address space), file_size (bytes),
open_files, processes. Exit codes beyond the script's own: those of `LIMIT_CODES` for a limit that
ended it, 128 + N for signal N.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import select
import signal
import sys
import time
import traceback
import types
from contextlib import suppress

with suppress(ImportError):  # where `LIMIT_CODES` is all that is wanted
    import resource

LIMIT_CODES = {
    "cpu_time": 231,
    "memory": 232,
    "file_size": 233,
    "open_files": 234,
    "processes": 235,
}

_ERRORS = {errno.EFBIG: "file_size", errno.EMFILE: "open_files", errno.EAGAIN: "processes"}
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_KEEPCAPS = 8
_PR_SET_CHILD_SUBREAPER = 36
_CAP_DAC_READ_SEARCH = 2
_LINUX = sys.platform == "linux"
_NOBODY = 65_534
_CLEAN_UP = 2.0  # seconds in which everything that was left must be gone


def main() -> int:
    """Run the script; return the exit code."""
    limits: dict[str, int] = json.loads(sys.argv[1])
    with open(sys.argv[2], "rb") as file:  # noqa: PTH123 - as the user that we are now
        source = file.read()
    if os.geteuid() == 0:
        os.chown(".", _NOBODY, _NOBODY)
    _control(_PR_SET_CHILD_SUBREAPER, 1)
    _control(_PR_SET_PDEATHSIG, signal.SIGTERM)
    wakeup, ended = _signals()
    child = os.fork()
    if child == 0:
        os._exit(_be_script(source, limits, (wakeup, ended)))
    for descriptor in (0, 1, 2):
        with suppress(OSError):
            os.close(descriptor)
    code = _supervise(child, wakeup)
    _end_all(child)
    return code


def _control(option: int, value: int) -> None:
    if _LINUX:
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _signals() -> tuple[int, int]:
    """Have SIGCHLD and SIGTERM wake the supervisor; return the pipe that tells of them."""
    wakeup, ended = os.pipe()
    os.set_blocking(wakeup, False)
    os.set_blocking(ended, False)
    signal.set_wakeup_fd(ended, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    return wakeup, ended


# -- the script's process -------------------------------------------------------------------------


def _be_script(source: bytes, limits: dict[str, int], pipe: tuple[int, int]) -> int:
    """Run the script; return its exit code."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    for descriptor in pipe:
        os.close(descriptor)
    path = sys.argv[2]
    try:
        os.setpgid(0, 0)
        os.nice(5)  # what goes over the wire comes first
        _give_up_root()
        _control(_PR_SET_PDEATHSIG, signal.SIGKILL)  # a change of the user clears it
        _limit(limits)
        sys.argv = [path]
        exec(compile(source, path, "exec"), _namespace(path))  # noqa: S102 - what we are for
        code = 0
    except SystemExit as error:
        code = _exit_code(error.code)
    except BaseException as error:  # noqa: BLE001 - whatever a script raises
        with suppress(BaseException):
            traceback.print_exc()
        code = LIMIT_CODES.get(_limit_of(error), 1)
    for stream in (sys.stdout, sys.stderr):
        with suppress(BaseException):
            stream.flush()
    return code


def _namespace(path: str) -> dict[str, object]:
    """Return the globals of a script; it is `__main__`, also for what looks itself up there."""
    main = types.ModuleType("__main__")
    main.__file__ = path
    sys.modules["__main__"] = main
    return main.__dict__


def _give_up_root() -> None:
    """Become `nobody`, if we are root; of its rights at most that to read files is kept.

    That one only where the interpreter's own library is root's alone (below /root, say), and it
    does not pass to programs that the script starts.
    """
    if os.geteuid() != 0:
        return
    _control(_PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setgid(_NOBODY)
    os.setuid(_NOBODY)
    if _LINUX:
        readable = os.access(os.__file__, os.R_OK)
        _keep_rights(0 if readable else 1 << _CAP_DAC_READ_SEARCH)
    _control(_PR_SET_DUMPABLE, 1)  # else its own /proc belongs to root


def _keep_rights(rights: int) -> None:
    """Give up all capabilities but these (capset(2), version 3)."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)(rights, rights, 0, 0, 0, 0)  # effective, permitted, inheritable
    if ctypes.CDLL(None).capset(header, data) != 0:
        raise PermissionError("root's capabilities cannot be given up")


def _limit(limits: dict[str, int]) -> None:
    cpu = limits["cpu_time"]
    _set(resource.RLIMIT_NPROC, *[_tasks(os.getuid()) - 1 + limits["processes"]] * 2)
    _set(resource.RLIMIT_CORE, 0, 0)
    _set(resource.RLIMIT_CPU, cpu, cpu + 1)  # SIGXCPU, and a second later SIGKILL
    _set(resource.RLIMIT_FSIZE, limits["file_size"], limits["file_size"])
    _set(resource.RLIMIT_NOFILE, limits["open_files"], limits["open_files"])
    _set(resource.RLIMIT_AS, limits["memory"], limits["memory"])


def _tasks(uid: int) -> int:
    """Count the processes and threads of a user, this one included: what RLIMIT_NPROC counts."""
    found = 0
    for pid in filter(str.isdigit, _listed("/proc")):
        with suppress(OSError):
            if os.stat(f"/proc/{pid}").st_uid == uid or int(pid) == os.getpid():  # noqa: PTH116
                found += len(_listed(f"/proc/{pid}/task"))
    return max(found, 1)


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208
    except OSError:
        return []


def _set(kind: int, soft: int, hard: int) -> None:
    ceiling = resource.getrlimit(kind)[1]
    if ceiling != resource.RLIM_INFINITY:  # what is lower already stays so
        soft, hard = min(soft, ceiling), min(hard, ceiling)
    with suppress(ValueError, OSError):  # a system that does not have this one
        resource.setrlimit(kind, (soft, hard))


def _limit_of(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "memory"
    number = error.errno if isinstance(error, OSError) else None
    return "memory" if number == errno.ENOMEM else _ERRORS.get(number or 0, "")


def _exit_code(code: object) -> int:
    if code is None or isinstance(code, int):
        return (code or 0) & 0xFF
    with suppress(BaseException):
        print(code, file=sys.stderr)  # noqa: T201 - as the interpreter does
    return 1


# -- the supervisor -------------------------------------------------------------------------------


def _supervise(child: int, wakeup: int) -> int:
    """Wait until the script ends or must be ended; return the exit code."""
    while True:
        select.select([wakeup], [], [])
        told = os.read(wakeup, 4096)
        if signal.SIGTERM in told:
            return 128 + signal.SIGTERM
        while (ended := _wait())[0]:
            if ended[0] == child:
                return _told(ended[1])


def _wait() -> tuple[int, int]:
    """Return a process that has ended, and its status; 0 if none has."""
    try:
        return os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return 0, 0


def _told(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return code
    limits = {signal.SIGXCPU: "cpu_time", signal.SIGXFSZ: "file_size"}
    return LIMIT_CODES.get(limits.get(signal.Signals(-code), ""), 128 - code)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for thread in _listed(f"/proc/{pid}/task"):
        with (
            suppress(OSError),
            open(f"/proc/{pid}/task/{thread}/children") as file,  # noqa: PTH123
        ):
            found += map(int, file.read().split())
    return found


def _end_all(child: int) -> None:
    """Kill the script and all that it has left; those that it orphaned have become ours.

    The script's group dies at once, so that a fork bomb cannot outrun this; of those who left the
    group, a generation goes with each round.
    """
    deadline = time.monotonic() + _CLEAN_UP
    while time.monotonic() < deadline:
        with suppress(OSError):
            os.killpg(child, signal.SIGKILL)
        for pid in _children(os.getpid()):
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.002)


if __name__ == "__main__":
    sys.exit(main())
