"""Debbie watches AI-agent sessions on the wire."""
