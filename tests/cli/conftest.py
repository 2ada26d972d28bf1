"""No variables from outside, and no thread that outlives its test."""

from tests.telemetry.pipelines import clean

__all__ = ["clean"]
