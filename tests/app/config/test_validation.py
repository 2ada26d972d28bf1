"""What is refused, in which words; and what can be written, without writing it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from debbie_otel.app.config import Config, config_of
from debbie_otel.app.config.validation import can_be_written, check_files, decode, holds_files
from debbie_otel.errors import ConfigurationError


def test_files(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere" / "file")
    writable = {
        there: True,
        tmp_path / "new": True,
        tmp_path / "new" / "folder" / "file": True,
        there / "below": False,
        tmp_path: False,
        tmp_path / "dangling": False,
    }
    assert {file: can_be_written(file) for file in writable} == writable
    assert sorted(tmp_path.iterdir()) == [tmp_path / "dangling", there]
    assert [holds_files(tmp_path), holds_files(there)] == [True, False]


def test_what_is_not_set_is_not_looked_at(tmp_path: Path) -> None:
    check_files(config_of({}))
    check_files(config_of({"interventions": {"scripts": {"directory": str(tmp_path)}}}))
    with pytest.raises(ConfigurationError, match="is not a directory"):
        check_files(config_of({"interventions": {"scripts": {"directory": str(tmp_path / "x")}}}))


def said_of(document: dict[str, Any]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        config_of(document)
    return str(caught.value)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"rules": [{"name": "a"}]}, "rules[0]: metric must be set"),
        ({"rules": [{}]}, "rules[0]: name and metric must be set"),
        ({"rules": {"name": "a"}}, "rules: expected a list, got {'name': 'a'}"),
        (
            {"interventions": {"escalation": {"webhooks": [{"url": 1}]}}},
            "interventions.escalation.webhooks[0].url: expected a string, got 1",
        ),
        (
            {"interventions": {"escalation": {"webhooks": [{"urk": "http://x"}]}}},
            "interventions.escalation.webhooks[0].urk: unknown key (did you mean url?)",
        ),
        (
            {"interventions": {"prompts": {"tool_loop": "Go on."}}},
            "interventions.prompts.tool_loop: expected a list, got 'Go on.'",
        ),
        (
            {"detection": {"pending": {"tool_loop": -1}}},
            "detection.pending.tool_loop: expected a number >= 0.0, got -1",
        ),
        (
            {"detection": {"call_timeout": "never"}},
            "detection.call_timeout: expected a number, got 'never'",
        ),
        (
            {"detection": {"slow_factor": 1}},
            "detection.slow_factor: expected a number > 1.0, got 1",
        ),
        (
            {"rules": [{"name": "a", "metric": "m", "above": 1, "quantile": 1}]},
            "rules[0].quantile: expected a number < 1.0, got 1",
        ),
        (
            {"interventions": {"tool_retry": {"arguments": {"search": 3}}}},
            "interventions.tool_retry.arguments.search: expected a table, got 3",
        ),
        ({"dialects": {"paths": [""]}}, "dialects.paths[0]: expected the path of a file, got ''"),
        ({"detection": 5}, "detection: expected a table, got 5"),
        (
            {"rules": [{"name": "a", "metric": "m", "above": 1, "severity": "hi"}]},
            "rules[0].severity: expected one of low, medium, high, critical, got 'hi'",
        ),
    ],
)
def test_what_is_said_of_a_wrong_value(document: dict[str, Any], said: str) -> None:
    assert said_of(document) == said


def _leaves(kind: type[msgspec.Struct], place: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for field in msgspec.structs.fields(kind):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from _leaves(field.type, (*place, field.encode_name))
        else:
            yield (*place, field.encode_name)


@pytest.mark.parametrize("place", list(_leaves(Config)), ids=".".join)
def test_every_setting_refuses_what_it_cannot_be_in_words_of_its_own(
    place: tuple[str, ...],
) -> None:
    nothing_can_be = msgspec.Raw(b"")
    for wrong in ({"no": {"such": nothing_can_be}}, [[nothing_can_be]]):
        if place[-1] == "arguments" and isinstance(wrong, dict):
            continue  # of tools: whatever a tool takes
        document: Any = wrong
        for name in reversed(place):
            document = {name: document}
        with pytest.raises(ConfigurationError) as caught:
            decode(document, lambda key: key)
        assert caught.value.where.startswith(".".join(place))
        assert "`" not in str(caught.value)
        assert re.match(r"expected |unknown ", caught.value.what)
