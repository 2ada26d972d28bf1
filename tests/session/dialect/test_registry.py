"""The dialects that there are, and which of them a connection speaks."""

from __future__ import annotations

import pytest

from debbie_otel.session.dialect.registry import (
    GENERIC,
    MAX_UNRECOGNISED,
    Dialects,
    Recognition,
    builtin_dialects,
)
from tests.session.parsing import message

KNOWN = builtin_dialects()
ACP = message(b'{"jsonrpc":"2.0","id":1,"method":"session/prompt","params":{}}')
OTHER = message(b'{"id":1,"method":"m"}')


def test_a_chosen_dialect_is_the_only_candidate_and_generic_is_what_holds_till_then() -> None:
    assert [d.name for d in Dialects(KNOWN, "acp").candidates] == ["acp"]
    names = [d.name for d in Dialects(KNOWN).candidates]
    assert names == ["acp", "aiwhisperer", "codex", "mcp"]
    assert Dialects(KNOWN).fallback is KNOWN[GENERIC]


def test_a_dialect_is_found_by_a_message_or_a_subprotocol() -> None:
    recognition = Recognition(Dialects(KNOWN).candidates)
    assert recognition.by_message(OTHER) is None
    assert recognition.by_message(ACP) is KNOWN["acp"]
    assert recognition.by_subprotocol("mcp") is KNOWN["mcp"]
    assert recognition.by_subprotocol("soap") is None


@pytest.mark.parametrize(
    ("others", "name"), [(MAX_UNRECOGNISED - 1, "acp"), (MAX_UNRECOGNISED, None)]
)
def test_after_many_messages_that_match_none_a_connection_is_not_looked_at_any_more(
    others: int, name: str | None
) -> None:
    recognition = Recognition(Dialects(KNOWN).candidates)
    for _ in range(others):
        assert recognition.by_message(OTHER) is None
    found = recognition.by_message(ACP)
    assert (found and found.name) == name
