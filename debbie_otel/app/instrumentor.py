"""DebbieInstrumentor: the connections of an unchanged program are observed.

    opentelemetry-instrument python app.py

does it with no line in the program, `DebbieInstrumentor().instrument()` with one. What can be set
beside the arguments is in the environment: `OTEL_*`, `DEBBIE_DIALECT`, `DEBBIE_PROFILE`;
`OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=debbie` switches it off.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any

from opentelemetry.instrumentation.instrumentor import (  # type: ignore[attr-defined]
    BaseInstrumentor,
)
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from debbie_otel.app.background import BackgroundDebugger
from debbie_otel.app.clock import wall_clock
from debbie_otel.app.config import Config, load_config, load_dialects
from debbie_otel.app.debugger import DebbieDebugger
from debbie_otel.transports.program.patches import Patches


class DebbieInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # the base is not typed
    """Observes every connection of websockets in this process: asyncio, sync, trio and legacy."""

    _patches: Patches | None = None
    _background: BackgroundDebugger | None = None

    @property
    def debbie(self) -> DebbieDebugger | None:
        """Who observes; None before the first message."""
        return None if self._background is None else self._background.debbie

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return the versions of websockets that can be observed."""
        return ("websockets >= 15",)

    def _instrument(self, **options: Any) -> None:
        """Begin; `instrument` passes its arguments on.

        Args:
            options: `tracer_provider` and `meter_provider`: where spans and measurements go; by
                default the global ones where the program sets any, else Debbie's own export.
                `dialect`: name of what is spoken. `profile`: how eager Debbie is. `config`: a
                `Config` with everything.

        Raises:
            ConfigurationError: A value or a variable that cannot be.

        """
        config = _config(options.get("config"), options.get("dialect"), options.get("profile"))
        load_dialects(config)  # what is wrong is told now
        tracers: TracerProvider | None = options.get("tracer_provider")
        meters: MeterProvider | None = options.get("meter_provider")
        clock = wall_clock()
        background = BackgroundDebugger(
            lambda: DebbieDebugger(
                config, clock=clock, tracer_provider=tracers, meter_provider=meters, reports=False
            ),
            config,
            clock,
        )
        self._background = background
        self._patches = Patches(background.watch)
        self._patches.install()

    def _uninstrument(self, **_: Any) -> None:
        """End: no connection is observed any more, and nothing is left behind."""
        if self._patches is not None:
            self._patches.remove()
            self._patches = None
        if self._background is not None:
            self._background.stop()
            self._background = None


def _config(config: Config | None, dialect: str | None, profile: str | None) -> Config:
    if config is not None:
        return config
    given = {"dialect": dialect, "profile": profile}
    flags = {"proxy": {key: value for key, value in given.items() if value is not None}}
    return load_config(environ=os.environ, flags=flags)
