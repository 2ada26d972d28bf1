"""The bytes of a WebSocket connection to payloads, and back: HTTP/1.1, RFC 6455, RFC 7692.

`observer` follows a copy of both directions of a connection: the handshake, then frames, which are
joined and inflated. `reframe` passes one direction message by
message, so that messages can be held back, replaced and added. Nothing here does I/O, reads a
clock, or knows what a payload means.
"""
