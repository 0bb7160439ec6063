"""The four protocols side by side, and the dialogues that prove the comparison."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mailprobe.model.proof import PROTOCOLS, ROWS, Proof, Said
from mailprobe.output.style import PLAIN, Style
from mailprobe.output.tables import table
from mailprobe.output.widths import paragraph, shorten
from mailprobe.output.words import clean

_MARKS = {True: "proven", False: "disproved", None: "undecided"}
_LINES_SHOWN = 6  # of one reply


def comparison(width: int = 80) -> str:
    """Draw the comparison."""
    headers = ("", *PROTOCOLS)
    rows = [(row.question, *row.cells) for row in ROWS]
    return table(headers, rows, width=width, wraps=range(len(headers))) + "\n"


def proofs(found: Sequence[Proof], style: Style = PLAIN, width: int = 80) -> str:
    """Write every proof: the claim, what was seen, and the dialogue, each device's lines marked with its number."""
    parts = [_proof(proof, style, width) for proof in found]
    return "\n".join(parts) + "\n" + tally(found) + "\n"


def tally(found: Sequence[Proof]) -> str:
    """Count the proofs in one line."""
    counts = [(mark, sum(proof.holds is holds for proof in found)) for holds, mark in _MARKS.items()]
    return ", ".join(f"{number} {mark}" for mark, number in counts if number or mark == "proven")


def _proof(proof: Proof, style: Style, width: int) -> str:
    mark = _MARKS[proof.holds]
    tone = style.good if proof.holds else style.bad if proof.holds is False else style.warn
    head = f"{tone(f'{mark:10}')}{style.strong(f'{proof.protocol}, {proof.question}')}"
    told = [head, paragraph(clean(proof.claim), width, "          ", "          ")]
    if proof.detail:
        told.append(paragraph(clean(proof.detail), width, "   seen   ", "          "))
    lines = (shorten(line, width) for said in proof.dialogue for line in _said(said, style))
    return "\n".join([*told, *lines]) + "\n"


def _said(said: Said, style: Style) -> Iterator[str]:
    exchange = said.exchange
    device = style.dim(f"  {said.device:7}{said.protocol:6}")
    ours, theirs = ("~>", "<~") if exchange.secure else ("->", "<-")
    for line in exchange.sent.splitlines():
        yield f"{device}{ours} {clean(line)}"
    lines = exchange.reply.lines
    shown = lines if len(lines) <= _LINES_SHOWN else (*lines[: _LINES_SHOWN - 2], "...", lines[-1])
    for line in shown:
        yield f"{device}{theirs} {clean(line)}"
