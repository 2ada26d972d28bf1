"""InterventionOrchestrator: from an alert to an agent that goes on, or to a person who is told.

An alert waits in its session's queue, watched from its first moment on; one alert of a session is
dealt with at a time (`treatment`).
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable

import msgspec

from debbie_otel.detection.alerts import AnomalyAlert, Transition
from debbie_otel.detection.loops import LoopSteps
from debbie_otel.errors import FailOpen
from debbie_otel.intervention.events import InterventionEvent
from debbie_otel.intervention.executor import InterventionExecutor, Subscribe
from debbie_otel.intervention.history import InterventionHistory
from debbie_otel.intervention.policy import Policies
from debbie_otel.intervention.recovery import EVENTS, RecoveryWatch
from debbie_otel.intervention.settings import InterventionConfig
from debbie_otel.intervention.treatment import PendingAlert, Treatment
from debbie_otel.session.model import Clock

_MAX_WAITING = 16  # alerts of one session


class _Case(msgspec.Struct, eq=False):
    """The alerts of one session."""

    waiting: deque[PendingAlert] = msgspec.field(default_factory=deque)
    current: PendingAlert | None = None
    task: asyncio.Task[None] | None = None

    def pending(self) -> list[PendingAlert]:
        return [*([] if self.current is None else [self.current]), *self.waiting]


class InterventionOrchestrator:
    """Deals with alerts.

    Args:
        config: Policy.
        executor: Carries strategies out.
        history: Remembers every attempt, and which strategies have worked.
        subscribe: `monitor.subscribe`.
        clock: Tells the time.
        guard: What happens when our own code fails.
        tell: Told of every attempt.
        steps: Of a session in a loop: the calls that would be more of the same.
        policies: Budgets of the sessions, shared with what else acts on them.
        dice: For the exploration of a learned order.

    """

    def __init__(
        self,
        config: InterventionConfig,
        executor: InterventionExecutor,
        history: InterventionHistory,
        *,
        subscribe: Subscribe,
        clock: Clock,
        guard: FailOpen,
        tell: Callable[[InterventionEvent], None] = lambda _: None,
        steps: Callable[[str], LoopSteps | None] = lambda _: None,
        policies: Policies | None = None,
        dice: random.Random | None = None,
    ) -> None:
        self.config = config
        self._subscribe = subscribe
        self._guard = guard
        self._steps = steps
        self._cases: dict[str, _Case] = {}
        self._treatment = Treatment(
            config,
            executor,
            history,
            policies=policies or Policies(config),
            clock=clock,
            guard=guard,
            tell=tell,
            dice=dice or random.Random(),
        )
        self._slots = asyncio.Semaphore(config.max_concurrent)
        self._stopping = False

    # -- alerts ------------------------------------------------------------------------------

    def take(self, transition: Transition) -> None:
        """Take in an alert that fired, or one that is over."""
        alert = transition.alert
        case = self._cases.get(alert.session_id)
        if transition.event == "resolved":
            for pending in [] if case is None else case.pending():
                pending.watch.transition(transition)
            return
        strategies = self._treatment.given(alert)
        if not strategies or self._stopping:
            return
        if why := self.config.inert:
            self._treatment.skip(
                alert, strategies[0], why, f"would have tried {', then '.join(strategies)}"
            )
        elif case is not None and any(
            p.alert.alert_type == alert.alert_type for p in case.pending()
        ):
            return  # it is being dealt with
        elif self._waiting >= self.config.queue:
            self._too_many(alert)
        else:
            self._enqueue(alert)

    async def stop(self) -> None:
        """Give up what is being dealt with; raises what a strict guard let through."""
        self._stopping = True
        tasks = self.tasks
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        for case in list(self._cases.values()):
            for pending in case.pending():
                pending.unsubscribe()
        self._cases.clear()
        self._stopping = False
        for error in ended:
            if isinstance(error, Exception):
                raise error

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """What works on alerts now: a task a session."""
        return [case.task for case in self._cases.values() if case.task is not None]

    @property
    def busy(self) -> bool:
        """Whether an alert waits or is dealt with."""
        return bool(self.tasks)

    @property
    def _waiting(self) -> int:
        return sum(len(case.waiting) for case in self._cases.values())

    def _enqueue(self, alert: AnomalyAlert) -> None:
        watch = RecoveryWatch(alert, self._steps(alert.session_id))
        pending = PendingAlert(alert, watch, self._subscribe(watch.observe, *EVENTS))
        case = self._cases.setdefault(alert.session_id, _Case())
        if len(case.waiting) >= _MAX_WAITING:
            oldest = case.waiting.popleft()
            oldest.unsubscribe()
            self._too_many(oldest.alert)
        case.waiting.append(pending)
        if case.task is None:
            work = self._work(alert.session_id, case)
            case.task = asyncio.get_running_loop().create_task(work, name="interventions")

    def _too_many(self, alert: AnomalyAlert) -> None:
        strategy = self._treatment.given(alert)[0]
        self._treatment.skip(alert, strategy, "queue", "too many alerts wait already")

    async def _deal_with(self, pending: PendingAlert) -> None:
        """Deal with an alert; while its session has to wait, others have its place."""
        while True:
            async with self._slots:
                with self._guard("an intervention"):
                    await self._treatment.deal_with(pending)
            if not pending.wait:
                return
            await self._treatment.wait(pending)

    async def _work(self, session_id: str, case: _Case) -> None:
        try:
            while case.waiting:
                pending = case.current = case.waiting.popleft()
                try:
                    await self._deal_with(pending)
                finally:
                    pending.unsubscribe()
                    case.current = None
        finally:
            case.task = None
            if not case.waiting and self._cases.get(session_id) is case:
                del self._cases[session_id]
