from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from debbie_otel import DebbieDebugger, DebbieFactory, InterventionConfig
from debbie_otel.app.config import CAPTURE_CONTENT, Config
from debbie_otel.errors import ConfigurationError

Create = Callable[..., DebbieDebugger]


def numbers(config: Config) -> tuple[Any, ...]:
    acting = config.interventions
    return (
        config.detection.check_interval,
        config.detection.stall_threshold,
        acting.auto_continue,
        acting.max_interventions_per_session,
        acting.max_retries,
        acting.retry_delay,
        acting.escalation_threshold,
    )


@pytest.mark.parametrize(
    ("create", "expected"),
    [
        (DebbieFactory.create_default, (5.0, 30.0, True, 10, 3, 2.0, 3)),
        (DebbieFactory.create_aggressive, (2.0, 15.0, True, 20, 5, 1.0, 5)),
        (DebbieFactory.create_passive, (10.0, 60.0, False, 0, 3, 2.0, 3)),
    ],
)
async def test_the_profiles(create: Create, expected: tuple[Any, ...], tmp_path: Path) -> None:
    manager = object()
    debbie = create(manager, telemetry={"data_dir": tmp_path})
    assert debbie.session_manager is manager
    assert numbers(debbie.config) == expected
    thresholds = debbie.config.detection
    assert (thresholds.slow_factor, thresholds.error_rate) == (2.0, 0.2)
    assert (thresholds.loops.repetitions, thresholds.memory_factor) == (5, 1.5)
    assert thresholds.response_window == 100
    async with debbie:
        # What the parts really go by.
        assert debbie.detector is not None
        assert debbie.detector.settings is debbie.config.detection
        assert debbie.interventions is not None
    async with create(telemetry={"data_dir": tmp_path}) as without:
        assert without.session_manager is None


async def test_changes_go_before_the_profile_and_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEBBIE_PROFILE", "passive")
    monkeypatch.setenv("DEBBIE_DIALECT", "acp")
    monkeypatch.setenv(CAPTURE_CONTENT, "true")
    debbie = DebbieFactory.create_aggressive(
        telemetry={"data_dir": tmp_path, "capture_content": False},
        detection={"stall_threshold": 3, "loops": {"repetitions": 7}},
        interventions={"max_retries": 1},
        rules=[{"name": "busy", "metric": "shop.queue", "above": 5}],
    )
    config = debbie.config
    assert config.proxy.profile == "aggressive"
    assert config.proxy.dialect == "acp"
    assert config.telemetry.data_dir == tmp_path
    assert not config.telemetry.capture_content
    assert numbers(config) == (2.0, 3.0, True, 20, 1, 1.0, 5)
    assert config.detection.loops.repetitions == 7
    assert [rule.name for rule in config.rules] == ["busy"]
    await debbie.stop()


async def test_a_section_as_a_whole(tmp_path: Path) -> None:
    debbie = DebbieFactory.create_passive(
        telemetry={"data_dir": tmp_path}, interventions=InterventionConfig(max_retries=7)
    )
    assert numbers(debbie.config) == (10.0, 60.0, True, 10, 7, 2.0, 3)
    await debbie.stop()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"detektion": {}}, "detektion: unknown key .did you mean detection?"),
        ({"detection": {"check_interval": "fast"}}, "check_interval: expected a number"),
        ({"proxy": 3}, "proxy: expected a table, got 3"),
        ({"rules": [{"name": "a", "metric": "b"}]}, r"rules\[0\]: wants either above or below"),
        ({"proxy": {"dialect": "klingon"}}, "unknown: klingon"),
    ],
)
def test_what_is_wrong_is_said(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        DebbieFactory.create_default(**changes)
