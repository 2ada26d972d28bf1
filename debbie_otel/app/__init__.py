"""Configuration, composition, and the API that programs use.

`debugger` is Debbie for programs; `runtime` makes and wires all other parts for the time from a
start to a stop, from one `config`. `interceptor` observes one connection for all of them, and
`monitor` knows what is alive and who listens.
"""
