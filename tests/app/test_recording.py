from __future__ import annotations

import json
import logging
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from debbie_otel.app.recording import RecordedMessage, RecordingWriter, read_recording
from debbie_otel.errors import ConfigurationError, RecordingError
from debbie_otel.wire.direction import MessageDirection

DATA = Path(__file__).parents[1] / "data"
C2S = MessageDirection.CLIENT_TO_SERVER
S2C = MessageDirection.SERVER_TO_CLIENT
NOW = 1_795_000_000 * 10**9


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "all.jsonl"


def recorded(file: Path, *payloads: bytes) -> list[bytes]:
    """Record payloads and read them back."""
    file.unlink(missing_ok=True)
    with RecordingWriter(file) as writer:
        for payload in payloads:
            writer.write(NOW, "A", C2S, payload)
    return [message.payload for message in read_recording(file)]


# -- the format -----------------------------------------------------------------------------------


def test_the_lines(file: Path) -> None:
    with RecordingWriter(file) as writer:
        writer.write(NOW, "A", C2S, b'{"id": 1,  "x": 1.00}')
        writer.write(NOW + 1_234_567_890, 'b"', S2C, b"not json")
    assert file.read_text() == (
        '{"t":0.000000,"conn":"A","dir":"client->server","msg":{"id": 1,  "x": 1.00}}\n'
        '{"t":1.234568,"conn":"b\\"","dir":"server->client","msg":"not json"}\n'
    )
    assert list(read_recording(file)) == [
        RecordedMessage(0.0, "A", C2S, b'{"id": 1,  "x": 1.00}'),
        RecordedMessage(1.234568, 'b"', S2C, b"not json"),
    ]


def test_a_line_is_in_the_file_at_once(file: Path) -> None:
    with RecordingWriter(file) as writer:
        writer.write(NOW, "A", C2S, b"{}")
        assert file.read_text().count("\n") == 1


def test_time_never_runs_backwards(file: Path) -> None:
    with RecordingWriter(file) as writer:
        writer.write(NOW, "A", C2S, b"{}")
        writer.write(NOW - 5, "A", C2S, b"{}")
    assert [message.t for message in read_recording(file)] == [0, 0]


@pytest.mark.parametrize(
    "payload",
    [
        b"{}",
        b"[1, 2]",
        b"null",
        b"12345678901234567890123456789",
        b"1e999",
        b'{"a":1,"a":2}',
        '{"ä": "ö\\u0000"}'.encode(),
        b'{"a": "\\ud800 "}',
        b'"a JSON string"',
        b' "another"',
        b'"',
        b"",
        b" ",
        b"{} {}",
        b"1],[1",
        b'{"a": NaN}',
        b'{"a": "\x01"}',
        b"text\nof two lines",
        "text: ä \u2028 \x00 \x7f".encode(),
        b"[" * 60 + b"]" * 60,
        b"[" * 990 + b"]" * 990,
        b"[" * 100_000 + b"]" * 100_000,
        b"\xef\xbb\xbf{}",
    ],
)
def test_a_payload_comes_back_as_it_was(file: Path, payload: bytes) -> None:
    assert recorded(file, payload) == [payload]
    assert file.read_bytes().count(b"\n") == 1


def test_line_breaks_between_tokens_become_spaces(file: Path) -> None:
    assert recorded(file, b'{\r\n"a\\n":\n1.50}') == [b'{  "a\\n": 1.50}']


def test_bytes_that_are_no_utf8_are_replaced(file: Path) -> None:
    assert recorded(file, b'{"a": "\xff"}', b"\xff") == [
        '{"a": "\ufffd"}'.encode(),
        b"\xef\xbf\xbd",
    ]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    payload=st.binary() | st.text().map(str.encode) | _JSON.map(lambda v: json.dumps(v).encode())
)
def test_any_payload_comes_back(file: Path, payload: bytes) -> None:
    (got,) = recorded(file, payload)
    expected = payload.decode("utf-8", "replace").encode()
    assert got in (expected, expected.translate(bytes.maketrans(b"\r\n", b"  ")))
    if b"\n" not in payload and b"\r" not in payload:
        assert got == expected


@pytest.mark.parametrize("name", ["aiwhisperer", "acp", "codex"])
def test_the_real_recordings_come_back(file: Path, name: str) -> None:
    source = DATA / name / "transcript.jsonl"
    first = list(read_recording(source))
    entries = [json.loads(line) for line in source.read_text().splitlines()]
    assert [
        message.payload.decode() if isinstance(entry["msg"], str) else json.loads(message.payload)
        for message, entry in zip(first, entries, strict=True)
    ] == [entry["msg"] for entry in entries]
    assert [(m.t, m.direction, m.note) for m in first] == [
        (entry["t"], entry["dir"], entry.get("note")) for entry in entries
    ]
    with RecordingWriter(file) as writer:
        for message in first:
            time_ns = NOW + round(message.t * 1e9)
            writer.write(time_ns, message.conn, message.direction, message.payload)
    again = list(read_recording(file))
    assert [(m.conn, m.direction, m.payload) for m in again] == [
        (m.conn, m.direction, m.payload) for m in first
    ]
    assert [m.t for m in again] == pytest.approx([m.t - first[0].t for m in first], abs=2e-6)


# -- the file -------------------------------------------------------------------------------------


