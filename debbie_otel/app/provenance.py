"""Who set what: a complaint about a setting names the file or the variable that is to be corrected.

Parts that use a setting do not know where it came from; they call it by its flag, or by its key
where there is no flag.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from debbie_otel.app.config import ENVIRONMENT, Config, read_document
from debbie_otel.errors import ConfigurationError


class Origins(msgspec.Struct, frozen=True):
    """What a configuration was read from: the arguments of `load_config`."""

    path: Path | None
    environ: Mapping[str, str]
    flags: Mapping[str, Mapping[str, Any]]

    def blame(self, error: ConfigurationError) -> ConfigurationError:
        """Return the complaint with the name of whatever set the value."""
        setting, _, value = error.where.partition(" ")
        origin = self._origin(setting)
        if origin == setting:
            return error
        where = f"{origin}: {value}" if value else origin
        return ConfigurationError(where, error.what, error.hint)

    def _origin(self, setting: str) -> str:
        section, key = _place(setting)
        if not section or key in self.flags.get(section, {}):
            return setting
        for variable, place in ENVIRONMENT.items():
            if place == (section, key) and self.environ.get(variable):
                return variable
        if self.path is None or key not in read_document(self.path).get(section, {}):
            return setting
        full = f"{section}.{key}" if setting.startswith("--") else setting
        return f"{self.path}: {full}"


def _place(setting: str) -> tuple[str, str]:
    """Return section and key of a setting, by its flag or its dotted key; empty if it is none."""
    if setting.startswith("--"):
        key = setting.removeprefix("--").replace("-", "_")
        sections = {"proxy": Config().proxy, "telemetry": Config().telemetry}
        found = [name for name, held in sections.items() if key in held.__struct_fields__]
        return (found[0], key) if found else ("", "")
    named = re.match(r"(\w+)\.(\w+)", setting)
    known = named is not None and named[1] in Config.__struct_fields__
    return (named[1], named[2]) if named is not None and known else ("", "")
