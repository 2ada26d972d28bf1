"""A live session of the test's own, and interventions on it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from debbie_otel.app.monitor import DebbieMonitor
from debbie_otel.detection.alerts import AnomalyAlert, Transition
from debbie_otel.errors import FailOpen
from debbie_otel.intervention.attempt import (
    Attempt,
    Environment,
    InterventionExecutor,
    Reach,
    Strategy,
)
from debbie_otel.intervention.channel import Channel
from debbie_otel.intervention.history import InterventionHistory
from debbie_otel.intervention.intervention_config import HistorySettings, InterventionConfig
from debbie_otel.intervention.orchestrator import InterventionOrchestrator
from debbie_otel.intervention.records import InterventionRecord
from debbie_otel.intervention.recovery import RecoveryWatch
from debbie_otel.intervention.steps import Done, DoneKind, InterventionEvent
from debbie_otel.session import events as ev
from debbie_otel.session.event_bus import Subscriber, Unsubscribe
from debbie_otel.session.model import Call
from debbie_otel.session.record import SessionRecords
from debbie_otel.session.session import Session
from tests.intervention import alerts
from tests.play import Play
from tests.session.openings import START

HUNG = '>> {"id":2,"method":"sendUserMessage","params":{"sessionId":"s1","message":"go"}}'
MOVES = '<< {"method":"StreamingUpdate","params":{"sessionId":"s1","content":"I"}}'
ENDS = "close"


class LivePlay:
    """A live session that hangs, as interventions know it (`LiveSessions`)."""

    def __init__(self, dialect: str = "aiwhisperer", begins: str = f"{START}\n{HUNG}") -> None:
        self.play = Play(dialect)
        self.monitor = DebbieMonitor()
        self.session_records = SessionRecords(self.monitor.live)
        self.tell(begins)
        self.guard = FailOpen()
        self.cut_off: str | None = None

    def clock(self) -> int:
        return self.play.now

    def reach(self, session_id: str) -> Reach | None:
        # No strategy here sends anything: what a channel does is in tests/transports.
        session = self.play.connection.session
        channel = cast("Channel", SimpleNamespace(ended=self.cut_off))
        return Reach(session, self.play.connection, channel) if session.live else None

    async def attempt(self, **config: Any) -> Attempt:
        """Return what a strategy of a user gets in this session."""
        got: list[Attempt] = []

        async def keep(attempt: Attempt) -> None:
            got.append(attempt)

        executor = InterventionExecutor(InterventionConfig(**config), self)
        executor.register("keep", keep)
        alert = alerts.alert(session_id=self.play.connection.session.info.id)
        await executor.execute(alert, "custom:keep", 0, RecoveryWatch(alert), self.clock())
        return got[0]

    def calls_of(self, session: Session) -> list[Call]:
        return [call for call in self.play.connection.pending_calls if call.session is session.info]

    def loop_steps(self, _: str) -> None:
        return None

    def agent_memory(self) -> int:
        return 0

    def subscribe(self, subscriber: Subscriber[ev.Event], *kinds: type[ev.Event]) -> Unsubscribe:
        return self.monitor.subscribe(subscriber, *kinds)

    def tell(self, transcript: str) -> None:
        """Let messages pass, and the monitor hear of them."""
        before = len(self.play.events)
        if transcript == ENDS:
            self.play.close()
        else:
            self.play.play(transcript)
        self.monitor.events.publish_all(self.play.events[before:])


class Stage(LivePlay):
    """A live session, an orchestrator, and strategies by name."""

    def __init__(self, history: InterventionHistory | None = None, **config: Any) -> None:
        settings: dict[str, Any] = {"recovery_timeout": 0.05, "retry_delay": 0.0} | config
        super().__init__()
        self.history = history or InterventionHistory(None, HistorySettings(), self.clock)
        self.events: list[InterventionEvent] = []
        self.news = asyncio.Event()
        self.config = InterventionConfig(**settings)
        self.executor = InterventionExecutor(
            self.config, self, advisors={"escalate": self._escalate}
        )
        self.monitor.subscribe_to_interventions(self._heard)
        environment = Environment(
            sessions=self,
            events=self.monitor.events,
            clock=self.clock,
            guard=self.guard,
            records=self.session_records,
        )
        self.orchestrator = InterventionOrchestrator(
            self.config, self.executor, self.history, environment, dice=random.Random(7)
        )
        self.tried: list[str] = []
        self.escalates = Done(kind=DoneKind.ESCALATED, detail="told log")

    def knows(self, name: str, strategy: Strategy) -> None:
        async def noted(attempt: Attempt) -> Done | bool | None:
            self.tried.append(name)
            return await strategy(attempt)

        self.executor.register(name, noted)

    def helps(self, name: str) -> None:
        async def strategy(_: Attempt) -> None:
            asyncio.get_running_loop().call_soon(self.tell, MOVES)

        self.knows(name, strategy)

    def fails(self, name: str) -> None:
        async def strategy(_: Attempt) -> None:
            return None

        self.knows(name, strategy)

    async def take(self, *strategies: str, alert: AnomalyAlert | None = None) -> None:
        """Raise an alert, and let what deals with it begin."""
        named = tuple(s if s == "escalate" else f"custom:{s}" for s in strategies)
        self.raised = alert or alerts.alert(strategies=named)
        self.orchestrator.take(Transition("alert", self.raised, self.clock()))
        await asyncio.sleep(0)

    async def run(self, *strategies: str, alert: AnomalyAlert | None = None) -> list[str]:
        """Raise an alert and wait until it is dealt with; return the results."""
        before = len(self.records)
        await self.take(*strategies, alert=alert)
        await self.settle()
        return [told(record) for record in self.records[before:]]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until what is told makes something hold."""
        async with asyncio.timeout(5):
            while not condition():
                self.news.clear()
                await self.news.wait()

    def _heard(self, event: InterventionEvent) -> None:
        self.events.append(event)
        self.news.set()

    async def settle(self) -> None:
        async with asyncio.timeout(5):
            while self.orchestrator.busy:
                await asyncio.gather(*self.orchestrator.tasks)

    @property
    def records(self) -> list[InterventionRecord]:
        return [event.record for event in self.events if event.record is not None]

    async def _escalate(self, alert: AnomalyAlert, _: object) -> Done:
        self.tried.append("escalate")
        return self.escalates


def told(record: InterventionRecord) -> str:
    reason = f" {record.reason}" if record.reason else ""
    return f"{record.strategy.removeprefix('custom:')} {record.result}{reason}"
