"""What a program in the middle costs: `python -m benchmarks.bench`.

    load (this process) -> the program in the middle -> echo server
                                   | OTLP
                                receiver

`variants` says which programs are compared, `shapes` what is sent, `bench` runs them in
interleaved rounds, `report` prints. `wire`, `load`, `servers`, `relay`, `nginx` and `receiver` are
the parts of the rig, each program its own process (`processes`).
"""
