"""`debbie check` looks at all that a configuration names."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from tests.integration.command import debbie


def check(folder: Path, toml: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run it on a configuration."""
    (folder / "debbie.toml").write_text(toml)
    given = str(folder / "debbie.toml")
    return debbie("check", "--config", given, data_dir=folder, **environ)


def test_receivers_of_escalations_are_reached(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # taken, and nobody listens
        up = f"http://127.0.0.1:{listener.getsockname()[1]}"
        down = f"http://127.0.0.1:{closed.getsockname()[1]}"
        ended = check(
            tmp_path,
            f'[interventions.escalation]\nalertmanager = ["{up}"]\n'
            f'[[interventions.escalation.webhooks]]\nurl = "{down}/secret"\n',
        )
    assert ended.returncode == 1
    assert f"alertmanager {up} can be reached" in ended.stdout
    assert f"webhook {down} cannot be reached: Connection refused" in ended.stdout
    assert "secret" not in ended.stdout


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('[interventions.escalation]\nalertmanager = ["host"]', "expected a URL"),
        ('[interventions.scripts]\ndirectory = "nowhere"', "nowhere is not a directory"),
    ],
)
def test_what_the_proxy_would_refuse_is_refused(toml: str, said: str, tmp_path: Path) -> None:
    ended = check(tmp_path, toml)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert said in ended.stderr


def test_each_endpoint_is_asked(tmp_path: Path) -> None:
    ended = check(
        tmp_path,
        "",
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="http://127.0.0.1:1/v1/traces",
        OTEL_EXPORTER_OTLP_METRICS_ENDPOINT="http://127.0.0.1:2/v1/metrics",
    )
    assert ended.returncode == 1
    assert ended.stdout.count("cannot be reached: Connection refused") == 2


@pytest.mark.parametrize(
    "variable", ["OTEL_TRACES_EXPORTER", "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_METRICS_EXEMPLAR_FILTER"]
)
def test_variables_that_the_proxy_would_refuse_are_refused(variable: str, tmp_path: Path) -> None:
    ended = check(tmp_path, "", **{variable: "wrong"})
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"debbie: {variable}: ")
