"""Who is blamed for a setting that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from debbie_otel.app.provenance import Origins
from debbie_otel.errors import ConfigurationError

FILE = """
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
def path(tmp_path: Path) -> Path:
    path = tmp_path / "debbie.toml"
    path.write_text(FILE)
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
def test_the_file_is_named(where: str, path: Path) -> None:
    error = Origins(path, {}, {}).blame(ConfigurationError(where, "is wrong", "write this"))
    assert error.where == CASES[where].format(path=path)
    assert (error.what, error.hint) == ("is wrong", "write this")


def test_what_overrides_the_file_is_named(path: Path) -> None:
    error = ConfigurationError("--listen", "is wrong")
    environ = {"DEBBIE_LISTEN": "nowhere"}
    assert Origins(path, environ, {}).blame(error).where == "DEBBIE_LISTEN"
    flags = {"proxy": {"listen": "nowhere"}}
    assert Origins(path, environ, flags).blame(error).where == "--listen"
    assert Origins(None, {}, {}).blame(error).where == "--listen"
