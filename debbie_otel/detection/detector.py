"""AnomalyDetector: looks at sessions every check interval, and early where it cannot wait.

Synchronous and without a clock of its own: the proxy drives it from a thread, a replay by the
recording's time. What it knows of sessions it knows through a MetricReader.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from math import inf
from typing import Any

from debbie_otel.detection.alerts import AlertBook, AnomalyAlert, Condition, Transition
from debbie_otel.detection.control_metrics import ControlMetrics, DetectorReader, Reading
from debbie_otel.detection.loops import LoopFinding, LoopSteps
from debbie_otel.detection.rules import MetricRule, exceeded, floors, thresholds
from debbie_otel.detection.settings import DetectionSettings, RuleSettings
from debbie_otel.detection.signals import HANDLERS, SessionVitals
from debbie_otel.session import events as ev
from debbie_otel.session.model import SessionInfo

MemoryProbe = Callable[[int, bool], Reading | None]
"""Returns a reading of the watched process's memory, if there is one."""


class AnomalyDetector:
    """Raises and resolves alerts.

    Args:
        settings: Thresholds.
        rules: The user's own, on control metrics or on those of a `metric_reader`.
        memory: Reads the memory of the agent's process.
        readers: Those that another detector, which has ended, gave out by `metric_reader`; what
            this one gives out is added.

    Attributes:
        reader: Reads the control metrics; see `metric_reader` for metrics of the user's.
        urgent: Sessions that must be looked at before the interval is over; `on_urgent` is called
            when there is one more.
        on_warning: Is told of a loop of the soft tier when it begins.
        handlers: What takes in an event, by its kind.

    """

    def __init__(
        self,
        settings: DetectionSettings,
        rules: Iterable[RuleSettings] = (),
        memory: MemoryProbe | None = None,
        readers: list[DetectorReader] | None = None,
    ) -> None:
        self.settings = settings
        self.reader = DetectorReader()
        self._lent = [] if readers is None else readers
        self.urgent: set[str] = set()
        self.on_urgent: Callable[[], None] = _nobody
        self.on_warning: Callable[[ev.Event, LoopFinding], None] = _nobody
        self._control = ControlMetrics(self.reader)
        self._thresholds = thresholds(settings)
        rules = tuple(rules)
        self._floors = floors(self._thresholds.values(), rules)
        self._rules = [MetricRule(rule) for rule in rules]
        self._book = AlertBook(round(settings.cooldown * 1e9))
        self._rule_conditions: list[Condition] = []
        self._memory = memory
        self._spike: tuple[str, Reading] | None = None  # and the session that is told of it
        self._vitals: dict[int, SessionVitals] = {}
        self._gone: list[SessionInfo] = []
        self._lock = threading.Lock()
        self._ended = False
        self.handlers: dict[type[ev.Event], Callable[[Any], None]] = {
            kind: self._handler(take) for kind, take in HANDLERS.items()
        }
        self.handlers[ev.SessionEnded] = self._session_ended

    @property
    def active(self) -> list[AnomalyAlert]:
        """Alerts that are active now."""
        return self._book.active

    def steps(self, session_id: str) -> LoopSteps | None:
        """Return the last calls of a session: what would be more of the same; None without one."""
        meant = (v for v in list(self._vitals.values()) if v.info.id == session_id)
        found = next(meant, None)
        return None if found is None else found.loops.steps()

    def metric_reader(self) -> DetectorReader:
        """Return a reader for a MeterProvider of the user's, whose metrics rules may then watch.

        To be passed to the provider's constructor; every provider needs one of its own.
        """
        reader = DetectorReader()
        with self._lock:
            self._lent.append(reader)
        return reader

    # -- events, on the thread of the wire ------------------------------------------------------

    def observe(self, event: ev.Event) -> None:
        """Take in an event of any kind."""
        handler = self.handlers.get(type(event))
        if handler is not None:
            handler(event)

    def _handler(self, take: Callable[[SessionVitals, Any], bool]) -> Callable[[Any], None]:
        """Return what takes in the events of one kind."""
        known = self._vitals.get

        def handle(event: ev.Event) -> None:
            session = event.session
            vitals = known(id(session)) or self._meet(session)
            if take(vitals, event):
                self._hurry(session)
            if vitals.loop_warning is not None:
                warning, vitals.loop_warning = vitals.loop_warning, None
                self.on_warning(event, warning)

        return handle

    def _meet(self, session: SessionInfo) -> SessionVitals:
        vitals = self._vitals[id(session)] = SessionVitals(session, self.settings)
        return vitals

    def _session_ended(self, event: ev.SessionEnded) -> None:
        self._vitals.pop(id(event.session), None)
        self._gone.append(event.session)
        self._hurry(event.session)

    def _hurry(self, session: SessionInfo) -> None:
        self.urgent.add(session.id)
        self.on_urgent()

    # -- looks ---------------------------------------------------------------------------------

    def check(self, now_ns: int) -> list[Transition]:
        """Look at all sessions."""
        with self._lock:
            self.urgent.clear()
            for key, vitals in list(self._vitals.items()):
                if vitals.forgettable:
                    self._vitals.pop(key, None)
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
        worth = self._floors
        for one in vitals:
            readings = [r for r in one.readings(now_ns) if r.value >= worth.get(r.metric, inf)]
            if readings:
                self._control.write(one.info.id, readings)
        if sessions is None:
            self._spike = self._look_at_memory(vitals, now_ns)
        if self._spike is not None:
            self._control.write(self._spike[0], [self._spike[1]])
        readers = [self.reader, *self._lent]
        points = [point for reader in readers for point in reader.take(now_ns)]
        for rule in self._rules:
            rule.add(points)
        if sessions is None:
            self._rule_conditions = [c for rule in self._rules for c in rule.conditions(now_ns)]
        # What an urgent look does not judge anew holds on: it must not seem to be over.
        conditions = exceeded(points, self._thresholds, self.settings) + self._rule_conditions
        return self._book.look(conditions, now_ns, sessions)

    def _look_at_memory(
        self, vitals: list[SessionVitals], now_ns: int
    ) -> tuple[str, Reading] | None:
        """Return a reading and whom to tell: the busiest session, and the same one until it ends.

        It looks without sessions too, for the metric of the process.
        """
        at_work = any(one.info.started_ns is not None for one in vitals)
        reading = None if self._memory is None else self._memory(now_ns, at_work)
        if reading is None or not vitals:
            return None
        if self._spike is not None and any(v.info.id == self._spike[0] for v in vitals):
            return self._spike[0], reading
        return max(vitals, key=lambda v: v.info.last_ns).info.id, reading

    def _farewell(self, now_ns: int) -> list[Transition]:
        gone, self._gone = self._gone, []
        for session in gone:
            for rule in self._rules:
                rule.forget(session.id)
            held = self._rule_conditions
            self._rule_conditions = [c for c in held if c.key[0] != session.id]
        return [t for session in gone for t in self._book.forget(session.id, now_ns)]

    def end(self, now_ns: int) -> list[Transition]:
        """Resolve what is active: nobody looks any more, and it would seem to go on for ever."""
        with self._lock:
            return self._book.look([], now_ns)

    def shutdown(self) -> None:
        """End the control provider. Once is enough."""
        if not self._ended:
            self._ended = True
            self._control.shutdown()


def _nobody(*_: Any) -> None:
    """Nobody is told."""
