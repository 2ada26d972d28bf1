"""Interventions: alerts in, acts on live sessions out, each verified and remembered.

An alert waits in the `orchestrator`, which asks `policy` and `learning` what may be tried and in
which order; an `attempt` carries one of the `strategies` out; `recovery` tells whether the agent
itself moved; the `journal` makes a record of it, which the `history` keeps. What is sent goes
through a `channel`, by the rules of the `mediator`: it decides on each message of a connection that
is acted on. Scripts run in a `sandbox`, people are told by `escalation`. `wiring` puts it together.
"""
