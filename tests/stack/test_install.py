"""The installer of the peers: bounded, done once, and never silent about what it lacks."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.stack import cache
from tests.stack.install import Recipe, Unavailable, Work, install, install_all, recipes
from tests.stack.peers import ROOT


@pytest.fixture(autouse=True)
def peers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a PATH without peers."""
    folder, tools = tmp_path / "peers", tmp_path / "tools"
    (folder / "bin").mkdir(parents=True)
    tools.mkdir()
    for name in ("nice", "sleep", "sh"):
        (tools / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("DEBBIE_PEERS", str(folder))
    monkeypatch.setenv("PATH", str(tools))
    return folder


def made(text: str) -> Recipe:
    """A recipe that makes Jaeger in no time."""

    def make(work: Work, into: Path) -> None:
        (into / "jaeger").write_text(text)
        (into / "jaeger").chmod(0o755)

    return Recipe("jaeger", "v1", 10, make)


def failed(why: str) -> Recipe:
    def make(work: Work, into: Path) -> None:
        raise Unavailable(why)

    return Recipe("jaeger", "v1", 10, make)


def test_the_cache_is_the_users_and_can_be_put_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEBBIE_PEERS", "/elsewhere")
    assert cache.folder() == Path("/elsewhere")
    monkeypatch.delenv("DEBBIE_PEERS")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cached")
    assert cache.folder() == Path("/cached/debbie-otel/peers")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.folder() == Path.home() / ".cache" / "debbie-otel" / "peers"
    assert ROOT not in cache.folder().parents


def test_what_has_not_been_installed_is_missing_by_name() -> None:
    for peer in cache.PROGRAMS:
        why = cache.missing(peer)
        assert why is not None
        assert why.startswith(f"no {peer} (")
        assert why.endswith("`make stack` installs it")


def test_a_peer_is_made_once_for_each_pin(peers: Path) -> None:
    assert install(made("first"), peers) == "jaeger v1: made in 0 s"
    assert cache.missing("jaeger") is None
    assert cache.program("jaeger") == str(peers / "bin" / "jaeger")
    assert install(made("second"), peers) == "jaeger v1: there"
    assert (peers / "bin" / "jaeger").read_text() == "first"
    other = made("third")
    newer = Recipe(other.peer, "v2", other.seconds, other.make)
    assert install(newer, peers).startswith("jaeger v2: made")
    assert (peers / "bin" / "jaeger").read_text() == "third"


def test_a_peer_that_is_gone_is_made_again(peers: Path) -> None:
    install(made("first"), peers)
    (peers / "bin" / "jaeger").unlink()
    assert install(made("second"), peers).startswith("jaeger v1: made")


def test_why_a_peer_is_missing_is_told_by_its_tests(peers: Path) -> None:
    assert install(failed("the weather"), peers) == "jaeger v1: MISSING, the weather"
    assert cache.missing("jaeger") == "no jaeger (jaeger): the weather"
    install(made("at last"), peers)
    assert cache.missing("jaeger") is None
    assert not (peers / "jaeger.missing").exists()


def test_nothing_is_left_of_the_work(peers: Path) -> None:
    install(made("x"), peers)
    install(failed("x"), peers)
    assert {path.name for path in peers.iterdir()} == {"bin", "jaeger.stamp"}


def test_a_command_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    work = Work(tmp_path, 0.3)
    started = time.monotonic()
    with pytest.raises(Unavailable, match="sh was not done within 0 s"):
        work.run("sh", "-c", f"sleep 60 & echo $! > {tmp_path / 'child'}; wait")
    assert time.monotonic() - started < 10
    child = int((tmp_path / "child").read_text())
    with contextlib.suppress(psutil.NoSuchProcess):  # nobody may have taken note of its end yet
        while psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() - started < 10
            time.sleep(0.01)


def test_the_time_is_that_of_all_commands_together(tmp_path: Path) -> None:
    work = Work(tmp_path, 0.4)
    work.run("sleep", "0.2")
    with pytest.raises(Unavailable, match="sleep was not done"):
        work.run("sleep", "5")


def test_a_failure_is_told_in_its_own_words(tmp_path: Path) -> None:
    work = Work(tmp_path, 10)
    with pytest.raises(Unavailable, match=r"^sh -c failed: error: no such module$"):
        work.run("sh", "-c", "echo error: no such module >&2; echo; echo bye >&2; exit 3")
    with pytest.raises(Unavailable, match="there is no apt-cache-of-another-system here"):
        work.run("apt-cache-of-another-system")


def test_a_command_runs_at_low_priority(tmp_path: Path) -> None:
    niceness = int(Work(tmp_path, 10).run("nice"))
    assert niceness >= min(19, os.nice(0) + 10)


def test_every_recipe_is_pinned_bounded_and_known() -> None:
    known = recipes(720)
    assert {recipe.peer for recipe in known} == set(cache.PROGRAMS)
    assert all(any(c.isdigit() for c in recipe.pin) for recipe in known)
    assert max(recipe.seconds for recipe in known) <= 12 * 60


def test_all_together_have_a_bound(peers: Path) -> None:
    def slow(work: Work, into: Path) -> None:
        work.run("sleep", "0.3")

    known = [Recipe(name, "v1", 60, slow) for name in ("jaeger", "collector")]
    first, second = install_all(known, peers, 0.5)
    assert first.startswith("jaeger v1: made")
    assert second == "collector v1: MISSING, sleep was not done within 0 s"


def test_the_folder_of_programs_can_be_asked_for(peers: Path) -> None:
    asked = [sys.executable, "-m", "tests.stack.install", "--bin"]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(peers / "bin")


def test_a_test_is_skipped_by_name_and_with_the_reason(peers: Path) -> None:
    install(failed("the weather"), peers)
    name = "tests/stack/test_compose.py::test_jaeger_starts_with_its_configuration"
    asked = [sys.executable, "-m", "pytest", "-q", "-k", "jaeger_starts", name.split("::")[0]]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "1 skipped" in done.stdout
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("SKIPPED"))
    assert name in line
    assert line.endswith("no jaeger (jaeger): the weather")
