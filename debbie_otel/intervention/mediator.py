"""What becomes of each message of a connection that is acted on, and what is sent beside them.

A `Mediator` is told what the peers say and what strategies want, and returns commands; whoever
carries a connection carries them out. It does no I/O and knows no clock.

- **Injected requests** have ids that no client's request can have; their answers never reach the
  client, unless one takes the place of the answer to a request of the client's.
- **Held answers** wait until it is known whether they are good. The client gets one answer to each
  request, never two: the server's, or another in its place. A batch is answered as one array, so
  that all of it waits for its last held member.
- **Across a restart** the client knows a session by its first name, the server by its present one:
  names are changed at the places where the dialect says that messages name their session, and
  nowhere else. Ids of requests that the old server had asked are kept apart from the new one's.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from debbie_otel.errors import ChannelError
from debbie_otel.session.connection import Connection
from debbie_otel.session.edit import members_of_batch, rename_strings, with_id
from debbie_otel.session.encode import encode_error, encode_id, encode_message
from debbie_otel.session.message import InterceptedMessage, JsonRpcId, MessageType, parse_payload
from debbie_otel.session.model import Call
from debbie_otel.wire.direction import MessageDirection

MAX_PENDING = 32
"""Injected requests that may wait for their answers on one connection, and answers held back."""

_CLIENT, _SERVER = MessageDirection.CLIENT_TO_SERVER, MessageDirection.SERVER_TO_CLIENT
_GIVEN_UP = -32000


# -- commands ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Forward:
    """The message passes as it came."""


@dataclass(frozen=True, slots=True)
class Hold:
    """The message does not pass: not now, or never."""


@dataclass(frozen=True, slots=True)
class Replace:
    """Another payload passes in the message's place."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Inject:
    """A message passes that its sender has not sent, or not now.

    Attributes:
        direction: Which way.
        payload: What passes.
        opcode: As it came once (RFC 6455 section 5.6); None for what the peer uses.
        request: Id of the injected request that it is, if it is one.

    """

    direction: MessageDirection
    payload: bytes
    opcode: int | None = None
    request: JsonRpcId = None


@dataclass(frozen=True, slots=True)
class Show:
    """The observer is to know of a message that is not seen on the wire, or not as it is meant."""

    direction: MessageDirection
    payload: bytes


@dataclass(frozen=True, slots=True)
class Resolve:
    """An injected request has its answer, or will get none.

    Attributes:
        request: Its id.
        answer: The response; None where none will come.
        why: Why not.

    """

    request: JsonRpcId
    answer: InterceptedMessage | None = None
    why: str = ""


Verdict = Forward | Hold | Replace
"""What becomes of a message itself."""
Command = Verdict | Inject | Show | Resolve

FORWARD, HOLD = Forward(), Hold()


# -- what is held back ---------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class _Batch:
    """A batch of answers that waits for those of its members that are held back."""

    members: list[bytes | None]
    opcode: int | None
    waiting: int = 0


@dataclass(slots=True, eq=False)
class _Held:
    """The server's answer to a request of the client's.

    Attributes:
        call: The request.
        answer: None until it has come.
        opcode: As it came.
        replaced: The client has got another answer in its place; this one is kept from it.
        gone: None will come: the server that owed it has been replaced.
        batch, index: Where it stands in a batch that waits for it.

    """

    call: Call
    answer: bytes | None = None
    opcode: int | None = None
    replaced: bool = False
    gone: bool = False
    batch: _Batch | None = None
    index: int = 0


class SessionNames:
    """What the client calls its sessions, and what the server does since a restart.

    Where the new server gives a name that the client knows another session by, the client gets a
    third one for it: two sessions never share a name.
    """

    def __init__(self) -> None:
        self._to_server: dict[str, str] = {}
        self._to_client: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._to_server)

    def learn(self, client: str, server: str) -> None:
        """Take note of the server's present name for what the client calls `client`."""
        before = self._to_server.pop(client, client)
        self._to_client.pop(before, None)
        if client == server:
            return
        self._to_server[client] = server
        self._to_client[server] = client
        if client not in self._to_client:
            alias = f"{client}~{secrets.token_hex(4)}"
            self._to_server[alias] = client
            self._to_client[client] = alias

    def server_name(self, client: str) -> str:
        """Return the server's name for what the client calls `client`."""
        return self._to_server.get(client, client)

    def to_server(self, payload: bytes, paths: Collection[str]) -> bytes:
        """Return a payload as the server is to see it; the very same one if nothing changes."""
        return rename_strings(payload, tuple(paths), self._to_server) if self else payload

    def to_client(self, payload: bytes, paths: Collection[str]) -> bytes:
        """Return a payload as the client is to see it; the very same one if nothing changes."""
        return rename_strings(payload, tuple(paths), self._to_client) if self else payload


