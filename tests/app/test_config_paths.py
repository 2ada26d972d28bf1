"""What can be written, without writing it."""

from __future__ import annotations

from pathlib import Path

import pytest

from debbie_otel.app.config import config_of
from debbie_otel.app.config_paths import can_be_written, check_places, holds_files
from debbie_otel.errors import ConfigurationError


def test_files(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere" / "file")
    writable = {
        there: True,
        tmp_path / "new": True,
        tmp_path / "new" / "folder" / "file": True,
        there / "below": False,
        tmp_path: False,
        tmp_path / "dangling": False,
    }
    assert {file: can_be_written(file) for file in writable} == writable
    assert sorted(tmp_path.iterdir()) == [tmp_path / "dangling", there]
    assert [holds_files(tmp_path), holds_files(there)] == [True, False]


def test_what_is_not_set_is_not_looked_at(tmp_path: Path) -> None:
    check_places(config_of({}))
    check_places(config_of({"interventions": {"scripts": {"directory": str(tmp_path)}}}))
    with pytest.raises(ConfigurationError, match="is no directory"):
        check_places(config_of({"interventions": {"scripts": {"directory": str(tmp_path / "x")}}}))
