"""`python -m mailprobe` is `mailprobe`."""

from mailprobe.cli.main import main

main()
