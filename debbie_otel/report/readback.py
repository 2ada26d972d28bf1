"""Sessions read back from the spans in telemetry files, after the fact.

Reads what `telemetry.export.files.FileSpanExporter` writes (OTLP/JSON, an object a line), of the
names that `telemetry.recorder` gives. A line that was torn by a full disk or a crash costs only
itself.
Source: OpenTelemetry specification, "OpenTelemetry Protocol File Exporter".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from debbie_otel import semconv
from debbie_otel.errors import ConfigurationError
from debbie_otel.session.record import (
    MAX_ALERTS,
    MAX_MESSAGES,
    MAX_STEPS,
    RecentMessage,
    SeenAlert,
    SessionRecord,
    Step,
    fingerprint,
)
from debbie_otel.wire.direction import MessageDirection

MAX_SESSIONS = 1000
"""Sessions that are told of; beyond, the one seen first is forgotten."""

_METHODS = (semconv.RPC_METHOD, semconv.MCP_METHOD_NAME)
_SERVER = 2  # SPAN_KIND_SERVER: the client asked
_ERROR = 2  # STATUS_CODE_ERROR


class _Value(msgspec.Struct, gc=False):
    string: str | None = msgspec.field(default=None, name="stringValue")
    integer: int | str | None = msgspec.field(default=None, name="intValue")
    boolean: bool | None = msgspec.field(default=None, name="boolValue")


class _Attribute(msgspec.Struct, gc=False):
    key: str
    value: _Value


class _Status(msgspec.Struct, gc=False):
    code: int = 0
    message: str = ""


class _Span(msgspec.Struct, rename="camel"):
    trace_id: str
    span_id: str
    name: str
    kind: int = 0
    parent_span_id: str = ""
    start_time_unix_nano: int | str = 0
    end_time_unix_nano: int | str = 0
    attributes: list[_Attribute] = []
    status: _Status = msgspec.field(default_factory=_Status)


class _ScopeSpans(msgspec.Struct):
    spans: list[_Span] = []


class _ResourceSpans(msgspec.Struct, rename="camel"):
    scope_spans: list[_ScopeSpans] = []


class _Line(msgspec.Struct, rename="camel"):
    resource_spans: list[_ResourceSpans]


def trace_files(data_dir: Path) -> list[Path]:
    """Return the files with spans in a data directory, the oldest first; none where there are none.

    Those in `spool` hold what no receiver took.
    """
    folders = (data_dir, data_dir / "spool")
    found = [path for folder in folders for path in folder.glob("traces*.jsonl")]
    return sorted(found, key=lambda path: path.stat().st_mtime)


def read_sessions(files: Iterable[Path], session_id: str | None = None) -> list[SessionRecord]:
    """Read sessions back, in the order of their first span.

    Args:
        files: Of spans, the oldest first.
        session_id: The only session that is wanted; None for all.

    Raises:
        ConfigurationError: A file cannot be read, or has no spans but other things in it.

    """
    reader = _Reader(session_id)
    for path in files:
        for span in _spans(path):
            reader.add(span)
    return reader.facts()


def _is_session(facts: SessionRecord) -> bool:
    """Whether this is more than what a server says before it has named a session."""
    return facts.started_ns is not None or bool(facts.steps or facts.alerts)


def _spans(path: Path) -> Iterator[_Span]:
    decoder = msgspec.json.Decoder(_Line)
    good = bad = 0
    try:
        with path.open("rb") as file:
            for line in file:
                try:
                    groups = decoder.decode(line).resource_spans
                    good += 1
                except (msgspec.DecodeError, UnicodeDecodeError):
                    bad += bool(line.strip())
                    continue
                for group in groups:
                    for scope in group.scope_spans:
                        yield from scope.spans
    except OSError as error:
        raise ConfigurationError(str(path), f"cannot be read: {error.strerror}") from None
    if bad and not good:
        raise ConfigurationError(str(path), "holds no OTLP JSON lines")


def _plain(value: _Value) -> str | int | bool | None:
    if value.integer is not None:
        return int(value.integer)
    return value.string if value.string is not None else value.boolean


class _Reader:
    """Finds the sessions that spans belong to.

    What is said before the server names the session is exported under the connection's id, and
    belongs to the first session that begins on that connection.
    """

    def __init__(self, wanted: str | None) -> None:
        self._wanted = wanted
        self._sessions: dict[str, _Session] = {}

    def add(self, span: _Span) -> None:
        """Take in a span."""
        attributes = {a.key: _plain(a.value) for a in span.attributes}
        name, connection = (attributes.get(k) for k in (semconv.SESSION_ID, semconv.CONNECTION_ID))
        if not isinstance(name, str):
            return
        if self._wanted not in (None, name) and name != connection:
            return
        if (
            span.name == semconv.SPAN_SESSION_START
            and isinstance(connection, str)
            and not attributes.get(semconv.SESSION_RESUMED)
        ):
            self._name(connection, name)
        if name not in self._sessions:
            if len(self._sessions) >= MAX_SESSIONS:
                del self._sessions[next(n for n in self._sessions if n != self._wanted)]
            self._sessions[name] = _Session(name)
        self._sessions[name].add(span, attributes)

    def facts(self) -> list[SessionRecord]:
        """Return what was found."""
        found = [session.facts() for session in self._sessions.values()]
        if self._wanted is not None:
            return [facts for facts in found if facts.session_id == self._wanted]
        return [facts for facts in found if _is_session(facts)]

    def _name(self, connection: str, name: str) -> None:
        """Give the session of a connection, if it has not begun itself, the name it now has."""
        before = self._sessions.get(connection)
        if before is not None and not before.begun and name not in self._sessions:
            self._sessions[name] = self._sessions.pop(connection)
            before.session_id = name


class _Session:
    """One session while its spans are read."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self._dialect = self._agent = self._end_reason = ""
        self._started: int | None = None
        self._ended: int | None = None
        self._last = 0
        self._told: dict[str, int] = {}
        self._turns: dict[str, int] = {}
        self._tokens = [0, 0]
        self._steps: deque[tuple[str, Step]] = deque(maxlen=MAX_STEPS)
        self._alerts: deque[SeenAlert] = deque(maxlen=MAX_ALERTS)
        self._messages: deque[RecentMessage] = deque(maxlen=MAX_MESSAGES)

    @property
    def begun(self) -> bool:
        """Whether its start was seen."""
        return self._started is not None

    def add(self, span: _Span, found: dict[str, Any]) -> None:
        """Take in a span, with its attributes by name."""
        start, end = int(span.start_time_unix_nano), int(span.end_time_unix_nano)
        self._dialect = str(found.get(semconv.DIALECT, self._dialect))
        if span.name == semconv.SPAN_SESSION_START:
            self._started, self._ended, self._end_reason = start, None, ""
        elif span.name == semconv.SPAN_SESSION_END:
            self._end(found, end)
        elif semconv.ALERT_TYPE in found:
            if span.name.startswith(f"{semconv.EVENT_ALERT} "):
                self._alerts.append(_alert(found, start))
        else:
            unanswered = semconv.REQUEST_SIZE in found and not found.get(semconv.RESPONSE_SIZE)
            self._last = max(self._last, start if unanswered else end)
            self._traffic(span, found, start, end)

    def _traffic(self, span: _Span, found: dict[str, Any], start: int, end: int) -> None:
        if found.get(semconv.GEN_AI_OPERATION_NAME) == semconv.INVOKE_AGENT:
            self._turn(span, found, start, end)
        elif found.get(semconv.GEN_AI_OPERATION_NAME) == semconv.EXECUTE_TOOL:
            if semconv.INJECTED not in found:
                self._step(span, _tool(span, found, start, end), "tools")
            if semconv.JSONRPC_REQUEST_ID in found:
                self._call_messages(span, found, start, end)
                self._count("calls")
        elif semconv.REQUEST_SIZE in found:
            self._call_messages(span, found, start, end)
            if semconv.INJECTED not in found:
                self._step(span, _call(span, found, start, end), "calls")
        elif semconv.MESSAGE_SIZE in found:
            self._message(span, found, end)
        else:
            self._count("messages", int(found.get(semconv.STREAM_CHUNKS, 0)))

    def facts(self) -> SessionRecord:
        """Return what was found."""
        totals: dict[str, Any] = {name: self._told.get(name, 0) for name in _TOTALS.values()}
        steps = [
            msgspec.structs.replace(step, turn=self._turns.get(parent, step.turn))
            for parent, step in self._steps
        ]
        return SessionRecord(
            session_id=self.session_id,
            dialect=self._dialect,
            agent=self._agent,
            started_ns=self._started,
            ended_ns=self._ended,
            end_reason=self._end_reason,
            last_ns=self._last,
            **totals,
            input_tokens=self._tokens[0],
            output_tokens=self._tokens[1],
            steps=tuple(sorted(steps, key=lambda step: step.ended_ns)),
            alerts=tuple(sorted(self._alerts, key=lambda alert: alert.fired_ns)),
            recent=tuple(sorted(self._messages, key=lambda message: message.time_ns)),
        )

    def _end(self, found: dict[str, Any], end: int) -> None:
        self._ended = end
        self._end_reason = str(found.get(semconv.SESSION_END_REASON, ""))
        # This includes what was lost; what comes after it is counted on.
        self._told = {ours: int(found.get(theirs, 0)) for theirs, ours in _TOTALS.items()}

    def _turn(self, span: _Span, found: dict[str, Any], start: int, end: int) -> None:
        number = int(found.get(semconv.TURN_NUMBER, 0))
        self._turns[span.span_id] = number
        self._agent = str(found.get(semconv.GEN_AI_AGENT_NAME, self._agent))
        self._tokens[0] += int(found.get(semconv.GEN_AI_USAGE_INPUT_TOKENS, 0))
        self._tokens[1] += int(found.get(semconv.GEN_AI_USAGE_OUTPUT_TOKENS, 0))
        outcome = str(found.get(semconv.TURN_OUTCOME, ""))
        common = _common(span, found, start, end, outcome)
        tools = int(found.get(semconv.TURN_TOOLS, 0))
        method = _method(span, found)
        turn = Step(kind="turn", name=method, turn=number, tools=tools, **common)
        self._step(span, turn, "turns")
        if semconv.JSONRPC_REQUEST_ID in found:  # this span is that of the request, too
            if outcome not in ("failed", "aborted"):
                common["outcome"] = "completed"  # the request was answered, whatever the turn did
            self._step(span, Step(kind="call", name=method, turn=number, **common), "calls")
            self._call_messages(span, found, start, end)

    def _step(self, span: _Span, step: Step, counted: str) -> None:
        self._steps.append((span.parent_span_id, step))
        self._count(counted)
        failed = step.outcome == "failed" and step.kind != "turn"
        self._count("errors", int(failed))

    def _count(self, name: str, by: int = 1) -> None:
        self._told[name] = self._told.get(name, 0) + by

    def _call_messages(self, span: _Span, found: dict[str, Any], start: int, end: int) -> None:
        asked = MessageDirection.CLIENT_TO_SERVER
        if span.kind != _SERVER:
            asked = asked.opposite
        method, size = _method(span, found), int(found.get(semconv.REQUEST_SIZE, 0))
        self._messages.append(RecentMessage(start, asked.value, "request", method, size))
        self._count("messages")
        if answer := int(found.get(semconv.RESPONSE_SIZE, 0)):
            kind = "error" if semconv.RPC_RESPONSE_STATUS_CODE in found else "response"
            self._messages.append(RecentMessage(end, asked.opposite.value, kind, "", answer))
            self._count("messages")

    def _message(self, span: _Span, found: dict[str, Any], time_ns: int) -> None:
        self._count("messages")
        self._messages.append(
            RecentMessage(
                time_ns,
                str(found.get(semconv.MESSAGE_DIRECTION, "")),
                str(found.get(semconv.MESSAGE_TYPE, "")),
                _method(span, found),
                int(found[semconv.MESSAGE_SIZE]),
            )
        )


