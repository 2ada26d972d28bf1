"""Profiles: how eagerly Debbie detects and intervenes, as three sets of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import msgspec

ProfileName = Literal["default", "aggressive", "passive"]


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """How eagerly Debbie detects and intervenes.

    Attributes:
        check_interval: Seconds between two looks at a session.
        stall_threshold: Seconds of silence after which a session that owes something has stalled.
        intervene: Whether she acts by herself.
        max_interventions: For each session.
        max_retries: Of one strategy.
        retry_delay: Seconds before a strategy is tried again.
        escalation_threshold: Failed interventions after which a person is called.
        response_time_factor: Response time that is slow, in terms of its baseline.
        error_rate: Share of failed calls that is high, 0 to 1.
        tool_loop: Repetitions of a tool call that are a loop.
        memory_factor: Memory that is a spike, in terms of its baseline.
        response_window: Response times that make the baseline.

    """

    check_interval: float = 5.0
    stall_threshold: float = 30.0
    intervene: bool = True
    max_interventions: int = 10
    max_retries: int = 3
    retry_delay: float = 2.0
    escalation_threshold: int = 3
    response_time_factor: float = 2.0
    error_rate: float = 0.2
    tool_loop: int = 5
    memory_factor: float = 1.5
    response_window: int = 100


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        "default": Profile(),
        "aggressive": Profile(
            check_interval=2.0,
            stall_threshold=15.0,
            max_interventions=20,
            max_retries=5,
            retry_delay=1.0,
            escalation_threshold=5,
        ),
        "passive": Profile(
            check_interval=10.0, stall_threshold=60.0, intervene=False, max_interventions=0
        ),
    }
)
