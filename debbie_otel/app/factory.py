"""DebbieFactory: a Debbie for a program, in one line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import msgspec

from debbie_otel.app.config import config_of
from debbie_otel.app.config.presets import ProfileName
from debbie_otel.app.debugger import DebbieDebugger


class DebbieFactory:
    """Makes debuggers, by profile.

    What is not passed comes from the environment (`DEBBIE_*`, `OTEL_*`), then from the profile. The
    profiles' numbers are in `config.presets`.

    Every method takes the same arguments:

        session_manager: Any object of the program's, or None. Nothing of it is used or called:
            sessions are known by what is said on their connections. It is kept as
            `debbie.session_manager`, where strategies of the program's own find it.
        changes: Sections of the configuration, as in its TOML file, and only what differs:
            `detection={"stall_threshold": 20}`, `telemetry={"otlp": "http://127.0.0.1:4318"}`,
            `rules=[{"name": ..., "metric": ...}]`. The profile does not change what is set here.

    and raises `ConfigurationError` where something in them is wrong.
    """

    @classmethod
    def create_default(cls, session_manager: object = None, **changes: Any) -> DebbieDebugger:
        """Return one that looks every 5 s and steps in, up to 10 times a session."""
        return cls._create("default", session_manager, changes)

    @classmethod
    def create_aggressive(cls, session_manager: object = None, **changes: Any) -> DebbieDebugger:
        """Return one that looks every 2 s and steps in sooner, up to 20 times a session."""
        return cls._create("aggressive", session_manager, changes)

    @classmethod
    def create_passive(cls, session_manager: object = None, **changes: Any) -> DebbieDebugger:
        """Return one that looks every 10 s and only records what it would have done."""
        return cls._create("passive", session_manager, changes)

    @staticmethod
    def _create(
        profile: ProfileName, session_manager: object, changes: dict[str, Any]
    ) -> DebbieDebugger:
        proxy = changes.get("proxy", {})
        if isinstance(proxy, msgspec.Struct):
            proxy = msgspec.structs.asdict(proxy)
        if isinstance(proxy, Mapping):  # else it is complained about
            changes["proxy"] = {**proxy, "profile": profile}
        debbie = DebbieDebugger(config_of(changes, os.environ))
        debbie.session_manager = session_manager
        return debbie
