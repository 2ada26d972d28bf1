"""AIWhisperer's batch client, watched from inside its own process.

Its connection is made somewhere within `run()`: a WebSocket client is made, it connects, and starts
to receive before `run()` hears of it. So the batch client and its WebSocket client are adopted
(`adoption`) while they live, and a connection is wrapped in the moment in which it is kept. Known
are `ConversationReplayClient` and the older `BatchClient`; what matters is not their names but that
an object with `run()` comes to hold a connection, or another object that does.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from websockets.protocol import Protocol, State

from debbie_otel.app.debugger import DebbieDebugger
from debbie_otel.detection.memory import listener
from debbie_otel.integrations.adoption import Adoption, attributes
from debbie_otel.transports.program.intercepting_websocket import InterceptingWebSocket

_Client = TypeVar("_Client")
_STOP_SECONDS = 15.0
_LOOPBACK = ("127.0.0.1", "::1")
_MISSING = object()
_CONNECTIONS = ("connection", "_connection", "websocket", "_websocket", "ws", "_ws")
"""What others call the attribute that holds a connection, or None as long as there is none."""


async def integrate_debbie_with_batch_client(
    batch_client: _Client, debbie: DebbieDebugger
) -> _Client:
    """Have Debbie watch all that a batch client says and hears, from now until its `run()` ends.

    Debbie is started if it does not run. When `run()` ends - also by an exception, or by
    `cleanup()` where there is one - the client is as it was before, and Debbie stops, unless it
    watches other clients too. What it has seen can be asked for afterwards. Nothing of the
    client's module is changed, only this one object.

    Args:
        batch_client: Before `run()`, or connected already. The memory of the server that it has
            started (`server_manager.process.pid`), or that it talks to on this machine, is watched.
        debbie: By `DebbieFactory`, or made from a `Config`.

    Returns:
        The same client.

    Raises:
        TypeError: It has no `run()`, or is no object that can be looked after.
        ConfigurationError: Debbie cannot be started.

    """
    if Adoption.of(batch_client):
        return batch_client
    if not callable(getattr(batch_client, "run", None)):
        raise TypeError(f"{type(batch_client).__name__} has no run()")
    debbie.prepare()
    integration = _Integration(batch_client, debbie)  # first: its receive task may run meanwhile
    try:
        await debbie.start()
    except BaseException:
        integration.give_up()
        raise
    return batch_client


class _Integration:
    """One batch client, and what it comes to hold, until its end."""

    def __init__(self, batch_client: Any, debbie: DebbieDebugger) -> None:
        self._client = batch_client
        self._debbie = debbie
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._adopted: list[Adoption] = []
        self._holders: list[Any] = []
        self._wrapped: list[InterceptingWebSocket] = []
        self._stopping: asyncio.Task[Any] | None = None
        self._runs = 0
        self._over = False
        self._look_after(batch_client, {"run": self._ending, "cleanup": self._ending})
        debbie.guests.add(self)
        debbie.watch_process(self._server_process)

    def give_up(self) -> None:
        """Leave the client as it was; Debbie could not be started."""
        self._release()

    # -- what the client comes to hold -----------------------------------------------------------

    def _look_after(self, target: Any, methods: dict[str, Any] | None = None) -> None:
        self._adopted.append(Adoption(target, self._seen, methods))
        self._look_at(target)

    def _look_at(self, target: Any) -> None:
        """See to what an object holds already."""
        if not any(holder is target for holder in self._holders):
            self._holders.append(target)
        for name, value in attributes(target):
            seen = self._seen(name, value)
            if seen is not value:
                with contextlib.suppress(AttributeError):  # seen it is, also where it is read-only
                    setattr(target, name, seen)

    def _seen(self, _: str, value: Any) -> Any:
        """Return what is kept instead of a value; whatever fails, the client gets its own."""
        with self._debbie.guard("the integration of a batch client"):
            if isinstance(value, InterceptingWebSocket) or self._over:
                return value
            if _is_connection(value):
                return self._wrap(value)
            if _is_websocket_client(value) and not Adoption.of(value):
                self._look_after_socket(value)
        return value

    def _look_after_socket(self, client: Any) -> None:
        """See to an object that holds a connection, or is to hold one."""
        try:
            self._look_after(client, {"connect": self._connecting(client)})
        except TypeError as error:
            why = f"a connection of {type(client).__name__} is seen only if it is there: {error}"
            self._debbie.guard.tell("integration", why)
            self._look_at(client)

    def _wrap(self, connection: Any) -> Any:
        for wrapper in self._wrapped:
            if wrapper.__wrapped__ is connection:
                return wrapper
        # A client that connects again and again leaves nothing behind.
        self._wrapped = [w for w in self._wrapped if _attribute(w, "state") is not State.CLOSED]
        wrapper = self._debbie.intercept_websocket(connection)
        self._wrapped.append(wrapper)
        return wrapper

    def _connecting(self, client: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Look again after `connect()`: what was set past `__setattr__` is found then."""

        def stand_before(connect: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(connect)
            def connect_and_look(*arguments: Any, **named: Any) -> Any:
                result = connect(*arguments, **named)
                if inspect.isawaitable(result):
                    return self._then(result, lambda: self._look_at(client))
                self._look_at(client)
                return result

            return connect_and_look

        return stand_before

    async def _then(self, awaitable: Any, afterwards: Callable[[], None]) -> Any:
        result = await awaitable
        afterwards()
        return result

    # -- its end -----------------------------------------------------------------------------

    def _ending(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """Return what does as `run` or `cleanup`, and then ends it all."""

        @functools.wraps(method)
        async def call(*arguments: Any, **named: Any) -> Any:
            self._runs += 1
            return await self._until_end(method(*arguments, **named))

        @functools.wraps(method)
        def call_that_may_block(*arguments: Any, **named: Any) -> Any:
            self._runs += 1
            result: Any = None
            try:
                result = method(*arguments, **named)
            finally:
                if not inspect.isawaitable(result):
                    self._end_from_any_thread()
            return self._until_end(result) if inspect.isawaitable(result) else result

        return call if inspect.iscoroutinefunction(method) else call_that_may_block

    async def _until_end(self, running: Any) -> Any:
        try:
            return await running
        finally:
            if self._ends():
                await self._stop()

    def _ends(self) -> bool:
        """Take the end of one method; return whether Debbie is to stop."""
        self._runs -= 1  # a `cleanup` within `run` is not the end
        return self._runs == 0 and self._release()

    async def _stop(self) -> None:
        """Stop Debbie in the loop in which it was started."""
        if asyncio.get_running_loop() is self._loop:
            await self._debbie.stop()
        elif self._loop.is_running():
            stopping = asyncio.run_coroutine_threadsafe(self._debbie.stop(), self._loop)
            await asyncio.wrap_future(stopping)

    def _end_from_any_thread(self) -> None:
        """End after a `run` that was no coroutine."""
        if not self._ends() or not self._loop.is_running():
            return
        if threading.get_ident() == self._thread:  # it has held up the loop
            self._stopping = self._loop.create_task(self._debbie.stop(), name="debbie stops")
        else:
            stopping = asyncio.run_coroutine_threadsafe(self._debbie.stop(), self._loop)
            stopping.result(_STOP_SECONDS)

    def _release(self) -> bool:
        """Leave the client as it was; return whether nothing else needs Debbie."""
        if self._over:
            return False
        self._over = True
        with self._debbie.guard("the integration of a batch client"):
            self._put_back()
        debbie = self._debbie
        debbie.guests.discard(self)
        if debbie.guests:
            return False
        debbie.watch_process(None)
        return True

    def _put_back(self) -> None:
        for adoption in self._adopted:
            adoption.release()
        for holder in self._holders:
            for name, value in list(attributes(holder)):
                if isinstance(value, InterceptingWebSocket) and value in self._wrapped:
                    setattr(holder, name, value.__wrapped__)
        for wrapper in self._wrapped:
            wrapper.release()

    # -- the server's memory -----------------------------------------------------------------

    def _server_process(self) -> int | None:
        """Return the process of the server that the client has started, or that it talks to."""
        for _, value in attributes(self._client):
            process = _attribute(value, "process", value)
            pid = _attribute(process, "pid")
            if isinstance(pid, int):
                return pid
        for wrapper in self._wrapped:
            address = _attribute(wrapper, "remote_address")
            if isinstance(address, tuple) and address[0] in _LOOPBACK:
                return listener(address[1])
        return None


def _is_connection(value: Any) -> bool:
    """Tell a connection of websockets, of any kind, from anything else."""
    legacy = any(kind.__module__.startswith("websockets.legacy.") for kind in type(value).__mro__)
    return legacy or isinstance(_attribute(value, "protocol"), Protocol)


def _is_websocket_client(value: Any) -> bool:
    """Tell what can come to hold a connection."""
    if isinstance(value, type) or inspect.ismodule(value) or inspect.isroutine(value):
        return False
    return callable(_attribute(value, "connect")) or any(
        _attribute(value, name, _MISSING) is not _MISSING for name in _CONNECTIONS
    )


def _attribute(value: Any, name: str, default: Any = None) -> Any:
    """Return an attribute of a foreign object, whatever its properties may raise."""
    try:
        return getattr(value, name, default)
    except Exception:  # noqa: BLE001 - then it is not what we look for
        return default
