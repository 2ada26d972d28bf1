"""Escalation: a person is told, by Alertmanager, by webhook, and by the log, always.

`Escalator` keeps track of what is still wrong and still to be told, `alertmanager` and `webhook`
say it in the receiver's words, `Delivery` gets it there.
"""

from debbie_otel.intervention.escalation.escalator import EscalationOutcome, Escalator, Failed

__all__ = ["EscalationOutcome", "Escalator", "Failed"]
