"""Interventions: every part of them, made and wired from one configuration."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from debbie_otel.detection.alerts import AnomalyAlert, Transition
from debbie_otel.detection.loops import LoopSteps
from debbie_otel.errors import FailOpen
from debbie_otel.intervention import activity
from debbie_otel.intervention.activity import RecentActivity
from debbie_otel.intervention.escalation import EscalationOutcome, Escalator
from debbie_otel.intervention.events import InterventionEvent
from debbie_otel.intervention.executor import (
    Advisor,
    CustomStrategy,
    InterventionExecutor,
    Reaching,
    Subscribe,
)
from debbie_otel.intervention.history import InterventionHistory
from debbie_otel.intervention.orchestrator import InterventionOrchestrator
from debbie_otel.intervention.policy import Policies
from debbie_otel.intervention.records import InterventionRecord
from debbie_otel.intervention.settings import InterventionConfig
from debbie_otel.intervention.snapshot import SessionSnapshot, snapshot
from debbie_otel.intervention.strategies import retrying
from debbie_otel.intervention.strategies.escalate import EscalateStrategy
from debbie_otel.intervention.strategies.retrying import ToolRetrier
from debbie_otel.intervention.strategies.script import ScriptStrategy
from debbie_otel.session.model import Call, Clock
from debbie_otel.session.session import Session


class World(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What interventions need of the rest of Debbie.

    Attributes:
        subscribe: `monitor.subscribe`, told on Debbie's event loop.
        subscribe_at_once: `monitor.subscribe`, told on the thread of the wire.
        subscribe_to_alerts: `monitor.subscribe_to_alerts`.
        reach: Finds a live session and the way there.
        steps: Of a session in a loop: the calls that would be more of the same.
        calls: The open requests of a session.
        memory: Bytes of the agent's process; 0 where it is not known.
        tell: Told of every step.
        clock: Tells the time.
        guard: What happens when our own code fails.
        environ: Variables with secrets.
        capture: Whether scripts and people may see what was said.
        strategies: Of the user's, by name.

    """

    subscribe: Subscribe
    subscribe_at_once: Subscribe
    subscribe_to_alerts: Callable[[Callable[[Transition], None]], Callable[[], None]]
    reach: Reaching
    steps: Callable[[str], LoopSteps | None]
    calls: Callable[[Session], Iterable[Call]]
    memory: Callable[[], int]
    tell: Callable[[InterventionEvent], None]
    clock: Clock
    guard: FailOpen
    environ: Mapping[str, str]
    capture: bool = False
    strategies: dict[str, CustomStrategy] = msgspec.field(default_factory=dict)


class Interventions:
    """Debbie's hands and memory.

    Args:
        config: Policy.
        history_path: Where attempts are remembered, if the configuration does not say.
        world: The rest of Debbie.

    Attributes:
        history: Every attempt.
        executor: `executor.register` for strategies of the user's.
        orchestrator: Takes alerts.

    Raises:
        ConfigurationError: A receiver of escalations that cannot be one.

    """

    def __init__(self, config: InterventionConfig, history_path: Path, world: World) -> None:
        self._world = world
        self._escalator = Escalator(config.escalation, world.environ, world.clock, world.guard)
        self._activity = RecentActivity()
        self.history = InterventionHistory(
            config.history.path or history_path, config.history, world.clock
        )
        advisors: dict[str, Advisor] = {
            "python_script": ScriptStrategy(config.scripts, self._snapshot),
            "escalate": EscalateStrategy(self._escalator, self._snapshot, self._tried),
        }
        policies = Policies(config)
        self.executor = InterventionExecutor(
            config, world.reach, world.subscribe, advisors, world.strategies
        )
        self.orchestrator = InterventionOrchestrator(
            config,
            self.executor,
            self.history,
            subscribe=world.subscribe,
            clock=world.clock,
            guard=world.guard,
            tell=world.tell,
            steps=world.steps,
            policies=policies,
            dice=random.Random(),
        )
        self._retrier: ToolRetrier | None = None
        if config.tool_retry.enabled:
            self._retrier = ToolRetrier(
                config.tool_retry,
                world.reach,
                subscribe=world.subscribe,
                policies=policies,
                clock=world.clock,
                guard=world.guard,
                tell=self._remember_and_tell,
                timeout=config.recovery_timeout,
                inert=config.inert,
            )
        self._unsubscribe: list[Callable[[], None]] = []
        self._taking_back: set[asyncio.Task[EscalationOutcome]] = set()

    async def start(self) -> None:
        """Begin."""
        await self._escalator.start()
        subscribe = self._world.subscribe
        self._unsubscribe = [
            subscribe(self._activity.observe, *activity.EVENTS),
            self._world.subscribe_to_alerts(self.take),
        ]
        if self._retrier is not None:
            self._retrier.start()
            at_once = self._world.subscribe_at_once
            self._unsubscribe.append(at_once(self._retrier.observe, *retrying.EVENTS))

    async def stop(self) -> None:
        """Give up what is under way; raises what a strict guard let through."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._unsubscribe = []
        if self._retrier is not None:
            await self._retrier.stop()
        try:
            await self.orchestrator.stop()
        finally:
            await self._escalator.stop()  # which bounds how long the others may take
            await asyncio.gather(*self._taking_back, return_exceptions=True)
            await asyncio.to_thread(self.history.close)

    def take(self, transition: Transition) -> None:
        """Take in an alert that fired, or one that is over."""
        self.orchestrator.take(transition)
        if transition.event == "resolved" and self._escalator.active:
            taken_back = self._escalator.resolve(transition.alert)
            task = asyncio.get_running_loop().create_task(taken_back, name="escalation resolved")
            self._taking_back.add(task)
            task.add_done_callback(self._taking_back.discard)

    # -- inside ------------------------------------------------------------------------------

    def _snapshot(self, alert: AnomalyAlert, session: Session | None) -> SessionSnapshot:
        world = self._world
        return snapshot(
            session,
            alert,
            world.clock(),
            recent=() if session is None else self._activity.recent(session.info),
            calls=() if session is None else world.calls(session),
            memory=world.memory(),
            capture=world.capture,
        )

    async def _tried(self, alert: AnomalyAlert) -> list[InterventionRecord]:
        records = await asyncio.to_thread(self.history.session, alert.session_id, 20)
        return records[::-1]

    def _remember_and_tell(self, event: InterventionEvent) -> None:
        if event.record is not None:
            with self._world.guard("the history of interventions"):
                self.history.add(event.record)
        self._world.tell(event)
