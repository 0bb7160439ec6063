"""The table of `ports`: a row per port, under a heading per address, and in words what is odd."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from mailprobe.model.view import CertificateView, SessionView
from mailprobe.output.rows import PortRow, port_rows
from mailprobe.output.style import PLAIN, Style
from mailprobe.output.tables import table
from mailprobe.output.widths import paragraph, width_of
from mailprobe.output.words import clean

_HEADERS = ("port", "service", "state", "speaks", "security", "TLS", "cipher", "certificate", "ms")
_SERVICE, _CIPHER = 1, 6

# Narrow terminals get the part of a suite's name that tells how well it encrypts.
_BULK = (
    "CHACHA20",
    "AES256-GCM",
    "AES128-GCM",
    "AES256-CCM",
    "AES128-CCM",
    "AES256",
    "AES128",
    "CAMELLIA256",
    "CAMELLIA128",
    "ARIA256",
    "ARIA128",
    "3DES",
    "DES-CBC3",
    "RC4",
    "NULL",
)


def ports(views: Sequence[SessionView], style: Style = PLAIN, width: int = 80) -> str:
    """Write a table per host and address; rows stand in the order of the sessions given."""
    rows = port_rows(views)
    blocks = [
        _block(host, address, list(group), style, width)
        for (host, address), group in groupby(rows, key=lambda row: (row.host, row.address))
    ]
    return "\n".join(blocks)


def _block(host: str, address: str | None, rows: list[PortRow], style: Style, width: int) -> str:
    where = clean(host if address in {host, None} else f"{host} [{address}]")
    cells = [_cells(row, style) for row in rows]
    drawn = _drawn(cells, width)
    parts = [style.strong(where), "", drawn]
    if notes := _notes(rows, width):
        parts += ["", *(style.warn(note) for note in notes)]
    return "\n".join(parts) + "\n"


def _drawn(cells: list[tuple[str, ...]], width: int) -> str:
    natural = [max(width_of(row[index]) for row in (_HEADERS, *cells)) for index in range(len(_HEADERS))]
    if sum(natural) + 2 * (len(natural) - 1) > width:
        cells = [(*row[:_CIPHER], bulk_cipher(row[_CIPHER]), *row[_CIPHER + 1 :]) for row in cells]
    return table(_HEADERS, cells, width=width, right=(0, 8), gives=(_SERVICE,))


def bulk_cipher(suite: str) -> str:
    """Give the bulk cipher of a suite's name, or the name itself where none is known."""
    flat = suite.replace("TLS_", "").replace("_", "-").replace("AES-", "AES")
    return next((name for name in _BULK if name in flat), suite)


def _cells(row: PortRow, style: Style) -> tuple[str, ...]:
    state = style.good if row.state == "open" else style.dim if row.state == "refused" else style.warn
    protected = style.warn if row.security == "plain" else style.good
    return (
        str(row.port or "-"),
        row.service or "-",
        state(row.state),
        clean(row.speaks or "-"),
        protected(row.security) if row.security else "-",
        "1.0" if row.version == "TLSv1" else clean(row.version or "-").removeprefix("TLSv"),
        clean(row.cipher or "-"),
        certificate(row.certificate, style),
        "-" if row.ms is None else f"{row.ms:.0f}",
    )


def certificate(view: CertificateView | None, style: Style = PLAIN) -> str:
    """Write the verdict and the days left: ``ok 89 d``, ``expired -3 d``."""
    if view is None:
        return "-"
    text = clean(view.verdict if view.days_left is None else f"{view.verdict} {view.days_left} d")
    return style.good(text) if view.verdict == "ok" else style.bad(text)


def _notes(rows: list[PortRow], width: int) -> list[str]:
    places: dict[str, list[str]] = {}
    for row in rows:
        for note in row.notes:
            places.setdefault(note, []).append(str(row.port or "-"))
    return [paragraph(f"{', '.join(numbers)}{_joined(note)}", width, rest="    ") for note, numbers in places.items()]


def _joined(note: str) -> str:
    return f" {note}" if note.startswith(("answers", "speaks")) else f": {note}"
