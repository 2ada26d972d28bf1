"""An interceptor inside a program: what it sees is taken in a little later, and in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from opentelemetry.sdk.trace import TracerProvider

from debbie_otel.app.config import Config
from debbie_otel.app.debugger import DebbieDebugger
from debbie_otel.app.ingest_queue import IngestQueue
from debbie_otel.app.interceptor import InterceptorParts
from debbie_otel.app.program_interceptor import AT_ONCE, ProgramInterceptor
from debbie_otel.errors import FailOpen
from debbie_otel.session.dialect.registry import Dialects, builtin_dialects
from debbie_otel.session.model import TraceContext
from tests.play import C2S, S2C


class Program:
    """A client, what was taken in of its connection so far, and for which of its spans."""

    def __init__(
        self,
        guard: FailOpen | None = None,
        queue: IngestQueue | None = None,
        at_once: int = 0,
    ) -> None:
        debbie = DebbieDebugger(Config(), telemetry=False)
        self.sink = asyncio.Event()
        self.also: Callable[[str], None] = lambda _: None
        self.times: list[int] = []
        self.taken: list[str] = []
        self.callers: list[TraceContext | None] = []
        self.interceptor = ProgramInterceptor(
            "conn-A",
            InterceptorParts(
                dialects=Dialects(builtin_dialects(), "generic"),
                monitor=debbie.monitor,
                clock=lambda: 0,
                guard=guard or debbie.guard,
                sink=lambda time_ns, _key, _direction, payload: self._take(time_ns, payload),
            ),
            queue or IngestQueue(),
            "client",
            at_once=at_once,
        )

    def _take(self, time_ns: int, payload: bytes) -> None:
        self.sink.set()
        self.times.append(time_ns)
        self.taken.append(payload.decode())
        self.callers.append(self.interceptor.connection.caller)
        self.also(payload.decode())

    def receive(self, payload: str) -> None:
        self.interceptor.message_received(S2C, payload.encode(), 0)

    def send(self, *payloads: str) -> None:
        for payload in payloads:
            self.interceptor.message_received(C2S, payload.encode(), 0)


async def test_what_is_seen_on_a_loop_is_taken_in_soon_and_together() -> None:
    program = Program()
    program.send("1", "2")
    program.receive("3")
    program.send("4")
    assert program.taken == []
    async with asyncio.timeout(5):
        await program.sink.wait()
    assert program.taken == ["1", "2", "3", "4"]
    program.sink.clear()
    program.receive("5")
    async with asyncio.timeout(5):
        await program.sink.wait()
    assert program.taken[4:] == ["5"]


async def test_the_first_ones_are_taken_in_at_once() -> None:
    program = Program(at_once=AT_ONCE)
    program.send(*map(str, range(AT_ONCE - 1)))
    program.receive("and one")
    assert len(program.taken) == AT_ONCE
    program.receive("later")
    assert len(program.taken) == AT_ONCE


async def test_each_message_has_the_time_at_which_it_was_seen() -> None:
    program = Program()
    for time_ns in (5, 7):
        program.interceptor.message_received(S2C, b"x", time_ns)
    program.interceptor.catch_up()
    assert program.times == [5, 7]


async def test_whoever_wants_to_know_is_told_all() -> None:
    program = Program()
    program.send("1")
    program.receive("2")
    program.interceptor.catch_up()
    assert program.taken == ["1", "2"]


async def test_nothing_is_lost_at_the_end() -> None:
    program = Program()
    program.send("1")
    program.receive("2")
    program.interceptor.close(0, "disconnected")
    assert program.taken == ["1", "2"]
    program.receive("3")
    program.interceptor.catch_up()
    assert program.taken == ["1", "2"]


@pytest.mark.parametrize("end", ["message_skipped", "expire", "handshake_received"])
async def test_what_comes_otherwise_comes_after_it(end: str) -> None:
    program = Program()
    program.send("1")
    arguments: tuple[object, ...] = {
        "message_skipped": (S2C, b"[", 10**9, 0),
        "expire": (0,),
        "handshake_received": (None, []),
    }[end]
    getattr(program.interceptor, end)(*arguments)
    assert program.taken == ["1"]


async def test_much_does_not_wait() -> None:
    program = Program()
    program.send(*map(str, range(127)))
    assert program.taken == []
    program.receive("127")
    assert program.taken == [str(number) for number in range(128)]
    program.send("x")
    program.receive("y" * 100_000)
    assert program.taken[128:] == ["x", "y" * 100_000]
    program.send("z" * 60_000)  # bytes that were taken in do not count any more
    assert len(program.taken) == 130


async def test_what_is_seen_while_it_catches_up_comes_last() -> None:
    program = Program()

    def answer(payload: str) -> None:
        if payload == "1":
            program.receive("3")
            program.interceptor.catch_up()

    program.also = answer
    program.send("1", "2")
    program.interceptor.catch_up()
    assert program.taken == ["1", "2", "3"]


async def test_an_error_of_ours_costs_one_message_and_reaches_nobody() -> None:
    failed: list[str] = []
    program = Program(FailOpen(failed.append, strict=False))

    def fail(payload: str) -> None:
        if payload == "1":
            raise ValueError(payload)

    program.also = fail
    program.send("1", "2")
    program.receive("3")
    program.interceptor.catch_up()
    assert program.taken == ["1", "2", "3"]
    assert failed == ["the recording"]


async def test_the_threads_of_others_are_served_too() -> None:
    program = Program()
    program.send("1")
    await asyncio.to_thread(program.receive, "2")
    program.interceptor.catch_up()
    assert program.taken == ["1", "2"]


def test_a_loop_that_has_ended_keeps_nothing_back_for_ever() -> None:
    program = Program()

    async def talk() -> None:
        program.send("1")

    asyncio.run(talk())
    assert program.taken == []
    program.interceptor.expire(0)  # as is done every few seconds
    assert program.taken == ["1"]


async def test_it_belongs_to_the_span_in_which_it_was_sent() -> None:
    program = Program()
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("program")
    with tracer.start_as_current_span("work") as span:
        program.send("1")
    program.send("2")
    program.interceptor.catch_up()
    (caller, none) = program.callers
    assert none is None
    assert caller is not None
    assert f"{span.get_span_context().span_id:016x}" in caller.traceparent


def test_without_a_loop_it_is_taken_in_at_once() -> None:
    program = Program()
    program.send("1")
    assert program.taken == ["1"]


async def test_connections_of_one_program_stay_in_order() -> None:
    queue = IngestQueue()
    order: list[str] = []
    first, second = Program(queue=queue), Program(queue=queue)
    first.also = second.also = order.append
    first.send("1")
    second.send("2")
    first.receive("3")
    second.interceptor.catch_up()
    assert order == ["1", "2", "3"]


async def test_a_loop_that_has_ended_holds_up_no_other() -> None:
    program = Program()

    async def talk() -> None:
        program.send("1")

    await asyncio.to_thread(asyncio.run, talk())
    program.sink.clear()
    program.send("2")
    async with asyncio.timeout(5):
        await program.sink.wait()
    assert program.taken == ["1", "2"]
