"""`python -m benchmarks.detector`: what the anomaly detector costs the event loop, and how soon
it tells. Everything runs in this one process, on a real loop, with the proxy's own settings.

- the loop's scheduling latency with many live sessions, with and without looks at them, in turns;
- the time from the message that completes a tool loop or an error burst to its alert;
- the CPU time that the detector takes per event, beside the session model's own.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import click
import msgspec

from debbie_otel.app.config import Config
from debbie_otel.app.debugger import DebbieDebugger
from debbie_otel.app.interceptor import WebSocketInterceptor
from debbie_otel.app.live_detection import LiveRunner
from debbie_otel.cli.proxy import calm_interpreter
from debbie_otel.detection.alerts import Transition
from debbie_otel.detection.detector import AnomalyDetector
from debbie_otel.session.events import Event
from debbie_otel.wire.direction import MessageDirection

UP, DOWN = MessageDirection.CLIENT_TO_SERVER, MessageDirection.SERVER_TO_CLIENT
TICK = 0.001
LATENCY_TARGET = 5.0
ALERT_TARGET = 250.0
_TRAFFIC_EVERY = 5
"""A message of some session goes by at every fifth tick."""


@dataclass(frozen=True)
class Settings:
    """What one run does.

    Attributes:
        sessions: That live at the same time.
        interval: Seconds between two looks; the default of a configuration is five.
        seconds: Of each slice of the latency measurement.
        slices: With looks, and as many without.
        trials: Alerts that are timed, of each kind.
        events: Of which the CPU time is measured.

    """

    sessions: int = 2000
    interval: float = 1.0
    seconds: float = 3.0
    slices: int = 3
    trials: int = 50
    events: int = 30_000


@dataclass
class Figures:
    """What was measured; times in milliseconds, `event_us` in microseconds."""

    without: list[float] = field(default_factory=list)
    with_looks: list[float] = field(default_factory=list)
    look_ms: list[float] = field(default_factory=list)
    loops: list[float] = field(default_factory=list)
    bursts: list[float] = field(default_factory=list)
    event_us: float = 0.0
    model_us: float = 0.0

    @property
    def added(self) -> float:
        """What looks add to the loop's p99 latency, in milliseconds."""
        return percentile(self.with_looks, 0.99) - percentile(self.without, 0.99)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which a share of them lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def debugger(interval: float) -> DebbieDebugger:
    """Return Debbie without telemetry, which has a benchmark of its own."""
    config = Config()
    detection = msgspec.structs.replace(config.detection, check_interval=interval)
    return DebbieDebugger(
        msgspec.structs.replace(config, detection=detection),
        environ={},
        telemetry=False,
        reports=False,
    )


class AgentSession:
    """A session on a connection of its own: AIWhisperer's messages, put in as the tap does."""

    def __init__(self, debbie: DebbieDebugger, name: str) -> None:
        self._clock = debbie.clock
        self._connection: WebSocketInterceptor = debbie.interceptor()
        self._name = name
        self._calls = 0
        self._send(UP, '{"jsonrpc":"2.0","id":0,"method":"startSession","params":{"userId":"u"}}')
        self._send(DOWN, f'{{"jsonrpc":"2.0","id":0,"result":{{"sessionId":"{name}","status":1}}}}')

    def ask(self) -> None:
        """Begin a turn."""
        self._calls += 1
        self._send(
            UP,
            f'{{"jsonrpc":"2.0","id":{self._calls},"method":"sendUserMessage","params":'
            f'{{"sessionId":"{self._name}","message":"go on with step {self._calls}"}}}}',
        )

    def chunk(self) -> None:
        """Let the answer flow."""
        self._send(
            DOWN,
            '{"jsonrpc":"2.0","method":"StreamingUpdate","params":{"sessionId":'
            f'"{self._name}","content":"step {self._calls}","isPartial":true}}}}',
        )

    def answer(self, text: str | None, arguments: Sequence[int] = ()) -> None:
        """End a turn: None for a text is a failure of the model, an argument a tool's call."""
        calls = ",".join(
            f'{{"id":"c{self._calls}-{number}","type":"function","function":{{"name":"read_file",'
            f'"arguments":"{{\\"path\\": {argument}}}"}}}}'
            for number, argument in enumerate(arguments)
        )
        said = "null" if text is None else f'"{text}"'
        self._send(
            DOWN,
            f'{{"jsonrpc":"2.0","id":{self._calls},"result":{{"messageId":"m","status":0,'
            f'"ai_response":{said},"tool_calls":[{calls}]}}}}',
        )

    def end(self) -> None:
        """Close the connection."""
        self._connection.closed(None)

    def _send(self, direction: MessageDirection, text: str) -> None:
        self._connection.message_received(direction, text.encode(), self._clock())


def populate(debbie: DebbieDebugger, count: int) -> list[AgentSession]:
    """Return live sessions with a past; every other one is in the middle of a turn."""
    sessions = [AgentSession(debbie, f"session-{number:05}") for number in range(count)]
    for number, session in enumerate(sessions):
        for turn in range(8):
            session.ask()
            session.chunk()
            session.answer(f"done with {number} {turn}", [turn])
        if number % 2:
            session.ask()
    return sessions


# -- (a) latency of the event loop ----------------------------------------------------------------


async def ticks(sessions: Sequence[AgentSession], seconds: float) -> list[float]:
    """Return how late the loop came to each tick, in ms, while some messages go by."""
    loop = asyncio.get_running_loop()
    late: list[float] = []
    end = loop.time() + seconds
    number = 0
    while (due := loop.time() + TICK) < end:
        await asyncio.sleep(TICK)
        late.append((loop.time() - due) * 1e3)
        number += 1
        if number % _TRAFFIC_EVERY == 0:
            sessions[(number * 2 + 1) % len(sessions)].chunk()
    return late


