"""What the rules of a dialect do to a session: one function a role."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from debbie_otel.session.dialect.paths import (
    Fields,
    as_list,
    as_text,
    first_at,
    gather_at,
    value_at,
)
from debbie_otel.session.dialect.schema import Role, Rule
from debbie_otel.session.events import ErrorReported, Event
from debbie_otel.session.message import InterceptedMessage
from debbie_otel.session.model import MAX_CONTENT, Call, Outcome, Turn
from debbie_otel.session.session import Session, ToolReport

Effect = Callable[[Rule, "MessageContext"], None]
_MAX_DURATION_MS = 1e11  # three years


class MessageContext(msgspec.Struct, frozen=True, eq=False):
    """A message, where it belongs, and the list that its events are appended to.

    Attributes:
        connection: Key of the connection.
        message: The message.
        fields: Access to its members, on a response also to the `params` of its request.
        session: Its session, and `turn`: its turn, which may have ended not long ago.
        out: Events are appended here.
        replaying: Whether the server is replaying history.

    """

    connection: str
    message: InterceptedMessage
    fields: Fields
    session: Session
    turn: Turn | None
    out: list[Event]
    replaying: bool = False


def of_role(role: Role, rules: Iterable[Rule]) -> Rule | None:
    """Return the first rule of a role; None if there is none."""
    for rule in rules:
        if rule.role == role:
            return rule
    return None


def chunk(rule: Rule, context: MessageContext) -> None:
    """Add a chunk to its stream."""
    fields = context.fields
    kind = "history" if context.replaying else rule.kind
    context.session.streams.advance(
        (context.connection, kind, fields.text(rule.key) or ""),
        context.message,
        context.out,
        turn=context.turn,
        text=fields.text(rule.text) or "",
        total=rule.mode == "total",
        final=bool(rule.final) and fields.holds(rule.final),
    )


def stream_end(rule: Rule, context: MessageContext) -> None:
    """End the stream of an item that is complete."""
    item = context.fields.text(rule.key)
    if item is not None:
        context.session.streams.end_item(item, context.message.time_ns, context.out)


def turn_answered(
    rule: Rule,
    call: Call,
    session: Session,
    fields: Fields | None,
    rules: Iterable[Rule],
    out: list[Event],
) -> None:
    """End the turn that a request opened, or learn its id where it goes on after the response.

    Args:
        rule: The `turn` rule of the request's method.
        call: The request; it has ended.
        session: Its session.
        fields: Access to the result; None where there is no result.
        rules: The rules on the response that apply.
        out: Gets the events.

    """
    turn = call.turn
    ended_ns = call.ended_ns or call.started_ns
    outcome = call.outcome or Outcome.COMPLETED
    if rule.until == "notification" and outcome is Outcome.COMPLETED and fields is not None:
        turn_id = fields.text(rule.id)
        if call.opens_turn and turn is not None:
            session.name_turn(turn, turn_id)
        elif turn_id is not None and not session.knows_turn(turn_id):
            # The session was busy when the request came, yet this is another turn.
            session.open_turn(ended_ns, call.method, call.direction, out, turn_id=turn_id)
        return
    if turn is None or not call.opens_turn:
        return
    if fields is not None and outcome is Outcome.COMPLETED:
        turn.stop_reason = fields.text(rule.reason)
        turn.output = (fields.text(rule.output) or "")[:MAX_CONTENT] or turn.output
        outcome = rule.outcomes.get(turn.stop_reason or "", outcome)
        if of_role("incomplete", rules) is not None:
            outcome = Outcome.INCOMPLETE
    session.end_turn(
        turn,
        ended_ns,
        outcome,
        out,
        error_type=call.error_type,
        error_message=call.error_message,
    )


def turn_ended(rule: Rule, context: MessageContext) -> None:
    """End the turn that a notification names; of one that is not open it says nothing new."""
    fields, session = context.fields, context.session
    turn_id = fields.text(rule.id)
    turn = context.turn if turn_id is None else session.open_turn_of(turn_id)
    if turn is None:
        return
    outcome = rule.outcomes.get(fields.text(rule.status) or "", Outcome.COMPLETED)
    failed = outcome is Outcome.FAILED
    turn.stop_reason = fields.text(rule.reason)
    session.info.errors += failed
    session.end_turn(
        turn,
        context.message.time_ns,
        outcome,
        context.out,
        error_type=rule.error_type if failed else None,
        error_message=(fields.text(rule.error_message) or "") if failed else "",
    )


def tool(rule: Rule, context: MessageContext) -> None:
    """Start, update or end a tool; replayed history runs none."""
    if context.replaying:
        return
    fields, session, now = context.fields, context.session, context.message.time_ns
    tool_id = fields.text(rule.id)
    name = fields.text(rule.name) or rule.default_name
    status = fields.text(rule.status)
    report = ToolReport(
        name=name,
        id=tool_id,
        kind=fields.text(rule.tool_kind),
        turn=context.turn,
        arguments=fields.gather(rule.arguments),
        result=fields.gather(rule.result),
        outcome=rule.outcome if status is None else rule.outcomes.get(status),
        error_type=rule.error_type,
        duration_ns=_nanoseconds(fields.first(rule.duration_ms)),
    )
    session.start(now, context.out)
    session.tool_seen(tool_id or f"\0{name}", now, report, context.out)


def tools_reported(rule: Rule, context: MessageContext) -> None:
    """Count the executions that a response lists."""
    for entry in _listed(rule, context):
        report = ToolReport(
            name=as_text(first_at(entry, rule.name)) or rule.default_name,
            id=as_text(first_at(entry, rule.id)),
            turn=context.turn,
            arguments=gather_at(entry, rule.arguments),
        )
        context.session.tool_reported(context.message.time_ns, report, context.out)


def tool_list(rule: Rule, context: MessageContext) -> None:
    """Learn which tools may be called again."""
    names = [
        name
        for entry in _listed(rule, context)
        if any(value_at(entry, path) is True for path in as_list(rule.repeatable))
        and (name := as_text(first_at(entry, rule.name))) is not None
    ]
    if names:
        context.session.tools_listed(context.message.time_ns, names, context.out)


def usage(rule: Rule, context: MessageContext) -> None:
    """Count tokens."""
    tokens = [context.fields.first(path) for path in (rule.input_tokens, rule.output_tokens)]
    counts = [n if isinstance(n, int) and 0 <= n < 2**53 else 0 for n in tokens]
    context.session.usage(
        context.message.time_ns,
        (counts[0], counts[1]),
        context.out,
        turn=context.turn,
        total=rule.mode == "total",
    )


def error(rule: Rule, context: MessageContext) -> None:
    """Report an error that is not a response."""
    fields = context.fields
    context.out.append(
        ErrorReported(
            context.session.info,
            context.message.time_ns,
            context.turn,
            rule.error_type,
            fields.text(rule.error_message) or "",
            fields.first(rule.will_retry) is True,
        )
    )


def agent(rule: Rule, context: MessageContext) -> None:
    """Learn the agent's name or id."""
    info = context.session.info
    info.agent = context.fields.text(rule.name) or info.agent
    info.agent_id = context.fields.text(rule.id) or info.agent_id


def _nanoseconds(milliseconds: Any) -> int | None:
    """Convert a duration; None for what cannot be one (no number, negative, years)."""
    if isinstance(milliseconds, int | float) and 0 <= milliseconds < _MAX_DURATION_MS:
        return round(milliseconds * 1e6)
    return None


def _listed(rule: Rule, context: MessageContext) -> list[Any]:
    entries = context.fields.get(rule.list, None)
    return entries if isinstance(entries, list) else []


ON_NOTIFICATION: dict[str, Effect] = {
    "turn_ended": turn_ended,
    "tool": tool,
    "stream_end": stream_end,
    "usage": usage,
    "error": error,
    "agent": agent,
}
ON_SUCCESS: dict[str, Effect] = {
    "tools": tools_reported,
    "tool_list": tool_list,
    "usage": usage,
    "agent": agent,
}
