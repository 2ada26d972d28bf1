"""Profiles lie over the defaults, and below whatever is set."""

from __future__ import annotations

from pathlib import Path

import pytest

from debbie_otel.app.config import Config, config_of, load_config
from debbie_otel.app.config.presets import PROFILES


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "debbie.toml"


def test_profiles() -> None:
    found = {}
    for name in PROFILES:
        config = config_of({"proxy": {"profile": name}})
        detection, acting = config.detection, config.interventions
        found[name] = (
            detection.check_interval,
            detection.stall_threshold,
            acting.auto_continue,
            acting.max_interventions_per_session,
            acting.max_retries,
            acting.retry_delay,
            acting.escalation_threshold,
        )
        assert (
            detection.slow_factor,
            detection.error_rate,
            detection.loops.repetitions,
            detection.memory_factor,
            detection.response_window,
        ) == (2.0, 0.2, 5, 1.5, 100)
    assert found == {
        "default": (5, 30, True, 10, 3, 2, 3),
        "aggressive": (2, 15, True, 20, 5, 1, 5),
        "passive": (10, 60, False, 0, 3, 2, 3),
    }


def test_the_default_profile_is_the_defaults() -> None:
    assert config_of({"proxy": {"profile": "default"}}) == Config()


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_is_what_the_file_could_say(name: str) -> None:
    """So that every key in it is a setting, and every value a valid one."""
    sections = {section: dict(values) for section, values in PROFILES[name].items()}  # type: ignore[index]
    # Alone, a threshold in a file would be meant for every silence.
    sections["detection"] = {"silence": {}} | sections.get("detection", {})
    written = config_of(sections)
    chosen = config_of({"proxy": {"profile": name}})
    assert (written.detection, written.interventions) == (chosen.detection, chosen.interventions)


def test_thresholds_come_from_the_profile_unless_they_are_set(file: Path) -> None:
    file.write_text("[detection]\nstall_threshold = 42\n[detection.loops]\nrepetitions = 7")
    default, aggressive = (
        load_config(file, {}, {"proxy": {"profile": name}}).detection
        for name in ("default", "aggressive")
    )
    assert (default.check_interval, aggressive.check_interval) == (5.0, 2.0)
    assert (default.stall_threshold, aggressive.stall_threshold) == (42.0, 42.0)
    assert default.loops.repetitions == aggressive.loops.repetitions == 7
    assert load_config(None, {"DEBBIE_PROFILE": "passive"}).detection.stall_threshold == 60.0
