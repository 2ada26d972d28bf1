"""Healthy agents, played live over real sockets with their real delays: Debbie does nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from debbie_otel.app.recording import read_recording
from tests.harmless.kinds import DIALECTS, KINDS
from tests.harmless.live import Played, play
from tests.play import DATA

pytestmark = pytest.mark.harmless

PROFILES = ("default", "aggressive", "passive")
RECORDINGS = sorted((DATA / "healthy").glob("*.jsonl"))


def assert_unharmed(played: Played) -> None:
    assert (played.acts, played.foreign, played.lost) == ([], [], [])


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_nothing_is_done_to_an_agent_that_was_recorded(
    recording: Path, profile: str, tmp_path: Path
) -> None:
    assert_unharmed(play(read_recording(recording), profile, tmp_path))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_done_about_a_long_silence(
    kind: str, dialect: str, profile: str, tmp_path: Path
) -> None:
    assert_unharmed(play(DIALECTS[dialect](kind), profile, tmp_path))
