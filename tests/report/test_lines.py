from __future__ import annotations

import io
import threading

from debbie_otel.report.lines import LineWriter


def test_lines_are_written_in_order() -> None:
    out = io.StringIO()
    writer = LineWriter(out)
    for number in range(100):
        writer(str(number))
    writer.close()
    assert out.getvalue().split() == [str(number) for number in range(100)]


class Unread(io.StringIO):
    """A console whose reader has gone for a while."""

    def __init__(self) -> None:
        super().__init__()
        self.read_on = threading.Event()
        self.stuck = threading.Event()

    def write(self, text: str) -> int:
        self.stuck.set()
        assert self.read_on.wait(10)
        return super().write(text)


def test_a_reader_who_has_stopped_reading_stops_nothing() -> None:
    out = Unread()
    writer = LineWriter(out, size=10)
    writer("first")
    assert out.stuck.wait(10)
    for number in range(1000):
        writer(str(number))
    out.read_on.set()
    writer.close()
    lines = out.getvalue().splitlines()
    assert lines[:2] == ["first", "(990 lines left out)"]
    assert lines[2:] == [str(number) for number in range(10)]
    assert writer._thread is not None
    assert not writer._thread.is_alive()


def test_a_console_that_is_gone_is_no_error() -> None:
    out = io.StringIO()
    writer = LineWriter(out)
    out.close()
    writer("nobody will read this")
    writer.close()
    assert writer._thread is not None
    assert not writer._thread.is_alive()


def test_one_that_has_nothing_to_write_has_no_thread() -> None:
    threads = set(threading.enumerate())
    LineWriter(io.StringIO()).close()
    assert set(threading.enumerate()) == threads
