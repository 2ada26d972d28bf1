"""A real agent server and client to try Debbie on: scripted, but on real sockets."""
