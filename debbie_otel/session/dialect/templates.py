"""Templates of the messages that Debbie can send for a session.

A template is JSON in which whole strings stand for facts: `$session` (the session's id), `$turn`
(the id of the open turn), `$text` (what is to be said), `$call` (the id of an open request of the
client's, with its type). Facts are put in as values, never pasted into text, so that nothing from
the wire can change what a message means.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

WORDS = frozenset({"$session", "$turn", "$text", "$call"})


class Act(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One message that can be sent.

    Attributes:
        method: JSON-RPC method.
        params: Template.
        kind: Whether it is answered.
        channel: On the session's own connection, or on another to the same server, where a server
            that is busy with one message reads no other on the same connection.
        turn: Whether it can be sent while a turn is open, while none is, or both.
        each: For `cancel`: once for the session, or for each open request of the client's.

    """

    method: str
    params: dict[str, Any] = {}
    kind: Literal["request", "notification"] = "request"
    channel: Literal["same", "side"] = "same"
    turn: Literal["open", "idle", "any"] = "any"
    each: Literal["session", "call"] = "session"

    def suits(self, *, busy: bool) -> bool:
        """Tell whether it can be sent now."""
        return self.turn == "any" or (self.turn == "open") == busy

    def needs(self, word: str) -> bool:
        """Tell whether the template has that word."""
        return word in words(self.params)


class RestartSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a session begins anew on a new connection.

    Attributes:
        replay: Methods of the client's handshake, said again as the client said them, in order.
        start: What starts or resumes the session; None says again what the client started it
            with (the request of a `session_start` rule, which knows where the new name is).
        context: Whether the server has forgotten what was said, so that a summary goes along.
        cancel: Whether what runs is to be cancelled before, as it would go on without a connection.
        pulse: A request that a server answers whatever it runs: one that does has not hung.

    """

    replay: list[str] = []
    start: Act | None = None
    context: bool = True
    cancel: bool = False
    pulse: Act | None = None


def fill(template: Any, facts: dict[str, Any]) -> Any:
    """Return a template with the facts in it: `{"$text": ..., "$session": ...}`.

    Raises:
        KeyError: A word for which there is no fact.

    """
    if isinstance(template, str):
        return facts[template] if template in WORDS else template
    if isinstance(template, dict):
        return {name: fill(value, facts) for name, value in template.items()}
    if isinstance(template, list):
        return [fill(value, facts) for value in template]
    return template


def words(template: Any) -> set[str]:
    """Return the words of a template: whole strings that begin with `$`, known or not."""
    if isinstance(template, str):
        return {template} if template.startswith("$") else set()
    if isinstance(template, dict):
        template = list(template.values())
    if isinstance(template, list):
        return set().union(*map(words, template))
    return set()
