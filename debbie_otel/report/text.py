"""A report as Markdown, readable as it is."""

from __future__ import annotations

import re

from debbie_otel.report.document import Block, Bullets, Report, Table, document

_SPECIAL = re.compile(r"[\\`*\[\]<|]|(?<!\w)_|_(?!\w)")
"""What Markdown would take for markup; an underscore within a word it does not."""

_START = re.compile(r"[#>+-]")
"""What it would take for a heading, a quotation or a list, where a line begins."""


def render_text(report: Report) -> str:
    """Return a report as Markdown (GitHub's tables); ends with a line feed."""
    parts: list[str] = []
    for section in document(report):
        parts.append(f"{'#' * section.level} {escape(section.heading)}")
        parts += map(_block, section.blocks)
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Return text on one line that Markdown shows as it is, and that moves no cursor."""
    line = _cell(text)
    return "\\" + line if _START.match(line) else line


def _cell(text: str) -> str:
    line = "".join(char if char.isprintable() else " " for char in text)
    return _SPECIAL.sub(r"\\\g<0>", line)


def _block(block: Block) -> str:
    match block:
        case str():
            return escape(block)
        case Bullets(items=items):
            return "\n".join(f"- {escape(item)}" for item in items)
        case Table():
            return _table(block)


def _table(table: Table) -> str:
    rows = [tuple(map(_cell, row)) for row in (table.headings, *table.rows)]
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    head, *body = [
        [
            cell.rjust(width) if number in table.numbers else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in rows
    ]
    rule = [
        "-" * (width - 1) + (":" if number in table.numbers else "-")
        for number, width in enumerate(widths)
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *body))
