"""The lab in a process of its own: `python -m benchmarks.lab_server DELAY_S FILE`, until stdin is closed."""

from __future__ import annotations

import sys
from pathlib import Path

from mailprobe.lab.world import Lab


def main() -> None:
    """Run the lab, write its lab file, and say so on stdout."""
    delay_s, file = sys.argv[1:]
    with Lab(flight_delay_s=float(delay_s)) as lab:
        lab.lab_file().write(Path(file))
        print("ready", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
