"""Built-in diagnostic scripts, each run in a process of its own (`sandbox`), and never imported.

A script reads a `SessionSnapshot` as JSON on stdin, and prints
`{"findings": [...], "summary": "..."}`. Standard library only.
"""
