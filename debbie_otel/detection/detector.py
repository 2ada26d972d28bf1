"""AnomalyDetector: looks at sessions every check interval, and early where it cannot wait.

Synchronous and without a clock of its own: the proxy drives it from a thread, a replay by the
recording's time. What it knows of sessions it knows through a MetricReader.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from debbie_otel.core import events as ev
from debbie_otel.core.loops import LoopFinding
from debbie_otel.core.model import SessionInfo
from debbie_otel.detection.alerts import AlertBook, AnomalyAlert, Transition
from debbie_otel.detection.control import ControlMetrics
from debbie_otel.detection.reader import DetectorReader
from debbie_otel.detection.rules import MetricRule, RuleSettings, exceeded, thresholds
from debbie_otel.detection.settings import DetectionSettings
from debbie_otel.detection.vitals import Reading, SessionVitals

MemoryProbe = Callable[[int], Reading | None]
"""Returns a reading of the watched process's memory, if there is one."""


class AnomalyDetector:
    """Raises and resolves alerts.

    Args:
        settings: Thresholds.
        rules: The user's own, on metrics of providers that `reader` is attached to.
        memory: Reads the memory of the agent's process.

    Attributes:
        reader: The MetricReader; a user attaches it to a MeterProvider to have rules read that.
        urgent: Sessions that must be looked at before the interval is over.

    """

    def __init__(
        self,
        settings: DetectionSettings,
        rules: Iterable[RuleSettings] = (),
        memory: MemoryProbe | None = None,
    ) -> None:
        self.settings = settings
        self.reader = DetectorReader()
        self.urgent: set[str] = set()
        self._control = ControlMetrics(self.reader)
        self._thresholds = thresholds(settings)
        self._rules = [MetricRule(rule) for rule in rules]
        self._book = AlertBook(round(settings.cooldown * 1e9))
        self._memory = memory
        self._vitals: dict[int, SessionVitals] = {}
        self._gone: list[SessionInfo] = []
        self._lock = threading.Lock()

    @property
    def active(self) -> list[AnomalyAlert]:
        """Alerts that are active now."""
        return self._book.active

    # -- events, on the thread of the wire ------------------------------------------------------

    def observe(self, event: ev.Event) -> LoopFinding | None:
        """Take in an event; return a loop of the soft tier where one begins."""
        session = event.session
        vitals = self._vitals.get(id(session))
        if vitals is None:
            vitals = self._vitals[id(session)] = SessionVitals(session, self.settings)
        if vitals.observe(event):
            self.urgent.add(session.id)
        if type(event) is ev.SessionEnded:
            del self._vitals[id(session)]
            self._gone.append(session)
            self.urgent.add(session.id)
        warning, vitals.loop_warning = vitals.loop_warning, None
        return warning

    # -- looks ---------------------------------------------------------------------------------

    def check(self, now_ns: int) -> list[Transition]:
        """Look at all sessions."""
        with self._lock:
            self.urgent.clear()
            return [*self._farewell(now_ns), *self._look(list(self._vitals.values()), now_ns, None)]

    def check_urgent(self, now_ns: int) -> list[Transition]:
        """Look at the sessions that cannot wait."""
        with self._lock:
            urgent = set(self.urgent)
            self.urgent -= urgent
            meant = [v for v in list(self._vitals.values()) if v.info.id in urgent]
            return [*self._farewell(now_ns), *self._look(meant, now_ns, urgent)]

    def _look(
        self, vitals: list[SessionVitals], now_ns: int, sessions: set[str] | None
    ) -> list[Transition]:
        for one in vitals:
            self._control.write(one.info.id, one.readings(now_ns))
        if self._memory is not None and sessions is None and vitals:
            reading = self._memory(now_ns)
            busiest = max(vitals, key=lambda v: v.info.last_ns)
            self._control.write(busiest.info.id, [] if reading is None else [reading])
        points = self.reader.take()
        conditions = exceeded(points, self._thresholds, self.settings)
        if sessions is None:
            for rule in self._rules:
                conditions += rule.conditions(points, now_ns)
        return self._book.look(conditions, now_ns, sessions)

    def _farewell(self, now_ns: int) -> list[Transition]:
        gone, self._gone = self._gone, []
        return [t for session in gone for t in self._book.forget(session.id, now_ns)]

    def shutdown(self) -> None:
        """End the control provider."""
        self._control.shutdown()
