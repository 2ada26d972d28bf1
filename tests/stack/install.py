"""`make stack`: installs real peers, pinned, into the user's cache; says what it has, and why not.

Nothing is installed into the system: Debian's packages are only unpacked, so that no service is
left behind, and Go programs are built from their modules. What is there already is kept.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tests.dashboards import grafana_types
from tests.stack import cache

MANIFEST = Path(__file__).resolve().parents[2] / "collector" / "builder.yaml"
TOTAL = 22 * 60.0
"""Seconds for everything, so that CI stays within its time."""
LOADER = Path(__file__).with_name("compose") / "main.go"
COLLECTOR = "0.159.0"
JAEGER = "v1.76.0"
"""The module's version of Jaeger 2.13.0; Go cannot name tags of v2, as its path has no /v2."""
COMPOSE = "v2.16.2"

_COMPOSE = "github.com/compose-spec/compose-go/v2"

_JAEGER = "github.com/jaegertracing/jaeger"
_JAEGER_MODULE = f"""module debbie/jaeger

go 1.25

require {_JAEGER} {JAEGER}

// As in Jaeger's own go.mod, whose replacements hold there alone.
replace github.com/Shopify/sarama => github.com/Shopify/sarama v1.33.0
"""


_JAEGER_SUMS = """\
github.com/jaegertracing/jaeger v1.76.0 h1:sWCOOF1dr+NL0PLil7mFo3BqqQL8k4WiM7aguFbc14g=
github.com/jaegertracing/jaeger v1.76.0/go.mod h1:hqcuJlLDTv7G2x5eFd/BhwcPdLxj3N+90aKhIzdOcKo=
"""


class Unavailable(Exception):  # noqa: N818 - it reads as what happened
    """A peer cannot be had; the message says why, in a line."""


