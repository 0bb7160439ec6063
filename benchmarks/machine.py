"""On what the figures were measured."""

from __future__ import annotations

import os
import platform
import re
import ssl
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import msgspec

import mailprobe
from benchmarks.commands import program
from benchmarks.report import Table


def facts() -> Table:
    """Give the machine, the versions and the date."""
    rows = (
        ("date", f"{datetime.now(UTC):%Y-%m-%d}"),
        ("machine", f"{os.cpu_count()} cores, {_model()}, {platform.machine()}"),
        ("system", _system()),
        ("mailprobe", mailprobe.__version__),
        ("Python", f"{platform.python_version()} ({platform.python_compiler()})"),
        ("OpenSSL in Python", ssl.OPENSSL_VERSION),
        ("msgspec", msgspec.__version__),
        ("openssl", _version("openssl", "version")),
        ("nmap", _version("nmap", "--version")),
        ("nslookup", _version("nslookup", "-version")),
        ("monitoring plugins", _version("check_smtp", "--version")),
        ("Postfix", _version("postconf", "-d", "-h", "mail_version")),
        ("Dovecot", _version("dovecot", "--version")),
    )
    return Table(("what", "version"), rows)


def _model() -> str:
    cpus = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.*)$", cpus.read_text(), re.MULTILINE) if cpus.exists() else None
    return found[1] if found else platform.processor() or "unknown processor"


def _system() -> str:
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.platform()
    debian = Path("/etc/debian_version")
    exact = f" ({debian.read_text().strip()})" if debian.exists() else ""
    return f"{name}{exact}, Linux {platform.release()}"


def _version(name: str, *arguments: str) -> str:
    path = program(name)
    if path is None:
        return "not installed"
    done = subprocess.run((path, *arguments), capture_output=True, text=True, check=False)
    return ((done.stdout or done.stderr).splitlines() or ["unknown"])[0].strip()
