"""Which part may import which, in one table."""

from __future__ import annotations

import ast
import sys
from collections import Counter
from pathlib import Path

import pytest

import debbie_otel

PACKAGE = Path(debbie_otel.__file__).parent

LAYERS = [
    ["errors", "semconv"],
    ["compat"],
    ["wire"],
    ["session"],
    ["detection"],
    ["intervention"],
    ["telemetry"],
    ["report"],
    ["transports"],
    ["app"],
    ["integrations"],
    ["demo"],
    ["cli"],
    ["__main__", "__init__"],
]
"""From the bottom to the top; a module may import what is below it, and its own part."""

CORES = {
    "wire": {"h11", "msgspec", "websockets", "zlib"},
    "session": {"msgspec"},
}
"""Parts that do no I/O, with the libraries that they may import beside those that do none."""

PURE = {
    "__future__", "base64", "bisect", "collections", "contextlib", "dataclasses", "decimal", "enum", "functools", "hashlib",
    "heapq", "importlib", "itertools", "json", "math", "operator", "re", "secrets", "string", "struct",
    "typing", "unicodedata", "urllib", "debbie_otel",
}  # fmt: skip

DETECTION = {"array", "fnmatch", "msgspec", "shlex", "statistics", "threading"}
"""What detection may import beside: no I/O and no event loop. Locks, as looks come on a thread."""

DETECTION_ALONE = {
    "detection.control_metrics": {"opentelemetry"},  # control metrics are OpenTelemetry's
    "detection.memory": {"psutil"},
}

RULES = {
    "intervention.learning": {"msgspec", "random"},
    "intervention.policy": {"msgspec"},
    "intervention.prompts": set(),
    "intervention.records": {"msgspec"},
    "intervention.intervention_config": {"msgspec", "pathlib"},
}
"""Rules and policies: modules that only compute, with what they may import beside."""

LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}

MODULES = sorted(PACKAGE.rglob("*.py"))


def imports(module: Path, *, types: bool = True) -> set[str]:
    """Return what a module imports; without `types`, only what it does when it runs."""
    found: set[str] = set()
    tree = ast.parse(module.read_text())
    if not types:
        tree.body = [node for node in tree.body if not _only_for_types(node)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _only_for_types(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def dotted(module: Path) -> str:
    return ".".join(module.relative_to(PACKAGE).with_suffix("").parts)


def part_of(name: str) -> str:
    return name.split(".")[0]


NAMES = {dotted(module) for module in MODULES}


def test_every_part_has_its_place() -> None:
    assert {part_of(dotted(module)) for module in MODULES} == set(LEVEL)


@pytest.mark.parametrize("module", MODULES, ids=dotted)
def test_imports_point_downwards(module: Path) -> None:
    own = part_of(dotted(module))
    above = set()
    for name in imports(module):
        package, _, rest = name.partition(".")
        if package == "debbie_otel" and rest:
            part = part_of(rest)
            if part in LEVEL and part != own and LEVEL[part] >= LEVEL[own]:
                above.add(part)
    assert above == set()


@pytest.mark.parametrize("module", [m for m in MODULES if part_of(dotted(m)) in CORES], ids=dotted)
def test_a_core_imports_only_what_does_no_io(module: Path) -> None:
    allowed = PURE | CORES[part_of(dotted(module))]
    assert {part_of(name) for name in imports(module)} - allowed == set()
    assert allowed - {"debbie_otel", "h11", "msgspec", "websockets"} <= sys.stdlib_module_names


@pytest.mark.parametrize("name", sorted(n for n in NAMES if part_of(n) == "detection"))
def test_detection_does_no_io_and_knows_no_event_loop(name: str) -> None:
    module = PACKAGE / f"{name.replace('.', '/')}.py"
    allowed = PURE | DETECTION | DETECTION_ALONE.get(name, set())
    assert {part_of(imported) for imported in imports(module)} - allowed == set()


TRANSPORTS_MAY_KNOW = {
    "debbie_otel.errors",
    "debbie_otel.intervention.event_loop",
    "debbie_otel.compat.platforms",
    "debbie_otel.semconv",
    "debbie_otel.session.model",  # the type of a clock
    "debbie_otel.telemetry.attributes",  # what a connection is called in spans
}
"""Beside wire and themselves: transports carry bytes and messages, and interpret nothing."""


@pytest.mark.parametrize(
    "module", [m for m in MODULES if part_of(dotted(m)) == "transports"], ids=dotted
)
def test_transports_interpret_nothing(module: Path) -> None:
    for name in imports(module):
        if name.startswith("debbie_otel.") and name.split(".")[1] not in ("wire", "transports"):
            assert any(f"{name}.".startswith(f"{known}.") for known in TRANSPORTS_MAY_KNOW) or any(
                known.startswith(f"{name}.") for known in TRANSPORTS_MAY_KNOW
            ), name


@pytest.mark.parametrize("name", RULES)
def test_rules_and_policies_only_compute(name: str) -> None:
    """Time, chance and what was remembered come in as arguments."""
    found = imports(PACKAGE / f"{name.replace('.', '/')}.py")
    assert {part_of(imported) for imported in found} - PURE - RULES[name] == set()
    own = {known for known in NAMES if f"debbie_otel.{known}" in found and "." in known}
    assert {known for known in own if part_of(known) == part_of(name)} <= set(RULES)


def test_no_modules_import_each_other() -> None:
    """Not even over others: also inside a part there is a bottom. Types alone do not count."""
    left = {
        dotted(m): {n.removeprefix("debbie_otel.") for n in imports(m, types=False)}
        for m in MODULES
    }
    while free := {name for name, needed in left.items() if not needed & left.keys()}:
        left = {name: needed for name, needed in left.items() if name not in free}
    assert left == {}


# -- names and parameters ------------------------------------------------------------------------

MAX_PARAMETERS = 7


def test_no_two_modules_have_one_name() -> None:
    names = Counter(module.stem for module in MODULES if module.stem != "__init__")
    assert [name for name, count in names.items() if count > 1] == []


def test_no_two_classes_have_one_name() -> None:
    classes = Counter(
        node.name
        for module in MODULES
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in classes.items() if count > 1] == []


@pytest.mark.parametrize("module", MODULES, ids=dotted)
def test_no_function_takes_more_than_seven_parameters(module: Path) -> None:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            named = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            taken = [argument.arg for argument in named if argument.arg not in ("self", "cls")]
            assert len(taken) <= MAX_PARAMETERS, node.name


def test_the_top_is_sixteen_names() -> None:
    """Beside the marker of typing: a part each, and what Python wants."""
    found = {path.name for path in PACKAGE.iterdir() if not path.name.startswith((".", "__pyc"))}
    assert len(found - {"py.typed"}) <= 16
