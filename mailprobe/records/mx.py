"""MX records (RFC 1035 §3.3.9, RFC 5321 §5.1, RFC 7505)."""

from __future__ import annotations

import re
from typing import NamedTuple

from mailprobe.model.evidence import Answer, Record

_FORM = re.compile(r"[0-9]{1,5} \S+")  # evidence may have been edited by hand


class Exchanger(NamedTuple):
    """One MX record: the lower the preference the earlier it is tried; *target* without its final dot."""

    preference: int
    target: str
    record: Record

    @property
    def is_null(self) -> bool:
        """True for the target of a null MX, the root (RFC 7505 §3)."""
        return self.target == "."


def exchangers(answer: Answer) -> list[Exchanger]:
    """Read the exchangers of an MX answer, by preference, then by name so that runs can be compared."""
    found = [_exchanger(record) for record in answer.matching if _FORM.fullmatch(record.data)]
    return sorted(found, key=lambda exchanger: (exchanger.preference, exchanger.target))


def _exchanger(record: Record) -> Exchanger:
    preference, _, target = record.data.partition(" ")
    name = target.lower()
    return Exchanger(int(preference), name if name == "." else name.removesuffix("."), record)


def is_null(answer: Answer) -> bool:
    """Tell whether a domain says that it takes no mail: one MX and its target is the root (RFC 7505 §3)."""
    found = exchangers(answer)
    return len(found) == 1 and found[0].is_null
