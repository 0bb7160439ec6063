"""What is asked of the DNS."""

from __future__ import annotations

import msgspec


class Question(msgspec.Struct, frozen=True):
    """A name in A-labels, without final dot, and a record type in upper case."""

    name: str
    type: str
