"""What differs between platforms, and between versions of OpenTelemetry's SDK, each in one place.

`platforms` has what only POSIX systems offer, or what is done without it; `sdk_private`, every
private name of the SDK that Debbie needs, so that a new version is one module to look at.
"""
