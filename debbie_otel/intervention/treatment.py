"""One alert, from its first attempt to an agent that goes on, or to a person who is told.

Strategies are tried in order, and in rounds where attempts are left; each attempt is verified
(`recovery`), recorded (`history`) and told. Whatever the agent does by itself ends it all.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from debbie_otel.detection.alerts import AnomalyAlert
from debbie_otel.errors import ChannelError, FailOpen, RecoveredFirst
from debbie_otel.intervention.attempt import Done
from debbie_otel.intervention.events import InterventionEvent
from debbie_otel.intervention.executor import InterventionExecutor
from debbie_otel.intervention.history import InterventionHistory
from debbie_otel.intervention.learning import order
from debbie_otel.intervention.outcome import outcome, refusal
from debbie_otel.intervention.policy import Policies, Refusal, SessionPolicy
from debbie_otel.intervention.records import InterventionRecord, InterventionResult, new_id
from debbie_otel.intervention.recovery import RecoveryWatch
from debbie_otel.intervention.settings import InterventionConfig
from debbie_otel.intervention.verification import over, pause, verify
from debbie_otel.session.model import Clock

ESCALATE = "escalate"
_SHORTEST_WAIT = 0.05  # seconds


class PendingAlert(msgspec.Struct, eq=False):
    """An alert that waits or is dealt with, and what watches its session meanwhile.

    Attributes:
        alert, watch: Those.
        unsubscribe: Ends the watch.
        failures: Attempts that failed; `tried`: attempts by strategy.
        wait: Seconds after which to go on with it, where the session has had enough for now, and
        limited: whether that was told.
        alive: Whether it was told that a tool may only be slow; it is looked at again and again.

    """

    alert: AnomalyAlert
    watch: RecoveryWatch
    unsubscribe: Callable[[], None]
    failures: int = 0
    tried: Counter[str] = msgspec.field(default_factory=Counter)
    wait: float = 0.0
    limited: bool = False
    alive: bool = False


class Treatment:
    """Deals with alerts, one call each.

    Args:
        config: Policy.
        executor: Carries strategies out.
        history: Remembers every attempt, and which strategies have worked.
        policies: Budgets of the sessions.
        clock: Tells the time.
        guard: What happens when our own code fails.
        tell: Told of every attempt.
        dice: For the exploration of a learned order, and ids.

    """

    def __init__(
        self,
        config: InterventionConfig,
        executor: InterventionExecutor,
        history: InterventionHistory,
        *,
        policies: Policies,
        clock: Clock,
        guard: FailOpen,
        tell: Callable[[InterventionEvent], None],
        dice: random.Random,
    ) -> None:
        self.config = config
        self.history = history
        self._executor = executor
        self._policies = policies
        self._clock = clock
        self._guard = guard
        self._tell = tell
        self._dice = dice

    def given(self, alert: AnomalyAlert) -> tuple[str, ...]:
        """Return what may be tried about an alert, in the configured order."""
        return tuple(alert.strategies or self.config.strategies(alert.alert_type))

    async def strategies(self, alert: AnomalyAlert) -> tuple[str, ...]:
        """Return the same in the order in which it is tried; drawn anew with a learned order."""
        given = self.given(alert)
        if self.config.order == "fixed" or len(given) < 2:
            return given
        trials = await asyncio.to_thread(self.history.trials, alert_type=alert.alert_type)
        reach = self._executor.reach(alert.session_id)
        agent = "" if reach is None else reach.session.info.agent
        return order(given, trials, self._dice, alert_type=alert.alert_type, agent=agent)

    async def deal_with(self, pending: PendingAlert) -> None:
        """Try the strategies in rounds, until one has worked or none is left, or it has to wait."""
        alert, pending.wait = pending.alert, 0.0
        if self._policies.of(alert.session_id).owed == alert.alert_type:
            await self._escalate(pending)
            return
        strategies = self._not_again(alert, await self.strategies(alert))
        while True:
            left = [s for s in strategies if pending.tried[s] < self.config.max_retries]
            # Where it had to wait in the midst of a round, that goes on.
            for strategy in sorted(left, key=pending.tried.__getitem__):
                if await self._try(pending, strategy):
                    return
            if not left:
                break
        if ESCALATE not in strategies:
            await self._escalate(pending)

    def _not_again(self, alert: AnomalyAlert, strategies: tuple[str, ...]) -> tuple[str, ...]:
        """Put last what has helped the turn that is stuck once more, but not for long."""
        helped = self._policies.of(alert.session_id).helped
        turn = self._open_turn(alert)
        if helped is None or turn is None or helped[0] != alert.alert_type or helped[2] != turn:
            return strategies
        return (*(s for s in strategies if s != helped[1]), helped[1])

    def _open_turn(self, alert: AnomalyAlert) -> int | None:
        reach = self._executor.reach(alert.session_id)
        turn = None if reach is None else reach.session.turn()
        return None if turn is None else turn.number

    async def _try(self, pending: PendingAlert, strategy: str) -> bool:
        """Try one strategy; return whether the alert is dealt with.

        An agent that shows signs of life is not acted on, but looked at again, as often as it does.
        """
        while True:
            policy = self._policies.of(pending.alert.session_id)
            refused = policy.admit(strategy, self._clock())
            if refused is not None:
                return await self._refuse(pending, strategy, refused)
            if pending.tried[strategy]:
                await pause(pending.watch, self.config.retry_delay)
            record = await self._attempt(pending, strategy)
            policy.learn(record)
            if record.reason != "alive":
                return await self._judge(pending, strategy, policy, record)
            await pause(pending.watch, pending.alert.details["threshold"])
            pending.tried[strategy] -= 1

    async def _judge(
        self,
        pending: PendingAlert,
        strategy: str,
        policy: SessionPolicy,
        record: InterventionRecord,
    ) -> bool:
        """Draw the conclusion of an attempt; return whether the alert is dealt with."""
        match record.result:
            case InterventionResult.SUCCESS:
                alert = pending.alert
                policy.helped = (alert.alert_type, strategy, self._open_turn(alert))
                return True
            case InterventionResult.ESCALATED:
                return True
            case InterventionResult.FAILURE:
                pending.failures += 1
                if record.reason == "session_ended":
                    return True
                if pending.failures >= self.config.escalation_threshold:
                    await self._escalate(pending)
                    return True
            case _:
                pending.tried[strategy] = self.config.max_retries  # nothing new would come of it
        return record.reason in ("recovered", "session_ended")

    async def _refuse(self, pending: PendingAlert, strategy: str, refused: Refusal) -> bool:
        alert = pending.alert
        if refused.wait:
            early = over(pending.watch)
            if early is not None:
                self.skip(alert, strategy, *early)
            elif not pending.limited:
                self.skip(alert, strategy, refused.reason, refused.detail)
            pending.limited = True
            pending.wait = 0.0 if early is not None else refused.wait
            return True
        pending.tried[strategy] = self.config.max_retries
        self.skip(alert, strategy, refused.reason, refused.detail)
        policy = self._policies.of(alert.session_id)
        if refused.reason == "budget" and not policy.exhausted:
            policy.exhausted = True
            await self._escalate(pending)
        return refused.final

    async def _escalate(self, pending: PendingAlert) -> None:
        """Tell a person, whom the configuration names, and the log in any case."""
        if pending.watch.moved is None:
            record = await self._attempt(pending, ESCALATE)
            alert = pending.alert
            late = record.reason == "resolved" and pending.watch.moved is None
            self._policies.of(alert.session_id).owed = alert.alert_type if late else None

    async def _attempt(self, pending: PendingAlert, strategy: str) -> InterventionRecord:
        alert, watch = pending.alert, pending.watch
        await asyncio.sleep(0)  # what has arrived already is read first
        await asyncio.sleep(0)
        early = over(watch)
        if early is not None:
            return self.skip(alert, strategy, *early)
        watch.again(self._clock())
        pending.tried[strategy] += 1
        attempt, started_ns = pending.tried[strategy], self._clock()
        triggered = InterventionEvent("triggered", alert, strategy, attempt, started_ns)
        known_alive = pending.alive
        if not known_alive:
            self._tell(triggered)
        policy = self._policies.of(alert.session_id)
        done = Done(kind="impossible", reason="stopped", detail="given up in the midst of it")
        try:
            done = await self._execute(alert, strategy, policy.attempts, watch)
            pending.alive = done.reason == "alive"
            if known_alive and not pending.alive:
                self._tell(triggered)
            if done.kind != "impossible":
                policy.made(started_ns)
            if done.kind == "acted":
                event = InterventionEvent("acted", alert, strategy, attempt, self._clock(), done)
                self._tell(event)
                await verify(watch, done, self.config.recovery_timeout)
                if done.answer is not None and refusal(done.answer) is not None:
                    watch.ended = watch.ended or self._executor.is_cut_off(alert.session_id)
        except asyncio.CancelledError:
            if done.kind == "acted" and watch.moved is None:  # what it would have led to is unknown
                detail = f"{done.detail}; given up before the agent moved"
                done = Done(kind="impossible", reason="stopped", detail=detail, text=done.text)
            self._end(alert, self._record(alert, strategy, attempt, started_ns, done, watch), done)
            raise
        record = self._record(alert, strategy, attempt, started_ns, done, watch)
        if record.result is InterventionResult.FAILURE and done.undo is not None:
            with self._guard("what an intervention had held back"):
                done.undo()
        if not (known_alive and pending.alive):
            self._end(alert, record, done)
        return record

    async def _execute(
        self, alert: AnomalyAlert, strategy: str, number: int, watch: RecoveryWatch
    ) -> Done:
        try:
            now = self._clock()
            return await self._executor.execute(alert, strategy, number, watch, now)
        except RecoveredFirst:
            detail = "the agent went on by itself before anything was sent"
            return Done(kind="impossible", reason="recovered", detail=detail)
        except ChannelError as error:  # a connection may end at any moment
            return Done(kind="failed", reason="unreachable", detail=str(error))
        except Exception as error:  # noqa: BLE001 - an attempt that fails is one that has failed
            self._guard.failed(f"the strategy {strategy}", error)
            return Done(kind="failed", reason="error", detail=f"{type(error).__name__}: {error}")

    async def wait(self, pending: PendingAlert) -> None:
        """Wait until the session may be acted on again, or the agent moves."""
        await pause(pending.watch, max(pending.wait, _SHORTEST_WAIT))

    # -- what is remembered ------------------------------------------------------------------

    def _record(
        self,
        alert: AnomalyAlert,
        strategy: str,
        attempt: int,
        started_ns: int,
        done: Done,
        watch: RecoveryWatch,
    ) -> InterventionRecord:
        result, reason, detail = outcome(done, watch, self.config.recovery_timeout)
        success = result is InterventionResult.SUCCESS and watch.moved is not None
        seconds = (watch.moved.time_ns - alert.fired_ns) / 1e9 if success and watch.moved else None
        return self._new_record(
            alert,
            strategy,
            attempt=attempt,
            started_ns=started_ns,
            ended_ns=self._clock(),
            result=result,
            reason=reason,
            detail=detail,
            recovery_seconds=seconds,
            evidence=done.evidence,
        )

    def skip(
        self, alert: AnomalyAlert, strategy: str, reason: str, detail: str
    ) -> InterventionRecord:
        """Record that a strategy was not tried, and why."""
        now = self._clock()
        record = self._new_record(
            alert,
            strategy,
            attempt=0,
            started_ns=now,
            ended_ns=now,
            result=InterventionResult.SKIPPED,
            reason=reason,
            detail=detail,
        )
        self._end(alert, record, None)
        return record

    def _new_record(self, alert: AnomalyAlert, strategy: str, **facts: Any) -> InterventionRecord:
        reach = self._executor.reach(alert.session_id)
        info = None if reach is None else reach.session.info
        return InterventionRecord(
            id=new_id(self._dice),
            session_id=alert.session_id,
            agent="" if info is None else info.agent,
            dialect="" if info is None else info.dialect,
            alert_type=alert.alert_type,
            alert_message=alert.message,
            strategy=strategy,
            **facts,
        )

    def _end(self, alert: AnomalyAlert, record: InterventionRecord, done: Done | None) -> None:
        with self._guard("the history of interventions"):
            self.history.add(record)
        event = InterventionEvent(
            "ended", alert, record.strategy, record.attempt, record.ended_ns, done, record
        )
        with self._guard("what is told of interventions"):
            self._tell(event)
