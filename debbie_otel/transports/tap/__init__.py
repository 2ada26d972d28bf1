"""The proxy: it listens, connects an upstream for each client, and splices the two byte by byte."""
