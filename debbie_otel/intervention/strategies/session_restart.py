"""session_restart: a new connection and session under the client's living connection."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import msgspec

from debbie_otel.errors import ChannelError
from debbie_otel.intervention.attempt import Attempt
from debbie_otel.intervention.channel import RestartPlan
from debbie_otel.intervention.prompts import summary
from debbie_otel.intervention.records import Reason
from debbie_otel.intervention.steps import Done
from debbie_otel.session.dialect.templates import Act, RestartSpec, fill
from debbie_otel.session.edit import change_string
from debbie_otel.session.model import Call


async def restart_session(attempt: Attempt, text: str | None = None) -> Done:
    """Begin the session anew, and go on with what the client waits for.

    Args:
        attempt: Where.
        text: What to say on it; by default the client's open request again, else a prompt.

    """
    spec = attempt.dialect.document.restart
    if spec is None:
        detail = f"{attempt.dialect.name} has no restart"
        return Done.impossible("dialect", detail)
    if attempt.others:
        detail = f"{attempt.others} other sessions on this connection would be lost with it"
        return Done.impossible("other_sessions", detail)
    if attempt.channel.no_restart:  # nothing is ended that could not begin again
        return Done.impossible("channel", attempt.channel.no_restart)
    if spec.pulse is not None and await _is_only_slow(attempt, spec.pulse):
        detail = f"the server answers {spec.pulse.method}: the tool may only be slow"
        return Done.impossible(Reason.ALIVE, detail)
    timeout = attempt.config.request_timeout
    plan = restart_plan(attempt, spec, text)
    try:
        if spec.cancel:
            await _cancel(attempt)
        async with asyncio.timeout(timeout):
            restarted = await attempt.channel.restart(plan)
    except BaseException as error:
        if attempt.turn_call is not None:  # whatever happened, its client waits for an answer
            attempt.channel.release(attempt.turn_call)
        if not isinstance(error, ChannelError | TimeoutError):
            raise
        why = str(error) or f"no new session in {timeout:g} s"
        return Done.failed("restart", why)
    request = restarted.request
    return Done.acted(
        "restarted on a new connection",
        text=text,
        answer=None if request is None else request.answer,
        evidence={} if restarted.session_id is None else {"new_session": restarted.session_id},
    )


def restart_plan(attempt: Attempt, spec: RestartSpec, text: str | None = None) -> RestartPlan:
    """Return what the new connection says before and after the client is put on it."""
    start, method = _start(attempt, spec)
    turn_call = attempt.turn_call
    return RestartPlan(
        replay=tuple(attempt.kept[name] for name in spec.replay if name in attempt.kept),
        start=start,
        session_id=None if attempt.session.info.unnamed else attempt.session.info.id,
        session_path=None if method is None else attempt.dialect.names_session_at(method),
        fresh=spec.start is None,
        request=_request(attempt, spec, text, turn_call),
        replaces=turn_call,
    )


async def _is_only_slow(attempt: Attempt, pulse: Act) -> bool:
    """Tell whether the server lives, and the tool that it runs has been silent for not too long."""
    alert = attempt.alert
    if alert.alert_type != "session_stall" or not any(c.tool is not None for c in attempt.calls):
        return False
    patience = alert.details.get("threshold", 0.0) * attempt.config.tool_patience
    if (attempt.now_ns - alert.since_ns) / 1e9 >= patience:
        return False
    try:
        request = await attempt.send(pulse, fill(pulse.params, {}))
        if request is None:
            return False
        async with asyncio.timeout(attempt.config.request_timeout):
            answer = await request.answer
    except (ChannelError, TimeoutError):
        return False
    return answer.error is None


async def _cancel(attempt: Attempt) -> None:
    """End what runs on the server, as far as that is possible: it may hear nothing any more."""
    with contextlib.suppress(ChannelError, TimeoutError):
        if attempt.turn_call is not None:
            attempt.channel.hold(attempt.turn_call)  # the client has cancelled nothing
        sent = await attempt.cancel()
        async with asyncio.timeout(attempt.config.request_timeout / 4):
            await asyncio.gather(*(request.answer for request in sent), return_exceptions=True)
            if attempt.turn_call is None:  # else the client's own request is answered anew
                await attempt.settled(attempt.session)


def _start(attempt: Attempt, spec: RestartSpec) -> tuple[bytes | None, str | None]:
    """Return the message that starts the session, and its method."""
    versioned = any(call.versioned for call in _calls(attempt))
    if spec.start is not None:
        params = fill(spec.start.params, {"$session": attempt.session.info.id})
        return _message(spec.start.method, params, versioned=versioned), spec.start.method
    opening = attempt.session.opening
    if opening is None or opening.params is None:
        return None, None
    return _message(opening.method, opening.params, versioned=opening.versioned), opening.method


def _calls(attempt: Attempt) -> list[Call]:
    opening = attempt.session.opening
    return [*attempt.calls, *([] if opening is None else [opening])]


def _message(method: str, params: Any, *, versioned: bool) -> bytes:
    member = {"jsonrpc": "2.0"} if versioned else {}
    return msgspec.json.encode({**member, "id": 0, "method": method, "params": params})


def _request(
    attempt: Attempt, spec: RestartSpec, text: str | None, turn_call: Call | None
) -> tuple[str, Any] | None:
    """Return what goes on: the client's open request with what was said before, or a prompt."""
    config = attempt.config
    before = ""
    if spec.context:
        past = attempt.session.past
        before = summary(past, config.context_turns, config.context_characters)
    if turn_call is not None and turn_call.params is not None:
        words = attempt.dialect.turn_rules[turn_call.method].text
        path = words if isinstance(words, str) else next(iter(words), "")
        with contextlib.suppress(LookupError):
            changed = change_string(
                turn_call.params,
                path.removeprefix("params."),
                lambda asked: _joined(before, asked, text),
            )
            return turn_call.method, msgspec.Raw(changed)
        return turn_call.method, turn_call.params
    said = attempt.say(_joined(before, text or attempt.prompt()), busy=False)
    return None if said is None else (said[0].method, said[1])


def _joined(*parts: str | None) -> str:
    return "\n\n".join(part for part in parts if part)
