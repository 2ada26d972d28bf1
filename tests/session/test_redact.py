from __future__ import annotations

import pytest

from debbie_otel.session.redact import content


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain", "plain"),
        ({"a": [1, None]}, '{"a":[1,null]}'),
        ({"password": "x", "inner": {"X-Api-Key": 5}}, '{"password":"[redacted]","inner":{"X-Api-Key":"[redacted]"}}'),
        ('{"token": "abc", "n": 1}', '{"token":"[redacted]","n":1}'),
        ("use sk-abcdefghijklmnopqrstuv now", "use [redacted] now"),
        ("Authorization: Bearer abcdefghijklmnop", "Authorization: [redacted]"),
        ("password=hunter22 and more", "[redacted] and more"),
        ("ghp_abcdefghijklmnopqrstuvwxyz0123", "[redacted]"),
        ("[not json", "[not json"),
    ],
)  # fmt: skip
def test_secrets_are_left_out(value: object, expected: str) -> None:
    assert content(value, 1000) == expected


def test_content_is_cut() -> None:
    assert content("x" * 50, 10) == "x" * 9 + "…"
