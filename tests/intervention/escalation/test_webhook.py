"""The body of a webhook, and its signature."""

from __future__ import annotations

import hashlib
import hmac
import json

from debbie_otel.intervention.escalation.webhook import VERSION, alert_id, body, signature
from tests.intervention.alerts import alert
from tests.intervention.attempts import attempt
from tests.play import SECOND


def test_an_alert_keeps_its_id_and_differs_from_all_others() -> None:
    first = alert()
    assert alert_id(first) == alert_id(alert(message="in other words", resolved_ns=99 * SECOND))
    others = [
        alert("error_burst"),
        alert(session_id="s2"),
        alert(subject="read"),
        alert(fired_ns=first.fired_ns + 1),
    ]
    assert len({alert_id(one) for one in (first, *others)}) == 5


def test_the_body_of_an_alert_and_of_its_end() -> None:
    of = alert(fired_ns=30 * SECOND, resolved_ns=45 * SECOND)
    raised = json.loads(body("alert", of, 31 * SECOND))
    ended = json.loads(body("resolved", of, 50 * SECOND))
    assert (raised["version"], raised["event"], ended["event"]) == (VERSION, "alert", "resolved")
    assert raised["id"] == ended["id"] == alert_id(of)
    assert raised["time"].startswith("1970-01-01T00:00:31")
    assert raised["alert"]["fired"].startswith("1970-01-01T00:00:30")
    assert "resolved" not in raised["alert"]
    assert ended["alert"]["resolved"].startswith("1970-01-01T00:00:45")
    assert (raised["session"], raised["attempts"]) == (None, [])


def test_the_last_attempts_are_told_and_not_all() -> None:
    records = [attempt(attempt=number) for number in range(30)]
    told = json.loads(body("alert", alert(), 0, records=records))["attempts"]
    assert [one["attempt"] for one in told] == list(range(10, 30))
    assert {one["seconds"] for one in told} == {2.0}


def test_text_of_agents_cannot_break_a_line() -> None:
    told = json.loads(body("alert", alert(subject="a\nb\x1b[2J", details={"text": "c\x00d"}), 0))
    assert told["alert"]["subject"].isprintable()
    assert told["alert"]["details"]["text"].isprintable()


def test_the_signature_is_over_time_and_body() -> None:
    expected = hmac.new(b"secret", b'17.{"a":1}', hashlib.sha256).hexdigest()
    assert signature(b"secret", "17", b'{"a":1}') == f"sha256={expected}"
    assert signature(b"secret", "18", b'{"a":1}') != f"sha256={expected}"
