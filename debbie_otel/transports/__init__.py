"""Sockets: where bytes come from and go to.

`tap` is the proxy, which splices two sockets and shows a copy to an observer; `program` does the
same for connections that this process has anyway.
"""
