"""JSON schemas of dashboards and panels, made from the TypeScript types that Grafana publishes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator
from jsonschema.exceptions import ValidationError

from tests.stack import cache

PIN = "13.2.3"
"""Of `@grafana/schema`: Grafana's own version."""
_GENERATOR = "ts-json-schema-generator@2.9.0"

_RAW = "@grafana/schema/dist/types/raw"
_DASHBOARD = f"{_RAW}/dashboard/x/types.gen", "{ dashboard: types.Dashboard }"
_PANEL = "{ options: types.Options }"
_PANEL_WITH_FIELDS = "{ options: types.Options; custom: types.FieldConfig }"
_MODELS = {
    "dashboard": _DASHBOARD,
    "timeseries": (f"{_RAW}/composable/timeseries/panelcfg/x/types.gen", _PANEL_WITH_FIELDS),
    "table": (f"{_RAW}/composable/table/panelcfg/x/types.gen", _PANEL_WITH_FIELDS),
    "stat": (f"{_RAW}/composable/stat/panelcfg/x/types.gen", _PANEL),
    "bargauge": (f"{_RAW}/composable/bargauge/panelcfg/x/types.gen", _PANEL),
}
"""Where the types are, and how those of a model are put together."""
_COMPILER = {"moduleResolution": "node", "module": "esnext", "target": "es2020", "strict": True}


def make(run: Callable[..., str], folder: Path, into: Path) -> None:
    """Generate the schemas.

    Args:
        run: Runs a command in `folder` and returns its output.
        folder: To work in.
        into: Where `grafana-schema.json` goes: a schema for each model.

    """
    quiet = ("--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock")
    run("npm", "install", *quiet, f"@grafana/schema@{PIN}", _GENERATOR)
    generator = str(folder / "node_modules" / ".bin" / "ts-json-schema-generator")
    made: dict[str, Any] = {}
    for name, (module, shape) in _MODELS.items():
        source, project = f"{name}.ts", f"tsconfig.{name}.json"
        (folder / source).write_text(
            f"import * as types from '{module}';\nexport interface Model {shape}\n"
        )
        (folder / project).write_text(
            json.dumps({"compilerOptions": _COMPILER | {"skipLibCheck": True}, "files": [source]})
        )
        told = run(generator, "--path", source, "--tsconfig", project, "--type", "Model")
        made[name] = json.loads(told)
    (into / "grafana-schema.json").write_text(json.dumps(made))


class Schemas:
    """Validates dashboards, and their panels' options."""

    def __init__(self) -> None:
        schemas = json.loads((cache.folder() / "grafana-schema.json").read_text("utf-8"))
        self._validators = {name: Draft7Validator(schema) for name, schema in schemas.items()}

    def complaints(self, dashboard: Mapping[str, Any]) -> list[str]:
        """Return what is wrong with a dashboard."""
        found = list(self._check("dashboard", {"dashboard": dashboard}))
        for panel in dashboard["panels"]:
            if panel["type"] not in self._validators:
                continue
            model = {"options": panel.get("options", {})}
            if "types.FieldConfig" in _MODELS[panel["type"]][1]:
                model["custom"] = panel["fieldConfig"]["defaults"].get("custom", {})
            found += [f"{panel['title']}: {it}" for it in self._check(panel["type"], model)]
        return found

    def _check(self, name: str, model: Mapping[str, Any]) -> Iterator[str]:
        for error in self._validators[name].iter_errors(model):
            for leaf in _leaves(error):
                yield f"{'/'.join(map(str, leaf.absolute_path))}: {leaf.message}"


def _leaves(error: ValidationError) -> Iterator[ValidationError]:
    """Return what a mistake comes from, where several forms are allowed."""
    if not error.context:
        yield error
    for part in error.context or ():
        yield from _leaves(part)
