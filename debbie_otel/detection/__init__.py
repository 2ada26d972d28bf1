"""Detection: what sessions show, as control metrics; rules that read them; alerts.

    events -> vitals -> control metrics -> MetricReader -> rules -> alerts

The control metrics are never exported: they carry session ids, and live only from one look to the
next.
"""
