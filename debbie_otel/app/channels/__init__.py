"""Acting on live connections: a mediator decides, a transport carries, and a channel joins the two.

`mediated` is what all channels have in common; `tap_channel` acts on a connection of the proxy,
`client_channel` and `server_channel` on either end of one of the program's own.
"""