@dataclass(slots=True)
class _Asked:
    """Requests of servers across a restart.

    Servers count their requests from a small number on, so that a new one soon uses an id that is
    still open at the client. It gets another one on its way, which the answer gives back; an answer
    under the id itself can then only be meant for the server that is gone.

    Attributes:
        stale: Ids of open requests whose server is gone.
        renamed: By the id that the client sees, the one that the server gave.

    """

    prefix: str = field(default_factory=lambda: f"debbie-{secrets.token_hex(8)}-q")
    number: int = 0
    stale: set[JsonRpcId] = field(default_factory=set)
    renamed: dict[JsonRpcId, bytes] = field(default_factory=dict)


class Ids:
    """Ids for requests of Debbie's own.

    They begin with random bits that nobody else can know, and are numbers where the client's are:
    some bridges (supergateway) make null of any other, and the answer would never be known.
    """

    def __init__(self) -> None:
        self._prefix = f"debbie-{secrets.token_hex(8)}-"
        self._first = secrets.randbelow(1 << 51) + (1 << 51)  # JavaScript counts to 2^53
        self._number = 0

    def new(self, taken: Collection[JsonRpcId] = (), *, numbered: bool = False) -> JsonRpcId:
        """Return an id that is not taken; a number if it is to be `numbered`."""
        while True:
            self._number += 1
            number = self._number
            new: JsonRpcId = self._first + number if numbered else f"{self._prefix}{number}"
            if new not in taken:
                return new


