"""The rooms of the package: who may import whom, read from the source."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mailprobe"

ROOMS = {
    "model": "NOUNS",
    "protocols": "BYTES",
    "records": "TEXT",
    "net": "WORLD",
    "collect": "ASK",
    "checks": "JUDGE",
    "output": "SAY",
    "mail": "LETTERS",
    "lab": "MISBEHAVE",
    "scan": "MANY",
    "cli": "FLAGS",
}

MAY_IMPORT = {
    "model": set[str](),
    "protocols": {"model"},
    "records": {"model"},
    "net": {"model"},
    "collect": {"protocols", "records", "net", "model"},
    "checks": {"protocols", "records", "model"},
    "output": {"model"},
    "mail": {"collect", "protocols", "records", "net", "model"},
    "lab": {"protocols", "records", "net", "mail", "model"},
    "scan": {"collect", "checks", "net", "model"},
    "cli": set(ROOMS),
    "": set(ROOMS),  # the files beside the rooms: __init__ is the library, __main__ the command
}

ANYWHERE = {"msgspec", "idna"}

# Which rooms a third party's package may enter. One that is not listed here may enter none.
THIRD_PARTIES = {
    "click": {"cli"},
    "tabulate": {"output"},
    "colorama": {"output"},
    "dns": {"net", "lab", "records"},
    "cryptography": {"net", "records", "lab"},
    "OpenSSL": {"net", "records", "lab"},
    "h11": {"net", "lab"},
    "uvloop": {"net", "cli"},
    "pytest": {"lab"},  # the plugin that hands out the lab
    "dkim": {"mail"},
}

# Modules of the standard library that reach the network. collect and mail start tasks and cli the event loop.
WORLD = {"net", "lab"}
STANDARD = {
    "asyncio": WORLD | {"collect", "mail", "cli", ""},
    "ssl": WORLD,
    "socket": WORLD,
    "selectors": WORLD,
    "select": WORLD,
    "socketserver": set[str](),
    "smtplib": set[str](),
    "poplib": set[str](),
    "imaplib": set[str](),
    "http.client": set[str](),
    "urllib.request": set[str](),
}

NO_ROOM = {"util", "utils", "helper", "helpers", "common", "misc"}
ROOT_FILES = {"__init__", "__main__"}


def violations(path: str, source: str) -> list[str]:
    """Say what in a file breaks the rules; *path* is relative to the package's folder, ``net/dns.py``."""
    tree = ast.parse(source, path)
    parts = Path(path).with_suffix("").parts
    room = parts[0] if len(parts) > 1 else ""
    return [f"{path}: {text}" for text in (*_misplaced(parts), *_content(room, parts, tree))]


def _misplaced(parts: tuple[str, ...]) -> Iterator[str]:
    if len(parts) > 1 and parts[0] not in ROOMS:
        yield f"{parts[0]} is no room"
    if len(parts) == 1 and parts[0] not in ROOT_FILES:
        yield "stands in no room"
    for part in parts:
        if part.strip("_").lower() in NO_ROOM:
            yield f"nothing may be named {part}"


def _content(room: str, parts: tuple[str, ...], tree: ast.Module) -> Iterator[str]:
    if parts[1:] == ("__init__",) and room in ROOMS:
        title = f"{ROOMS[room]}: "
        if not (ast.get_docstring(tree) or "").startswith(title):
            yield f"the docstring must begin with {title!r}"
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        for complaint in _node(room, node):
            yield f"line {line}: {complaint}"


def _node(room: str, node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.ImportFrom) and node.level:
        yield "relative import"
        return
    if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "print" and room not in ("cli", ""):
        yield "print() outside cli"
    for module in _imported(node):
        complaint = _import(room, module)
        if complaint:
            yield complaint


