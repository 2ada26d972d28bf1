"""Connections of this process: observed and acted on from inside, as client or as server."""
