"""What a command does not use it does not import: a command pays for every import before it begins."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailprobe.lab.world import Lab
from mailprobe.model.labfile import LabFile
from mailprobe.model.ports import WELL_KNOWN

DEAR = {"asyncio", "ssl", "dns", "tabulate", "colorama", "cryptography", "OpenSSL", "idna", "h11", "msgspec"}
SCRIPT = """
import sys
from mailprobe.cli.main import main
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""


@pytest.fixture(scope="module")
def lab_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("lab") / "lab.json"
    with Lab() as lab:
        ports = {f"127.0.0.1:{number}": f"127.0.0.1:{lab.route('127.0.0.1', number)[1]}" for number in WELL_KNOWN}
        LabFile(
            resolver=lab.resolver, ca_file=str(lab.ca_file), internal_networks=lab.internal_networks, ports=ports
        ).write(path)
        yield path


def imported(lab_file: Path, *arguments: str) -> set[str]:
    environment = os.environ | {"MAILPROBE_LAB": str(lab_file)}
    done = subprocess.run(
        (sys.executable, "-c", SCRIPT, *arguments), env=environment, capture_output=True, text=True, check=False
    )
    modules = set(done.stderr.splitlines()[-1].split())
    assert "mailprobe.cli.main" in modules
    return modules


@pytest.mark.parametrize(
    ("arguments", "used"),
    [
        (("--help",), set[str]()),
        (("mx", "--format", "nslookup", "google.com"), {"msgspec"}),
        (("mx", "--format", "json", "google.com"), {"msgspec"}),
        (("mx", "google.com"), {"msgspec", "tabulate"}),
        (("mx", "--type", "SRV", "google.com"), {"msgspec", "tabulate", "dns", "ssl", "idna"}),
        (("explain", "mx-present"), DEAR - {"asyncio", "dns", "tabulate", "h11", "colorama"}),
    ],
)
def test_a_lookup_imports_what_it_uses(lab_file: Path, arguments: tuple[str, ...], used: set[str]) -> None:
    assert imported(lab_file, *arguments) & DEAR <= used


def test_ports_of_an_address_imports_no_resolver_and_no_checks(lab_file: Path) -> None:
    modules = imported(lab_file, "ports", "127.0.0.1")
    assert not modules & {"dns", "h11", "mailprobe.checks", "mailprobe.lab"}