class Work:
    """A folder to work in, and the time that is left.

    Args:
        folder: Gone afterwards.
        seconds: For everything that is run.

    """

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder = folder
        self._deadline = time.monotonic() + seconds
        self._seconds = seconds

    def run(self, *command: str, env: dict[str, str] | None = None) -> str:
        """Run a command at low priority, and end it with all its children when time is up.

        Returns:
            What it said on its standard output.

        Raises:
            Unavailable: It is not there, failed, or took too long.

        """
        name = Path(command[0]).name
        if shutil.which(command[0]) is None:
            raise Unavailable(f"there is no {name} here")
        with (self.folder / "stderr").open("w+") as errors:
            process = subprocess.Popen(
                ["nice", "-n", "10", *command],
                cwd=self.folder,
                env=os.environ | (env or {}),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
            try:
                out, _ = process.communicate(timeout=max(0.0, self._deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise Unavailable(f"{name} was not done within {self._seconds:.0f} s") from None
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.communicate()
            if process.returncode:
                errors.seek(0)
                raise Unavailable(f"{name} {command[1]} failed: {_complaint(errors.read())}")
        return out


def _complaint(text: str) -> str:
    """Return the line of an output that says most."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if "error" in line.lower() or "forbidden" in line.lower()]
    return (telling or lines or ["it did not say why"])[-1][:300]


@dataclass(frozen=True)
class Recipe:
    """How a peer is made.

    Attributes:
        peer: Its name.
        pin: What decides whether it has to be made again: versions, a manifest.
        seconds: How long that may take.
        make: Puts its programs into a folder.

    """

    peer: str
    pin: str
    seconds: float
    make: Callable[[Work, Path], None]


def _debian(package: str, version: str) -> Callable[[Work, Path], None]:
    """Unpack a package of Debian, where this is a Debian that has that version."""

    def make(work: Work, into: Path) -> None:
        if not _candidate(work, package) and os.geteuid() == 0:
            work.run("apt-get", "update", "-qq")
        candidate = _candidate(work, package)
        if not candidate.startswith(version):
            raise Unavailable(f"the distribution has {candidate or 'none'}, not {version}")
        work.run("apt-get", "download", "-qq", f"{package}={candidate}")
        (archive,) = work.folder.glob("*.deb")
        work.run("dpkg-deb", "--extract", str(archive), "unpacked")
        _share(work.folder / "unpacked" / "usr" / "share" / "prometheus")
        for found in sorted((work.folder / "unpacked" / "usr" / "bin").iterdir()):
            shutil.move(found, into / found.name)

    return make


_SHARE = Path("/usr/share/prometheus")


def _share(unpacked: Path) -> None:
    """Put files where the programs look for them, by a path that is built in.

    Alertmanager does not start without its templates.
    """
    for found in unpacked.rglob("*.tmpl"):
        place = _SHARE / found.relative_to(unpacked)
        if place.exists():
            continue
        if os.geteuid() != 0:
            raise Unavailable(f"{place} is missing, and only root can make it")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(found, place)


def _candidate(work: Work, package: str) -> str:
    lines = work.run("apt-cache", "policy", package).splitlines()
    found = [line.split()[-1] for line in lines if line.strip().startswith("Candidate:")]
    return "" if found in ([], ["(none)"]) else found[0]


def _collector(work: Work, into: Path) -> None:
    """Build a collector by its own builder, from our manifest."""
    module = f"go.opentelemetry.io/collector/cmd/builder@v{COLLECTOR}"
    work.run("go", "install", module, env={"GOBIN": str(work.folder), "GOFLAGS": ""})
    work.run(str(work.folder / "builder"), "--config", str(MANIFEST), env={"GOFLAGS": ""})
    shutil.move(work.folder / "otelcol" / "debbie-collector", into / "debbie-collector")


def _jaeger(work: Work, into: Path) -> None:
    """Build Jaeger from its Go module: without the pages, which are made by other tools."""
    (work.folder / "go.mod").write_text(_JAEGER_MODULE)
    sums = work.folder / "go.sum"
    sums.write_text(_JAEGER_SUMS)
    # What it depends on is then what Jaeger's authors built it with, by their checksums.
    told = work.run("go", "mod", "download", "-json", f"{_JAEGER}@{JAEGER}", env={"GOFLAGS": ""})
    with sums.open("a") as known:
        known.write(Path(json.loads(told)["Dir"], "go.sum").read_text())
    flags = ("-mod=mod", "-trimpath", "-ldflags=-s -w", "-o", str(into / "jaeger"))
    work.run("go", "build", *flags, f"{_JAEGER}/cmd/jaeger", env={"GOFLAGS": ""})


def _compose_spec(work: Work, into: Path) -> None:
    """Build a loader from the specification's reference library, and take the schema out of it."""
    module = f"{_COMPOSE} {COMPOSE}"
    (work.folder / "go.mod").write_text(f"module debbie/compose\n\ngo 1.25\n\nrequire {module}\n")
    shutil.copy(LOADER, work.folder)
    flags = ("-mod=mod", "-trimpath", "-ldflags=-s -w", "-o", str(into / "compose-load"))
    work.run("go", "build", *flags, ".", env={"GOFLAGS": ""})
    found = work.run("go", "list", "-mod=mod", "-m", "-f", "{{.Dir}}", _COMPOSE)
    shutil.copyfile(Path(found.strip(), "schema", "compose-spec.json"), into / "compose-spec.json")


def _grafana_schema(work: Work, into: Path) -> None:
    """Make JSON schemas of the types that Grafana publishes."""
    grafana_types.make(work.run, work.folder, into)


def recipes(build_seconds: float) -> list[Recipe]:
    """Return how everything is made.

    Args:
        build_seconds: How long each of the two builds may take.

    """
    return [
        Recipe("compose-spec", f"{COMPOSE} {_digest(LOADER)}", 180, _compose_spec),
        Recipe("grafana-schema", grafana_types.PIN, 120, _grafana_schema),
        Recipe("prometheus", "2.42.0", 180, _debian("prometheus", "2.42.0")),
        Recipe(
            "alertmanager",
            "0.25.0 and templates",
            180,
            _debian("prometheus-alertmanager", "0.25.0"),
        ),
        Recipe("collector", f"{COLLECTOR} {_digest(MANIFEST)}", build_seconds, _collector),
        Recipe("jaeger", JAEGER, build_seconds, _jaeger),
    ]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def install(recipe: Recipe, folder: Path) -> str:
    """Make a peer unless it is there; return a line about it.

    Args:
        recipe: How.
        folder: The cache.

    """
    stamp, told = folder / f"{recipe.peer}.stamp", folder / f"{recipe.peer}.missing"
    version = recipe.pin.split()[0]
    cached = all(cache.place(name).exists() for name in cache.PROGRAMS[recipe.peer])
    if cached and stamp.exists() and stamp.read_text() == recipe.pin:
        return f"{recipe.peer} {version}: there"
    started = time.monotonic()
    try:
        with (
            tempfile.TemporaryDirectory(dir=folder) as made,
            tempfile.TemporaryDirectory(dir=folder) as work,
        ):
            recipe.make(Work(Path(work), recipe.seconds), Path(made))
            for found in Path(made).iterdir():
                found.replace(cache.place(found.name))
    except (Unavailable, OSError) as error:
        told.write_text(str(error))
        on_path = cache.missing(recipe.peer) is None
        return f"{recipe.peer} {version}: {'from the PATH' if on_path else 'MISSING'}, {error}"
    stamp.write_text(recipe.pin)
    told.unlink(missing_ok=True)
    return f"{recipe.peer} {version}: made in {time.monotonic() - started:.0f} s"


def install_all(known: Iterable[Recipe], folder: Path, seconds: float) -> Iterator[str]:
    """Make one peer after the other; yield a line about each.

    Args:
        known: The recipes; each has its own bound as well.
        folder: The cache.
        seconds: For all together; what is left to the last ones may be too little.

    """
    end = time.monotonic() + seconds
    for recipe in known:
        left = max(0.0, end - time.monotonic())
        yield install(replace(recipe, seconds=min(recipe.seconds, left)), folder)


def main() -> None:
    """Install everything, one after the other; a second caller waits for the first."""
    folder = cache.folder()
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    if sys.argv[1:] == ["--bin"]:
        print(folder / "bin")
        return
    build_seconds = float(os.environ.get("DEBBIE_PEERS_SECONDS", "720"))
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for line in install_all(recipes(build_seconds), folder, TOTAL):
            print(line, flush=True)


if __name__ == "__main__":
    main()
