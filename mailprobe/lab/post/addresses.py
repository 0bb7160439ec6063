"""Addresses as the alias tables compare them: one spelling for all that mean the same user."""

from __future__ import annotations

import re

from mailprobe.model.errors import UsageError
from mailprobe.model.names import domain_name

_ATOM = re.compile(r"[^\x00-\x20\x7f\"(),:;<>@\[\\\]]+")
_SHOWN = 100


def split(address: str) -> tuple[str, str]:
    """Divide an address into local part and domain, which is empty when there is none."""
    if "@" not in address or address.endswith('"'):
        return address, ""
    local, _, domain = address.rpartition("@")
    return local, domain


def joined(local: str, domain: str) -> str:
    """Put an address together again."""
    return f"{local}@{domain}" if domain else local


def folded(address: str) -> str:
    """Give the spelling under which an address is compared: lower case, no needless quotes, A-labels."""
    local, domain = split(address)
    return joined(quoted(unquoted(local).lower()), folded_domain(domain))


def folded_domain(domain: str) -> str:
    """Give the spelling under which a domain is compared."""
    if domain.isascii():
        return domain.lower().removesuffix(".")
    try:
        return domain_name(domain)
    except UsageError:
        return domain.lower()


def quoted(local: str) -> str:
    """Put quotes around a local part that needs them (RFC 5321 §4.1.2)."""
    if not local or _ATOM.fullmatch(local):
        return local
    return '"' + re.sub(r'(["\\])', r"\\\1", local) + '"'


def unquoted(local: str) -> str:
    """Take the quotes off a local part."""
    if len(local) < 2 or not (local.startswith('"') and local.endswith('"')):
        return local
    return re.sub(r"\\(.)", r"\1", local[1:-1], flags=re.DOTALL)


def without_extension(local: str) -> str:
    """Give ``user`` for ``user+ext``; a local part without an extension as it is."""
    user, plus, _ = local.partition("+")
    return user if plus and user else local


def shown(text: str) -> str:
    """Give a text of any origin so that it can stand in a message: short, and with nothing a terminal obeys."""
    harmless = "".join(char if char.isprintable() else "?" for char in text[: _SHOWN + 1])
    return harmless if len(harmless) <= _SHOWN else f"{harmless[: _SHOWN - 3]}..."
