"""Where values are read, which of them wins, and who is blamed for one that cannot be used."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from debbie_otel.app.config import CAPTURE_CONTENT, Config, config_of, load_config
from debbie_otel.app.config.sources import Sources
from debbie_otel.errors import ConfigurationError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "debbie.toml"


def complaint(file: Path, toml: str) -> str:
    """Return what is said about a file, without its folder."""
    file.write_text(toml)
    with pytest.raises(ConfigurationError) as caught:
        load_config(file)
    return str(caught.value).replace(f"{file.parent}/", "")


# -- sources and their order ----------------------------------------------------------------------


def test_nothing_given_is_the_defaults() -> None:
    assert load_config() == load_config(None, {}, {}) == Config()
    assert Config().proxy.listen == "127.0.0.1:8765"
    assert Config().proxy.upstream is None


def test_every_key_can_be_set_in_the_file(file: Path) -> None:
    file.write_text("""
        [proxy]
        upstream = "ws://localhost:1/ws"
        listen = "unix:/run/debbie.sock"
        dialect = "mcp"
        profile = "aggressive"
        record = "all.jsonl"
        tls_cert = "cert.pem"
        tls_key = "/etc/key.pem"
        ca = "~/ca.pem"
        insecure = true
        watch_pid = 7
        host_header = "preserve"
        max_connections = 5
        handshake_timeout = 1
        connect_timeout = 2.5
        max_message_size = 1024
        [telemetry]
        otlp = "http://localhost:4318"
        service_name = "agent"
        data_dir = "../data"
        stream_chunks = "span"
        capture_content = true
        log_events = false
        method_limit = 3
        flush_timeout = 0.5
        [limits]
        pending_calls = 1
        sessions = 2
        call_timeout = 3
        recording_bytes = 4
        [dialects]
        paths = ["mine.toml", "/other.toml"]
    """)
    config, folder = load_config(file), file.parent
    assert msgspec.to_builtins(config.limits) == {
        "pending_calls": 1,
        "sessions": 2,
        "call_timeout": 3.0,
        "recording_bytes": 4,
    }
    assert config.proxy.record == folder / "all.jsonl"
    assert config.proxy.tls_cert == folder / "cert.pem"
    assert config.proxy.tls_key == Path("/etc/key.pem")
    assert config.proxy.ca == Path.home() / "ca.pem"
    assert config.telemetry.data_dir == folder / "../data"
    assert config.dialects.paths == (folder / "mine.toml", Path("/other.toml"))
    assert config.proxy.profile == "aggressive"
    for section in ("proxy", "telemetry", "limits", "dialects"):
        given, default = getattr(config, section), getattr(Config(), section)
        unset = [
            name
            for name in given.__struct_fields__
            if getattr(given, name) == getattr(default, name)
        ]
        assert unset == [], "a new key belongs into this test"


def test_flags_win_over_environment_over_file(file: Path) -> None:
    file.write_text('[proxy]\nlisten = "a:1"\ndialect = "mcp"\nupstream = "ws://file"\n')
    environ = {"DEBBIE_LISTEN": "b:2", "DEBBIE_DIALECT": "acp", "DEBBIE_UPSTREAM": ""}
    proxy = load_config(file, environ, {"proxy": {"listen": "c:3"}}).proxy
    assert (proxy.listen, proxy.dialect, proxy.upstream) == ("c:3", "acp", "ws://file")


def test_the_environment(tmp_path: Path) -> None:
    config = load_config(
        None,
        {
            "DEBBIE_UPSTREAM": "ws://u",
            "DEBBIE_PROFILE": "passive",
            "DEBBIE_DATA_DIR": str(tmp_path),
            "DEBBIE_PORT": "tcp://10.0.0.1:80",  # as Kubernetes sets it
        },
    )
    assert config.proxy.upstream == "ws://u"
    assert config.telemetry.data_dir == tmp_path
    assert not config.interventions.auto_continue


@pytest.mark.parametrize(
    ("value", "captured"),
    [
        ("true", True),
        ("SPAN_ONLY", True),
        ("span_and_event", True),
        ("false", False),
        ("no_content", False),
        ("event_only", False),
        ("what?", False),
        ("", False),
    ],
)
def test_content_is_captured_only_where_that_is_asked_for(value: str, captured: bool) -> None:
    assert load_config(None, {CAPTURE_CONTENT: value}).telemetry.capture_content is captured


def test_paths_in_flags_are_relative_to_the_working_directory(file: Path) -> None:
    file.write_text("")
    config = load_config(file, {}, {"proxy": {"record": "a.jsonl", "ca": Path("b.pem")}})
    assert (config.proxy.record, config.proxy.ca) == (Path("a.jsonl"), Path("b.pem"))


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Config().proxy.listen = "x"  # type: ignore[misc]


# -- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[proxy]\nlistn = 'a'", "debbie.toml: proxy.listn: unknown key (did you mean listen?)"),
        ("[prox]", "debbie.toml: prox: unknown key (did you mean proxy?)"),
        ("upstream = 'a'", "debbie.toml: upstream: unknown key (it belongs under [proxy])"),
        ("[limits]\notlp = 1", "debbie.toml: limits.otlp: unknown key (it belongs under [telem"),
        ("[dialects]\nzz = 1", "debbie.toml: dialects.zz: unknown key (known: paths)"),
        (
            "zz = 1",
            "debbie.toml: zz: unknown key (known: proxy, telemetry, limits, dialects, detection, rules, interventions)",
        ),
        ("proxy = 3", "debbie.toml: proxy: expected a table, got 3"),
        ("[proxy]\nlisten = 3", "debbie.toml: proxy.listen: expected a string, got 3"),
        ("[proxy]\ninsecure = 'no'", "debbie.toml: proxy.insecure: expected true or false, got 'n"),
        ("[proxy]\ninsecure = 1", "debbie.toml: proxy.insecure: expected true or false, got 1"),
        ("[proxy]\nca = 3", "debbie.toml: proxy.ca: expected the path of a file, got 3"),
        ("[proxy]\nca = ''", "debbie.toml: proxy.ca: expected the path of a file, got ''"),
        (
            "[proxy]\nprofile = 'x'",
            "debbie.toml: proxy.profile: expected one of default, aggressive, passive, got 'x'",
        ),
        (
            "[telemetry]\nstream_chunks = true",
            "debbie.toml: telemetry.stream_chunks: expected one of fold, span, off, got true",
        ),
        ("[dialects]\npaths = 'a'", "debbie.toml: dialects.paths: expected a list, got 'a'"),
        (
            "[dialects]\npaths = ['a', 3]",
            "debbie.toml: dialects.paths[1]: expected the path of a file, got 3",
        ),
        (
            "[proxy]\nmax_connections = 0",
            "debbie.toml: proxy.max_connections: expected an integer >= 1, got 0",
        ),
        (
            "[proxy]\nmax_connections = 1.5",
            "debbie.toml: proxy.max_connections: expected an integer, got 1.5",
        ),
        (
            "[proxy]\nconnect_timeout = -1",
            "debbie.toml: proxy.connect_timeout: expected a number > 0.0, got -1",
        ),
        (
            "[proxy]\nconnect_timeout = nan",
            "debbie.toml: proxy.connect_timeout: expected a number > 0.0, got nan",
        ),
        (
            "[proxy]\nconnect_timeout = inf",
            "debbie.toml: proxy.connect_timeout: expected a number <= 2592000.0, got inf",
        ),
        ("[proxy\n", "debbie.toml: is not valid TOML: Expected ']'"),
    ],
)
def test_an_error_says_where_and_what(file: Path, toml: str, said: str) -> None:
    assert complaint(file, toml).startswith(said)


@pytest.mark.parametrize("section", ["proxy", "telemetry", "limits"])
def test_no_number_can_be_negative(section: str) -> None:
    numbers = {
        key: value
        for key, value in msgspec.structs.asdict(getattr(Config(), section)).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    assert numbers
    for key in numbers:
        with pytest.raises(ConfigurationError, match=r"expected .* got -1"):
            load_config(None, {}, {section: {key: -1}})


def test_a_long_value_is_cut(file: Path) -> None:
    said = complaint(file, f"[proxy]\nmax_connections = '{'x' * 500}'")
    assert len(said) < 150
    assert said.endswith("...")


def test_bytes_that_are_no_text(file: Path) -> None:
    file.write_bytes(b"a = '\xff'")
    with pytest.raises(ConfigurationError, match="is not valid TOML"):
        load_config(file)


def test_a_file_that_is_missing(file: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"debbie.toml: cannot be read: No such file"):
        load_config(file)


@pytest.mark.parametrize(
    ("environ", "flags", "said"),
    [
        ({"DEBBIE_PROFILE": "x"}, {}, "DEBBIE_PROFILE: expected one of default, agg"),
        ({}, {"proxy": {"profile": "x"}}, "--profile: expected one of default, aggressive, passi"),
        ({}, {"proxy": {"host_header": "x"}}, "--host-header: expected one of auto, preserve, u"),
        ({}, {"telemetry": {"flush_timeout": 0}}, "--flush-timeout: expected a number > 0.0, go"),
        ({}, {"proxy": {"record": ""}}, "--record: expected the path of a file, got ''"),
    ],
)
def test_an_error_names_variable_or_flag(
    environ: dict[str, str], flags: dict[str, dict[str, Any]], said: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_config(None, environ, flags)
    assert str(caught.value).startswith(said)


_KEYS = st.sampled_from([*Config.__struct_fields__, *Config().proxy.__struct_fields__, "x y"])
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS | st.text(), inner),
    max_leaves=5,
)


@given(section=st.sampled_from(Config.__struct_fields__), key=_KEYS | st.text(), value=_VALUES)
def test_whatever_is_given_is_taken_or_refused(section: str, key: str, value: Any) -> None:
    with contextlib.suppress(ConfigurationError):
        config = load_config(None, {}, {section: {key: value}})
        assert getattr(getattr(config, section), key) in (value, Path(str(value)).expanduser())


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        (
            "[detection]\nstall_treshold = 1",
            "debbie.toml: detection.stall_treshold: unknown key (did you mean stall_threshold?)",
        ),
        (
            "[detection]\nstall_threshold = -1",
            "debbie.toml: detection.stall_threshold: expected a number > 0.0, got -1",
        ),
        (
            "[detection]\nerror_rate = 20",
            "debbie.toml: detection.error_rate: expected a number <= 1.0, got 20",
        ),
        (
            "[detection.loops]\nrepetition = 3",
            "debbie.toml: detection.loops.repetition: unknown key (did you mean repetitions?)",
        ),
        (
            "[[rules]]\nname = 'x'\nmetric = 'm'\nabov = 1",
            "debbie.toml: rules[0].abov: unknown key (did you mean above?)",
        ),
        (
            "[[rules]]\nname = 'x'\nmetric = 'm'",
            "debbie.toml: rules[0]: wants either above or below",
        ),
        (
            "[[rules]]\nname = 'x'\nmetric = 'debbie.control.silense'\nabove = 1",
            "debbie.toml: rules[0].metric: unknown control metric debbie.control.silense "
            "(did you mean debbie.control.silence?)",
        ),
        (
            "[[rules]]\nname = 'x'\nmetric = 'a metric'\nabove = 1",
            "debbie.toml: rules[0].metric: 'a metric' is not a name of an OpenTelemetry instrument",
        ),
    ],
)
def test_wrong_thresholds_and_rules_are_refused(file: Path, toml: str, said: str) -> None:
    assert complaint(file, toml) == said


def test_every_default_can_be_written_down() -> None:
    assert config_of(msgspec.structs.asdict(Config())) == Config()


# -- names that nothing would ever use ------------------------------------------------------------


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        (
            '[interventions.alert_strategy_map]\nsesion_stall = ["escalate"]',
            "interventions.alert_strategy_map.sesion_stall: unknown alert type "
            "(did you mean session_stall?)",
        ),
        (
            '[interventions.alert_strategy_map]\nsession_stall = ["nosuch"]',
            "interventions.alert_strategy_map.session_stall[0]: expected one of prompt_injection, "
            "session_restart, state_reset, tool_retry, python_script, escalate, custom:NAME, "
            "got 'nosuch'",
        ),
        (
            '[interventions.prompts]\nsession_stal = ["Go on."]',
            "interventions.prompts.session_stal: unknown alert type (did you mean session_stall?)",
        ),
        (
            '[interventions.scripts]\nby_alert = { tool_lop = "diagnose_errors" }',
            "interventions.scripts.by_alert.tool_lop: unknown alert type (did you mean tool_loop?)",
        ),
        (
            "[detection.pending]\ntool_lop = 3",
            "detection.pending.tool_lop: unknown alert type (did you mean tool_loop?)",
        ),
        (
            '[detection]\nlong_commands = "("',
            "detection.long_commands: is not a regular expression: "
            "missing ), unterminated subpattern at position 0",
        ),
        (
            '[[rules]]\nname = "a"\nmetric = "x"\nabove = 1\naggregate = "p99"',
            "rules[0].aggregate: expected one of sum, last, rate, mean, quantile, got 'p99'",
        ),
        (
            '[[rules]]\nname = "a"\nmetric = "x"\nabove = 1\nstrategies = ["shout"]',
            "rules[0].strategies[0]: expected one of prompt_injection, session_restart, "
            "state_reset, tool_retry, python_script, escalate, custom:NAME, got 'shout'",
        ),
    ],
)
def test_names_that_nothing_would_use_are_refused(file: Path, toml: str, said: str) -> None:
    assert complaint(file, toml) == f"debbie.toml: {said}"


def test_the_alert_of_a_rule_is_known(file: Path) -> None:
    file.write_text("""
        [interventions.alert_strategy_map]
        crowded = ["escalate"]
        [[rules]]
        name = "crowded"
        metric = "shop.queue.length"
        above = 10
    """)
    assert load_config(file).interventions.strategies("crowded") == ("escalate",)


def test_strategies_with_prompts_of_their_own_are_known(file: Path) -> None:
    file.write_text("""
        [interventions.prompts]
        state_reset = ["Begin anew."]
        tool_retry = ["Once more."]
        "*" = ["Go on."]
    """)
    assert set(load_config(file).interventions.prompts) == {"state_reset", "tool_retry", "*"}


# -- who has set what -----------------------------------------------------------------------------


WRONG = """
[proxy]
listen = "nowhere"
tls_cert = "none.pem"
[telemetry]
otlp = "nonsense"
[interventions.scripts]
directory = "none"
[interventions.escalation]
alertmanager = ["host"]
"""


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    path = tmp_path / "debbie.toml"
    path.write_text(WRONG)
    return path


CASES = {
    "--listen": "{path}: proxy.listen",
    "--otlp": "{path}: telemetry.otlp",
    "--tls-cert /a b/none.pem": "{path}: proxy.tls_cert: /a b/none.pem",
    "interventions.scripts.directory": "{path}: interventions.scripts.directory",
    "interventions.escalation.alertmanager[0]": "{path}: interventions.escalation.alertmanager[0]",
    "--upstream": "--upstream",  # is missing
    "detection.long_commands": "detection.long_commands",
    "--speed": "--speed",  # is no setting
    "debbie.toml": "debbie.toml",
    "DEBBIE_LISTEN": "DEBBIE_LISTEN",
}


@pytest.mark.parametrize("where", CASES)
def test_the_file_is_named(where: str, wrong: Path) -> None:
    error = Sources(wrong, {}, {}).blame(ConfigurationError(where, "is wrong", "write this"))
    assert error.where == CASES[where].format(path=wrong)
    assert (error.what, error.hint) == ("is wrong", "write this")


def test_what_overrides_the_file_is_named(wrong: Path) -> None:
    error = ConfigurationError("--listen", "is wrong")
    environ = {"DEBBIE_LISTEN": "nowhere"}
    assert Sources(wrong, environ, {}).blame(error).where == "DEBBIE_LISTEN"
    flags = {"proxy": {"listen": "nowhere"}}
    assert Sources(wrong, environ, flags).blame(error).where == "--listen"
    assert Sources(None, {}, {}).blame(error).where == "--listen"
