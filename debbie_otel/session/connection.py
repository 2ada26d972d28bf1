"""One connection: messages in, events of its sessions out.

Finds the session and the turn of each message, matches responses to requests, and applies the
dialect's rules.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import msgspec

from debbie_otel.session import effects as roles
from debbie_otel.session.dialect.dialect import Dialect
from debbie_otel.session.dialect.paths import Fields
from debbie_otel.session.dialect.registry import Recognition
from debbie_otel.session.dialect.schema import Rule
from debbie_otel.session.directory import Directory, Sessions
from debbie_otel.session.effects import MessageContext
from debbie_otel.session.events import (
    CallEnded,
    CallStarted,
    Event,
    MessageSeen,
    NotificationSeen,
    StraySeen,
)
from debbie_otel.session.message import InterceptedMessage, JsonRpcId, MessageType
from debbie_otel.session.model import MAX_CONTENT, NO_ID, Call, Outcome, TraceContext, Turn
from debbie_otel.session.pending import Pending, PendingCalls
from debbie_otel.session.session import Session, ToolReport
from debbie_otel.wire.direction import MessageDirection

MAX_PARAMS = 65_536
"""Bytes of a request up to which its `params` are kept until it is answered."""

# Module names: in Python 3.11 a member costs 0.1 µs through its enum, and these are the hot path.
_CLIENT = MessageDirection.CLIENT_TO_SERVER
_REQUEST, _NOTIFICATION = MessageType.REQUEST, MessageType.NOTIFICATION
_UNKNOWN, _ERROR = MessageType.UNKNOWN, MessageType.ERROR
_COMPLETED, _FAILED, _CANCELLED = Outcome.COMPLETED, Outcome.FAILED, Outcome.CANCELLED
_ASKED = {direction: direction.opposite for direction in MessageDirection}


class Connection:
    """State of one connection.

    Attributes:
        dialect: What it speaks.
        kept: Payloads of the client's handshake by method, to be said again by a restart.
        caller: Trace context of the code that sends requests now, for those that carry none.

    Args:
        key: Its name; also the id of its own session until the server gives one.
        dialects: What it may speak: one, or several among which its messages decide.
        fallback: What it speaks while nothing is recognised.
        sessions: Shared by the connections to one server.

    """

    def __init__(
        self, key: str, dialects: tuple[Dialect, ...], fallback: Dialect, sessions: Sessions
    ) -> None:
        self.key = key
        self.dialect = dialects[0] if len(dialects) == 1 else fallback
        self._recognition = Recognition(dialects) if len(dialects) > 1 else None
        self._limits = sessions.limits
        self._directory = Directory(key, self.dialect, sessions)
        self._pending = PendingCalls(self._limits.pending_calls)
        self._replays = 0
        self._call_numbers = itertools.count(1)
        self.kept: dict[str, bytes] = {}
        self.caller: TraceContext | None = None
        self._versioned_balance = 0
        self._numbered_balance = 0
        self._expected: set[JsonRpcId] = set()

    # -- what others may look at -------------------------------------------------------------

    @property
    def session(self) -> Session:
        """The session of messages that name none."""
        return self._directory.own

    @property
    def sessions(self) -> list[Session]:
        """All sessions that were seen here."""
        return self._directory.sessions

    def is_used(self, session: Session) -> bool:
        """Whether the client itself uses a session: some servers report all to all clients."""
        return session in self._directory.used

    @property
    def versioned(self) -> bool:
        """Whether messages have a `jsonrpc` member: by the dialect, else as most of them here."""
        by_dialect = self.dialect.versioned
        return self._versioned_balance >= 0 if by_dialect is None else by_dialect

    @property
    def numbered(self) -> bool:
        """Whether most of the client's requests have a number as their id."""
        return self._numbered_balance > 0

    @property
    def pending_calls(self) -> list[Call]:
        """Open requests of both directions."""
        return [entry.call for entry in self._pending]

    def open_calls(self) -> tuple[int, int | None]:
        """How many requests are open, and when the oldest was sent; safe on other threads."""
        return len(self._pending), self._pending.oldest_ns()

    # -- life --------------------------------------------------------------------------------

    def expect(self, call_id: JsonRpcId) -> None:
        """Take the client's next request of that id as one of Debbie's own."""
        self._expected.add(call_id)

    def recognise_subprotocol(self, name: str) -> None:
        """Choose the dialect by the WebSocket subprotocol, where a dialect names that."""
        if self._recognition is not None:
            dialect = self._recognition.by_subprotocol(name)
            if dialect is not None:
                self.speak(dialect)

    def receive(self, message: InterceptedMessage, out: list[Event]) -> None:
        """Take in one message; append what follows from it to `out`."""
        if self._recognition is not None:
            dialect = self._recognition.by_message(message)
            if dialect is not None:
                self.speak(dialect)
        kind = message.type
        if kind is _REQUEST:
            self._request(message, out)
        elif kind is _NOTIFICATION:
            self._notification(message, out)
        elif kind is _UNKNOWN:
            self._stray(message, out)
            return
        else:
            self._response(message, out)
        self._versioned_balance += 1 if message.versioned else -1

    def renew(self, time_ns: int, out: list[Event]) -> None:
        """Start the sessions again, after a restart on a server that does not know their past."""
        for session in self.sessions:
            session.renew(time_ns, out)

    def expire(self, now_ns: int, out: list[Event]) -> None:
        """Give up requests that have been open for longer than the limit."""
        for entry in self._pending.take_older_than(now_ns - self._limits.call_timeout_ns):
            self._abort(entry, now_ns, "timeout", out)

    def close(self, time_ns: int, reason: str, out: list[Event]) -> None:
        """End what the connection held: calls, and sessions that no other connection shares."""
        for entry in self._pending.take_all():
            self._abort(entry, time_ns, "connection_closed", out)
        self._directory.close(time_ns, reason, out)

    def speak(self, dialect: Dialect) -> None:
        """Take up a dialect."""
        self.dialect = dialect
        self._recognition = None
        self._directory.speak(dialect)

    # -- requests and notifications -----------------------------------------------------------

    def _request(self, message: InterceptedMessage, out: list[Event]) -> None:
        method, now = message.method or "", message.time_ns
        raw_id, small = message.raw_id, message.size <= MAX_PARAMS
        seen = len(out)
        name, trace = self.dialect.session_and_trace(message)
        session, unknown = self._directory.route(message, name, out)
        rules = self.dialect.on_message.get(method)
        busy = session.busy
        fields = Fields(message) if busy or rules is not None else None
        info = session.info
        call = Call(
            session=info,
            direction=message.direction,
            method=method,
            id=None if message.id is msgspec.UNSET else message.id,
            started_ns=now,
            request_bytes=message.size,
            turn=self._turn(session, fields) if busy and fields is not None else None,
            trace=trace or self.caller,
            request=message if small else None,
            versioned=message.versioned,
            # A view would keep the whole message alive, as `request` does of a small one.
            raw_id=NO_ID if raw_id is None else raw_id if small else raw_id.copy(),
        )
        if message.direction is _CLIENT:
            self._numbered_balance += 1 if type(message.id) is int else -1
            if name is not None and unknown is None:
                self._directory.use(session)
            if self._expected and call.id in self._expected:
                call.injected = True
                self._expected.discard(call.id)
        entry = Pending(call, session, unknown)
        if rules is not None and fields is not None:
            self._keep(message)
            self._apply_to_request(entry, rules, fields, out)
            session = entry.session
            info = session.info
        info.calls += 1
        answers = self.dialect.on_response.get(method)
        if answers is not None:
            entry.replays = any(rule.replays for rule in answers)
            self._replays += entry.replays
        if call.turn is not None:
            call.turn.calls += 1
        self._count(message, session, call.turn, seen, out)
        out.append(CallStarted(info, now, call))
        evicted = self._pending.add(entry)
        if evicted is not None:
            self._abort(evicted, now, "evicted", out)

    def _keep(self, message: InterceptedMessage) -> None:
        method = message.method or ""
        small = message.size <= MAX_PARAMS
        if small and method in self.dialect.kept and message.direction is _CLIENT:
            self.kept[method] = message.payload

    def _apply_to_request(
        self, entry: Pending, rules: tuple[Rule, ...], fields: Fields, out: list[Event]
    ) -> None:
        call, session = entry.call, entry.session
        for rule in rules:
            if rule.when and not fields.holds(rule.when):
                continue
            if rule.role == "waits_for_user":
                call.waits_for_user = True
            elif rule.role == "part_of":
                call.part_of = self._pending.find_parent_call(_ASKED[call.direction], rule, fields)
            elif rule.role == "turn" and (rule.until == "response" or not session.busy):
                # A client that comes back names its session with the first turn.
                known = self._directory.confirm(entry.named, call.started_ns, out)
                if known is not None:
                    session = entry.session = known
                    call.session = known.info
                call.opens_turn = True
                call.turn = session.open_turn(
                    call.started_ns,
                    call.method,
                    call.direction,
                    out,
                    call=call,
                    text=fields.text(rule.text),
                )
            elif rule.role == "tool":
                session.start(call.started_ns, out)
                entry.tool_key = f"{self.key}\0{next(self._call_numbers)}"
                call.tool = session.tool_seen(
                    entry.tool_key,
                    call.started_ns,
                    ToolReport(
                        name=fields.text(rule.name) or rule.default_name,
                        turn=call.turn,
                        arguments=fields.gather(rule.arguments),
                    ),
                    out,
                )
                if call.tool is not None:
                    call.tool.is_call = True
                    call.tool.injected = call.injected

    def _notification(self, message: InterceptedMessage, out: list[Event]) -> None:
        method, now = message.method or "", message.time_ns
        fields = Fields(message)
        seen = len(out)
        name, _ = self.dialect.session_and_trace(message)
        session, _ = self._directory.route(message, name, out)
        rules = [
            rule
            for rule in self.dialect.on_message.get(method, ())
            if not rule.when or fields.holds(rule.when)
        ]
        for rule in rules:
            if rule.role == "turn_started" and (turn_id := fields.text(rule.id)):
                session.turn_started(turn_id, now, method, message.direction, out)
        turn = None if self._replays else self._turn(session, fields)
        if self.dialect.kept:
            self._keep(message)
        self._count(message, session, turn, seen, out)
        context = MessageContext(self.key, message, fields, session, turn, out, self._replays > 0)
        stream = roles.of_role("stream", rules)
        if stream is not None:
            roles.chunk(stream, context)
            return
        part = roles.of_role("part_of", rules)
        asked = _ASKED[message.direction]
        call = None if part is None else self._pending.find_parent_call(asked, part, fields)
        out.append(NotificationSeen(session.info, now, message, turn, call))
        for rule in rules:
            if rule.role in ("cancel_call", "resolve_call"):
                self._settle(rule, context)
            elif (apply := roles.ON_NOTIFICATION.get(rule.role)) is not None:
                apply(rule, context)

    def _settle(self, rule: Rule, context: MessageContext) -> None:
        """End a request of the notification's sender that will get no answer."""
        call_id = context.fields.request_id(rule.id)
        entry = self._pending.take(context.message.direction, call_id)
        if entry is not None:
            cancelled = rule.role == "cancel_call"
            outcome = Outcome.CANCELLED if cancelled else Outcome.COMPLETED
            if cancelled:
                self._pending.remember_cancelled(entry.call)
            self._end_call(entry, context.message.time_ns, outcome, context.out)

    def _stray(
        self, message: InterceptedMessage, out: list[Event], cancelled: str | None = None
    ) -> None:
        session = self._directory.own
        turn = session.turn()
        self._count(message, session, turn, len(out), out)
        out.append(StraySeen(session.info, message.time_ns, message, turn, cancelled))

    def _turn(self, session: Session, fields: Fields) -> Turn | None:
        paths = self.dialect.turn_paths
        return session.turn(fields.text(paths) if paths else None)

    def _count(
        self,
        message: InterceptedMessage,
        session: Session,
        turn: Turn | None,
        position: int,
        out: list[Event],
    ) -> None:
        """Count a message, and say so before the events that it caused."""
        info = session.info
        info.messages += 1
        info.last_ns = message.time_ns
        out.insert(position, MessageSeen(info, message.time_ns, message, turn))
        if not (session.live or self.dialect.named_sessions or info.ended_ns is not None):
            session.start(message.time_ns, out)

    # -- responses ---------------------------------------------------------------------------

    def _response(self, message: InterceptedMessage, out: list[Event]) -> None:
        entry = None
        if message.id is not msgspec.UNSET:
            entry = self._pending.take(_ASKED[message.direction], message.id)
        if entry is None:
            late = self._pending.take_cancelled(message.direction.opposite, message.id)
            self._stray(message, out, late)
            return
        call, session = entry.call, entry.session
        call.response_bytes = message.size
        self._count(message, session, call.turn, len(out), out)
        if message.type is _ERROR:
            detail = message.error_object()
            call.is_rpc_error = True
            call.error_code = detail.code
            call.error_type = "malformed_error" if detail.code is None else str(detail.code)
            call.error_message = detail.message[:MAX_CONTENT]
            if call.tool is not None:
                call.tool.error_message = call.error_message
            self._end_call(entry, message.time_ns, Outcome.FAILED, out)
        elif (
            call.method in self.dialect.on_response
            or call.method in self.dialect.turn_rules
            or entry.named
        ):
            self._succeeded(entry, message, out)
        else:
            self._end_call(entry, message.time_ns, _COMPLETED, out)

    def _succeeded(self, entry: Pending, message: InterceptedMessage, out: list[Event]) -> None:
        call, now = entry.call, message.time_ns
        fields = Fields(message, call.params)
        rules = [
            rule
            for rule in self.dialect.on_response.get(call.method, ())
            if not rule.when or fields.holds(rule.when)
        ]
        failed = roles.of_role("fail", rules)
        if failed is not None:
            call.error_type = failed.error_type
        else:
            self._begin_session(entry, rules, fields, now, out)
        context = MessageContext(self.key, message, fields, entry.session, call.turn, out)
        for rule in rules:
            if rule.role == "tool" and call.tool is not None:
                call.tool.result = fields.gather(rule.result)
            elif (apply := roles.ON_SUCCESS.get(rule.role)) is not None:
                apply(rule, context)
        outcome = Outcome.COMPLETED if failed is None else Outcome.FAILED
        self._end_call(entry, now, outcome, out, fields, rules)
        for rule in rules:
            # A stop that Debbie sent is half of a restart: for the client the session goes on.
            if rule.role == "session_stop" and failed is None and not call.injected:
                self._directory.stop(fields.text(rule.id), entry.session, now, out)

    def _begin_session(
        self, entry: Pending, rules: list[Rule], fields: Fields, time_ns: int, out: list[Event]
    ) -> None:
        """Begin the session that a successful response started, and move the call into it."""
        session: Session | None = None
        for rule in rules:
            if rule.role == "session_start" and (session_id := fields.text(rule.id)) is not None:
                session = self._directory.begin(session_id, time_ns, out)
                session.opening = session.opening or entry.call
        session = session or self._directory.confirm(entry.named, time_ns, out)
        if session is not None and entry.call.direction is _CLIENT:
            self._directory.use(session)
        if session is not None and session is not entry.session and not entry.call.opens_turn:
            entry.session = session
            entry.call.session = session.info

    def _end_call(
        self,
        entry: Pending,
        time_ns: int,
        outcome: Outcome,
        out: list[Event],
        fields: Fields | None = None,
        rules: Sequence[Rule] = (),
    ) -> None:
        call, session = entry.call, entry.session
        call.ended_ns = time_ns
        call.outcome = outcome
        if outcome is _CANCELLED:
            call.error_type = "cancelled"
        if outcome is _FAILED and not call.injected:
            session.info.errors += 1
        self._replays -= entry.replays
        if entry.tool_key is not None:
            session.tool_answered(entry.tool_key, time_ns, outcome, call.error_type, out)
        out.append(CallEnded(session.info, time_ns, call))
        rule = self.dialect.turn_rules.get(call.method)
        if rule is not None:
            roles.turn_answered(rule, call, session, fields, rules, out)

    def _abort(self, entry: Pending, time_ns: int, error_type: str, out: list[Event]) -> None:
        entry.call.error_type = error_type
        self._end_call(entry, time_ns, Outcome.ABORTED, out)
