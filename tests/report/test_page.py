from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from debbie_otel.report.document import Report
from debbie_otel.report.live import LiveReporter
from debbie_otel.report.page import render_page
from tests.report.stories import LOOP, Watched, filled_history

ALLOWED = {
    *("html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "ul", "li", "div"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
VOID = {"meta"}


class Page(HTMLParser):
    """Reads a page as a browser would: its tags, attributes and texts, and whether they close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str | None]] = set()
        self.texts: list[str] = []
        self.rows: list[list[str]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(attrs)
        if tag not in VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self._open and self._open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def page(name: str = "calm", *, capture: bool = False) -> Page:
    """A page of a report in which `name` stands wherever the wire or the history may bring it."""
    watched = Watched("mcp", capture_content=capture)
    history = filled_history(
        None, {"session_id": name, "strategy": name, "alert_type": name, "detail": name}
    )
    live = LiveReporter(
        watched.monitor.events,
        watched.records,
        lambda: watched.stage.now,
        history,
    )
    watched.play(LOOP.replace('"list_files"', json.dumps(name)))
    watched.alert(name, name)
    return Page(render_page(live.report()))


def test_what_a_page_shows() -> None:
    found = page()
    assert ["Sessions", "1", "1 live"] in found.rows
    assert ["calm", "1", "100% successful", "1 success"] in found.rows
    assert any("was called 9 times with the same arguments" in text for text in found.texts)
    assert "Debbie's report" in found.texts


def test_it_is_one_file_without_anything_from_elsewhere() -> None:
    found = page()
    assert found.tags <= ALLOWED
    assert {name for name, _ in found.attributes} <= {
        *("lang", "charset", "http-equiv", "content", "name", "class"),
    }
    text = "".join(found.texts)
    assert "url(" not in text
    assert "@import" not in text
    assert "http" not in "".join(
        value or "" for _, value in found.attributes if value != "http-equiv"
    )


def test_it_is_dark_where_the_reader_is() -> None:
    assert any("color-scheme: light dark" in text for text in page().texts)


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</td></tr></table><h1>gone",
    "</style><script>alert(1)</script>",
    "<!-- ",
    "&lt;script&gt; &amp;",
    "<svg/onload=alert(1)>",
    "]]><![CDATA[",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_text(name: str) -> None:
    calm, found = page(), page(name)
    assert found.tags == calm.tags
    assert found.attributes == calm.attributes
    assert len(found.rows) == len(calm.rows)
    assert [name, "1", "100% successful", "1 success"] in found.rows


@given(st.text(min_size=1, max_size=60))
def test_any_name_is_text(name: str) -> None:
    found = page(name)
    assert found.tags <= ALLOWED
    shown = "".join(char if char.isprintable() else "�" for char in name)
    assert [shown, "1", "100% successful", "1 success"] in found.rows


def test_what_turns_the_direction_of_writing_is_not_shown() -> None:
    text = render_page(Report(created_ns=0, sessions=(), sources=("\u202egnp.exe",)))
    assert "\u202e" not in text
    assert "gnp.exe" in text


def test_captured_content_is_text_too() -> None:
    found = page(capture=True)
    assert any('{"path":"/secret"}' in cell for row in found.rows for cell in row)