_TOTALS = {
    semconv.SESSION_TURNS: "turns",
    semconv.SESSION_CALLS: "calls",
    semconv.SESSION_TOOLS: "tools",
    semconv.SESSION_ERRORS: "errors",
    semconv.SESSION_MESSAGES: "messages",
}


def _method(span: _Span, found: dict[str, Any]) -> str:
    return next((str(found[name]) for name in _METHODS if name in found), span.name)


def _common(
    span: _Span, found: dict[str, Any], start: int, end: int, outcome: str
) -> dict[str, Any]:
    return {
        "started_ns": start,
        "ended_ns": end,
        "outcome": outcome or ("failed" if span.status.code == _ERROR else "completed"),
        "error": str(found.get(semconv.ERROR_TYPE, "")),
        "message": span.status.message,
    }


def _call(span: _Span, found: dict[str, Any], start: int, end: int) -> Step:
    outcome = str(found.get(semconv.CALL_OUTCOME, ""))
    common = _common(span, found, start, end, outcome)
    return Step(kind="call", name=_method(span, found), turn=None, **common)


def _tool(span: _Span, found: dict[str, Any], start: int, end: int) -> Step:
    arguments = str(found.get(semconv.GEN_AI_TOOL_CALL_ARGUMENTS, ""))
    return Step(
        kind="tool",
        name=str(found.get(semconv.GEN_AI_TOOL_NAME, span.name)),
        turn=None,
        timed=found.get(semconv.TOOL_TIMING) != "reported",
        asked=fingerprint(arguments) if arguments else "",
        arguments=arguments,
        **_common(span, found, start, end, str(found.get(semconv.TOOL_OUTCOME, ""))),
    )


def _alert(found: dict[str, Any], fired_ns: int) -> SeenAlert:
    return SeenAlert(
        alert_type=str(found[semconv.ALERT_TYPE]),
        severity=str(found.get(semconv.ALERT_SEVERITY, "")),
        message=str(found.get(semconv.ALERT_MESSAGE, "")),
        subject=str(found.get(semconv.ALERT_SUBJECT, "")),
        fired_ns=fired_ns,
    )
