"""Grafana dashboards and alert rules: `python -m dashboards.source` writes them from `source`."""
