"""Interventions: alerts in, acts on live sessions out, each verified and remembered.

An alert goes through the orchestrator (queue, policy, order of strategies), the executor (one
attempt of one strategy on one session), and recovery (did the agent itself move?); every attempt
is a record in the history, and in the telemetry.
"""
