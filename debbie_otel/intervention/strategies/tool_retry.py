"""tool_retry: a tool call that failed is made again before the client sees the failure.

Only for tools that can be called twice for once (the server says so, or the configuration), and
only where a call is a request of its own, as in MCP: elsewhere tools run inside the server. What
another attempt would not mend (wrong arguments, a file that is not there) is let through at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import msgspec

from debbie_otel.detection.alerts import AnomalyAlert
from debbie_otel.errors import ChannelError
from debbie_otel.intervention.attempt import Environment, Reach
from debbie_otel.intervention.channel import Answer, Request
from debbie_otel.intervention.event_loop import call_on
from debbie_otel.intervention.history import InterventionHistory
from debbie_otel.intervention.intervention_config import InterventionConfig
from debbie_otel.intervention.journal import InterventionJournal
from debbie_otel.intervention.policy import Policies, Refusal
from debbie_otel.intervention.records import InterventionRecord, InterventionResult
from debbie_otel.intervention.steps import Done, InterventionEvent
from debbie_otel.session import events as ev
from debbie_otel.session.dialect.paths import Fields
from debbie_otel.session.dialect.templates import fill
from debbie_otel.session.model import Call, Outcome, Tool

STRATEGY = "tool_retry"
ALERT_TYPE = "tool_error"
EVENTS: tuple[type[ev.Event], ...] = (
    ev.SessionStarted,
    ev.ToolsListed,
    ev.ToolStarted,
    ev.ToolEnded,
)
_MAX_HELD = 1000
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_MAX_TEXT = 2048
"""Characters of a failure that say whether it is a permanent one."""


class _HeldCall(msgspec.Struct, frozen=True, eq=False):
    """A call whose answer is held back until it is known to be good."""

    call: Call
    reach: Reach


class ToolRetrier:
    """Repeats failed calls.

    Args:
        config: Which tools, how often, and whether anything is done at all.
        environment: The sessions; every attempt is told to its bus.
        policies: Budgets of the sessions.
        history: Remembers every attempt.
        dice: Jitter.

    """

    def __init__(
        self,
        config: InterventionConfig,
        environment: Environment,
        policies: Policies,
        history: InterventionHistory,
        dice: random.Random | None = None,
    ) -> None:
        settings = self._settings = config.tool_retry
        self._inert = config.inert  # why no call is repeated, but told of
        self._timeout = config.recovery_timeout
        self._sessions = environment.sessions
        self._clock = environment.clock
        self._guard = environment.guard
        self._tell = environment.events.publish
        self._policies = policies
        self._dice = dice or random.Random()
        self._journal = InterventionJournal(history, environment, self._dice)
        self._permanent = re.compile(settings.permanent or "(?!)", re.IGNORECASE)
        self._held: dict[int, _HeldCall] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin, on the event loop that calls are repeated from."""
        self._loop = asyncio.get_running_loop()

    def observe(self, event: ev.Event) -> None:
        """Take in the start or the end of a tool, at once and on whatever thread.

        The client may get its answer as soon as this returns.
        """
        match event:
            case ev.ToolStarted(tool=tool):
                self._started(tool)
            case ev.ToolEnded(tool=tool):
                if (held := self._held.pop(id(tool), None)) is not None:
                    self._ended(tool, held)
            case ev.ToolsListed() if self._settings.idempotent:
                self._attend(event.session.id)
            case ev.SessionStarted() if self._settings.tools:
                self._attend(event.session.id)

    async def stop(self) -> None:
        """Give up what is being repeated: the failures go to their clients."""
        self._loop = None
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for held in self._held.values():
            held.reach.channel.release(held.call)
        self._held.clear()

    # -- inside ------------------------------------------------------------------------------

    def _attend(self, session_id: str) -> None:
        reach = None if self._inert else self._sessions.reach(session_id)
        if reach is not None:
            reach.channel.attend()

    def _started(self, tool: Tool) -> None:
        if not tool.is_call or len(self._held) >= _MAX_HELD:
            return
        reach = self._sessions.reach(tool.session.id)
        if reach is None or not self._may_repeat(tool.name, reach):
            return
        calls = reach.connection.pending_calls
        call = next((call for call in calls if call.tool is tool and not call.injected), None)
        if call is None or call.params is None:
            return
        try:
            if not self._inert:
                reach.channel.hold(call)
        except ChannelError:
            return
        self._held[id(tool)] = _HeldCall(call, reach)

    def _may_repeat(self, name: str, reach: Reach) -> bool:
        settings = self._settings
        if settings.idempotent and name in reach.session.repeatable:
            return True
        return any(fnmatchcase(name, pattern) for pattern in settings.tools)

    def _ended(self, tool: Tool, held: _HeldCall) -> None:
        if tool.outcome is not Outcome.FAILED or self._is_permanent(_failure(tool)):
            held.reach.channel.release(held.call)
            return
        if self._loop is not None:
            call_on(self._loop, partial(self._begin, tool, held))

    def _begin(self, tool: Tool, held: _HeldCall) -> None:
        if self._inert:
            would = Refusal(self._inert, f"would have called {tool.name} again", True)
            self._refuse(would, _alert_of(tool, self._clock()), held)
            return
        if self._loop is None:  # it has been stopped meanwhile
            held.reach.channel.release(held.call)
            return
        task = self._loop.create_task(self._repeat(tool, held), name="tool retry")
        self._tasks.add(task)
        task.add_done_callback(partial(self._repeated, held))

    def _is_permanent(self, failure: str) -> bool:
        return self._permanent.search(failure[:_MAX_TEXT]) is not None

    def _repeated(self, held: _HeldCall, task: asyncio.Task[None]) -> None:
        """Let the failure through unless the call is answered; also if the task never began."""
        self._tasks.discard(task)
        held.reach.channel.release(held.call)

    async def _repeat(self, tool: Tool, held: _HeldCall) -> None:
        """Make the call again until it succeeds, or its client gives it up."""
        task = asyncio.current_task()
        assert task is not None

        def look(event: ev.Event) -> None:
            if isinstance(event, ev.NotificationSeen) and _cancels(event, held):
                task.cancel()

        unsubscribe = self._sessions.subscribe(look, ev.NotificationSeen)
        try:
            with self._guard("the repetition of a tool call"):
                await self._attempts(tool, held)
        finally:
            unsubscribe()

    async def _attempts(self, tool: Tool, held: _HeldCall) -> None:
        alert = _alert_of(tool, self._clock())
        policy = self._policies.of(alert.session_id)
        for attempt in range(1, self._settings.max_attempts + 1):
            refusal = policy.admit(STRATEGY, self._clock())
            if refusal is not None:
                self._refuse(refusal, alert, held)
                return
            policy.refused = ""
            await asyncio.sleep(self._delay(attempt))
            started_ns = self._clock()
            policy.made(started_ns)
            self._tell(InterventionEvent("triggered", alert, STRATEGY, attempt, started_ns))
            try:
                answer, why, lost = await self._call(held, tool.name)
            except asyncio.CancelledError:
                self._end(alert, self._record(alert, held, attempt, started_ns, "given up"))
                raise
            record = self._record(alert, held, attempt, started_ns, why)
            policy.learn(record)
            if answer is not None:
                # A restart may have answered the client's call meanwhile.
                with contextlib.suppress(ChannelError):
                    held.reach.channel.answer(held.call, answer)
            self._end(alert, record)
            if answer is not None or lost:
                return

    def _refuse(self, refusal: Refusal, alert: AnomalyAlert, held: _HeldCall) -> None:
        """Tell why a call is not repeated: once, and not for every call that fails."""
        policy = self._policies.of(alert.session_id)
        if policy.refused != refusal.reason:
            policy.refused = refusal.reason
            info = held.reach.session.info
            self._journal.skip(alert, STRATEGY, refusal.reason, refusal.detail, info)

    def _record(
        self, alert: AnomalyAlert, held: _HeldCall, attempt: int, started_ns: int, why: str
    ) -> InterventionRecord:
        """Return the record of a repetition; `why` it failed, empty if it succeeded."""
        now = self._clock()
        what = f"{alert.subject} was called again"
        facts: dict[str, Any] = {
            "result": InterventionResult.SUCCESS,
            "detail": f"{what} and succeeded",
            "recovery_seconds": (now - alert.fired_ns) / 1e9,
        }
        if why:
            failure = InterventionResult.FAILURE
            facts = {"result": failure, "reason": "failed_again", "detail": f"{what}; {why}"}
        return self._journal.record(
            alert,
            STRATEGY,
            info=held.reach.session.info,
            attempt=attempt,
            started_ns=started_ns,
            ended_ns=now,
            **facts,
        )

    def _end(self, alert: AnomalyAlert, record: InterventionRecord) -> None:
        self._journal.end(alert, record, Done.acted(record.detail))

    async def _call(self, held: _HeldCall, tool: str) -> tuple[Answer | None, str, bool]:
        """Return the answer to a repetition; or None, why, and whether another is of no use."""
        call = held.call
        try:
            request = held.reach.channel.request(call.method, self._params(call, tool))
            try:
                async with asyncio.timeout(self._timeout):
                    answer = await request.answer
            except (TimeoutError, asyncio.CancelledError):
                _take_back(request, held)
                raise
        except (ChannelError, TimeoutError) as error:
            # A server that leaves a repetition unanswered is not asked again: the client waits.
            return None, str(error) or f"no answer in {self._timeout:g} s", True
        if answer.error is not None:
            return None, answer.error, self._is_permanent(answer.error)
        if isinstance(answer.result, dict) and answer.result.get("isError") is True:
            return None, "it has failed again", self._is_permanent(_text(answer.result))
        return answer, "", False

    def _params(self, call: Call, tool: str) -> Any:
        """Return the call's own text again, but for arguments that the configuration changes."""
        assert call.params is not None
        changes = self._settings.arguments.get(tool)
        if not changes:
            return msgspec.Raw(bytes(call.params))
        try:
            params = _decode_members(call.params)
            arguments = _decode_members(params.get("arguments", b"{}"))
        except msgspec.DecodeError:  # what only some parsers take: then nothing is changed
            return msgspec.Raw(bytes(call.params))
        changed = {name: msgspec.Raw(msgspec.json.encode(new)) for name, new in changes.items()}
        return {**params, "arguments": {**arguments, **changed}}

    def _delay(self, attempt: int) -> float:
        settings = self._settings
        seconds = min(settings.delay * 2.0 ** (attempt - 1), settings.max_delay)
        return seconds * self._dice.uniform(0.8, 1.2)


