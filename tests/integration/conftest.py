"""No variables from outside, and no thread that outlives its test."""

from tests.telemetry.export.test_pipeline import clean

__all__ = ["clean"]
