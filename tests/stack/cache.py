"""Where `make stack` puts the real programs, and what it says of those that it could not get."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

PROGRAMS = {
    "prometheus": ("prometheus", "promtool"),
    "alertmanager": ("prometheus-alertmanager", "amtool"),
    "collector": ("debbie-collector",),
    "jaeger": ("jaeger",),
    "compose-spec": ("compose-load", "compose-spec.json"),
    "grafana-schema": ("grafana-schema.json",),
}
"""By peer, the programs and JSON schemas that it brings."""


def folder() -> Path:
    """Return DEBBIE_PEERS, or a folder in the user's cache."""
    named = os.environ.get("DEBBIE_PEERS")
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(named) if named else Path(cache, "debbie-otel", "peers")


def place(name: str) -> Path:
    """Return where the cache has a program or a schema."""
    return folder() / name if name.endswith(".json") else folder() / "bin" / name


def program(name: str) -> str | None:
    """Return where a program is: in the cache, else on the PATH."""
    return shutil.which(name, path=folder() / "bin") or shutil.which(name)


def compose_schema() -> Path:
    """Return where the compose specification's JSON schema is, once it is installed."""
    return folder() / "compose-spec.json"


def missing(peer: str) -> str | None:
    """Return why a peer cannot be used, or None where it can."""
    lacking = [name for name in PROGRAMS[peer] if not place(name).exists() and not program(name)]
    if not lacking:
        return None
    told = folder() / f"{peer}.missing"
    why = told.read_text().strip() if told.exists() else "`make stack` installs it"
    return f"no {peer} ({', '.join(lacking)}): {why}"
