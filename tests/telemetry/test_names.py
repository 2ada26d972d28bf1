from __future__ import annotations

from debbie_otel.telemetry.names import Names


def test_names_beyond_the_limit_are_other() -> None:
    names = Names(2, ["known"])
    assert [names(name) for name in ("a", "b", "c", "a", "known", "d")] == [
        "a", "b", "_OTHER", "a", "known", "_OTHER",
    ]  # fmt: skip


def test_a_long_name_is_cut() -> None:
    names = Names(1)
    assert names("n" * 1000) == "n" * 128
