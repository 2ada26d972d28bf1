"""What the rules of a dialect do to a session: one function a role.

`Scene` is a message with all that has been found out about it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from debbie_otel.session.dialect.paths import Fields, as_text, descend
from debbie_otel.session.dialect.schema import Rule
from debbie_otel.session.events import ErrorReported, Event
from debbie_otel.session.message import InterceptedMessage
from debbie_otel.session.model import Outcome, Turn
from debbie_otel.session.session import Session

Effect = Callable[[Rule, "Scene"], None]
_MAX_DURATION_MS = 1e11  # three years


class Scene(msgspec.Struct, frozen=True, eq=False):
    """A message, where it belongs, and where its events go.

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


def chunk(rule: Rule, scene: Scene) -> None:
    """Add a chunk to its stream."""
    fields, message = scene.fields, scene.message
    kind = "history" if scene.replaying else rule.kind
    scene.session.chunk(
        (scene.connection, kind, fields.text(rule.key) or ""),
        message.time_ns,
        message.size,
        fields.text(rule.text) or "",
        scene.out,
        method=message.method or "",
        kind=kind,
        direction=message.direction,
        turn=scene.turn,
        total=rule.mode == "total",
        final=bool(rule.final) and fields.holds(rule.final),
    )


def stream_end(rule: Rule, scene: Scene) -> None:
    """End the stream of an item that is complete."""
    item = scene.fields.text(rule.key)
    if item is not None:
        scene.session.item_ended(item, scene.message.time_ns, scene.out)


def turn_ended(rule: Rule, scene: Scene) -> None:
    """End the turn that a notification names; of one that is not open it says nothing new."""
    fields, session = scene.fields, scene.session
    turn_id = fields.text(rule.id)
    turn = scene.turn if turn_id is None else session.open_turn_of(turn_id)
    if turn is None:
        return
    outcome = rule.outcomes.get(fields.text(rule.status) or "", Outcome.COMPLETED)
    failed = outcome is Outcome.FAILED
    turn.stop_reason = fields.text(rule.reason)
    session.info.errors += failed
    session.end_turn(
        turn,
        scene.message.time_ns,
        outcome,
        scene.out,
        error_type=rule.error_type if failed else None,
        error_message=(fields.text(rule.error_message) or "") if failed else "",
    )


def tool(rule: Rule, scene: Scene) -> None:
    """Start, update or end a tool; replayed history runs none."""
    if scene.replaying:
        return
    fields, session, now = scene.fields, scene.session, scene.message.time_ns
    tool_id = fields.text(rule.id)
    name = fields.text(rule.name) or rule.default_name
    status = fields.text(rule.status)
    duration = fields.first(rule.duration_ms)
    session.start(now, scene.out)
    session.tool_seen(
        tool_id or f"\0{name}",
        now,
        scene.out,
        name=name,
        tool_id=tool_id,
        kind=fields.text(rule.tool_kind),
        turn=scene.turn,
        arguments=fields.gather(rule.arguments),
        result=fields.gather(rule.result),
        outcome=rule.outcome if status is None else rule.outcomes.get(status),
        error_type=rule.error_type,
        duration_ns=_nanoseconds(duration),
    )


def tools_reported(rule: Rule, scene: Scene) -> None:
    """Count the executions that a response lists."""
    entries = scene.fields.get(rule.list, None)
    for entry in entries if isinstance(entries, list) else []:
        scene.session.tool_reported(
            scene.message.time_ns,
            scene.out,
            name=as_text(_within(entry, rule.name)) or rule.default_name,
            tool_id=as_text(_within(entry, rule.id)),
            turn=scene.turn,
            arguments=_within(entry, rule.arguments),
        )


def tool_list(rule: Rule, scene: Scene) -> None:
    """Learn which tools may be called again."""
    entries = scene.fields.get(rule.list, None)
    paths = [rule.repeatable] if isinstance(rule.repeatable, str) else rule.repeatable
    names = [
        name
        for entry in (entries if isinstance(entries, list) else [])
        if any(descend(entry, path) is True for path in paths)
        and (name := as_text(_within(entry, rule.name))) is not None
    ]
    if names:
        scene.session.tools_listed(scene.message.time_ns, names, scene.out)


def usage(rule: Rule, scene: Scene) -> None:
    """Count tokens."""
    tokens = [scene.fields.first(path) for path in (rule.input_tokens, rule.output_tokens)]
    counts = [n if isinstance(n, int) and 0 <= n < 2**53 else 0 for n in tokens]
    scene.session.usage(
        scene.message.time_ns,
        (counts[0], counts[1]),
        scene.out,
        turn=scene.turn,
        total=rule.mode == "total",
    )


def error(rule: Rule, scene: Scene) -> None:
    """Tell of an error that is no response."""
    fields = scene.fields
    scene.out.append(
        ErrorReported(
            scene.session.info,
            scene.message.time_ns,
            scene.turn,
            rule.error_type,
            fields.text(rule.error_message) or "",
            fields.first(rule.will_retry) is True,
        )
    )


def agent(rule: Rule, scene: Scene) -> None:
    """Learn the agent's name or id."""
    info = scene.session.info
    info.agent = scene.fields.text(rule.name) or info.agent
    info.agent_id = scene.fields.text(rule.id) or info.agent_id


def _nanoseconds(milliseconds: Any) -> int | None:
    """Convert a duration; None for what cannot be one (no number, negative, years)."""
    if isinstance(milliseconds, int | float) and 0 <= milliseconds < _MAX_DURATION_MS:
        return round(milliseconds * 1e6)
    return None


def _within(entry: Any, paths: str | list[str] | dict[str, str]) -> Any:
    if isinstance(paths, dict):
        return {name: descend(entry, path) for name, path in paths.items()}
    choices = [paths] if isinstance(paths, str) else paths
    return next((found for path in choices if (found := descend(entry, path)) is not None), None)


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
