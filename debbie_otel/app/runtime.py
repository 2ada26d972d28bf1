"""Runtime: what lives from a start to a stop: export, detection, interventions, interceptors.

After a stop all of it is spent; the next start makes a new `Runtime`. What is kept across stop and
start - the monitor with its subscribers, registered strategies - is in `shared_state`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial

from debbie_otel.app.channels.program_channel import ProgramChannel
from debbie_otel.app.channels.server_channel import ServerChannel
from debbie_otel.app.config import Config
from debbie_otel.app.interceptor import InterceptorParts, WebSocketInterceptor
from debbie_otel.app.live_detection import LiveRunner, detector_of
from debbie_otel.app.program_interceptor import ProgramInterceptor
from debbie_otel.app.recording import RecordingWriter
from debbie_otel.app.shared_state import SharedState
from debbie_otel.detection.detector import AnomalyDetector
from debbie_otel.detection.loops import LoopSteps
from debbie_otel.intervention.attempt import Environment, Reach, is_asked_in
from debbie_otel.intervention.event_loop import call_on
from debbie_otel.intervention.wiring import Interventions
from debbie_otel.session.event_bus import Subscriber, Unsubscribe
from debbie_otel.session.events import Event
from debbie_otel.session.model import Call
from debbie_otel.session.session import Session
from debbie_otel.telemetry.attributes import Attributes
from debbie_otel.telemetry.connection_spans import RecorderOptions
from debbie_otel.telemetry.export.destination import default_data_dir
from debbie_otel.telemetry.export.pipeline import (
    Pipeline,
    ShutdownReport,
    TelemetrySettings,
    our_scope,
)
from debbie_otel.telemetry.host_providers import Borrowed, providers_of_program
from debbie_otel.telemetry.hub import TelemetryHub
from debbie_otel.telemetry.instruments import OpenCalls
from debbie_otel.telemetry.record_alerts import AlertRecorder
from debbie_otel.telemetry.record_interventions import InterventionRecorder
from debbie_otel.transports.program.observed import Side
from debbie_otel.wire.direction import MessageDirection

_SWEEP_SECONDS = 5.0


class Runtime:
    """Everything that is made for one start.

    Args:
        config: Everything that can be set.
        shared: What is kept across stop and start.

    Attributes:
        pipeline: Where telemetry leaves; None without, and where the program's providers do it.
        detector: What raises alerts; None where it is switched off.
        interventions: What is done about them; None likewise, and without telemetry.
        hub: Where interceptors record; None without telemetry.
        loop: That it was started in; None before.
        ended: Whether it is spent.

    Raises:
        ConfigurationError: Something in the configuration is wrong.

    """

    def __init__(self, config: Config, shared: SharedState) -> None:
        self.config = config
        self.pipeline: Pipeline | None = None
        self.detector: AnomalyDetector | None = None
        self.interventions: Interventions | None = None
        self.hub: TelemetryHub | None = None
        self.ended = False
        self._shared = shared
        self._borrowed: Borrowed | None = None
        self._runner: LiveRunner | None = None
        self._recording: RecordingWriter | None = None
        self._opened: dict[str, tuple[int, WebSocketInterceptor]] = {}  # numbered, by connection
        self._sweeper: asyncio.Task[None] | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0  # that the loop runs on
        self._unsubscribe: list[Callable[[], None]] = []
        self._report: ShutdownReport | None = None
        try:
            self._make_parts()
        except BaseException:
            self._close()
            if self.pipeline is not None:
                self.pipeline.shutdown()
            raise

    # -- life --------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether it has been started, and not stopped since."""
        return self._sweeper is not None and not self.ended

    async def start(self) -> None:
        """Begin to look, to act, to sweep up what is overdue, and to record if that is asked for.

        Once is enough.
        """
        loop = asyncio.get_running_loop()
        if self._sweeper is not None:
            return
        self.loop, self._thread = loop, threading.get_ident()
        self._shared.monitor.loop = loop
        if self.config.proxy.record is not None:
            self._recording = RecordingWriter(
                self.config.proxy.record, max_bytes=self.config.limits.recording_bytes
            )
        if self.pipeline is not None:
            await asyncio.to_thread(self.pipeline.start)
            self.pipeline.report_health(loop)
        if self.interventions is not None:
            await self.interventions.start()
        if self._runner is not None:
            self._runner.start()
        self._sweeper = loop.create_task(self._sweep(), name="sweeper")

    async def stop(self) -> ShutdownReport | None:
        """End what is open as aborted, and send out the rest of the telemetry. Once is enough."""
        if self.ended:
            return self._report
        self.ended = True
        self.catch_up()
        try:
            await self._stop_tasks()
        finally:
            self._close()
            self._shared.monitor.loop = None
            if self.pipeline is not None:
                self._report = await asyncio.to_thread(self.pipeline.shutdown)
        return self._report

    async def _stop_tasks(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        try:
            if self._runner is not None:
                await self._runner.stop()
        finally:
            if self.interventions is not None:
                await self.interventions.stop()
            channels = [interceptor.channel for interceptor in self.interceptors]
            await asyncio.gather(*(c.stop() for c in channels if isinstance(c, ProgramChannel)))

    def _close(self) -> None:
        if self.detector is not None:
            for transition in self.detector.end(self._shared.clock()):
                self._shared.monitor.events.publish(transition)
            self.detector.shutdown()
        for interceptor in self.interceptors:
            interceptor.close(self._shared.clock(), "shutdown")
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        if self._recording is not None:
            self._recording.close()
            self._recording = None
        if self._borrowed is not None:
            self._borrowed.release()

    # -- connections -------------------------------------------------------------------------

    @property
    def interceptors(self) -> list[WebSocketInterceptor]:
        """Those of open connections."""
        return [interceptor for _, interceptor in list(self._opened.values())]

    def interceptor(
        self, attributes: Attributes | None, key: str | None, side: Side | None
    ) -> WebSocketInterceptor:
        """Return the observer of a new connection; see `DebbieDebugger.interceptor`."""
        shared = self._shared
        parts = InterceptorParts(
            dialects=shared.dialects,
            monitor=shared.monitor,
            hub=None if self.ended else self.hub,
            clock=shared.clock,
            guard=shared.guard,
            sink=self._record if self.config.proxy.record is not None else None,
            max_message_size=self.config.proxy.max_message_size,
            on_close=self._closed,
        )
        number = next(shared.numbers)
        key = key or f"conn-{shared.name}-{number}"
        if side is None:
            interceptor = WebSocketInterceptor(key, parts, attributes)
        else:
            interceptor = ProgramInterceptor(key, parts, shared.queue, side, attributes)
        self._opened[interceptor.connection.key] = number, interceptor
        return interceptor

    def reach(self, session_id: str) -> Reach | None:
        """Return a live session and the way to it; None where it cannot be acted on.

        Of several connections that share it, that on which a client waits, else the latest of
        those whose clients speak in it, else the latest that was told of it. Where both ends are in
        this program, the client's: it can do more.
        """
        self.catch_up()
        session = self._shared.monitor.session(session_id)
        if session is None or not session.live:
            return None
        found, used = None, False
        for interceptor in self._on(session):
            channel, connection = interceptor.channel, interceptor.connection
            if channel is None:
                continue
            if any(is_asked_in(call, session) for call in connection.pending_calls):
                return Reach(session, connection, channel)  # here a client waits
            if found is None or (not used and connection.is_used(session)):
                found, used = Reach(session, connection, channel), connection.is_used(session)
        return found

    def _on(self, session: Session) -> list[WebSocketInterceptor]:
        """Return the observers of the connections of a session: the latest first, servers last."""
        found = [opened for key in list(session.connections) if (opened := self._opened.get(key))]
        found.sort(key=lambda one: (isinstance(one[1].channel, ServerChannel), -one[0]))
        return [interceptor for _, interceptor in found]

    def catch_up(self) -> None:
        """Have connections of the program take in what they have seen so far."""
        self._shared.queue.catch_up()

    def subscribe(self, subscriber: Subscriber[Event], *kinds: type[Event]) -> Unsubscribe:
        """Subscribe what acts: on Debbie's event loop, whatever thread an event comes on."""

        def told(event: Event) -> None:
            if threading.get_ident() == self._thread:
                subscriber(event)
            elif self.loop is not None:
                call_on(self.loop, partial(subscriber, event))

        return self._shared.monitor.subscribe(told, *kinds)

    def calls_of(self, session: Session) -> list[Call]:
        """Return the open requests of a session, on whatever connection."""
        self.catch_up()
        return self._shared.monitor.live.calls_of(session)

    def loop_steps(self, session_id: str) -> LoopSteps | None:
        """Return the calls that would be more of the same; None without a loop."""
        return None if self.detector is None else self.detector.steps(session_id)

    def agent_memory(self) -> int:
        """Return the bytes that the agent's process has; 0 where they are not known."""
        return self._shared.memory.current

    def _record(self, time_ns: int, key: str, direction: MessageDirection, payload: bytes) -> None:
        if self._recording is not None:
            self._recording.write(time_ns, key, direction, payload)

    def _closed(self, interceptor: WebSocketInterceptor) -> None:
        self._opened.pop(interceptor.connection.key, None)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = self._shared.clock()
            for interceptor in self.interceptors:
                interceptor.expire(now)
                if interceptor.abandoned:
                    interceptor.close(now, "connection_lost")

    # -- parts -------------------------------------------------------------------------------

    def _make_parts(self) -> None:
        if self._shared.telemetry:
            self.hub = self._make_hub()
        if self.config.detection.enabled:
            self.detector = self._make_detector()
            if self._shared.telemetry:
                self.interventions = self._make_interventions()

    def _make_hub(self) -> TelemetryHub:
        shared, settings = self._shared, self.config.telemetry
        providers = providers_of_program(shared.tracer, shared.meter)
        if not providers.complete:
            self.pipeline = Pipeline(
                TelemetrySettings(
                    otlp=settings.otlp,
                    service_name=settings.service_name,
                    data_dir=settings.data_dir,
                    flush_timeout=settings.flush_timeout,
                    tame_sdk_logs=shared.own_process,
                ),
                shared.environ,
                shared.clock,
            )
        if providers.any:
            self._borrowed = Borrowed(providers, our_scope(), self.pipeline)
        outlet = self._borrowed or self.pipeline
        assert outlet is not None
        return TelemetryHub(
            outlet,
            RecorderOptions(
                stream_chunks=settings.stream_chunks, capture_content=settings.capture_content
            ),
            settings.method_limit,
            lambda dialect: OpenCalls(*shared.monitor.live.open_calls(dialect, shared.clock())),
            lambda: shared.memory.current,
            shared.traces,
        )

    def _make_detector(self) -> AnomalyDetector:
        shared, config = self._shared, self.config
        monitor = shared.monitor
        detector = detector_of(config, shared.memory, shared.readers)
        if self.hub is not None:
            recorder = AlertRecorder(self.hub, log_events=config.telemetry.log_events)
            self._unsubscribe.append(
                monitor.subscribe_to_alerts(
                    lambda seen: recorder.record(seen, monitor.session(seen.alert.session_id))
                )
            )
        self._runner = LiveRunner(
            detector,
            shared.clock,
            shared.guard,
            monitor.events,
            self.catch_up,
        )
        self._unsubscribe.append(monitor.events.subscribe_handlers(detector.handlers))
        return detector

    def _make_interventions(self) -> Interventions:
        shared, config = self._shared, self.config
        monitor = shared.monitor
        data_dir = config.telemetry.data_dir or default_data_dir(shared.environ)
        if self.hub is not None:
            recorder = InterventionRecorder(self.hub, log_events=config.telemetry.log_events)
            self._unsubscribe.append(
                monitor.subscribe_to_interventions(
                    lambda event: recorder.record(event, monitor.session(event.alert.session_id))
                )
            )
        return Interventions(
            config.interventions,
            data_dir / "history.sqlite3",
            Environment(
                sessions=self,
                events=monitor.events,
                clock=shared.clock,
                guard=shared.guard,
                records=shared.records,
                environ=shared.environ,
                capture=config.telemetry.capture_content,
            ),
            shared.strategies,
        )
