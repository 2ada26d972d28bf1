"""Names are compared in one spelling, with globs and exceptions."""

from __future__ import annotations

import pytest

from debbie_otel.detection.loops.name_patterns import MAX_NAME, any_name, snake


@pytest.mark.parametrize(
    ("name", "spelled"),
    [
        ("readFile", "read_file"),
        ("HTTPRequest", "http_request"),
        ("read-file", "read_file"),
        ("mcp__server__Read", "mcp_server_read"),
        ("_meta", "meta"),
        ("step2Next", "step2_next"),
        ("", ""),
    ],
)
def test_one_spelling(name: str, spelled: str) -> None:
    assert snake(name) == spelled


def test_a_long_name_is_cut() -> None:
    assert len(snake("a" * 10 * MAX_NAME)) == MAX_NAME


@pytest.mark.parametrize(
    ("name", "whole", "from_word"),
    [
        ("pollStatus", True, True),
        ("jobPollStatus", False, True),
        ("repollStatus", False, False),
        ("pollOnce", False, False),
        ("job_poll_once", False, False),
        ("status", False, False),
    ],
)
def test_globs_and_exceptions(name: str, whole: bool, from_word: bool) -> None:
    patterns = ("poll_*", "!poll_once")
    assert any_name(patterns, from_any_word=False)(name) is whole
    assert any_name(patterns, from_any_word=True)(name) is from_word


def test_no_patterns_match_nothing() -> None:
    matches = any_name((), from_any_word=True)
    assert not matches("anything")
    assert not matches("")