def _failure(tool: Tool) -> str:
    return f"{tool.error_type}: {tool.error_message} {_text(tool.result)}"


def _text(result: Any) -> str:
    """Return a result as a text in which words can be looked for."""
    return "" if result is None else json.dumps(result)[:_MAX_TEXT]


def _cancels(event: ev.NotificationSeen, held: _HeldCall) -> bool:
    """Tell whether the client gives up the call that is being repeated."""
    message, call = event.message, held.call
    if message.direction is not call.direction or event.session is not held.reach.session.info:
        return False
    rules = held.reach.connection.dialect.on_message.get(message.method or "", ())
    paths = [rule.id for rule in rules if rule.role == "cancel_call"]
    return any(Fields(message).request_id(path) == call.id for path in paths)


def _take_back(request: Request, held: _HeldCall) -> None:
    """Cancel a repetition whose answer is not needed any more, where the dialect has a way."""
    for act in held.reach.connection.dialect.document.cancel:
        if act.each == "call" and act.kind == "notification" and act.channel == "same":
            with contextlib.suppress(ChannelError, KeyError):
                held.reach.channel.notify(act.method, fill(act.params, {"$call": request.id}))


def _alert_of(tool: Tool, now_ns: int) -> AnomalyAlert:
    """Return an alert for a failed call, for its records; it is never published."""
    return AnomalyAlert(
        alert_type=ALERT_TYPE,
        severity="low",
        session_id=tool.session.id,
        subject=tool.name,
        message=f"{tool.name} failed: {tool.error_message or tool.error_type or 'error'}",
        since_ns=tool.started_ns,
        fired_ns=now_ns,
        details={"subject": tool.name},
    )
