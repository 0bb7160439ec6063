"""Evidence as JSON, written so that next year's mailprobe can still read it."""

from __future__ import annotations

import msgspec

from mailprobe.model.errors import EvidenceError
from mailprobe.model.evidence import SCHEMA, Evidence


class _Head(msgspec.Struct):
    """The one field that every schema has; the others are not looked at yet."""

    schema: int


def write_evidence(evidence: Evidence) -> bytes:
    """Write evidence as indented JSON in UTF-8."""
    return msgspec.json.format(msgspec.json.encode(evidence), indent=1) + b"\n"


def read_evidence(text: bytes, source: str) -> Evidence:
    """Read what `write_evidence` wrote; *source* names where it came from.

    Raises:
        EvidenceError: no JSON, no evidence (the text names the path in it), or of another schema.
    """
    try:
        schema = msgspec.json.decode(text, type=_Head).schema
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EvidenceError(f"{source}: this is no evidence of mailprobe: {error}") from None
    if schema != SCHEMA:
        hint = "use a newer mailprobe" if schema > SCHEMA else "collect it anew"
        raise EvidenceError(f"{source}: the evidence has schema {schema}, this mailprobe reads {SCHEMA}; {hint}")
    try:
        return msgspec.json.decode(text, type=Evidence)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EvidenceError(f"{source}: the evidence is not as schema {SCHEMA} says: {error}") from None


def json_schema() -> bytes:
    """Give the JSON Schema of evidence, indented."""
    return msgspec.json.format(msgspec.json.encode(msgspec.json.schema(Evidence)), indent=2) + b"\n"