def _imported(node: ast.AST) -> list[str]:
    """Give the dotted names that a node imports, import_module("...") with a literal included."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and node.args:
        function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        argument = node.args[0]
        if function in ("import_module", "__import__") and isinstance(argument, ast.Constant):
            return [str(argument.value)]
    return []


def _import(room: str, module: str) -> str | None:
    top, _, rest = module.partition(".")
    if top == "mailprobe":
        return _import_of_ours(room, rest.partition(".")[0])
    if top in THIRD_PARTIES:
        return None if room in THIRD_PARTIES[top] else f"{top} has no business in {room or 'the root'}"
    for name, rooms in STANDARD.items():
        if f"{module}.".startswith(f"{name}.") and room not in rooms:
            return f"{name} has no business in {room or 'the root'}"
    if top not in ANYWHERE and top not in sys.stdlib_module_names:
        return f"{top} is in no list of third parties"
    return None


def _import_of_ours(room: str, other: str) -> str | None:
    if other in ("", "__version__", room):
        return None
    if other not in ROOMS:
        return f"mailprobe.{other} is in no room"
    return None if other in MAY_IMPORT[room] else f"{room} may not import {other}"


def test_the_package_keeps_to_its_rooms() -> None:
    found: list[str] = []
    for path in sorted(PACKAGE.rglob("*.py")):
        found += violations(path.relative_to(PACKAGE).as_posix(), path.read_text(encoding="utf-8"))
    assert found == []


def test_every_folder_is_a_package_with_a_docstring() -> None:
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    without = [folder for folder in folders if not _docstring(folder / "__init__.py")]
    assert without == []


def _docstring(path: Path) -> str | None:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) if path.exists() else None


def test_the_tables_name_the_same_rooms() -> None:
    assert set(MAY_IMPORT) == {*ROOMS, ""}
    for rooms in (*MAY_IMPORT.values(), *THIRD_PARTIES.values(), *STANDARD.values()):
        assert rooms <= set(MAY_IMPORT)


def test_every_dependency_is_in_a_list() -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    imports = {"dnspython": "dns", "pyopenssl": "openssl", "dkimpy": "dkim"}
    known = {name.lower() for name in (*THIRD_PARTIES, *ANYWHERE)}
    extras = project["optional-dependencies"]
    needed = [
        *project["dependencies"],
        *(item for name, items in extras.items() if name != "dev" for item in items),
    ]
    names = [re.split(r"[>;\[]", item)[0].strip().lower() for item in needed]
    assert [name for name in names if imports.get(name, name) not in known] == []


@pytest.mark.parametrize(
    ("path", "source", "said"),
    [
        ("checks/mx.py", "import mailprobe.net.dns", "line 1: checks may not import net"),
        ("checks/mx.py", "from mailprobe.net import Network", "line 1: checks may not import net"),
        ("checks/mx.py", "from mailprobe import net", "line 1: checks may not import net"),
        (
            "checks/mx.py",
            "def f():\n    from mailprobe.collect.mx import ask",
            "line 2: checks may not import collect",
        ),
        ("model/ports.py", "from mailprobe.output import table", "line 1: model may not import output"),
        ("output/table.py", "from mailprobe.checks import ALL", "line 1: output may not import checks"),
        ("lab/driver.py", "from mailprobe.checks import ALL", "line 1: lab may not import checks"),
        (
            "net/dns.py",
            "if TYPE_CHECKING:\n    from mailprobe.records import mx",
            "line 2: net may not import records",
        ),
        ("net/dns.py", "importlib.import_module('mailprobe.cli.main')", "line 1: net may not import cli"),
        ("net/dns.py", "from mailprobe import shortcut", "line 1: mailprobe.shortcut is in no room"),
        ("output/table.py", "import click", "line 1: click has no business in output"),
        ("cli/main.py", "from tabulate import tabulate", "line 1: tabulate has no business in cli"),
        ("checks/mx.py", "import dns.name", "line 1: dns has no business in checks"),
        ("checks/tls.py", "from cryptography import x509", "line 1: cryptography has no business in checks"),
        ("protocols/smtp/client.py", "import socket", "line 1: socket has no business in protocols"),
        ("collect/host.py", "import ssl", "line 1: ssl has no business in collect"),
        ("protocols/smtp/client.py", "import asyncio", "line 1: asyncio has no business in protocols"),
        ("net/tls.py", "import smtplib", "line 1: smtplib has no business in net"),
        ("net/fetch.py", "from urllib import request", "line 1: urllib.request has no business in net"),
        ("net/fetch.py", "import requests", "line 1: requests is in no list of third parties"),
        ("net/dns.py", "from . import tls", "line 1: relative import"),
        ("net/dns.py", "from ..model import ports", "line 1: relative import"),
        ("output/table.py", "def show():\n    print('x')", "line 2: print() outside cli"),
        ("net/utils.py", "", "nothing may be named utils"),
        ("net/_helpers/dns.py", "", "nothing may be named _helpers"),
        ("tools/dns.py", "", "tools is no room"),
        ("dns.py", "", "stands in no room"),
        ("net/__init__.py", '"""Network things."""', "the docstring must begin with 'WORLD: '"),
        ("net/__init__.py", "", "the docstring must begin with 'WORLD: '"),
    ],
)
def test_a_violation_is_named(path: str, source: str, said: str) -> None:
    assert violations(path, source) == [f"{path}: {said}"]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("checks/mx.py", "from mailprobe.records.mx import Mx\nfrom mailprobe.checks.registry import check"),
        ("checks/mx.py", "import msgspec, idna, re, urllib.parse\nfrom __future__ import annotations"),
        ("collect/host.py", "import asyncio\nfrom mailprobe.net.network import Network"),
        ("cli/main.py", "import asyncio, click\nfrom mailprobe.scan import run\nprint('x')"),
        ("net/dns.py", "import dns.message, ssl, socket, h11\nfrom mailprobe import __version__"),
        ("lab/driver.py", "import asyncio, ssl\nfrom cryptography import x509\nimport dns.zone"),
        ("records/mx/__init__.py", '"""MX records."""'),
        ("net/__init__.py", '"""WORLD: the shared connection layer."""'),
        ("output/table.py", "pprint.print('x')\nblueprint('x')"),
        ("__main__.py", "from mailprobe.cli.main import main"),
    ],
)
def test_what_is_allowed_passes(path: str, source: str) -> None:
    assert violations(path, source) == []
