from __future__ import annotations

import pytest

from debbie_otel.errors import DialectError
from debbie_otel.session.dialect.dialect import Dialect
from debbie_otel.session.dialect.registry import builtin_dialects
from debbie_otel.session.dialect.templates import Act, fill

FACTS = {"$session": "s1", "$turn": "t1", "$text": 'say "hi"\n', "$call": 7}


def test_facts_are_put_in_as_values_wherever_a_whole_string_is_a_word() -> None:
    template = {"id": "$call", "deep": [{"text": "$text"}], "part": "not $text", "n": 1, "b": True}
    assert fill(template, FACTS) == {
        "id": 7,
        "deep": [{"text": 'say "hi"\n'}],
        "part": "not $text",
        "n": 1,
        "b": True,
    }


def test_a_fact_that_looks_like_a_word_stays_what_it_is() -> None:
    assert fill({"a": "$text"}, FACTS | {"$text": "$session"}) == {"a": "$session"}


def test_an_act_suits_a_busy_or_an_idle_session() -> None:
    assert Act(method="m", turn="open").suits(busy=True)
    assert not Act(method="m", turn="open").suits(busy=False)
    assert Act(method="m", turn="idle").suits(busy=False)
    assert Act(method="m").suits(busy=True)
    assert Act(method="m").suits(busy=False)


def test_the_templates_of_the_built_in_dialects_can_be_filled_in() -> None:
    for dialect in builtin_dialects().values():
        document = dialect.document
        for act in (*document.prompt, *document.cancel):
            assert "$" not in str(fill(act.params, FACTS))
        if document.restart is not None and document.restart.start is not None:
            fill(document.restart.start.params, {"$session": "s1"})


def test_where_the_answer_to_a_start_names_the_session() -> None:
    known = builtin_dialects()
    assert known["aiwhisperer"].names_session_at("startSession") == "result.sessionId"
    assert known["acp"].names_session_at("session/load") is None
    assert known["codex"].names_session_at("thread/resume") == "result.thread.id"
    assert known["mcp"].names_session_at("initialize") is None


def test_an_unknown_word_in_a_template_is_an_error() -> None:
    toml = 'name = "mine"\n[[prompt]]\nmethod = "say"\nparams = { a = [{ b = "$words" }] }\n'
    with pytest.raises(DialectError, match=r"\$words"):
        Dialect.from_toml(toml, "mine.toml")
