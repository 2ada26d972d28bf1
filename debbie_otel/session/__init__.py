"""JSON-RPC payloads to session events, by the rules of a dialect.

`message` says what a payload is, `connection` which session, turn and call it belongs to, `session`
what happens to them, and `events` is what comes out, in the order of the wire. What a method means
is data: see `dialect`. `encode` makes messages of Debbie's own, and `edit` changes values in those
of others while all other bytes stay. Nothing here does I/O, reads a clock, or knows OpenTelemetry;
time comes in as integer nanoseconds since the Unix epoch.
"""
