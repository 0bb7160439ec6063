"""How fast mailprobe is and what it takes: every figure stands beside a peer's, measured in the same run.

`python -m benchmarks.run` runs all and writes ``docs/benchmarks.md``; each program also runs alone, for example
`python -m benchmarks.start_up --quick`. Nothing here asserts a time.
"""