async def latencies(settings: Settings, figures: Figures) -> None:
    """Measure the loop with and without looks, in turns, so that noise hits both alike."""
    debbie = debugger(settings.interval)
    assert debbie.detector is not None
    sessions = populate(debbie, settings.sessions)
    for _ in range(settings.slices):
        figures.without += await ticks(sessions, settings.seconds)
        runner = LiveRunner(
            debbie.detector,
            debbie.clock,
            debbie.guard,
            debbie.monitor.events,
        )
        runner.start()
        figures.with_looks += await ticks(sessions, settings.seconds)
        await runner.stop()
    for _ in range(5):
        started = time.perf_counter_ns()
        await asyncio.to_thread(debbie.detector.check, debbie.clock())
        figures.look_ms.append((time.perf_counter_ns() - started) / 1e6)
    await debbie.stop()


# -- (b) from the wire to the alert ---------------------------------------------------------------


async def alerted(
    debbie: DebbieDebugger, alert_type: str, provoke: Callable[[AgentSession], None], trial: int
) -> float:
    """Return the milliseconds from the message that completes an anomaly to its alert."""
    name = f"{alert_type}-{trial}"
    told: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def hear(transition: Transition) -> None:
        alert = transition.alert
        if (alert.session_id, alert.alert_type) == (name, alert_type) and not told.done():
            told.set_result(time.perf_counter_ns())

    unsubscribe = debbie.monitor.subscribe_to_alerts(hear)
    session = AgentSession(debbie, name)
    # Anywhere between two looks, not always just after one.
    await asyncio.sleep(trial % 7 * 0.013)
    provoke(session)
    completed = time.perf_counter_ns()
    try:
        return (await asyncio.wait_for(told, 10) - completed) / 1e6
    finally:
        unsubscribe()
        session.end()


def loop_of_tools(session: AgentSession) -> None:
    """Call the same tool five times; AIWhisperer tells of a whole turn's tools at its end."""
    session.ask()
    session.answer("done", [1] * 5)


def burst_of_errors(session: AgentSession) -> None:
    """Two turns that go well, three in which the model fails."""
    for text in ("a", "b", None, None, None):
        session.ask()
        session.answer(text)


async def alert_times(settings: Settings, figures: Figures) -> None:
    """Time alerts, beside the sessions that live."""
    # A long interval: what comes early is not the periodic look by chance.
    async with debugger(3600.0) as debbie:
        populate(debbie, settings.sessions)
        for trial in range(settings.trials):
            figures.loops.append(await alerted(debbie, "tool_loop", loop_of_tools, trial))
            figures.bursts.append(await alerted(debbie, "high_error_rate", burst_of_errors, trial))


# -- (c) CPU per event ----------------------------------------------------------------------------


def event_costs(settings: Settings, figures: Figures) -> None:
    """Replay the same events into a detector, and count what the session model took for them."""
    events: list[Event] = []
    debbie = debugger(5.0)
    debbie.monitor.subscribe(events.append)
    started = time.process_time_ns()
    populate(debbie, settings.events // 64)
    whole = time.process_time_ns() - started
    detector = AnomalyDetector(debbie.config.detection)
    started = time.process_time_ns()
    for event in events:
        detector.observe(event)
    alone = time.process_time_ns() - started
    figures.event_us = alone / len(events) / 1e3
    figures.model_us = (whole - alone) / len(events) / 1e3
    detector.shutdown()


async def run(settings: Settings) -> Figures:
    """Measure everything."""
    figures = Figures()
    event_costs(settings, figures)
    calm_interpreter()
    await latencies(settings, figures)
    await alert_times(settings, figures)
    return figures


def as_text(settings: Settings, figures: Figures) -> str:
    """Return the figures as a table."""
    lines = [
        f"The detector, {settings.sessions:,} live sessions, a look each {settings.interval:g} s"
    ]
    for name, values in (("without looks", figures.without), ("with looks", figures.with_looks)):
        lines.append(
            f"  event loop {name:<14} p50 {percentile(values, 0.5):6.2f}"
            f"  p99 {percentile(values, 0.99):6.2f}  max {max(values):6.2f} ms"
        )
    lines.append(f"  added to the p99: {figures.added:.2f} ms (target {LATENCY_TARGET:g})")
    lines.append(f"  a look takes {statistics.median(figures.look_ms):.0f} ms in its thread")
    for name, values in (("tool loop", figures.loops), ("error burst", figures.bursts)):
        lines.append(
            f"  {name} to alert: median {statistics.median(values):.0f},"
            f" max {max(values):.0f} ms of {len(values)} (target {ALERT_TARGET:g})"
        )
    lines.append(
        f"  CPU per event: {figures.event_us:.1f} us, the session model {figures.model_us:.1f} us"
    )
    return "\n".join(lines)


@click.command(help=__doc__)
@click.option("--sessions", default=2000, show_default=True, help="That live at the same time.")
@click.option("--seconds", default=3.0, show_default=True, help="Of each slice.")
@click.option("--interval", default=1.0, show_default=True, help="Seconds between two looks.")
@click.option("--trials", default=50, show_default=True, help="Alerts timed, of each kind.")
def main(sessions: int, seconds: float, interval: float, trials: int) -> None:
    settings = Settings(sessions=sessions, seconds=seconds, interval=interval, trials=trials)
    click.echo(as_text(settings, asyncio.run(run(settings))))


if __name__ == "__main__":
    main()
