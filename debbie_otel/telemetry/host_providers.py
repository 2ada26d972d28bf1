"""Telemetry through providers of the program's: their resource, sampler, processors and readers.

A program that has set up OpenTelemetry gets our spans and measurements where its own go. What it
has no provider for leaves through Debbie's own pipeline. Spans are started and ended by the
provider's tracer, so that every processor sees what it expects; that costs more than our own way.

Nothing stays behind: what was given to a meter is taken back by `release`. OpenTelemetry offers no
way for that, nor for two users of one observable instrument, so callbacks are put into and taken
out of the SDK's list of them; where that is missing, a callback that was released says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import msgspec
from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    NonRecordingSpan,
    ProxyTracerProvider,
    Span,
    SpanContext,
    Status,
    TraceFlags,
    Tracer,
    TracerProvider,
    set_span_in_context,
)
from wrapt import ObjectProxy

from debbie_otel.compat.sdk_private import (
    ApiLoggerProvider,
    callbacks_of,
    get_logger_provider,
    is_stand_in,
)
from debbie_otel.telemetry.aggregate import Histograms
from debbie_otel.telemetry.attributes import Attributes
from debbie_otel.telemetry.hub import Outlet
from debbie_otel.telemetry.logs import LogEvent
from debbie_otel.telemetry.spans import UNSET, OpenSpan, Origin, SpanSink

if TYPE_CHECKING:
    _MeterProxy = ObjectProxy[Meter]
else:
    _MeterProxy = ObjectProxy  # has no type parameter at run time before wrapt 2.2

_Callback = Callable[[CallbackOptions], Iterable[Observation]]
_ROOT = Context()


class Providers(msgspec.Struct, frozen=True):
    """The program's providers; None where it has none."""

    tracer: TracerProvider | None = None
    meter: MeterProvider | None = None
    logger: ApiLoggerProvider | None = None

    @property
    def complete(self) -> bool:
        """Whether nothing is left for Debbie's own pipeline; log events alone are not worth one."""
        return self.tracer is not None and self.meter is not None

    @property
    def any(self) -> bool:
        """Whether there is a provider of spans or measurements."""
        return self.tracer is not None or self.meter is not None


def providers_of_program(
    tracer: TracerProvider | None = None, meter: MeterProvider | None = None
) -> Providers:
    """Return the providers that were passed, else the global ones where the program has set any."""
    if tracer is None:
        found = trace.get_tracer_provider()
        tracer = None if isinstance(found, ProxyTracerProvider) else found
    if meter is None:
        metered = metrics.get_meter_provider()
        meter = None if is_stand_in(metered) else metered
    logger = get_logger_provider()
    return Providers(tracer, meter, None if is_stand_in(logger) else logger)


class Borrowed:
    """An outlet that leads to the program's providers.

    Args:
        providers: Of the program.
        scope: The instrumentation scope of our spans and measurements.
        own: Takes what there is no provider for.

    """

    def __init__(
        self, providers: Providers, scope: InstrumentationScope, own: Outlet | None = None
    ) -> None:
        self._providers = providers
        self._scope = scope
        self._own = own
        self._returns: list[Callable[[], None]] = []

    def writer(self, service_name: str) -> SpanSink:
        """Return what starts spans by the program's tracer."""
        provider = self._providers.tracer
        if provider is None:
            return self._rest().writer(service_name)
        scope = self._scope
        tracer = provider.get_tracer(scope.name, scope.version, scope.schema_url)
        resource = getattr(provider, "resource", None) or Resource.get_empty()
        return TracerWriter(tracer, Origin(resource, scope))

    def meter(self, service_name: str) -> Meter:
        """Return the program's meter of our scope; callbacks are released with this."""
        meter = self._meter()
        if meter is None:
            return self._rest().meter(service_name)
        return cast(Meter, _LentMeter(meter, self._returns))

    def add_histograms(self, service_name: str, histograms: Iterable[Histograms]) -> None:
        """Record measurements by histograms of the program's meter."""
        meter = self._meter()
        if meter is None:
            self._rest().add_histograms(service_name, histograms)
            return
        for histogram in histograms:
            histogram.pass_on(_recorder(histogram, meter))
            self._returns.append(partial(histogram.pass_on, _nowhere))

    def emit_event(self, service_name: str, event: LogEvent) -> None:
        """Emit a log event where the program's go; else by our own outlet, if there is one."""
        provider, scope = self._providers.logger, self._scope
        if provider is not None:
            logger = provider.get_logger(scope.name, scope.version, scope.schema_url)
            logger.emit(event.record())
        elif self._own is not None:
            self._own.emit_event(service_name, event)

    def release(self) -> None:
        """Take back what was given to the program's meter; its providers stay as they are."""
        returns, self._returns[:] = list(self._returns), []
        for give_back in returns:
            give_back()

    def _meter(self) -> Meter | None:
        provider, scope = self._providers.meter, self._scope
        if provider is None:
            return None
        return provider.get_meter(scope.name, scope.version, scope.schema_url)

    def _rest(self) -> Outlet:
        assert self._own is not None, "there is a pipeline unless all providers are the program's"
        return self._own


