"""A report as one HTML file: no script, nothing from elsewhere, every text escaped."""

from __future__ import annotations

from html import escape

from debbie_otel.report.document import Block, Bullets, Report, Table, document

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --head: #8882; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .7rem; text-align: left;
  vertical-align: top; overflow-wrap: anywhere; }
th { background: var(--head); white-space: nowrap; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
"""

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def render_page(report: Report) -> str:
    """Return a report as an HTML page."""
    parts: list[str] = []
    for section in document(report):
        parts.append(f"<h{section.level}>{_text(section.heading)}</h{section.level}>")
        parts += map(_block, section.blocks)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Debbie's report</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def _text(text: str) -> str:
    """Escape; what does not print, such as a turn of the direction of writing, becomes a mark."""
    return escape("".join(char if char.isprintable() else "�" for char in text))


def _block(block: Block) -> str:
    match block:
        case str():
            return f"<p>{_text(block)}</p>"
        case Bullets(items=items):
            return "<ul>\n" + "\n".join(f"<li>{_text(item)}</li>" for item in items) + "\n</ul>"
        case Table():
            return _table(block)


def _table(table: Table) -> str:
    head = _row(table.headings, "th", table.numbers)
    body = "\n".join(_row(row, "td", table.numbers) for row in table.rows)
    return (
        f'<div class="wide"><table>\n<thead>\n{head}\n</thead>\n<tbody>\n{body}\n</tbody>\n'
        "</table></div>"
    )


def _row(cells: tuple[str, ...], tag: str, numbers: frozenset[int]) -> str:
    marks = (' class="number"' if n in numbers else "" for n in range(len(cells)))
    inner = "".join(
        f"<{tag}{mark}>{_text(cell)}</{tag}>" for mark, cell in zip(marks, cells, strict=True)
    )
    return f"<tr>{inner}</tr>"
