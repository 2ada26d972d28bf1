"""Agents that go wrong in known ways, on real sockets, and what it takes to bring them back.

`faults` says what goes wrong and what helps, `mind` plays it for one session, and there is a server
and a client for each dialect; `suite` puts Debbie between them.
"""