# -- spans -------------------------------------------------------------------------------------


class TracerWriter:
    """Starts and ends spans by a tracer of the program's.

    Args:
        tracer: Of our scope.
        origin: Whose spans they are.

    """

    def __init__(self, tracer: Tracer, origin: Origin) -> None:
        self._tracer = tracer
        self._origin = origin
        # By span id: what the tracer returned, and the attributes that it was started with.
        self._open: dict[int, tuple[Span, Attributes]] = {}

    def start(self, span: OpenSpan) -> OpenSpan:
        """Start a span; never a child of the caller's current span."""
        parent = span.parent
        real = self._tracer.start_span(
            span.name,
            _ROOT if parent is None else set_span_in_context(NonRecordingSpan(parent), _ROOT),
            span.kind,
            {**span.shared, **span.attributes},
            span.links,
            span.start_ns,
        )
        context = real.get_span_context()
        if real.is_recording():
            self._open[context.span_id] = real, span.attributes.copy()
        span.origin = self._origin
        span.trace_id, span.span_id = context.trace_id, context.span_id
        span.sampled = bool(context.trace_flags & TraceFlags.SAMPLED)
        span.state = context.trace_state
        return span

    def end(self, span: OpenSpan, end_ns: int, status: Status = UNSET) -> None:
        """End a span, with what has been added to it since its start."""
        span.end_ns = end_ns
        begun = self._open.pop(span.span_id, None)
        if begun is None:
            return  # dropped by the sampler
        real, attributes = begun
        for key, value in span.attributes.items():
            if attributes.get(key) is not value:
                real.set_attribute(key, value)
        for event in span.events:
            real.add_event(event.name, event.attributes, event.timestamp)
        if status is not UNSET:
            real.set_status(status)
        real.end(end_ns)


# -- measurements ------------------------------------------------------------------------------


class _LentMeter(_MeterProxy):
    """The program's meter, whose observable instruments are shared, and returned in the end."""

    def __init__(self, meter: Meter, returns: list[Callable[[], None]]) -> None:
        super().__init__(meter)
        self._self_returns = returns

    def create_observable_counter(self, name: str, *arguments: Any, **named: Any) -> Any:
        return self._lend(self.__wrapped__.create_observable_counter, name, *arguments, **named)

    def create_observable_up_down_counter(self, name: str, *arguments: Any, **named: Any) -> Any:
        create = self.__wrapped__.create_observable_up_down_counter
        return self._lend(create, name, *arguments, **named)

    def create_observable_gauge(self, name: str, *arguments: Any, **named: Any) -> Any:
        return self._lend(self.__wrapped__.create_observable_gauge, name, *arguments, **named)

    def _lend(
        self,
        create: Callable[..., Any],
        name: str,
        callbacks: Sequence[_Callback] = (),
        unit: str = "",
        description: str = "",
    ) -> Any:
        gates = [_Gate(callback) for callback in callbacks]
        instrument = create(name, gates, unit, description)
        known = callbacks_of(instrument)
        for gate in gates:
            if known is not None and gate not in known:
                known.append(gate)  # the instrument is there already, and knows others' callbacks
            self._self_returns.append(partial(gate.close, known))
        return instrument


class _Gate:
    """A callback until it is taken back."""

    def __init__(self, callback: _Callback) -> None:
        self._callback: _Callback | None = callback

    def __call__(self, options: CallbackOptions) -> Iterable[Observation]:
        return () if self._callback is None else self._callback(options)

    def close(self, known: list[Any] | None) -> None:
        """Say nothing from now on; `known` are the instrument's callbacks."""
        self._callback = None
        if known is not None and self in known:
            known.remove(self)


def _recorder(
    histogram: Histograms, meter: Meter
) -> Callable[[float, Mapping[str, Any], int, int], None]:
    real = meter.create_histogram(
        histogram.name,
        histogram.unit,
        histogram.description,
        explicit_bucket_boundaries_advisory=histogram.bounds,
    )

    def record(value: float, attributes: Mapping[str, Any], trace_id: int, span_id: int) -> None:
        context = None
        if trace_id:  # an exemplar
            sampled = TraceFlags(TraceFlags.SAMPLED)
            span = NonRecordingSpan(SpanContext(trace_id, span_id, False, sampled))
            context = set_span_in_context(span, _ROOT)
        real.record(value, attributes, context or _ROOT)

    return record


def _nowhere(*_: Any) -> None:
    """Take a measurement that nobody wants any more."""
