"""How long commands take that have next to nothing to do, and what they import for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.commands import Command, mailprobe, program
from benchmarks.hosts import lab
from benchmarks.report import Effort, Section, Table, alone, beside
from benchmarks.stopwatch import Times, interleaved
from mailprobe.model.labfile import read_lab_file

TITLE = "Start-up and imports"
HELP, TABLE, NSLOOKUP_FORM = "--help", "mx DOMAIN", "mx --format nslookup DOMAIN"
CLICK, NSLOOKUP, PYTHON = "a bare click app, `--help`", "`nslookup -q=MX DOMAIN`", "`python -c pass`"
DOMAIN = "google.com"

# What is dear or telling, in the order of the commands that should be the first to need it.
PACKAGES = (
    ("click", ("click",)),
    ("msgspec", ("msgspec",)),
    ("socket, selectors", ("socket", "selectors")),
    ("dns (dnspython)", ("dns",)),
    ("tabulate", ("tabulate",)),
    ("colorama", ("colorama",)),
    ("asyncio", ("asyncio",)),
    ("ssl", ("ssl",)),
    ("cryptography", ("cryptography",)),
    ("OpenSSL (pyOpenSSL)", ("OpenSSL",)),
    ("idna", ("idna",)),
    ("h11", ("h11",)),
    ("importlib.metadata, email", ("importlib.metadata", "email", "zipfile")),
    ("dataclasses", ("dataclasses",)),
    ("logging", ("logging",)),
    ("mailprobe.lab", ("mailprobe.lab",)),
    ("mailprobe.checks", ("mailprobe.checks",)),
    ("mailprobe, all of it", ("mailprobe",)),
)

_TEXT = """
{rounds} rounds. The bare click app has seven commands in one file and the same interpreter. `mx` and `nslookup` ask
the lab's resolver on loopback. `python -c pass` is the least that any program in Python takes.
""".strip()

_IMPORTS = """
Milliseconds of import by package, from one run with `-X importtime` (which itself slows imports down; compare the
figures with each other only). A dot is a package that was not imported.
""".strip()


def measure(effort: Effort) -> Section:
    """Compare the start of mailprobe with a bare click app and with nslookup; list what each command imports."""
    with lab() as lab_file:
        helps = _helps(effort)
        lookups = _lookups(effort, lab_file)
        imports = _imports(lab_file)
    return Section(TITLE, (_TEXT.format(rounds=effort.rounds), helps, lookups, _IMPORTS, imports))


def _helps(effort: Effort) -> Table:
    app = str(Path(__file__).with_name("bare_click_app.py"))
    ours = mailprobe(HELP, "--help")
    peers = (Command(CLICK, (sys.executable, app, "--help")), Command(PYTHON, (sys.executable, "-c", "pass")))
    times = interleaved([ours, *peers], effort.rounds)
    return beside(times, (HELP,), ((CLICK, 1.5), (PYTHON, None)))


def _lookups(effort: Effort, lab_file: Path) -> Table:
    ours = [
        mailprobe(TABLE, "mx", DOMAIN, lab_file=lab_file),
        mailprobe(NSLOOKUP_FORM, "mx", "--format", "nslookup", DOMAIN, lab_file=lab_file),
    ]
    peer = nslookup(lab_file)
    times: Times = interleaved([*ours, *([peer] if peer else [])], effort.rounds)
    return beside(times, (TABLE, NSLOOKUP_FORM), ((NSLOOKUP, None),) if peer else ())


def nslookup(lab_file: Path) -> Command | None:
    """Give nslookup's command line for the lab's resolver, None where it is not installed."""
    path = program("nslookup")
    address, _, port = read_lab_file(lab_file).resolver.rpartition(":")
    return Command(NSLOOKUP, (path, "-q=MX", f"-port={port}", DOMAIN, address)) if path else None


def _imports(lab_file: Path) -> Table:
    commands = {
        HELP: ("--help",),
        NSLOOKUP_FORM: ("mx", "--format", "nslookup", DOMAIN),
        TABLE: ("mx", DOMAIN),
        "ports ADDRESS": ("ports", "127.53.1.1"),
        "ports NAME": ("ports", "good.lab.test"),
        "check DOMAIN": ("check", "good.lab.test"),
    }
    spent = [import_times(arguments, lab_file) for arguments in commands.values()]
    rows = [(name, *(_sum(each, prefixes) for each in spent)) for name, prefixes in PACKAGES]
    total = ("everything", *(f"{sum(each.values()):.0f}" for each in spent))
    count = ("modules", *(str(len(each)) for each in spent))
    return Table(("package", *(f"`{name}`" for name in commands)), (*rows, total, count))


def import_times(arguments: tuple[str, ...], lab_file: Path) -> dict[str, float]:
    """Run mailprobe and give the milliseconds that each module took to import, those that it imports left out."""
    argv = (sys.executable, "-X", "importtime", "-c", "from mailprobe.cli.main import main; main()", *arguments)
    environment = os.environ | {"MAILPROBE_LAB": str(lab_file)}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    lines = (line.removeprefix("import time:").split("|") for line in done.stderr.splitlines() if "|" in line)
    return {name.strip(): int(own) / 1000 for own, _, name in lines if own.strip().isdigit()}


def _sum(spent: dict[str, float], prefixes: tuple[str, ...]) -> str:
    found = [own for name, own in spent.items() if any(f"{name}.".startswith(f"{each}.") for each in prefixes)]
    return f"{sum(found):.1f}" if found else "·"


if __name__ == "__main__":
    alone(measure)
