"""Evidence as JSON, written so that next year's mailprobe can still read it."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

import msgspec

from mailprobe.model.errors import EvidenceError, UsageError
from mailprobe.model.evidence import SCHEMA, Evidence, Host, Session
from mailprobe.model.names import host_and_port, is_address
from mailprobe.model.ports import Service

_SERVICES = {service.value for service in Service}


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
        evidence = msgspec.json.decode(text, type=Evidence)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EvidenceError(f"{source}: the evidence is not as schema {SCHEMA} says: {error}") from None
    wrong = next(_wrong(evidence), None)
    if wrong is not None:
        raise EvidenceError(f"{source}: the evidence is not as schema {SCHEMA} says: {wrong}")
    return evidence


def _wrong(evidence: Evidence) -> Iterator[str]:
    """Say what the types alone let through, and where it stands."""
    for index, network in enumerate(evidence.settings.internal_networks):
        if not _is_network(network):
            yield f"{network!r} is no network - at `$.settings.internal_networks[{index}]`"
    for index, target in enumerate(evidence.targets):
        place = f"$.targets[{index}]"
        try:
            host_and_port(target.asked)
        except UsageError as error:
            yield f"{error} - at `{place}.asked`"
        for number, host in enumerate(target.hosts):
            yield from _wrong_in_host(host, f"{place}.hosts[{number}]")


def _wrong_in_host(host: Host, place: str) -> Iterator[str]:
    for index, address in enumerate(host.addresses):
        here = f"{place}.addresses[{index}]"
        if not is_address(address.address):
            yield f"{address.address!r} is no address - at `{here}.address`"
        for number, session in enumerate(address.sessions):
            yield from _wrong_in_session(session, f"{here}.sessions[{number}]")


def _wrong_in_session(session: Session, place: str) -> Iterator[str]:
    if not is_address(session.address):
        yield f"{session.address!r} is no address - at `{place}.address`"
    if session.service not in _SERVICES:
        yield f"{session.service!r} is no service - at `{place}.service`"
    if session.greeting is not None and not session.greeting.lines:
        yield f"a greeting has at least one line - at `{place}.greeting.lines`"


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


def json_schema() -> bytes:
    """Give the JSON Schema of evidence, indented."""
    return msgspec.json.format(msgspec.json.encode(msgspec.json.schema(Evidence)), indent=2) + b"\n"
