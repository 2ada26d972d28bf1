"""The judge that is judged: Debbie's own detector, driven as `debbie replay` drives it."""

from __future__ import annotations

from collections.abc import Sequence

from debbie_otel.app.config import config_of
from debbie_otel.app.recording import RecordedMessage
from tests.corpus.case import DEFAULTS, AlertSeen

_ONE_THRESHOLD = config_of({"detection": {"stall_threshold": DEFAULTS.stall}})
"""The corpus is labelled for one threshold of every silence."""


def debbie(messages: Sequence[RecordedMessage], end: float) -> list[AlertSeen]:
    """Judge a recording under the default profile; the clock runs on until `end`."""
    from debbie_otel.cli.replay import judge

    return [
        AlertSeen(
            t=transition.time_ns / 1e9,
            alert_type=transition.alert.alert_type,
            session_id=transition.alert.session_id,
            severity=transition.alert.severity,
            message=transition.alert.message,
        )
        for transition in judge(messages, _ONE_THRESHOLD, end=end)
        if transition.event == "alert"
    ]
