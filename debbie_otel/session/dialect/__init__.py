"""Dialects: what the methods of one protocol mean, and how it is spoken to, as TOML.

`schema` is what may stand in the file, `dialect` the file compiled, `paths` how a fact is found in
a message, `templates` how a message is made, `registry` which dialects there are.
"""
