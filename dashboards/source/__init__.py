"""What the dashboards show and when the rules fire; `python -m dashboards.source` writes it out.

`promql` has names and expressions; `panels`, `tables`, `links`, `board` the parts; then there is a
module for each dashboard, `rules`, and `alerting` (the rules as Grafana has them).
"""

import warnings

with warnings.catch_warnings():
    # The SDK would rather have schema v2, which Grafana provisions from files only since 13; it
    # says so when its modules are first imported.
    warnings.simplefilter("ignore", DeprecationWarning)
    import grafana_foundation_sdk.builders.bargauge
    import grafana_foundation_sdk.builders.dashboard  # noqa: F401 - for the warnings' sake