def test_only_the_owner_can_read_it(file: Path) -> None:
    before = os.umask(0)
    try:
        RecordingWriter(file).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_recording_goes_on(file: Path) -> None:
    for start in (NOW, NOW + 10**15):
        with RecordingWriter(file) as writer:
            writer.write(start, "A", C2S, b"1")
            writer.write(start + 2 * 10**9, "A", C2S, b"2")
        file.chmod(0o644)
    with RecordingWriter(file):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [(m.t, m.payload) for m in read_recording(file)] == [
        (0.0, b"1"),
        (2.0, b"2"),
        (2.0, b"1"),
        (4.0, b"2"),
    ]


def test_a_recording_without_a_last_line_end_goes_on(file: Path) -> None:
    file.write_text('{"t": 1, "dir": "client->server", "msg": 1}')
    with RecordingWriter(file) as writer:
        writer.write(NOW, "A", C2S, b"2")
    assert [(m.t, m.payload) for m in read_recording(file)] == [(1.0, b"1"), (1.0, b"2")]


@pytest.mark.parametrize("content", ["a diary", "{}\n", '{"t": 1, "dir": "client->ser'])
def test_a_file_that_is_no_recording_is_left_alone(file: Path, content: str) -> None:
    file.write_text(content)
    file.chmod(0o644)
    with pytest.raises(ConfigurationError, match=r"all.jsonl: is there already, and does not end"):
        RecordingWriter(file)
    assert file.read_text() == content
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"--record .*: cannot be opened: No such file"):
        RecordingWriter(tmp_path / "missing" / "all.jsonl")


def test_it_stops_at_its_size(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    line = len(b'{"t":0.000000,"conn":"A","dir":"client->server","msg":1}\n')
    with caplog.at_level(logging.WARNING), RecordingWriter(file, max_bytes=2 * line + 1) as writer:
        for payload in (b"1", b"2", b"3", b""):
            writer.write(NOW, "A", C2S, payload)
        assert writer.dropped == 2
    assert [m.payload for m in read_recording(file)] == [b"1", b"2"]
    assert [record.getMessage() for record in caplog.records] == [
        f"the recording {file} ends here: it has reached {2 * line + 1} bytes"
    ]
    with RecordingWriter(file, max_bytes=2 * line + 1) as writer:
        writer.write(NOW, "A", C2S, b"4")
        assert writer.dropped == 1, "what was there already counts"


def test_a_full_disk_leaves_whole_lines(file: Path) -> None:
    """A limit on the size of files stands for the disk, in a process of its own."""
    code = (
        "import sys, signal, resource; from pathlib import Path;"
        "from debbie_otel.app.recording import *;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY));"
        "writer = RecordingWriter(Path(sys.argv[1]));"
        "[writer.write(0, 'A', MessageDirection.CLIENT_TO_SERVER, b'1') for _ in range(3)];"
        "print(writer.dropped); writer.close()"
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert done.stdout == "2\n"
    assert "ends here: the disk is full" in done.stderr
    assert [m.payload for m in read_recording(file)] == [b"1"]


def test_after_the_end_all_is_dropped(file: Path) -> None:
    writer = RecordingWriter(file)
    writer.close()
    writer.close()
    writer.write(NOW, "A", C2S, b"{}")
    assert writer.dropped == 1


# -- reading --------------------------------------------------------------------------------------

GOOD = '{"t": 1, "dir": "client->server", "msg": 1}'


def test_defaults_and_additions(file: Path) -> None:
    file.write_text(
        f'\n{GOOD}\n \n{{"t": 2.5, "dir": "server->client", "msg": "\\u00e4", "conn": 7, '
        '"note": "n", "more": []}\n'
    )
    assert list(read_recording(file)) == [
        RecordedMessage(1.0, "1", C2S, b"1"),
        RecordedMessage(2.5, "7", S2C, "ä".encode(), "n"),
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "Input data was truncated"),
        ("[]", "Expected `object`, got `array`"),
        ('{"dir": "client->server", "msg": 1}', "missing required field `t`"),
        ('{"t": 1, "dir": "client->server"}', "missing required field `msg`"),
        ('{"t": "1", "dir": "client->server", "msg": 1}', "Expected `float`, got `str`"),
        ('{"t": -1, "dir": "client->server", "msg": 1}', "Expected `float` >= 0"),
        ('{"t": 1e300, "dir": "client->server", "msg": 1}', "Expected `float` <= "),
        ('{"t": 1, "dir": "up", "msg": 1}', "Invalid enum value 'up' - at `$.dir`"),
        ('{"t": 1, "dir": "client->server", "msg": nope}', "malformed"),
        (GOOD + " x", "trailing characters"),
    ],
)
def test_a_bad_line_is_named(file: Path, line: str, said: str) -> None:
    file.write_text(f"{GOOD}\n\n{line}\n{GOOD}\n")
    messages = read_recording(file)
    assert next(messages).payload == b"1"
    with pytest.raises(RecordingError) as caught:
        next(messages)
    assert caught.value.where == f"{file}:3"
    assert said in caught.value.what
    assert '"dir": "client->server"|"server->client"' in caught.value.hint


def test_a_recording_that_was_cut_off(file: Path) -> None:
    file.write_text(f"{GOOD}\n{GOOD[:-5]}")
    messages = read_recording(file)
    next(messages)
    with pytest.raises(RecordingError, match=r"all.jsonl:2: the line is incomplete; the recording"):
        next(messages)


def test_a_recording_that_is_missing(file: Path) -> None:
    with pytest.raises(RecordingError, match=r"all.jsonl: cannot be read: No such file"):
        next(read_recording(file))
