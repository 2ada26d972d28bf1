"""InterventionOrchestrator: from an alert to an agent that goes on, or to a person who is told.

An alert waits in its session's queue, watched from its first moment on; one alert of a session is
dealt with at a time. Strategies are tried in order, and in rounds where attempts are left; each
attempt is verified (`recovery`), recorded (`history`) and told. What the agent does by itself ends
it all.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable

import msgspec

from debbie_otel.detection.alerts import AnomalyAlert, Transition
from debbie_otel.errors import ChannelError, RecoveredFirst
from debbie_otel.intervention.attempt import Environment, InterventionExecutor
from debbie_otel.intervention.history import InterventionHistory
from debbie_otel.intervention.intervention_config import InterventionConfig
from debbie_otel.intervention.journal import InterventionJournal
from debbie_otel.intervention.learning import order
from debbie_otel.intervention.policy import Policies, Refusal, SessionPolicy
from debbie_otel.intervention.records import (
    InterventionRecord,
    InterventionResult,
    InterventionStrategy,
    Reason,
)
from debbie_otel.intervention.recovery import (
    EVENTS,
    RecoveryWatch,
    outcome,
    over,
    pause,
    refusal,
    verify,
)
from debbie_otel.intervention.steps import Done, DoneKind, InterventionEvent

_MAX_WAITING = 16  # alerts of one session
_SHORTEST_WAIT = 0.05  # seconds


class _Parts(msgspec.Struct, frozen=True, eq=False):
    """What the cases of all alerts share."""

    config: InterventionConfig
    executor: InterventionExecutor
    journal: InterventionJournal
    environment: Environment
    policies: Policies
    dice: random.Random

    def configured(self, alert: AnomalyAlert) -> tuple[str, ...]:
        """Return what may be tried about an alert, in the configured order."""
        return tuple(alert.strategies or self.config.strategies(alert.alert_type))


class _AlertCase:
    """One alert, from its first attempt to its end.

    Args:
        alert: What is wrong.
        watch: Tells whether the agent has moved.
        unsubscribe: Ends the watch.
        parts: What all cases share.

    Attributes:
        wait: Seconds after which to go on with it, where the session has had enough for now.

    """

    def __init__(
        self,
        alert: AnomalyAlert,
        watch: RecoveryWatch,
        unsubscribe: Callable[[], None],
        parts: _Parts,
    ) -> None:
        self.alert = alert
        self.watch = watch
        self.unsubscribe = unsubscribe
        self.wait = 0.0
        self._parts = parts
        self._config = parts.config
        self._clock = parts.environment.clock
        self._guard = parts.environment.guard
        self._tell = parts.environment.events.publish
        self._failures = 0
        self._tried: Counter[str] = Counter()
        self._limit_told = False
        self._alive_told = False  # that a tool may only be slow, which is looked at again and again

    @property
    def _policy(self) -> SessionPolicy:
        return self._parts.policies.of(self.alert.session_id)

    # -- which strategies, in which order ------------------------------------------------------

    async def deal_with(self) -> None:
        """Try the strategies in rounds, until one has worked or none is left, or it has to wait."""
        self.wait = 0.0
        strategies = self._not_again(await self._in_order())
        while True:
            left = [s for s in strategies if self._tried[s] < self._config.max_retries]
            # Where it had to wait in the midst of a round, that goes on.
            for strategy in sorted(left, key=self._tried.__getitem__):
                if await self._try(strategy):
                    return
            if not left:
                break
        if InterventionStrategy.ESCALATE not in strategies:
            await self._escalate()

    async def wait_for_room(self) -> None:
        """Wait until the session may be acted on again, or the agent moves."""
        await pause(self.watch, max(self.wait, _SHORTEST_WAIT))

    async def _in_order(self) -> tuple[str, ...]:
        """Return the strategies in the order in which they are tried."""
        alert, parts = self.alert, self._parts
        given = parts.configured(alert)
        if self._config.order == "fixed" or len(given) < 2:
            return given
        trials = await asyncio.to_thread(parts.journal.history.trials, alert_type=alert.alert_type)
        reach = parts.environment.sessions.reach(alert.session_id)
        agent = "" if reach is None else reach.session.info.agent
        return order(given, trials, parts.dice, alert_type=alert.alert_type, agent=agent)

    def _not_again(self, strategies: tuple[str, ...]) -> tuple[str, ...]:
        """Put last what has helped the turn that is stuck once more, but not for long."""
        helped, turn = self._policy.helped, self._open_turn()
        if helped is None or turn is None:
            return strategies
        alert_type, strategy, helped_turn = helped
        if alert_type != self.alert.alert_type or helped_turn != turn:
            return strategies
        return (*(s for s in strategies if s != strategy), strategy)

    def _open_turn(self) -> int | None:
        reach = self._parts.environment.sessions.reach(self.alert.session_id)
        turn = None if reach is None else reach.session.turn()
        return None if turn is None else turn.number

    # -- one strategy: each returns whether the alert is dealt with ------------------------------

    async def _try(self, strategy: str) -> bool:
        """Try one strategy.

        An agent that shows signs of life is not acted on, but looked at again, as often as it does.
        """
        while True:
            policy = self._policy
            refused = policy.admit(strategy, self._clock())
            if refused is not None:
                return await self._refuse(strategy, refused)
            if self._tried[strategy]:
                await pause(self.watch, self._config.retry_delay)
            record = await self._attempt(strategy)
            policy.learn(record)
            if record.reason != Reason.ALIVE:
                return await self._judge(strategy, record)
            await pause(self.watch, self.alert.details["threshold"])
            self._tried[strategy] -= 1

    async def _judge(self, strategy: str, record: InterventionRecord) -> bool:
        match record.result:
            case InterventionResult.SUCCESS:
                self._policy.helped = (self.alert.alert_type, strategy, self._open_turn())
                return True
            case InterventionResult.ESCALATED:
                return True
            case InterventionResult.FAILURE:
                self._failures += 1
                if record.reason == Reason.SESSION_ENDED:
                    return True
                if self._failures >= self._config.escalation_threshold:
                    await self._escalate()
                    return True
            case _:
                self._tried[strategy] = self._config.max_retries  # nothing new would come of it
        return record.reason in (Reason.RECOVERED, Reason.SESSION_ENDED)

    async def _refuse(self, strategy: str, refused: Refusal) -> bool:
        alert, skip = self.alert, self._parts.journal.skip
        if refused.wait:
            early = over(self.watch)
            if early is not None:
                skip(alert, strategy, *early)
            elif not self._limit_told:
                skip(alert, strategy, refused.reason, refused.detail)
            self._limit_told = True
            self.wait = 0.0 if early is not None else refused.wait
            return True
        self._tried[strategy] = self._config.max_retries
        skip(alert, strategy, refused.reason, refused.detail)
        policy = self._policy
        if refused.reason == Reason.BUDGET and not policy.exhausted:
            policy.exhausted = True
            await self._escalate()
        return refused.final

    async def _escalate(self) -> None:
        """Tell the people that the configuration names, and the log in any case."""
        if self.watch.moved is None:
            await self._attempt(InterventionStrategy.ESCALATE)

    # -- one attempt ---------------------------------------------------------------------------

    async def _attempt(self, strategy: str) -> InterventionRecord:
        alert, watch = self.alert, self.watch
        await asyncio.sleep(0)  # what has arrived already is read first
        await asyncio.sleep(0)
        early = over(watch)
        if early is not None:
            return self._parts.journal.skip(alert, strategy, *early)
        watch.again(self._clock())
        self._tried[strategy] += 1
        attempt, started_ns = self._tried[strategy], self._clock()
        triggered = InterventionEvent("triggered", alert, strategy, attempt, started_ns)
        known_alive = self._alive_told
        if not known_alive:
            self._tell(triggered)
        done = Done.impossible(Reason.STOPPED, "given up in the midst of it")
        try:
            done = await self._execute(strategy)
            self._alive_told = done.reason == Reason.ALIVE
            if known_alive and not self._alive_told:
                self._tell(triggered)
            if done.kind is not DoneKind.IMPOSSIBLE:
                self._policy.made(started_ns)
            if done.kind is DoneKind.ACTED:
                now = self._clock()
                self._tell(InterventionEvent("acted", alert, strategy, attempt, now, done))
                await self._verify(done)
        except asyncio.CancelledError:
            if done.kind is DoneKind.ACTED and watch.moved is None:  # what it led to is unknown
                detail = f"{done.detail}; given up before the agent moved"
                kind, reason = DoneKind.IMPOSSIBLE, Reason.STOPPED
                done = Done(kind=kind, reason=reason, detail=detail, text=done.text)
            self._parts.journal.end(alert, self._record(strategy, attempt, started_ns, done), done)
            raise
        record = self._record(strategy, attempt, started_ns, done)
        if record.result is InterventionResult.FAILURE and done.undo is not None:
            with self._guard("what an intervention had held back"):
                done.undo()
        if not (known_alive and self._alive_told):
            self._parts.journal.end(alert, record, done)
        return record

    async def _execute(self, strategy: str) -> Done:
        number, now = self._policy.attempts, self._clock()
        try:
            return await self._parts.executor.execute(self.alert, strategy, number, self.watch, now)
        except RecoveredFirst:
            detail = "the agent went on by itself before anything was sent"
            return Done.impossible(Reason.RECOVERED, detail)
        except ChannelError as error:  # a connection may end at any moment
            return Done.failed(Reason.UNREACHABLE, str(error))
        except Exception as error:  # noqa: BLE001 - an attempt that fails is one that has failed
            self._guard.failed(f"the strategy {strategy}", error)
            return Done.failed(Reason.ERROR, f"{type(error).__name__}: {error}")

    async def _verify(self, done: Done) -> None:
        await verify(self.watch, done, self._config.recovery_timeout)
        if done.answer is not None and refusal(done.answer) is not None and not self.watch.ended:
            self.watch.ended = self._parts.executor.is_cut_off(self.alert.session_id)

    def _record(
        self, strategy: str, attempt: int, started_ns: int, done: Done
    ) -> InterventionRecord:
        moved = self.watch.moved
        result, reason, detail = outcome(done, self.watch, self._config.recovery_timeout)
        recovered = result is InterventionResult.SUCCESS and moved is not None
        return self._parts.journal.record(
            self.alert,
            strategy,
            attempt=attempt,
            started_ns=started_ns,
            result=result,
            reason=reason,
            detail=detail,
            recovery_seconds=(
                (moved.time_ns - self.alert.fired_ns) / 1e9 if recovered and moved else None
            ),
            evidence=done.evidence,
        )


class _SessionQueue(msgspec.Struct, eq=False):
    """The alerts of one session."""

    waiting: deque[_AlertCase] = msgspec.field(default_factory=deque)
    current: _AlertCase | None = None
    task: asyncio.Task[None] | None = None

    def cases(self) -> list[_AlertCase]:
        return [*([] if self.current is None else [self.current]), *self.waiting]


class InterventionOrchestrator:
    """Deals with alerts.

    Args:
        config: Policy.
        executor: Carries strategies out.
        history: Remembers every attempt, and which strategies have worked.
        environment: The rest of Debbie; every attempt is told to its bus.
        policies: Budgets of the sessions, shared with what else acts on them.
        dice: For ids, and the exploration of a learned order.

    """

    def __init__(
        self,
        config: InterventionConfig,
        executor: InterventionExecutor,
        history: InterventionHistory,
        environment: Environment,
        policies: Policies | None = None,
        dice: random.Random | None = None,
    ) -> None:
        self.config = config
        self._environment = environment
        dice = dice or random.Random()
        journal = InterventionJournal(history, environment, dice)
        policies = policies or Policies(config)
        self._parts = _Parts(config, executor, journal, environment, policies, dice)
        self._queues: dict[str, _SessionQueue] = {}
        self._slots = asyncio.Semaphore(config.max_concurrent)
        self._stopping = False

    def take(self, transition: Transition) -> None:
        """Take in an alert that fired, or one that is over."""
        alert = transition.alert
        queue = self._queues.get(alert.session_id)
        cases = [] if queue is None else queue.cases()
        if transition.event == "resolved":
            for case in cases:
                case.watch.transition(transition)
            return
        strategies = self._parts.configured(alert)
        if not strategies or self._stopping:
            return
        if why := self.config.inert:
            detail = f"would have tried {', then '.join(strategies)}"
            self._parts.journal.skip(alert, strategies[0], why, detail)
        elif any(case.alert.alert_type == alert.alert_type for case in cases):
            return  # it is being dealt with
        elif sum(len(queue.waiting) for queue in self._queues.values()) >= self.config.queue:
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
        for queue in list(self._queues.values()):
            for case in queue.cases():
                case.unsubscribe()
        self._queues.clear()
        self._stopping = False
        for error in ended:
            if isinstance(error, Exception):
                raise error

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """What works on alerts now: a task a session."""
        return [queue.task for queue in self._queues.values() if queue.task is not None]

    @property
    def busy(self) -> bool:
        """Whether an alert waits or is dealt with."""
        return bool(self.tasks)

    def _enqueue(self, alert: AnomalyAlert) -> None:
        environment = self._environment
        watch = RecoveryWatch(alert, environment.sessions.loop_steps(alert.session_id))
        unsubscribe = environment.sessions.subscribe(watch.observe, *EVENTS)
        queue = self._queues.setdefault(alert.session_id, _SessionQueue())
        if len(queue.waiting) >= _MAX_WAITING:
            oldest = queue.waiting.popleft()
            oldest.unsubscribe()
            self._too_many(oldest.alert)
        queue.waiting.append(_AlertCase(alert, watch, unsubscribe, self._parts))
        if queue.task is None:
            work = self._work(alert.session_id, queue)
            queue.task = asyncio.get_running_loop().create_task(work, name="interventions")

    def _too_many(self, alert: AnomalyAlert) -> None:
        strategy = self._parts.configured(alert)[0]
        self._parts.journal.skip(alert, strategy, Reason.QUEUE, "too many alerts wait already")

    async def _work(self, session_id: str, queue: _SessionQueue) -> None:
        try:
            while queue.waiting:
                case = queue.current = queue.waiting.popleft()
                try:
                    await self._deal_with(case)
                finally:
                    case.unsubscribe()
                    queue.current = None
        finally:
            queue.task = None
            if not queue.waiting and self._queues.get(session_id) is queue:
                del self._queues[session_id]

    async def _deal_with(self, case: _AlertCase) -> None:
        """Deal with an alert; while its session has to wait, others have its place."""
        while True:
            async with self._slots:
                with self._environment.guard("an intervention"):
                    await case.deal_with()
            if not case.wait:
                return
            await case.wait_for_room()
