"""docker-compose.yml by its specification's schema, and what it mounts by the real programs."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from debbie_otel import semconv
from tests.stack import cache, install
from tests.stack.peers import ROOT, fetch, jaeger

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
LASTING = {name: it for name, it in SERVICES.items() if it.get("command", [""])[0] != "chown"}
GRAFANA = SERVICES["grafana"]
BOARDS = sorted((ROOT / "dashboards").glob("*.json"))


def mounts(service: dict[str, Any]) -> dict[str, Path]:
    """Return the files and folders of ours that a service gets, by where it finds them."""
    pairs = [entry.split(":") for entry in service.get("volumes", [])]
    return {pair[1]: ROOT / pair[0] for pair in pairs if pair[0].startswith("./")}


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = cache.program(program)
    assert path is not None
    return subprocess.run([path, *arguments], capture_output=True, text=True, timeout=30)


@pytest.mark.stack("compose-spec")
def test_the_compose_file_is_valid() -> None:
    schema = json.loads(cache.compose_schema().read_text())
    validator = jsonschema.Draft202012Validator(schema)
    assert [error.message for error in validator.iter_errors(COMPOSE)] == []
    # And the schema would have found a mistake.
    wrong = COMPOSE | {"services": {"proxy": {"imagee": "x"}}}
    assert list(validator.iter_errors(wrong))


def loaded(*profiles: str) -> dict[str, Any]:
    """Return the services of the project that Docker Compose makes of the file."""
    done = run("compose-load", str(ROOT / "docker-compose.yml"), *profiles)
    assert done.returncode == 0, done.stderr
    services: dict[str, Any] = json.loads(done.stdout)["services"]
    return services


@pytest.mark.stack("compose-spec")
def test_compose_up_brings_the_demo_and_a_profile_leaves_it_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("COMPOSE_PROFILES", raising=False)
    monkeypatch.setenv("DEBBIE_UPSTREAM", "ws://mine:1/ws")
    everything, own = loaded(), loaded("own")
    assert set(everything) == set(SERVICES)
    assert set(everything) - set(own) == {"demo"}
    assert own["proxy"]["environment"]["DEBBIE_UPSTREAM"] == "ws://mine:1/ws"
    monkeypatch.delenv("DEBBIE_UPSTREAM")
    assert loaded()["proxy"]["environment"]["DEBBIE_UPSTREAM"] == "ws://demo:9000/ws"


@pytest.mark.stack("compose-spec")
def test_compose_loads_every_service_whole() -> None:
    for name, service in loaded().items():
        assert service["image"] == SERVICES[name]["image"]
        for mount in service.get("volumes", []):
            if mount["type"] == "bind":
                assert Path(mount["source"]).exists(), (name, mount)
                assert mount["read_only"]
        for port in service.get("ports", []):
            assert port["host_ip"] == "127.0.0.1"


def test_every_image_is_pinned() -> None:
    for name, service in SERVICES.items():
        assert re.search(r":v?\d+\.\d+\.\d+", service["image"]), name
    dockerfile = (ROOT / "stack" / "Dockerfile").read_text()
    assert re.search(r"^FROM python:\d+\.\d+\.\d+-", dockerfile, re.MULTILINE)


def test_the_tests_run_the_versions_that_are_shipped() -> None:
    assert SERVICES["agent"]["image"] == SERVICES["gateway"]["image"]
    assert SERVICES["agent"]["image"].endswith(f":{install.COLLECTOR}")
    assert "2.13.0" in SERVICES["jaeger"]["image"]
    assert "2.13.0" in (install.__doc__ or "") + Path(install.__file__).read_text()


def test_ports_are_open_to_this_machine_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) >= 6
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_every_lasting_service_is_health_checked() -> None:
    asked = {
        service["network_mode"].removeprefix("service:")
        for service in LASTING.values()
        if "healthcheck" in service and service.get("network_mode", "").startswith("service:")
    }
    unchecked = {name for name, it in LASTING.items() if "healthcheck" not in it}
    assert unchecked == asked == {"agent", "gateway"}


def test_services_wait_only_for_what_can_become_so() -> None:
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            assert other in SERVICES, name
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other], (name, other)
            if not how.get("required", True):
                continue
            # A service that is always there must not wait for one that a profile leaves out.
            profiles = set(SERVICES[other].get("profiles", []))
            assert not profiles or set(service.get("profiles", [])) <= profiles, (name, other)


def test_the_demo_is_the_default_and_can_be_left_out() -> None:
    environment = (ROOT / ".env").read_text().splitlines()
    assert "COMPOSE_PROFILES=demo" in environment
    with_demo = {n for n, it in SERVICES.items() if "demo" in it.get("profiles", ["demo"])}
    own = {n for n, it in SERVICES.items() if "own" in it.get("profiles", ["own"])}
    assert with_demo - own == {"demo"}
    assert "${DEBBIE_UPSTREAM:-" in SERVICES["proxy"]["environment"]["DEBBIE_UPSTREAM"]


def test_data_outlives_its_container() -> None:
    named = {
        entry.split(":")[0]
        for service in LASTING.values()
        for entry in service.get("volumes", [])
        if not entry.startswith("./")
    }
    assert named == set(COMPOSE["volumes"])
    for name in ("proxy", "agent", "gateway", "jaeger", "prometheus", "alertmanager", "grafana"):
        assert any(not v.startswith("./") for v in SERVICES[name]["volumes"]), name


def test_everything_that_is_mounted_is_there() -> None:
    for name, service in SERVICES.items():
        for path in mounts(service).values():
            assert path.exists(), (name, path)
        for entry in service.get("volumes", []):
            assert not entry.startswith("./") or entry.endswith(":ro"), entry


def test_every_variable_is_one_that_its_configuration_knows() -> None:
    for name in ("agent", "gateway", "jaeger"):
        (config,) = (p for p in mounts(SERVICES[name]).values() if p.suffix == ".yaml")
        known = set(re.findall(r"\$\{env:([A-Z_]+)", config.read_text()))
        assert set(SERVICES[name]["environment"]) <= known, name


def test_every_address_is_that_of_a_service_and_a_port_of_it() -> None:
    text = "\n".join(
        path.read_text()
        for path in (ROOT / "docker-compose.yml", *(ROOT / "stack").rglob("*.y*ml"))
    )
    addresses = set(re.findall(r"\b([a-z-]+):(\d{4,5})\b", text))
    ports = {
        "agent": "4317 8888 8889",
        "gateway": "4319 8890 8891",
        "jaeger": "4317 16686",
        "prometheus": "9090",
        "alertmanager": "9093",
        "proxy": "8765",
        "demo": "9000",
    }
    ours = {(host, port) for host, port in addresses if host in SERVICES}
    assert ours == {(host, port) for host, known in ports.items() for port in known.split()}


@pytest.mark.stack("prometheus")
def test_prometheus_accepts_its_configuration_and_rules(tmp_path: Path) -> None:
    found = mounts(SERVICES["prometheus"])
    rules = found["/etc/prometheus/rules"]
    config = found["/etc/prometheus/prometheus.yml"].read_text()
    assert "/etc/prometheus/rules/*.yaml" in config
    shutil.copytree(rules, tmp_path / "rules")
    here = tmp_path / "prometheus.yml"
    here.write_text(config.replace("/etc/prometheus/rules", str(tmp_path / "rules")))
    done = run("promtool", "check", "config", str(here))
    assert done.returncode == 0, done.stderr
    assert re.search(r"[1-9]\d* rules found", done.stdout + done.stderr)


@pytest.mark.stack("alertmanager")
def test_alertmanager_accepts_its_configuration() -> None:
    (config,) = mounts(SERVICES["alertmanager"]).values()
    done = run("amtool", "check-config", str(config))
    assert done.returncode == 0, done.stderr


@pytest.mark.stack("collector")
@pytest.mark.parametrize("name", ["agent", "gateway"])
def test_the_collector_accepts_its_configuration_as_it_is_mounted(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in SERVICES[name]["environment"].items():
        monkeypatch.setenv(variable, re.sub(r"\$\{[A-Z_]+:-(.*)\}", r"\1", value))
    (config,) = mounts(SERVICES[name]).values()
    done = run("debbie-collector", "validate", "--config", str(config))
    assert done.returncode == 0, done.stderr


@pytest.mark.stack("jaeger")
async def test_jaeger_starts_with_its_configuration_and_serves_its_ui_settings(
    tmp_path: Path,
) -> None:
    async with jaeger(tmp_path) as it:
        page = await fetch(f"{it.url}/search")
    # The settings are put into the page that starts the UI.
    assert "debbie-session" in page


def provisioned(name: str) -> Any:
    (path,) = (p for where, p in mounts(GRAFANA).items() if f"/{name}/" in where)
    return yaml.safe_load(path.read_text())


def test_grafana_finds_its_dashboards() -> None:
    (provider,) = provisioned("provisioning/dashboards")["providers"]
    boards = list(mounts(GRAFANA)[provider["options"]["path"]].glob("*.json"))
    assert provider["type"] == "file"
    assert boards
    home = GRAFANA["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert Path(home).parent == Path(provider["options"]["path"])
    assert Path(home).name in {board.name for board in boards}


def test_grafanas_data_sources_lead_to_each_other() -> None:
    sources = {it["uid"]: it for it in provisioned("datasources")["datasources"]}
    assert {it["type"] for it in sources.values()} == {"prometheus", "jaeger", "alertmanager"}
    for it in sources.values():
        host, _, port = it["url"].removeprefix("http://").partition(":")
        assert f"127.0.0.1:{port}:{port}" in SERVICES[host]["ports"]
    (exemplars,) = sources["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert exemplars["datasourceUid"] == "jaeger"
    assert exemplars["name"] == "trace_id"
    metrics = sources["jaeger"]["jsonData"]["tracesToMetrics"]
    assert metrics["datasourceUid"] == "prometheus"
    assert metrics["queries"]
    # A `$` is doubled, because Grafana puts variables of its environment into these files.
    assert all("$$__tags" in query["query"] for query in metrics["queries"])
    boards = "".join(path.read_text() for path in BOARDS)
    used = re.findall(r'"datasource": \{\s*"type": "(\w+)",\s*"uid": "([^"]+)"', boards)
    assert used
    for kind, uid in set(used) - {("grafana", "-- Grafana --")}:
        assert sources[uid]["type"] == kind


def test_jaeger_links_to_boards_and_variables_that_exist() -> None:
    (path,) = (p for p in mounts(SERVICES["jaeger"]).values() if p.suffix == ".json")
    settings = json.loads(path.read_text())
    assert settings["monitor"] == {"menuEnabled": True}
    boards = {
        board["uid"]: {variable["name"] for variable in board["templating"]["list"]}
        for board in map(json.loads, (p.read_text() for p in BOARDS))
    }
    items = [item["url"] for menu in settings["menu"] for item in menu["items"]]
    for url in items + [pattern["url"] for pattern in settings["linkPatterns"]]:
        address, _, board = url.partition("?")[0].partition("/d/")
        assert address == "http://localhost:3000"
        assert set(re.findall(r"var-(\w+)=", url)) <= boards[board]
    assert {url.partition("/d/")[2] for url in items} == set(boards)


def test_jaegers_links_use_only_what_it_can_fill_in() -> None:
    settings = json.loads((ROOT / "stack" / "jaeger-ui.json").read_text())
    names = {value for value in vars(semconv).values() if isinstance(value, str)}
    for pattern in settings["linkPatterns"]:
        used = {word.split("|")[0].strip() for word in re.findall(r"#{([^}]*)}", pattern["url"])}
        if pattern["type"] == "traces":
            assert used == {"startTime", "endTime"}
        else:
            assert used <= {pattern["key"]} <= names | {"service.instance.id"}


def test_grafanas_alert_rules_ask_data_sources_that_exist() -> None:
    rules = provisioned("alerting")
    asked = {
        query["datasourceUid"]
        for group in rules["groups"]
        for rule in group["rules"]
        for query in rule["data"]
    }
    assert asked - {"__expr__", "-100"} == {"prometheus"}


def test_the_image_has_all_that_it_copies() -> None:
    text = (ROOT / "stack" / "Dockerfile").read_text()
    sources = [word for line in re.findall(r"^COPY (.*)", text, re.M) for word in line.split()[:-1]]
    kept = (ROOT / ".dockerignore").read_text().split()
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source.split('/')[0]}" in kept, source
    demo = SERVICES["demo"]
    assert demo["entrypoint"][-1] in text
    flags = {word for word in demo["command"] if word.startswith("--")}
    tree = ast.parse((ROOT / "stack" / "demo.py").read_text())
    known = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert flags <= known
