"""Help, wrong values, and the commands that need no server."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from debbie_otel.cli.main import main
from tests.integration.command import debbie, totals
from tests.play import DATA
from tests.telemetry.collector import make_certificate

COMMANDS = ("proxy", "demo", "replay", "dialects", "check")
FLAGS = {
    "proxy": (
        *("--upstream", "--listen", "--dialect", "--profile", "--config", "--service-name"),
        *("--record", "--otlp", "--tls-cert", "--tls-key", "--ca", "--insecure"),
    ),
    "demo": ("--speed",),
    "replay": ("--dialect", "--profile"),
    "check": ("--config",),
}
UPSTREAM = ("proxy", "--upstream", "ws://127.0.0.1:1", "--listen", "127.0.0.1:0")

WRONG: dict[str, tuple[tuple[str, ...], str]] = {
    "no upstream": (("proxy",), "--upstream"),
    "http upstream": (("proxy", "--upstream", "http://127.0.0.1:1"), "--upstream"),
    "bad upstream port": (("proxy", "--upstream", "ws://h:x"), "--upstream"),
    "listen": ((*UPSTREAM, "--listen", "nowhere"), "--listen"),
    "listen port": ((*UPSTREAM, "--listen", "127.0.0.1:70000"), "--listen"),
    "listen unix": ((*UPSTREAM, "--listen", "unix:/no/such/folder/s"), "--listen"),
    "taken port": ((*UPSTREAM, "--listen", "{taken}"), "{taken}"),
    "dialect": ((*UPSTREAM, "--dialect", "klingon"), "klingon"),
    "profile": ((*UPSTREAM, "--profile", "wild"), "--profile"),
    "no config": ((*UPSTREAM, "--config", "{tmp}/none.toml"), "none.toml"),
    "config is no TOML": ((*UPSTREAM, "--config", "{tmp}/bad.toml"), "bad.toml"),
    "config key": ((*UPSTREAM, "--config", "{tmp}/typo.toml"), "did you mean listen?"),
    "config value": ((*UPSTREAM, "--config", "{tmp}/value.toml"), "limits.sessions"),
    "config names a bad dialect": ((*UPSTREAM, "--config", "{tmp}/mine.toml"), "broken.toml"),
    "record": ((*UPSTREAM, "--record", "{tmp}/no/folder/r.jsonl"), "--record"),
    "record into a folder": ((*UPSTREAM, "--record", "{tmp}"), "--record"),
    "record over a file": ((*UPSTREAM, "--record", "{tmp}/bad.toml"), "--record"),
    "otlp": ((*UPSTREAM, "--otlp", "nonsense"), "--otlp"),
    "otlp scheme": ((*UPSTREAM, "--otlp", "ftp://127.0.0.1:1"), "--otlp"),
    "tls cert": ((*UPSTREAM, "--tls-cert", "{tmp}/none.pem"), "--tls-cert"),
    "tls cert is none": ((*UPSTREAM, "--tls-cert", "{tmp}/bad.toml"), "--tls-cert"),
    "tls key alone": ((*UPSTREAM, "--tls-key", "{tmp}/server.key"), "--tls-cert"),
    "tls key": (
        (*UPSTREAM, "--tls-cert", "{tmp}/server.pem", "--tls-key", "{tmp}/none"),
        "--tls-key",
    ),
    "ca": (("proxy", "--upstream", "wss://127.0.0.1:1", "--ca", "{tmp}/none"), "--ca"),
    "listen in a file": (("proxy", "--config", "{tmp}/listen.toml"), "listen.toml: proxy.listen:"),
    "check of listen in a file": (
        ("check", "--config", "{tmp}/listen.toml"),
        "listen.toml: proxy.listen:",
    ),
    "listen by flag beside a file": (
        ("proxy", "--config", "{tmp}/listen.toml", "--listen", "no port"),
        "--listen:",
    ),
    "upstream that is not in the file": (
        ("proxy", "--config", "{tmp}/cert.toml"),
        "--upstream: is missing",
    ),
    "tls cert in a file": (
        (*UPSTREAM, "--config", "{tmp}/cert.toml"),
        "cert.toml: proxy.tls_cert: {tmp}/none.pem: there is no such file",
    ),
    "scripts": (
        (*UPSTREAM, "--config", "{tmp}/scripts.toml"),
        "scripts.toml: interventions.scripts.directory: {tmp}/nowhere is not a directory",
    ),
    "demo scripts": (
        ("demo", "--config", "{tmp}/scripts.toml"),
        "scripts.toml: interventions.scripts.directory: {tmp}/nowhere is not a directory",
    ),
    "history": (
        (*UPSTREAM, "--config", "{tmp}/history.toml"),
        "history.toml: interventions.history.path: {tmp}/empty/h.sqlite3 cannot be written",
    ),
    "host header": ((*UPSTREAM, "--host-header", "mine"), "--host-header"),
    "insecure has no value": ((*UPSTREAM, "--insecure=yes"), "--insecure"),
    "a flag without its value": (("proxy", "--upstream"), "--upstream"),
    "no such flag": ((*UPSTREAM, "--upstrem", "x"), "--upstrem"),
    "no such command": (("prox",), "prox"),
    "demo speed": (("demo", "--speed", "fast"), "--speed"),
    "demo speed 0": (("demo", "--speed", "0"), "--speed"),
    "demo speed nan": (("demo", "--speed", "nan"), "--speed"),
    "demo config": (("demo", "--config", "{tmp}/none.toml"), "none.toml"),
    "replay nothing": (("replay",), "FILE"),
    "replay no file": (("replay", "{tmp}/none.jsonl"), "none.jsonl"),
    "replay no recording": (("replay", "{tmp}/bad.toml"), "bad.toml:1"),
    "replay dialect": (("replay", "{tmp}/empty", "--dialect", "klingon"), "klingon"),
    "replay profile": (("replay", "{tmp}/empty", "--profile", "wild"), "--profile"),
    "dialects config": (("dialects", "--config", "{tmp}/none.toml"), "none.toml"),
    "check config": (("check", "--config", "{tmp}/typo.toml"), "did you mean listen?"),
}
"""Arguments, and what the complaint has to name."""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    make_certificate(tmp_path)
    for name, text in {
        "empty": "",
        "bad.toml": "this is = = nothing\n",
        "typo.toml": '[proxy]\nlisen = "127.0.0.1:1"\n',
        "value.toml": "[limits]\nsessions = 0\n",
        "mine.toml": '[dialects]\npaths = ["broken.toml"]\n',
        "listen.toml": '[proxy]\nupstream = "ws://127.0.0.1:1"\nlisten = "nowhere"\n',
        "cert.toml": '[proxy]\ntls_cert = "none.pem"\n',
        "scripts.toml": '[interventions.scripts]\ndirectory = "nowhere"\n',
        "history.toml": '[interventions.history]\npath = "empty/h.sqlite3"\n',
        "broken.toml": 'name = "mine"\ncolour = "red"\n',
    }.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@contextlib.contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in a command that goes on where it should have complained."""

    def late(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_value_is_one_line_and_exit_code_2(
    case: str, files: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEBBIE_DATA_DIR", str(files / "data"))
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        arguments, named = WRONG[case]
        given = [text.format(tmp=files, taken=taken) for text in arguments]
        with time_limit(5), pytest.raises(SystemExit) as ended:
            main(given, prog_name="debbie")
    out, err = capfd.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert re.fullmatch(r"debbie: .+\n", err)
    assert named.format(tmp=files, taken=taken) in err


def test_a_wrong_variable_is_named(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEBBIE_LISTEN", "nowhere")
    with pytest.raises(SystemExit):
        main(["proxy", "--upstream", "ws://127.0.0.1:1"], prog_name="debbie")
    assert capfd.readouterr().err.startswith("debbie: DEBBIE_LISTEN: 'nowhere' is no address")


def test_a_wrong_value_of_a_real_process(tmp_path: Path) -> None:
    for arguments in (("proxy", "--listen", "nowhere"), ("demo", "--speed", "fast")):
        ended = debbie(*arguments, data_dir=tmp_path)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert re.fullmatch(r"debbie: .+\n", ended.stderr)


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_of_every_command(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    for flag in ("-h", "--help"):
        with pytest.raises(SystemExit) as ended:
            main([*filter(None, [name]), flag], prog_name="debbie")
        out, err = capfd.readouterr()
        assert (ended.value.code, err) == (0, "")
        assert out.startswith(f"Usage: debbie {name}".rstrip())
        for documented in COMMANDS if not name else FLAGS.get(name, ()):
            assert f"\n  {documented} " in out


def test_replay_of_the_recordings(tmp_path: Path) -> None:
    wanted = {
        "aiwhisperer": ["1 aiwhisperer", "16 11 completed, 4 failed, 1 incomplete", "150 ", "4 "],
        "acp": ["2 acp", "22 14 completed, 4 failed, 3 cancelled, 1 aborted", "251 ", "12 "],
        "codex": ["3 codex", "39 25 completed, 8 failed, 5 cancelled, 1 aborted", "1106 ", "20 "],
    }
    for name, counts in wanted.items():
        ended = debbie("replay", str(DATA / name / "transcript.jsonl"), data_dir=tmp_path)
        assert (ended.returncode, ended.stderr) == (0, "")
        rows = [" ".join(line.split("│")[1:-1]) for line in totals(ended.stdout.splitlines())]
        cells = {" ".join(row.split()) for row in rows}
        labels = ("sessions", "turns", "messages", "tool calls")
        for label, count in zip(labels, counts, strict=True):
            assert any(cell.startswith(f"{label} {count}") for cell in cells), (name, cells)


def test_dialects_lists_the_users_own(tmp_path: Path) -> None:
    (tmp_path / "dialects").mkdir()
    (tmp_path / "dialects" / "mine.toml").write_text(
        'name = "mine"\ntitle = "My agent"\ndescription = "spoken at home"\n'
        '[[detect]]\nmethods = ["my.hello"]\n'
    )
    config = tmp_path / "debbie.toml"
    config.write_text('[dialects]\npaths = ["dialects/mine.toml"]\n')
    ended = debbie("dialects", "--config", str(config), data_dir=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    rows = [[cell.strip() for cell in line.split("│")] for line in ended.stdout.splitlines()]
    names = [row[1] for row in rows if len(row) > 3]
    assert {"mine", "aiwhisperer", "mcp", "acp", "codex", "generic"} == set(names)
    (mine,) = [row for row in rows if len(row) > 3 and row[1] == "mine"]
    assert mine[2:4] == ["My agent", "spoken at home"]
    recording = tmp_path / "r.jsonl"
    recording.write_text('{"t":0,"dir":"client->server","msg":{"id":1,"method":"my.hello"}}\n')
    replayed = debbie("replay", str(recording), "--config", str(config), data_dir=tmp_path)
    assert any("sessions" in line and "mine" in line for line in replayed.stdout.splitlines())


def test_the_configuration_comes_from_file_environment_and_flags_in_this_order(
    tmp_path: Path,
) -> None:
    config = tmp_path / "debbie.toml"
    config.write_text('[proxy]\nupstream = "ws://127.0.0.1:1"\ndialect = "from-file"\n')
    arguments = ["proxy", "--config", str(config)]
    by_file = debbie(*arguments, data_dir=tmp_path)
    by_variable = debbie(*arguments, data_dir=tmp_path, DEBBIE_DIALECT="from-variable")
    by_flag = debbie(
        *arguments, "--dialect", "from-flag", data_dir=tmp_path, DEBBIE_DIALECT="from-variable"
    )
    ended = (by_file, by_variable, by_flag)
    assert [done.returncode for done in ended] == [2, 2, 2]
    assert ["from-file" in by_file.stderr, "from-variable" in by_variable.stderr] == [True, True]
    assert "from-flag" in by_flag.stderr
