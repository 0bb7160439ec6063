"""The aliases of an answer: which records answer the question, and whether the way to them ends."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from mailprobe.model.evidence import Record

LIMIT = 20  # aliases; no RFC sets a number, resolvers give up between 8 and 20


class Chain(msgspec.Struct, frozen=True):
    """The names that an answer leads through, the one in question first, in lower case with the final dot.

    *ends* is False when it goes round, or on for longer than anybody follows.
    """

    names: tuple[str, ...]
    ends: bool

    def own(self, records: Iterable[Record]) -> tuple[Record, ...]:
        """Leave out what has another owner: nobody asked for it, and the server may have no say in it."""
        return tuple(record for record in records if record.name.lower() in self.names)


def follow(name: str, type_name: str, records: Iterable[Record]) -> Chain:
    """Go from *name* along the CNAME records (RFC 1034 §3.6.2); a question for these does not lead on."""
    if type_name in {"CNAME", "ANY"}:
        return Chain((name,), ends=True)
    targets = {record.name.lower(): record.data.lower() for record in records if record.type == "CNAME"}
    names = [name]
    while (target := targets.get(names[-1])) is not None:
        if target in names or len(names) > LIMIT:
            return Chain(tuple(names), ends=False)
        names.append(target)
    return Chain(tuple(names), ends=True)
