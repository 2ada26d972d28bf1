"""DebbieDebugger: the composition root. Every part is made and wired here, from one Config."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from debbie_otel import semconv
from debbie_otel.clock import Clock, wall_clock
from debbie_otel.config import Config
from debbie_otel.core.dialect import Dialect
from debbie_otel.core.directory import Limits
from debbie_otel.core.message import MessageDirection
from debbie_otel.detection.detector import AnomalyDetector
from debbie_otel.detection.memory import MemoryWatch, listener
from debbie_otel.detection.runner import LiveRunner
from debbie_otel.detection.telling import AlertRecorder
from debbie_otel.detection.vitals import EVENTS
from debbie_otel.dialects import builtin_dialects
from debbie_otel.errors import ConfigurationError, DialectError
from debbie_otel.failopen import FailOpen
from debbie_otel.interceptor import Dialects, WebSocketInterceptor
from debbie_otel.monitor import DebbieMonitor
from debbie_otel.recording import RecordingWriter
from debbie_otel.telemetry.attributes import Attributes
from debbie_otel.telemetry.hub import TelemetryHub
from debbie_otel.telemetry.pipeline import Pipeline, ShutdownReport, TelemetrySettings
from debbie_otel.telemetry.recorder import RecorderOptions
from debbie_otel.transports.addresses import parse_listen, parse_upstream
from debbie_otel.transports.tap import Tap, TapLimits
from debbie_otel.transports.tls import listen_context, upstream_context

_SWEEP_SECONDS = 5.0


def load_dialects(config: Config) -> Dialects:
    """Return the built-in dialects and the user's own, and which one to speak.

    Raises:
        ConfigurationError: A file cannot be read, or the dialect to speak is unknown.

    """
    known = builtin_dialects()
    for path in config.dialects.paths:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DialectError(str(path), f"cannot be read: {error}") from None
        dialect = Dialect.from_toml(text, str(path))
        # The user's own come first, so that they are recognised before ours.
        known = {dialect.name: dialect} | {k: v for k, v in known.items() if k != dialect.name}
    chosen = config.proxy.dialect
    if chosen != "auto" and chosen not in known:
        raise ConfigurationError("dialect", f"unknown: {chosen}", "auto, " + ", ".join(known))
    return Dialects(known, None if chosen == "auto" else chosen)


class DebbieDebugger:
    """Debbie, ready to be put before a server; an async context manager.

    Args:
        config: Everything that can be set.
        environ: Where the standard `OTEL_*` variables are read.
        clock: Tells the time.
        telemetry: False records nothing; the monitor's subscribers still hear everything.

    Attributes:
        monitor: The live sessions; `monitor.subscribe` for their events.
        pipeline: Where telemetry leaves; None without telemetry.
        detector: What raises alerts; `detector.metric_reader` for rules on metrics of the user's.
        memory: Watches the agent's process.

    Raises:
        ConfigurationError: Something in the configuration is wrong.

    """

    def __init__(
        self,
        config: Config,
        *,
        environ: Mapping[str, str] | None = None,
        clock: Clock | None = None,
        telemetry: bool = True,
    ) -> None:
        self.config = config
        self.guard = FailOpen(self._count_failure)
        self.monitor = DebbieMonitor(
            Limits(
                pending_calls=config.limits.pending_calls,
                sessions=config.limits.sessions,
                call_timeout_ns=round(config.limits.call_timeout * 1e9),
            ),
            self.guard,
        )
        self.clock = clock or wall_clock()
        self.dialects = load_dialects(config)
        self.memory = MemoryWatch(self._watched_process, config.detection.memory_floor)
        self.pipeline: Pipeline | None = None
        self._hub: TelemetryHub | None = None
        if telemetry:
            self._set_up_telemetry(os.environ if environ is None else environ)
        self._interceptors: dict[str, WebSocketInterceptor] = {}
        self._numbers = itertools.count(1)
        self._run_id = f"{os.getpid():x}-{self.clock() & 0xFFFFFFFF:08x}"
        self._recording: RecordingWriter | None = None
        self.detector: AnomalyDetector | None = None
        self._runner: LiveRunner | None = None
        if config.detection.enabled:
            self._set_up_detection()
        self._sweeper: asyncio.Task[None] | None = None

    # -- life --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to sweep up what is overdue, and to record if that is asked for."""
        if self.config.proxy.record is not None and self._recording is None:
            self._recording = RecordingWriter(
                self.config.proxy.record, max_bytes=self.config.limits.recording_bytes
            )
        if self._runner is not None:
            self._runner.start()
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().create_task(self._sweep(), name="sweeper")

    async def stop(self) -> ShutdownReport | None:
        """End what is open as aborted, and send out the rest of the telemetry.

        Takes no longer than `telemetry.flush_timeout`, whatever the collector does.
        """
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
            self._sweeper = None
        if self._runner is not None:
            await self._runner.stop()
        if self.detector is not None:
            self.detector.shutdown()
        for interceptor in list(self._interceptors.values()):
            interceptor.close(self.clock(), "shutdown")
        if self._recording is not None:
            self._recording.close()
            self._recording = None
        if self.pipeline is None:
            return None
        return await asyncio.to_thread(self.pipeline.shutdown)

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
        return Tap(
            parse_listen(proxy.listen),
            upstream,
            lambda _: self.interceptor(attributes),
            limits=TapLimits(
                max_connections=proxy.max_connections,
                connect_timeout=proxy.connect_timeout,
                head_timeout=proxy.handshake_timeout,
            ),
            listen_tls=listen_context(proxy.tls_cert, proxy.tls_key),
            upstream_tls=(
                upstream_context(proxy.ca, insecure=proxy.insecure) if upstream.tls else None
            ),
            host_header=proxy.host_header,
            strict=self.guard.strict,
        )

    def interceptor(
        self, attributes: Attributes | None = None, key: str | None = None
    ) -> WebSocketInterceptor:
        """Return the observer of a new connection.

        Args:
            attributes: Of every span of the connection.
            key: Its name; by default one that no other connection of any process has.

        """
        interceptor = WebSocketInterceptor(
            key or f"conn-{self._run_id}-{next(self._numbers)}",
            dialects=self.dialects,
            monitor=self.monitor,
            hub=self._hub,
            clock=self.clock,
            guard=self.guard,
            attributes=attributes,
            sink=self._record if self.config.proxy.record is not None else None,
            max_message_size=self.config.proxy.max_message_size,
            on_close=self._closed,
        )
        self._interceptors[interceptor.connection.key] = interceptor
        return interceptor

    # -- inside ------------------------------------------------------------------------------

    def _set_up_telemetry(self, environ: Mapping[str, str]) -> None:
        settings = self.config.telemetry
        self.pipeline = Pipeline.create(
            TelemetrySettings(
                otlp=settings.otlp,
                service_name=settings.service_name,
                data_dir=settings.data_dir,
                flush_timeout=settings.flush_timeout,
                tame_sdk_logs=True,
            ),
            environ,
        )
        self._hub = TelemetryHub(
            self.pipeline,
            RecorderOptions(
                stream_chunks=settings.stream_chunks, capture_content=settings.capture_content
            ),
            settings.method_limit,
            lambda dialect: self.monitor.open_calls(dialect, self.clock()),
            lambda: self.memory.current,
        )

    def _set_up_detection(self) -> None:
        config = self.config
        self.detector = AnomalyDetector(config.detection, config.rules, self.memory)
        recorder = None
        if self._hub is not None:
            recorder = AlertRecorder(self._hub, log_events=config.telemetry.log_events)
        if recorder is not None:
            self.monitor.subscribe_to_alerts(
                lambda seen: recorder.record(seen, self.monitor.session(seen.alert.session_id))
            )
        self._runner = LiveRunner(
            self.detector,
            self.clock,
            self.guard,
            self.monitor.publish_alert,
            self.monitor.publish_warning,
        )
        self.monitor.subscribe(self._runner.observe, *EVENTS)

    def _watched_process(self) -> int | None:
        """Return the process behind the upstream where it is on this machine."""
        proxy = self.config.proxy
        if proxy.watch_pid is not None or proxy.upstream is None:
            return proxy.watch_pid
        address = parse_upstream(proxy.upstream).address
        local = address.host in ("localhost", "::1") or address.host.startswith("127.")
        return listener(address.port) if local and address.path is None else None

    def _record(self, time_ns: int, key: str, direction: MessageDirection, payload: bytes) -> None:
        if self._recording is not None:
            self._recording.write(time_ns, key, direction, payload)

    def _closed(self, interceptor: WebSocketInterceptor) -> None:
        self._interceptors.pop(interceptor.connection.key, None)

    def _count_failure(self, place: str) -> None:
        if self._hub is not None:
            self._hub.count_failure(place)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = self.clock()
            for interceptor in list(self._interceptors.values()):
                interceptor.expire(now)
