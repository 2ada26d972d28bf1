"""DebbieDebugger: the public API for embedding Debbie. `runtime` makes and wires the parts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, ClassVar, Self

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from debbie_otel import semconv
from debbie_otel.app.channels.client_channel import ClientChannel
from debbie_otel.app.channels.server_channel import ServerChannel
from debbie_otel.app.channels.tap_channel import TapChannel
from debbie_otel.app.clock import wall_clock
from debbie_otel.app.config import Config, load_dialects
from debbie_otel.app.interceptor import WebSocketInterceptor
from debbie_otel.app.monitor import DebbieMonitor
from debbie_otel.app.program_interceptor import ProgramInterceptor
from debbie_otel.app.runtime import Runtime
from debbie_otel.app.shared_state import SharedState
from debbie_otel.detection.detector import AnomalyDetector
from debbie_otel.detection.memory import MemoryWatch, listener
from debbie_otel.errors import ConfigurationError, FailOpen
from debbie_otel.intervention.attempt import Reach, Strategy
from debbie_otel.intervention.channel import Channel
from debbie_otel.intervention.wiring import Interventions
from debbie_otel.report.analysis import SessionAnalysis
from debbie_otel.report.live import LiveReporter
from debbie_otel.session.directory import Limits
from debbie_otel.session.model import Clock
from debbie_otel.session.record import SessionRecords
from debbie_otel.telemetry.attributes import Attributes
from debbie_otel.telemetry.export.pipeline import Pipeline, ShutdownReport
from debbie_otel.telemetry.health import Connections
from debbie_otel.transports.addresses import parse_listen, parse_upstream
from debbie_otel.transports.program.intercepting_websocket import InterceptingWebSocket
from debbie_otel.transports.program.observed import Opening, Side, Watch
from debbie_otel.transports.tap.dialer import Dialer
from debbie_otel.transports.tap.listener import Tap, TapOptions
from debbie_otel.transports.tap.opening import ClientConnection
from debbie_otel.transports.tls import listen_context, upstream_context


class DebbieDebugger:
    """Debbie: put before a server (`tap`), or around connections of this program.

    An async context manager, which can be started and stopped any number of times; subscribers of
    its monitor and registered strategies stay. Several may run in one process. Making one starts
    nothing: no thread, no connection, no file.

    Args:
        config: Everything that can be set.
        environ: Where the standard `OTEL_*` variables are read.
        clock: Tells the time.
        telemetry: False records nothing; the monitor's subscribers still hear everything.
        tracer_provider: Where spans go; by default the global one if the program has set any, else
            Debbie's own export.
        meter_provider: Where measurements go, likewise.
        reports: Whether what a report tells is kept from the start. If not, it begins with the
            first question, with what interventions had recorded until then.

    Attributes:
        own_process: Whether the process is Debbie's alone, as the command's is. Only then are
            complaints of OpenTelemetry's exporters silenced, which in a program may be about the
            program's own.
        monitor: The live sessions; `monitor.subscribe` for their events.
        memory: Watches the agent's process.
        session_manager: Any object of the program's, for strategies of its own; Debbie leaves it
            alone.
        guests: What needs it to run; the last one to leave stops it (see `integrations`).

    Raises:
        ConfigurationError: Something in the configuration is wrong.

    """

    own_process: ClassVar[bool] = False

    def __init__(
        self,
        config: Config,
        *,
        environ: Mapping[str, str] | None = None,
        clock: Clock | None = None,
        telemetry: bool = True,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        reports: bool = True,
    ) -> None:
        self.config = config
        self.clock = clock or wall_clock()
        self.guard = FailOpen(self._count_failure)
        self.dialects = load_dialects(config)
        self.monitor = DebbieMonitor(
            Limits(
                pending_calls=config.limits.pending_calls,
                sessions=config.limits.sessions,
                call_timeout_ns=round(config.limits.call_timeout * 1e9),
            ),
            self.guard,
        )
        self.memory = MemoryWatch(self._watched_process, config.detection.memory_floor)
        self.session_manager: object = None
        self.guests: set[object] = set()
        self._find_process: Callable[[], int | None] | None = None
        self._shared = SharedState(
            monitor=self.monitor,
            records=SessionRecords(
                self.monitor.live, capture_content=config.telemetry.capture_content
            ),
            guard=self.guard,
            clock=self.clock,
            dialects=self.dialects,
            memory=self.memory,
            environ=os.environ if environ is None else environ,
            telemetry=telemetry,
            own_process=self.own_process,
            tracer=tracer_provider,
            meter=meter_provider,
            name=f"{os.getpid():x}-{self.clock() & 0xFFFFFFFF:08x}",
        )
        self._runtime = Runtime(config, self._shared)
        self._lock: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None
        self._reporter = self._make_reporter() if reports else None

    # -- life --------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether it has been started, and not stopped since."""
        return self._runtime.is_running

    def prepare(self) -> None:
        """Make what a start needs, so that connections can be observed a little before it."""
        if self._runtime.ended:
            self._runtime = Runtime(self.config, self._shared)

    async def start(self) -> None:
        """Begin; nothing where it runs already.

        Raises:
            ConfigurationError: What the configuration names cannot be had, such as a file.

        """
        async with self._one_at_a_time():
            self.prepare()
            try:
                await self._runtime.start()
            except BaseException:
                await self._runtime.stop()
                raise

    async def stop(self) -> ShutdownReport | None:
        """End what is open as aborted, and send out the rest of the telemetry; once is enough.

        Takes no longer than `telemetry.flush_timeout`, whatever the collector does.
        """
        async with self._one_at_a_time():
            return await self._runtime.stop()

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop."""
        await self.stop()

    # -- what it is put before ------------------------------------------------------------------

    def tap(self) -> Tap:
        """Return the proxy that the configuration describes, ready to be started."""
        proxy = self.config.proxy
        if proxy.upstream is None:
            raise ConfigurationError("--upstream", "is missing", "ws://HOST:PORT[/path]")
        upstream = parse_upstream(proxy.upstream)
        address = upstream.address
        attributes: Attributes = {
            semconv.NETWORK_TRANSPORT: "tcp" if address.path is None else "unix",
            semconv.SERVER_ADDRESS: address.host if address.path is None else address.path,
        }
        if address.path is None:
            attributes[semconv.SERVER_PORT] = address.port
        tap = Tap(
            parse_listen(proxy.listen),
            upstream,
            lambda connection: self._acting(connection, attributes, tap.dialer),
            options=TapOptions(
                max_connections=proxy.max_connections,
                connect_timeout=proxy.connect_timeout,
                head_timeout=proxy.handshake_timeout,
                host_header=proxy.host_header,
            ),
            listen_tls=listen_context(proxy.tls_cert, proxy.tls_key),
            upstream_tls=(
                upstream_context(proxy.ca, insecure=proxy.insecure) if upstream.tls else None
            ),
            strict=self.guard.strict,
        )
        if self.pipeline is not None:
            self.pipeline.health.connections = lambda: Connections(
                active=tap.active,
                accepted=tap.counters.accepted,
                refused=tap.counters.refused,
                unreachable=tap.counters.upstream_failures,
            )
        return tap

    @property
    def watch(self) -> Watch:
        """What observes connections of this process; for `InterceptingWebSocket`."""
        return Watch(self.opened, self.clock, self.guard, self.config.proxy.max_message_size)

    def intercept_websocket(self, connection: Any) -> InterceptingWebSocket:
        """Return a stand-in for a connection of websockets, whose messages are observed.

        Raises:
            TypeError: This is no connection of websockets.

        """
        return InterceptingWebSocket(connection, self.watch)

    def opened(self, opening: Opening) -> WebSocketInterceptor:
        """Return the observer of a connection of this process."""
        attributes, link = opening.attributes(), opening.link
        interceptor = self.interceptor(attributes, side=opening.side)
        interceptor.handshake_received(opening.subprotocol, opening.raw_headers())
        if link is not None and link.connection is not None:
            assert isinstance(interceptor, ProgramInterceptor)
            ends = link.connection, link, interceptor, self._home
            if opening.side == "client":
                observe = partial(self.interceptor, attributes, side="client")
                channel: Channel = ClientChannel(*ends, observe)
            else:
                channel = ServerChannel(*ends)
            interceptor.channel = channel
        return interceptor

    def interceptor(
        self,
        attributes: Attributes | None = None,
        key: str | None = None,
        *,
        side: Side | None = None,
    ) -> WebSocketInterceptor:
        """Return the observer of a new connection.

        Args:
            attributes: Of every span of the connection.
            key: Its name; by default one that no other connection of any process has.
            side: What this process is to it; None for one that is only passed on.

        """
        return self._runtime.interceptor(attributes, key, side)

    def catch_up(self) -> None:
        """Take in at once what was sent and received; else it may take some milliseconds."""
        self._runtime.catch_up()

    def reach(self, session_id: str) -> Reach | None:
        """Return a live session and the way to it; None where it cannot be acted on."""
        return self._runtime.reach(session_id)

    def watch_process(self, find: Callable[[], int | None] | None) -> None:
        """Watch the memory of a process of the agent's.

        Args:
            find: Returns its id, None as long as there is none; asked again when it is gone. None
                leaves it to the configuration.

        """
        self._find_process = find

    # -- its parts; made anew at a start after a stop --------------------------------------------

    @property
    def pipeline(self) -> Pipeline | None:
        """Where telemetry leaves; None without, and where the program's providers do it."""
        return self._runtime.pipeline

    @property
    def detector(self) -> AnomalyDetector | None:
        """What raises alerts; `detector.metric_reader` for rules on metrics of the user's."""
        return self._runtime.detector

    @property
    def interventions(self) -> Interventions | None:
        """What is done about alerts, and the history of it; see `register_strategy`."""
        return self._runtime.interventions

    @property
    def interceptors(self) -> list[WebSocketInterceptor]:
        """The observers of open connections."""
        return self._runtime.interceptors

    def register_strategy(self, name: str, strategy: Strategy) -> None:
        """Make a callable known as the strategy `custom:NAME` of the configuration."""
        self._shared.strategies[name] = strategy

    # -- what it has seen ------------------------------------------------------------------------

    def get_statistics(self) -> dict[str, Any]:
        """Return totals over all sessions, and of the interventions; see `LiveReporter`."""
        return self._reporting().statistics()

    def get_debugging_report(self) -> str:
        """Return what is known of all sessions as Markdown; also after a stop."""
        return self._reporting().text()

    async def analyze_session(self, session_id: str) -> SessionAnalysis | None:
        """Analyse a session, live or ended; None if it was never seen."""
        return self._reporting().analyze(session_id)

    # -- inside ------------------------------------------------------------------------------

    def _one_at_a_time(self) -> asyncio.Lock:
        """Return the lock of starts and stops: another one on another event loop."""
        loop = asyncio.get_running_loop()
        if self._lock is None or self._lock[0] is not loop:
            self._lock = loop, asyncio.Lock()
        return self._lock[1]

    def _acting(
        self, connection: ClientConnection, attributes: Attributes, dialer: Dialer
    ) -> WebSocketInterceptor:
        """Return the observer of a connection of the tap, with a channel to act on it."""
        interceptor = self.interceptor(attributes)
        interceptor.channel = TapChannel(
            connection, interceptor, dialer, partial(self.interceptor, attributes)
        )
        return interceptor

    def _home(self) -> asyncio.AbstractEventLoop | None:
        return self._runtime.loop

    def _make_reporter(self) -> LiveReporter:
        return LiveReporter(self.monitor.events, self._shared.records, self.clock)

    def _reporting(self) -> LiveReporter:
        self.catch_up()
        if self._reporter is None:
            self._reporter = self._make_reporter()
        interventions = self._runtime.interventions
        self._reporter.history = None if interventions is None else interventions.history
        return self._reporter

    def _watched_process(self) -> int | None:
        """Return the process of the agent where it is on this machine."""
        proxy = self.config.proxy
        if self._find_process is not None and proxy.watch_pid is None:
            return self._find_process()
        if proxy.watch_pid is not None or proxy.upstream is None:
            return proxy.watch_pid
        address = parse_upstream(proxy.upstream).address
        local = address.host in ("localhost", "::1") or address.host.startswith("127.")
        return listener(address.port) if local and address.path is None else None

    def _count_failure(self, place: str) -> None:
        hub = self._runtime.hub
        if hub is not None:
            hub.count_failure(place)
