"""Profiles: how eagerly Debbie detects and intervenes.

A profile lies over the defaults of the sections: it names what it sets as the file would. What the
file, the environment or a flag says lies over the profile.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

ProfileName = Literal["default", "aggressive", "passive"]

Overlay = Mapping[str, Mapping[str, Any]]
"""Values by section and key."""

PROFILES: Mapping[ProfileName, Overlay] = MappingProxyType(
    {
        "default": {},
        "aggressive": {
            "detection": {"check_interval": 2.0, "stall_threshold": 15.0},
            "interventions": {
                "max_interventions_per_session": 20,
                "max_retries": 5,
                "retry_delay": 1.0,
                "escalation_threshold": 5,
            },
        },
        "passive": {
            "detection": {"check_interval": 10.0, "stall_threshold": 60.0},
            "interventions": {"auto_continue": False, "max_interventions_per_session": 0},
        },
    }
)
