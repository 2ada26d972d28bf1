"""The built-in dialects, one TOML file each."""

from __future__ import annotations

from importlib import resources

from debbie_otel.core.dialect import Dialect

GENERIC = "generic"


def builtin_dialects() -> dict[str, Dialect]:
    """Return the built-in dialects by name, in the order in which they are tried."""
    files = sorted(resources.files(__name__).iterdir(), key=lambda file: file.name)
    found = [
        Dialect.from_toml(file.read_text(encoding="utf-8"), file.name)
        for file in files
        if file.name.endswith(".toml")
    ]
    return {dialect.name: dialect for dialect in found}
