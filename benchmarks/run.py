"""Run every benchmark and write ``docs/benchmarks.md``: `python -m benchmarks.run`, `--quick` to see that it works."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from benchmarks import lab_start_up, memory, ports_of_one_host, road, round_trips, sending, start_up
from benchmarks.machine import facts
from benchmarks.report import QUICK, Effort, Section, markdown

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
BENCHMARKS = (ports_of_one_host, start_up, round_trips, memory, sending, road, lab_start_up)

_HEAD = """# Benchmarks

Written by `make bench`. Read the ratios: each is mailprobe beside a peer on the same machine in the same run, the
commands in turns, and the figure is the median over the rounds (of the ratio within each round, so that a busy moment
counts for both). Milliseconds do not carry over to another machine, ratios by and large do. Of times and memory
mailprobe took less where the ratio is below 1; of letters per second it carried more where it is above. All servers
are on loopback: the network adds nothing but what a section says it adds.
"""

_QUICK = """
**Too few runs to quote: written with `--quick`.**
"""

_LOAD = """
Load of the machine when the run began: {load:.1f}.
"""


def main() -> None:
    """Run all, say on stderr how far it is, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few runs: to see that it works, not to quote")
    parser.add_argument("--output", type=Path, default=PAGE, help="where to write (default docs/benchmarks.md)")
    options = parser.parse_args()
    effort = QUICK if options.quick else Effort()
    load = os.getloadavg()[0]
    sections = [_run(benchmark.TITLE, benchmark.measure(effort)) for benchmark in BENCHMARKS]
    head = _HEAD + (_QUICK if options.quick else "")
    about = markdown(Section("Where", (facts(), _LOAD.format(load=load).strip())))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text("\n".join([head, about, *sections]), encoding="utf-8")


def _run(title: str, section: Section) -> str:
    print(f"{time.strftime('%H:%M:%S')} {title}", file=sys.stderr)
    return markdown(section)


if __name__ == "__main__":
    main()
