"""state_reset: what runs is cancelled, then the agent is told to begin afresh."""

from __future__ import annotations

from debbie_otel.errors import ChannelError
from debbie_otel.intervention.attempt import Attempt
from debbie_otel.intervention.records import Reason
from debbie_otel.intervention.steps import Done
from debbie_otel.intervention.strategies.session_restart import restart_session
from debbie_otel.session.model import Call, Outcome

PROMPTS = "state_reset"
"""Under this name the prompts of a reset may be configured, before the alert's own."""


async def reset_state(attempt: Attempt) -> Done:
    """Cancel what runs, then say the reset prompt.

    Where the turn is a request of the client's that waits for its answer, the client gets the
    answer to our prompt in its place: it has not cancelled anything. A turn that is done when the
    cancel comes keeps its own answer, and there is nothing left to prompt for.
    """
    text = attempt.prompt(PROMPTS)
    if attempt.dialect.document.reset == "restart":
        return await restart_session(attempt, text)
    cancels = bool(attempt.cancels())
    if not cancels and attempt.say(text) is None:
        detail = f"nothing runs, and {attempt.dialect.name} takes no prompts"
        return Done.impossible("dialect", detail)
    waiting = attempt.turn_call
    if waiting is not None and cancels:
        attempt.channel.hold(waiting)
    try:
        return await _cancel_and_prompt(attempt, text, waiting if cancels else None)
    except BaseException as error:
        if waiting is not None:  # whatever happened, its client waits for an answer
            attempt.channel.release(waiting)
        if not isinstance(error, ChannelError | TimeoutError):
            raise
        why = str(error) or f"not taken up in {attempt.config.request_timeout:g} s"
        return Done.failed(Reason.UNREACHABLE, why)


async def _cancel_and_prompt(attempt: Attempt, text: str, waiting: Call | None) -> Done:
    turn = attempt.session.turn()
    await attempt.cancel()
    if not await attempt.settled(attempt.session):
        if waiting is not None:
            attempt.channel.release(waiting)
        return Done.failed("not_cancelled", "it runs on after the cancel")
    said = attempt.say(text)
    done_all_the_same = turn is not None and turn.outcome is Outcome.COMPLETED
    if waiting is not None and done_all_the_same:
        attempt.channel.release(waiting)
    if said is None or done_all_the_same:
        return Done.acted("cancelled what ran")
    act, params = said
    request = await attempt.send(act, params, waiting)
    return Done.acted(
        f"cancelled what ran, prompted by {act.method}",
        text=text,
        answer=None if request is None else request.answer,
        undo=None if waiting is None else lambda: attempt.channel.release(waiting),
    )
