"""The text of `explain CHECK-ID`."""

from __future__ import annotations

from mailprobe.model.view import CheckCard
from mailprobe.output.style import PLAIN, Style
from mailprobe.output.widths import paragraph


def explain(card: CheckCard, style: Style = PLAIN, width: int = 80) -> str:
    """Say what a check holds to be true, why that matters, and what to do where it is not so."""
    sections = [("why", card.why), ("do", card.advice), ("see", card.source)]
    parts = [
        style.strong(card.id),
        paragraph(card.claim, width, "  ", "  "),
        paragraph(f"severity {card.severity.value}; asked of each {card.subject}", width, "  ", "  "),
    ]
    for label, text in sections:
        if text:
            parts += ["", style.dim(label)]
            parts += ["\n\n".join(paragraph(each, width, "  ", "  ") for each in text.split("\n\n"))]
    return "\n".join(parts) + "\n"
