"""What every dialect's speaker can do; themes are written in these words alone."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar, Self

from tests.corpus import words
from tests.corpus.wire import C2S, S2C, Wire
from tests.corpus.words import Use


class Speaker(ABC):
    """A client and a server of one dialect, and one session between them.

    Args:
        wire: Where they speak.
        conn: Name of the client's connection.

    Attributes:
        session: Id of the session on the wire; None where the protocol has none.
        listeners: Connections that the server's notifications go to.

    """

    dialect: ClassVar[str]
    versioned: ClassVar[bool] = True

    def __init__(self, wire: Wire, conn: str = "A") -> None:
        self.wire = wire
        self.rng = wire.rng
        self.conn = conn
        self.listeners = [conn]
        self.session: str | None = None
        self.ids = itertools.count(self.rng.choice((0, 1)))
        self.server_ids = itertools.count()

    # -- messages ------------------------------------------------------------------------------

    def request(self, method: str, params: dict[str, Any] | None = None) -> int:
        """Send a client's request; return its id."""
        number = next(self.ids)
        message = {"id": number, "method": method, "params": params or {}}
        self.wire.say(self.conn, C2S, self._dressed(message))
        return number

    def tell(self, method: str, params: dict[str, Any] | None = None) -> None:
        """Send a client's notification."""
        self.wire.say(self.conn, C2S, self._dressed({"method": method, "params": params or {}}))

    def result(self, number: int, result: Any) -> None:
        """Answer a client's request."""
        self.wire.say(self.conn, S2C, self._dressed({"id": number, "result": result}))

    def error(self, number: int, code: int, text: str, data: Any = None) -> None:
        """Answer a client's request with an error."""
        error: dict[str, Any] = {"code": code, "message": text}
        if data is not None:
            error["data"] = data
        self.wire.say(self.conn, S2C, self._dressed({"id": number, "error": error}))

    def notify(self, method: str, params: dict[str, Any]) -> None:
        """Send a server's notification to all who listen."""
        for conn in self.listeners:
            self.wire.say(conn, S2C, self._dressed({"method": method, "params": params}))

    def ask(self, method: str, params: dict[str, Any]) -> int:
        """Send a server's request; return its id."""
        number = next(self.server_ids)
        message = {"id": number, "method": method, "params": params}
        self.wire.say(self.conn, S2C, self._dressed(message))
        return number

    def reply(self, number: int, result: Any) -> None:
        """Answer a server's request."""
        self.wire.say(self.conn, C2S, self._dressed({"id": number, "result": result}))

    def call(self, method: str, params: dict[str, Any], seconds: float, result: Any) -> None:
        """Ask and get an answer."""
        number = self.request(method, params)
        self.wire.about(seconds)
        self.result(number, result)

    def _dressed(self, message: dict[str, Any]) -> dict[str, Any]:
        return {"jsonrpc": "2.0", **message} if self.versioned else message

    # -- sessions ------------------------------------------------------------------------------

    @abstractmethod
    def open(self) -> None:
        """Shake hands and begin a session."""

    def new_session(self) -> None:
        """Begin a session on a connection that has shaken hands, where there can be several."""
        raise NotImplementedError(self.dialect)

    def sibling(self) -> Self:
        """Return another session on the same connection."""
        other = type(self)(self.wire, self.conn)
        other.ids, other.server_ids = self.ids, self.server_ids
        other.new_session()
        return other

    @abstractmethod
    def begin(self, prompt: str) -> None:
        """Let the user say something: a turn begins, where the protocol has turns."""

    @abstractmethod
    def start(self, use: Use) -> str:
        """Let the agent start a tool; return a key to it."""

    @abstractmethod
    def end(self, key: str, output: str, *, failed: bool = False) -> None:
        """Let a tool end."""

    def progress(self, key: str, text: str) -> None:
        """Let a tool tell how far it is, where the protocol can tell that."""
        raise NotImplementedError(self.dialect)

    def say(self, pieces: Iterable[str], gap: float = 0.05, *, cut: bool = False) -> None:
        """Stream some text, about `gap` seconds between the pieces; `cut` leaves it unended."""
        for _ in pieces:
            self.wire.about(gap, 0.3)

    @abstractmethod
    def finish(self) -> None:
        """End the turn well."""

    def fail_turn(self) -> None:
        """End the turn with an error of the model."""
        raise NotImplementedError(self.dialect)

    def cancel(self) -> None:
        """Let the user cancel the turn."""
        raise NotImplementedError(self.dialect)

    def await_user(self, use: Use) -> int:
        """Let the server ask whether it may; return the request's id."""
        raise NotImplementedError(self.dialect)

    def user_answers(self, number: int) -> None:
        """Let the user allow it."""
        raise NotImplementedError(self.dialect)

    # -- together ------------------------------------------------------------------------------

    def tool(
        self, use: Use, seconds: float = 0.3, output: str | None = None, *, failed: bool = False
    ) -> tuple[float, float]:
        """Run a tool; return when it started and when it had ended."""
        key = self.start(use)
        started = self.wire.now
        self.wire.about(seconds, 0.25)
        self.end(key, words.output(self.rng) if output is None else output, failed=failed)
        ended = self.wire.now
        self.wire.pause(0.2, 1.5)
        return started, ended

    def answer(self, sentences: int = 3, gap: float = 0.05) -> None:
        """Stream an answer and end the turn."""
        self.say(words.chunks(self.rng, words.text(self.rng, sentences)), gap)
        self.finish()

    def turn(self, tools: int | None = None) -> None:
        """Play an ordinary turn from beginning to end."""
        self.begin(words.wish(self.rng))
        self.wire.about(1.2, 0.3)
        for _ in range(self.rng.randint(0, 3) if tools is None else tools):
            self.tool(words.any_use(self.rng), self.rng.uniform(0.05, 1.0))
        self.answer(self.rng.randint(1, 4))