class Mediator:
    """Decides about the messages of one connection.

    Commands are to be carried out in their order, and before the next message is told.

    Args:
        model: Of the connection: its open requests, its dialect.

    """

    def __init__(self, model: Connection) -> None:
        self.names = SessionNames()
        self._model = model
        self._ids = Ids()
        self._pending: dict[JsonRpcId, Call | None] = {}  # injected -> whose answer it replaces
        self._held: dict[JsonRpcId, _Held] = {}  # by the id of the client's request
        self._asked = _Asked()

    @property
    def expects_answers(self) -> bool:
        """Whether a message of the server's may be held back or be for Debbie."""
        return bool(self._pending or self._held)

    # -- what strategies want ------------------------------------------------------------------

    def request(
        self, method: str, params: Any, replaces: Call | None = None
    ) -> tuple[JsonRpcId, list[Command]]:
        """Send a request of Debbie's own; see `Channel.request`. Return its id, too.

        Raises:
            ChannelError: Too many wait already.

        """
        if len(self._pending) >= MAX_PENDING:
            raise ChannelError(f"{MAX_PENDING} requests of Debbie's wait for their answers already")
        taken = {*self._pending, *(call.id for call in self._model.pending_calls)}
        request = self._ids.new(taken, numbered=self._model.numbered)
        if replaces is not None and self._held_of(replaces) is None:
            if replaces.ended_ns is not None:
                replaces = None  # it has its answer already
            else:
                self.hold(replaces)
        self._pending[request] = replaces
        self._model.expect(request)
        versioned = self._model.versioned if replaces is None else replaces.versioned
        payload = encode_message(method, params, request, versioned=versioned)
        return request, self._say(payload, request)

    def notify(self, method: str, params: Any) -> list[Command]:
        """Send a notification of Debbie's own."""
        return self._say(encode_message(method, params, versioned=self._model.versioned))

    def unsent(self, request: JsonRpcId, why: str) -> list[Command]:
        """Take note that a request could not be sent."""
        if request not in self._pending:
            return []
        replaces = self._pending.pop(request)
        released = [] if replaces is None else self.release(replaces)
        return [Resolve(request, why=why), *released]

    def hold(self, call: Call) -> None:
        """Hold back the server's answer to a request of the client's; see `Channel.hold`.

        Raises:
            ChannelError: It has its answer already, or too many are held back.

        """
        if call.ended_ns is not None:
            raise ChannelError("the request has been answered already")
        if len(self._held) >= MAX_PENDING:
            raise ChannelError(f"{MAX_PENDING} answers are held back already")
        self._held.setdefault(call.id, _Held(call))

    def release(self, call: Call) -> list[Command]:
        """Let a held answer through; see `Channel.release`."""
        held = self._held_of(call)
        if held is None or held.replaced:
            return []
        for request, replaces in self._pending.items():
            if replaces is call:  # the client gets one answer, not two
                self._pending[request] = None
        del self._held[call.id]
        if held.answer is not None:
            return self._give(held, held.answer)
        return self._refuse(call) if held.gone else []

    def answer(self, call: Call, response: bytes) -> list[Command]:
        """Answer a held request with the response to another one, whose id alone is changed.

        Raises:
            ChannelError: It is not held, or has been answered already.

        """
        return self._answer(call, with_id(response, call.raw_id))

    def fail(self, call: Call, text: str) -> list[Command]:
        """Answer a held request with an error; raises as `answer` does."""
        error = encode_error(call.raw_id, _GIVEN_UP, text, versioned=call.versioned)
        return self._answer(call, error)

    # -- what the peers say --------------------------------------------------------------------

    def client_sent(self, payload: bytes) -> Verdict:
        """Return what the server gets of a message of the client's."""
        changed: bytes | None = payload
        if self._asked.stale or self._asked.renamed:
            changed = _each(payload, _CLIENT, self._answer_to_server)
        if changed is not None:
            changed = self.names.to_server(changed, self._paths)
        return _verdict(payload, changed)

    def client_view(self, payload: bytes) -> bytes:
        """Return a message of the server's with the names and ids that the client knows.

        That is what the observer is to be shown, before it is decided what becomes of it.
        """
        changed = self.names.to_client(payload, self._paths)
        if self._asked.stale:
            asked = _each(changed, _SERVER, self._question_to_client)
            assert asked is not None  # questions are never dropped
            return asked
        return changed

    def server_sent(self, payload: bytes, opcode: int | None = None) -> list[Command]:
        """Return what becomes of a message of the server's; one of the commands is a verdict.

        Args:
            payload: As `client_view` returned it.
            opcode: As it came.

        """
        if not self.expects_answers:
            return [FORWARD]
        messages = parse_payload(payload, _SERVER, 0)
        if payload.lstrip()[:1] != b"[":
            return self._one(messages[0], payload, opcode) if len(messages) == 1 else [FORWARD]
        members = members_of_batch(payload)
        if len(members) != len(messages):
            return [FORWARD]
        return self._batch(messages, members, opcode)

    # -- ends ----------------------------------------------------------------------------------

    def restarted(self, client: str | None, server: str | None, kept: Call | None) -> list[Command]:
        """Take note that another server has taken the place of the one before.

        Args:
            client: What the client calls the session, and
            server: what the new server calls it; None where it has no name.
            kept: A request of the client's that the new server is about to be asked. All others
                are answered: by what was held back, or with an error.

        """
        if client is not None and server is not None:
            self.names.learn(client, server)
        calls = self._model.pending_calls
        self._asked.stale.update(call.id for call in calls if call.direction is _SERVER)
        self._asked.renamed.clear()
        commands = self._give_up("the session was restarted", kept)
        if kept is not None and (kept.ended_ns is None or self._held_of(kept) is not None):
            self._held.setdefault(kept.id, _Held(kept)).gone = True
        for call in calls:
            if call.direction is _CLIENT and call is not kept:
                refused = self._refuse(call)
                commands += refused[1:] if call.injected else refused
        return commands

    def end(self, why: str) -> list[Command]:
        """Give everything up: the connection is over, or the server says no more."""
        return self._give_up(why, None)

    # -- inside ------------------------------------------------------------------------------

    @property
    def _paths(self) -> tuple[str, ...]:
        return self._model.dialect.name_paths

    def _say(self, payload: bytes, request: JsonRpcId = None) -> list[Command]:
        """Send the server a message, which the observer knows by the client's names."""
        on_the_wire = self.names.to_server(payload, self._paths)
        return [Inject(_CLIENT, on_the_wire, request=request), Show(_CLIENT, payload)]

    def _give(self, held: _Held, answer: bytes | None) -> list[Command]:
        """Give the client the answer to a request that was held, in the batch it belongs to.

        Args:
            held: What was held back.
            answer: None where the client has got it already.

        """
        batch = held.batch
        if batch is None:
            return [] if answer is None else [Inject(_SERVER, answer, held.opcode)]
        batch.members[held.index] = answer
        batch.waiting -= 1
        if batch.waiting:
            return []
        whole = _array(batch.members)
        return [] if whole is None else [Inject(_SERVER, whole, batch.opcode)]

    def _answer(self, call: Call, payload: bytes) -> list[Command]:
        held = self._held_of(call)
        if held is None or held.replaced:
            raise ChannelError("the request is not held, or has been answered already")
        return self._put_in_place(held, payload)

    def _put_in_place(self, held: _Held, payload: bytes) -> list[Command]:
        """Give the client another answer than the server's."""
        if held.answer is None and not held.gone:
            held.replaced = True  # the server's own is still to come
        else:
            del self._held[held.call.id]
        commands = self._give(held, payload)
        if held.call.ended_ns is None:
            commands.append(Show(_SERVER, payload))
        return commands

    def _refuse(self, call: Call) -> list[Command]:
        """Answer a request of the client's with an error: the server that owed it is gone."""
        text = "the session was restarted, and this request was given up"
        error = encode_error(call.raw_id, _GIVEN_UP, text, versioned=call.versioned)
        return [Inject(_SERVER, error), Show(_SERVER, error)]

    def _give_up(self, why: str, kept: Call | None) -> list[Command]:
        commands: list[Command] = []
        for held in list(self._held.values()):
            if held.call is not kept:
                del self._held[held.call.id]
                if held.answer is not None and not held.replaced:
                    commands += self._give(held, held.answer)
        pending, self._pending = self._pending, {}
        return [*commands, *(Resolve(request, why=why) for request in pending)]

    def _one(
        self, message: InterceptedMessage, payload: bytes, opcode: int | None
    ) -> list[Command]:
        """Decide about a message that stands alone."""
        if message.method is not None or message.id is msgspec.UNSET:
            return [FORWARD]
        if message.id in self._pending:
            return [HOLD, *self._resolved(message, payload)]
        held = self._held.get(message.id)
        if held is None:
            return [FORWARD]
        self._withhold(held, payload, opcode)
        return [HOLD]

    def _batch(
        self, messages: list[InterceptedMessage], members: list[bytes], opcode: int | None
    ) -> list[Command]:
        """Decide about a batch: without what is for Debbie, and not before it is whole."""
        batch, commands, taken = _Batch(list(members), opcode), [], 0
        for index, (message, member) in enumerate(zip(messages, members, strict=True)):
            if message.method is not None or message.id is msgspec.UNSET:
                continue
            if message.id in self._pending:
                batch.members[index] = None
                commands += self._resolved(message, member)
                taken += 1
            elif (held := self._held.get(message.id)) is not None:
                if held.replaced:
                    batch.members[index] = None
                    taken += 1
                else:
                    held.batch, held.index = batch, index
                    batch.waiting += 1
                self._withhold(held, member, opcode)
        if batch.waiting:
            return [HOLD, *commands]
        if not taken:
            return [FORWARD]
        whole = _array(batch.members)
        return [HOLD if whole is None else Replace(whole), *commands]

    def _withhold(self, held: _Held, answer: bytes, opcode: int | None) -> None:
        if held.replaced:
            del self._held[held.call.id]
        else:
            held.answer, held.opcode = answer, opcode

    def _resolved(self, message: InterceptedMessage, payload: bytes) -> list[Command]:
        """Take the answer to an injected request."""
        assert message.id is not msgspec.UNSET
        call = self._pending.pop(message.id)
        resolved: list[Command] = [Resolve(message.id, message)]
        if call is None:
            return resolved
        held = self._held_of(call)
        if held is None:
            return resolved
        if message.type is MessageType.ERROR and not held.gone:
            return [*resolved, *self.release(call)]
        return [*resolved, *self._put_in_place(held, with_id(payload, call.raw_id))]

    def _held_of(self, call: Call) -> _Held | None:
        held = self._held.get(call.id)
        return held if held is not None and held.call is call else None

    def _question_to_client(self, message: InterceptedMessage, raw: bytes) -> bytes:
        """Return a request of the new server's under an id that the old one has not used."""
        asked = self._asked
        if message.type is not MessageType.REQUEST or message.id not in asked.stale:
            return raw
        asked.number += 1
        new = f"{asked.prefix}{asked.number}"
        asked.renamed[new] = bytes(message.raw_id or b"null")
        return with_id(raw, encode_id(new))

    def _answer_to_server(self, message: InterceptedMessage, raw: bytes) -> bytes | None:
        """Return a client's answer under the id that the server gave; None if that one is gone."""
        asked = self._asked
        if message.method is not None or message.id is msgspec.UNSET:
            return raw
        if message.id in asked.renamed:
            return with_id(raw, asked.renamed.pop(message.id))
        if message.id in asked.stale:
            asked.stale.discard(message.id)
            return None
        return raw


def _each(payload: bytes, direction: MessageDirection, change: Any) -> bytes | None:
    """Change a message, or each of a batch; the very same payload if nothing changes."""
    messages = parse_payload(payload, direction, 0)
    if payload.lstrip()[:1] != b"[":
        changed: bytes | None = change(messages[0], payload) if len(messages) == 1 else payload
        return changed
    members = members_of_batch(payload)
    if len(members) != len(messages):
        return payload
    each = [change(*pair) for pair in zip(messages, members, strict=True)]
    if all(new is old for new, old in zip(each, members, strict=True)):
        return payload
    return _array(each)


def _array(members: Iterable[bytes | None]) -> bytes | None:
    """Return a batch of those that are left; None if none is."""
    left = [member for member in members if member is not None]
    return b"[" + b",".join(left) + b"]" if left else None


def _verdict(payload: bytes, changed: bytes | None) -> Verdict:
    if changed is payload:
        return FORWARD
    return HOLD if changed is None else Replace(changed)
