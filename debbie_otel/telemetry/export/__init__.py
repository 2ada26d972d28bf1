"""Telemetry out of the process: where to, in which encoding, and what if nobody takes it."""
