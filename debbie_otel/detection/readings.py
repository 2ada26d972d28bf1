"""A value that a session shows at one moment: what is written to the control metrics."""

from __future__ import annotations

import msgspec


class Reading(msgspec.Struct, frozen=True):
    """One value of a session at one moment.

    Attributes:
        metric: Short name, see `control`.
        value: Its value.
        subject: What it is about: a method, a tool.
        since_ns: When the condition behind it began.
        text: One clause for people.
        limit: What the value is compared with, where that differs from case to case.

    """

    metric: str
    value: float
    subject: str
    since_ns: int
    text: str
    limit: float | None = None
