"""Files and folders that a configuration names: whether they can be used at all."""

from __future__ import annotations

import os
from pathlib import Path

from debbie_otel.app.config import Config
from debbie_otel.errors import ConfigurationError


def check_places(config: Config) -> None:
    """Complain of what would be noticed only when something goes wrong with a session.

    What becomes unusable later is no matter of this: Debbie does without it then.

    Raises:
        ConfigurationError: A folder of scripts that is none, or a history that cannot be written.

    """
    scripts = config.interventions.scripts.directory
    if scripts is not None and not scripts.is_dir():
        raise ConfigurationError("interventions.scripts.directory", f"{scripts} is no directory")
    history = config.interventions.history.path
    if history is not None and not can_be_written(history):
        raise ConfigurationError("interventions.history.path", f"{history} cannot be written")


def can_be_written(file: Path) -> bool:
    """Tell without making it: one that is not there yet is judged by its folder."""
    if os.path.lexists(file):
        return file.is_file() and os.access(file, os.R_OK | os.W_OK)
    return holds_files(file.parent)


def holds_files(folder: Path) -> bool:
    """Tell without making it: a folder that is not there yet is judged by the nearest that is."""
    there = next(
        path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path)
    )
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)
