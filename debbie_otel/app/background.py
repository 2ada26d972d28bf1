"""A Debbie with a thread and an event loop of her own, for a program that knows nothing of her.

She is made when the first message of an observed connection comes, so that a program which opens
none pays nothing, a process that forks before has one in each child, and providers that the
program sets up late are found. She ends with the program, after its last thread.
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


class Resident:
    """Makes Debbie and her thread when they are needed.

    Args:
        make: Makes her.
        config: Hers.
        clock: Hers, too.

    Attributes:
        watch: Observes connections of this process.

    """

    def __init__(self, make: Callable[[], DebbieDebugger], config: Config, clock: Clock) -> None:
        self.watch = Watch(self._open, clock, FailOpen(), config.proxy.max_message_size)
        self._make = make
        self._patience = config.telemetry.flush_timeout + _MARGIN
        self._lock = threading.Lock()
        self._life: _Life | None = None
        self._over = False

    @property
    def debbie(self) -> DebbieDebugger | None:
        """Her, if she is there."""
        return None if self._life is None else self._life.debbie

    def stop(self) -> None:
        """End her, if she is there; takes no longer than `telemetry.flush_timeout` allows."""
        with self._lock:
            self._over = True
            life, self._life = self._life, None
        atexit.unregister(self.stop)
        if life is not None and life.pid == os.getpid():
            life.stop(self._patience)

    def _open(self, opening: Opening) -> WebSocketInterceptor | None:
        with self._lock:
            if self._over:
                return None
            if self._life is None or self._life.pid != os.getpid():
                if self._life is None:
                    atexit.register(self.stop)
                self._life = _Life(self._make())
            return self._life.debbie.opened(opening)


class _Life:
    """One Debbie, running in her thread."""

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
        """End her, and wait for that."""
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join(timeout)

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except BaseException as error:  # noqa: BLE001 - told to whoever waits for her start
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
