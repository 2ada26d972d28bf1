"""Session events, alerts and interventions to spans, metrics and log events.

`recorder` makes spans and measurements of the events of one connection; `export` takes them out of
the process. Nothing here blocks an event loop or fails towards the wire.
"""
