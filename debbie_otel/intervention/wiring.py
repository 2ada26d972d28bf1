"""Interventions: every part of them, made and wired from one configuration."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from debbie_otel.detection.alerts import AnomalyAlert, Transition
from debbie_otel.intervention.attempt import Advisor, Environment, InterventionExecutor, Strategy
from debbie_otel.intervention.escalation import EscalationOutcome, Escalator
from debbie_otel.intervention.history import InterventionHistory
from debbie_otel.intervention.intervention_config import InterventionConfig
from debbie_otel.intervention.orchestrator import InterventionOrchestrator
from debbie_otel.intervention.policy import Policies
from debbie_otel.intervention.records import InterventionRecord, InterventionStrategy
from debbie_otel.intervention.snapshot import MAX_STEPS, SessionSnapshot, snapshot
from debbie_otel.intervention.strategies import tool_retry
from debbie_otel.intervention.strategies.escalate import EscalateStrategy
from debbie_otel.intervention.strategies.prompt_injection import ask_to_try_again, inject_prompt
from debbie_otel.intervention.strategies.python_script import ScriptStrategy
from debbie_otel.intervention.strategies.session_restart import restart_session
from debbie_otel.intervention.strategies.state_reset import reset_state
from debbie_otel.intervention.strategies.tool_retry import ToolRetrier
from debbie_otel.session.session import Session

STRATEGIES: dict[str, Strategy] = {
    InterventionStrategy.PROMPT_INJECTION: inject_prompt,
    InterventionStrategy.SESSION_RESTART: restart_session,
    InterventionStrategy.STATE_RESET: reset_state,
    InterventionStrategy.TOOL_RETRY: ask_to_try_again,
}
"""Built-in strategies that act on a live session, by their names in the configuration."""


class Interventions:
    """Debbie's hands and memory.

    Args:
        config: Policy.
        history_path: Where attempts are remembered, if the configuration does not say.
        environment: The rest of Debbie.
        custom: Strategies of the user's, by name.

    Attributes:
        history: Every attempt.
        executor: `executor.register` for strategies of the user's.
        orchestrator: Takes alerts.

    Raises:
        ConfigurationError: A receiver of escalations that cannot be one.

    """

    def __init__(
        self,
        config: InterventionConfig,
        history_path: Path,
        environment: Environment,
        custom: dict[str, Strategy] | None = None,
    ) -> None:
        self._environment = environment
        clock, guard = environment.clock, environment.guard
        self._escalator = Escalator(config.escalation, environment.environ, clock, guard)
        self.history = InterventionHistory(
            config.history.path or history_path, config.history, clock
        )
        advisors: dict[str, Advisor] = {
            InterventionStrategy.PYTHON_SCRIPT: ScriptStrategy(config.scripts, self._snapshot),
            InterventionStrategy.ESCALATE: EscalateStrategy(
                self._escalator, self._snapshot, self._tried
            ),
        }
        policies = Policies(config)
        sessions = environment.sessions
        self.executor = InterventionExecutor(config, sessions, STRATEGIES, advisors, custom)
        self.orchestrator = InterventionOrchestrator(
            config, self.executor, self.history, environment, policies
        )
        self._retrier: ToolRetrier | None = None
        if config.tool_retry.enabled:
            self._retrier = ToolRetrier(config, environment, policies, self.history)
        self._unsubscribe: list[Callable[[], None]] = []
        self._taking_back: set[asyncio.Task[EscalationOutcome]] = set()

    async def start(self) -> None:
        """Begin."""
        await self._escalator.start()
        events = self._environment.events
        self._environment.records.listen_to(events)
        self._unsubscribe = [
            events.subscribe(self.take, Transition, place="an alert subscriber"),
        ]
        if self._retrier is not None:
            self._retrier.start()
            self._unsubscribe.append(events.subscribe(self._retrier.observe, *tool_retry.EVENTS))

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
        environment, records = self._environment, self._environment.records
        return snapshot(
            session,
            alert,
            environment.clock(),
            recent=() if session is None else records.last_steps(session.info, MAX_STEPS),
            calls=() if session is None else environment.sessions.calls_of(session),
            memory=environment.sessions.agent_memory(),
            capture=environment.capture,
        )

    async def _tried(self, alert: AnomalyAlert) -> list[InterventionRecord]:
        records = await asyncio.to_thread(self.history.session, alert.session_id, 20)
        return records[::-1]
