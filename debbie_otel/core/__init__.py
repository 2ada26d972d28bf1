"""Sans-I/O core: bytes -> frames -> messages -> session events.

Nothing here knows asyncio, sockets, clocks or OpenTelemetry. Time comes in as an argument
(integer nanoseconds since the Unix epoch), bytes come in as they were on the wire.
"""
