"""prompt_injection: words put into the live session, by the way that its dialect names."""

from __future__ import annotations

from debbie_otel.errors import ChannelError
from debbie_otel.intervention.attempt import Attempt
from debbie_otel.intervention.records import InterventionStrategy, Reason
from debbie_otel.intervention.steps import Done


async def inject_prompt(attempt: Attempt, key: str | None = None) -> Done:
    """Say the next prompt for the alert.

    Args:
        attempt: Where.
        key: Under which name to look for prompts before the alert's own.

    """
    text = attempt.prompt(key)
    said = attempt.say(text)
    if said is None:
        name = attempt.dialect.name
        return Done.impossible("dialect", f"{name} takes no prompts now")
    act, params = said
    try:
        request = await attempt.send(act, params)
    except (ChannelError, TimeoutError) as error:
        why = str(error) or f"not taken up in {attempt.config.request_timeout:g} s"
        return Done.failed(Reason.UNREACHABLE, why)
    return Done.acted(
        f"prompted by {act.method} ({act.channel} connection)",
        text=text,
        answer=None if request is None else request.answer,
    )


async def ask_to_try_again(attempt: Attempt) -> Done:
    """Say the prompt of `tool_retry`: where calls are not repeated, the agent can repeat them."""
    return await inject_prompt(attempt, InterventionStrategy.TOOL_RETRY)
