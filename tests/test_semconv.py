"""semconv is the list of what is emitted: all of it, and nothing else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import debbie_otel
from debbie_otel import semconv

PACKAGE = Path(debbie_otel.__file__).parent
EMITTING = ("telemetry", "transports", "app")
"""Parts that emit; others may read a name, as the report does."""

NAMESPACES = r"(cpu|debbie|error|gen_ai|jsonrpc|mcp|network|rpc|server|session)\.[a-z_.]+"

READ_ONLY = {"debbie.control."}
"""Readings of live sessions (`detection.control_metrics`), which are never exported."""


def modules(*parts: str) -> Iterator[tuple[Path, ast.Module]]:
    for part in parts:
        for path in sorted((PACKAGE / part).rglob("*.py")):
            yield path, ast.parse(path.read_text())


def names() -> dict[str, object]:
    return {name: value for name, value in vars(semconv).items() if name.isupper()}


def test_every_name_is_emitted() -> None:
    used = {
        node.attr
        for _, module in modules(*EMITTING)
        for node in ast.walk(module)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "semconv"
    }
    assert sorted(names().keys() - used) == []


def test_every_name_that_is_emitted_is_there() -> None:
    """No part that emits writes a name of its own, be it with blanks to fill in."""
    written = []
    for path, module in modules(*EMITTING, "detection", "intervention"):
        docstrings = {
            id(node.value)
            for node in ast.walk(module)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        }
        written += [
            f"{path.name}: {node.value}"
            for node in ast.walk(module)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in docstrings
            and (re.fullmatch(NAMESPACES, node.value) or node.value.startswith("debbie."))
            and not any(node.value.startswith(prefix) for prefix in READ_ONLY)
        ]
    known = [f"{path}: error.ratio" for path in ("rules.py", "settings.py", "signals.py")]
    assert [one for one in written if one not in known] == []  # a control metric's, too


def test_no_two_names_are_the_same_by_accident() -> None:
    """A metric or an event may be called as an attribute is; two attributes may not."""
    kinds: dict[tuple[str, object], list[str]] = {}
    for name, value in names().items():
        kind = name.split("_")[0] if name.startswith(("METRIC_", "SPAN_", "EVENT_")) else ""
        if isinstance(value, str) and value != semconv.SCOPE:
            kinds.setdefault((kind, value), []).append(name)
    assert [found for found in kinds.values() if len(found) > 1] == []
