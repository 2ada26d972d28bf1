"""BackgroundDebugger: Debbie on a thread and an event loop of its own, in an unchanged program.

It is made when the first message of an observed connection comes, so that a program which opens
none pays nothing, a process that forks before has one in each child, and providers that the
program sets up late are found. It ends with the program, after the program's last thread.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from debbie_otel.app.config import Config
from debbie_otel.app.debugger import DebbieDebugger
from debbie_otel.app.interceptor import WebSocketInterceptor
from debbie_otel.errors import FailOpen
from debbie_otel.session.model import Clock
from debbie_otel.transports.program.observed import Opening, Watch

_WORKERS = 2
_MARGIN = 2.0


class BackgroundDebugger:
    """Makes a debugger and its thread when they are needed.

    Args:
        make: Makes the debugger.
        config: Of the debugger.
        clock: Of the debugger, too.

    Attributes:
        watch: Observes connections of this process.

    """

    def __init__(self, make: Callable[[], DebbieDebugger], config: Config, clock: Clock) -> None:
        self.watch = Watch(self._open, clock, FailOpen(), config.proxy.max_message_size)
        self._make = make
        self._patience = config.telemetry.flush_timeout + _MARGIN
        self._lock = threading.Lock()
        self._running: _DebuggerThread | None = None
        self._over = False

    @property
    def debbie(self) -> DebbieDebugger | None:
        """The debugger, if it has been made."""
        return None if self._running is None else self._running.debbie

    def stop(self) -> None:
        """Stop the debugger, if there is one, within `telemetry.flush_timeout` and a margin."""
        with self._lock:
            self._over = True
            running, self._running = self._running, None
        atexit.unregister(self.stop)
        if running is not None and running.pid == os.getpid():
            running.stop(self._patience)

    def _open(self, opening: Opening) -> WebSocketInterceptor | None:
        with self._lock:
            if self._over:
                return None
            if self._running is None or self._running.pid != os.getpid():
                if self._running is None:
                    atexit.register(self.stop)
                self._running = _DebuggerThread(self._make())
            return self._running.debbie.opened(opening)


class _DebuggerThread:
    """A debugger that runs on a thread."""

    def __init__(self, debbie: DebbieDebugger) -> None:
        self.debbie = debbie
        self.pid = os.getpid()
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end = asyncio.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="debbie", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            raise self._error

    def stop(self, timeout: float) -> None:
        """Stop it, and wait for that."""
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join(timeout)

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except BaseException as error:  # noqa: BLE001 - raised where the start is waited for
            self._error = error
        finally:
            self._ready.set()

    async def _live(self) -> None:
        self._loop = loop = asyncio.get_running_loop()
        loop.set_default_executor(Workers(_WORKERS))
        async with self.debbie:
            self._ready.set()
            await self._end.wait()


class Workers(ThreadPoolExecutor):
    """Threads that work until the very end.

    Those of the standard library take no work any more once the main thread has ended, though a
    program's other threads go on.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]
        self._jobs = queue.SimpleQueue()
        self._workers = [
            threading.Thread(target=self._work, name="debbie-worker", daemon=True)
            for _ in range(number)
        ]
        for thread in self._workers:
            thread.start()

    def submit(self, fn: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """Have a call made by one of the threads."""
        future: Future[Any] = Future()
        self._jobs.put((future, lambda: fn(*arguments, **named)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the threads when they have done what they have."""
        for _ in self._workers:
            self._jobs.put(None)
        if wait:
            for thread in self._workers:
                thread.join()
        super().shutdown(wait, cancel_futures=cancel_futures)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, call = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(call())
            except BaseException as error:  # noqa: BLE001 - it is the caller's
                future.set_exception(error)
