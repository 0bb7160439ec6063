"""Host names, mail domains and addresses as people write them, made ready for the wire."""

from __future__ import annotations

import re
from ipaddress import ip_address

from mailprobe.model.errors import UsageError
from mailprobe.model.ports import port_number

NAME_LIMIT = 253  # RFC 1035 §2.3.4: 255 octets on the wire
LABEL_LIMIT = 63
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?|\*", re.ASCII)


def domain_name(text: str) -> str:
    """Return a domain name in lower case A-labels, without the final dot.

    Names beyond ASCII follow IDNA 2008 (RFC 5891): ``straße.de`` and ``strasse.de`` are two domains.
    Underscores are let through, since TXT, SRV and TLSA records live under such names.

    Raises:
        UsageError: empty, an empty or overlong label, more than 253 characters, or no valid name at all.
    """
    name = text.strip()
    _refuse_other_addresses(name)
    if name == ".":
        return "."
    name = name.removesuffix(".")
    if not name:
        raise UsageError("an empty name was given where a domain or host is needed")
    if not name.isascii():
        name = _to_ascii(name).removesuffix(".")  # an ideographic full stop is a dot, too
    name = name.lower()
    if len(name) > NAME_LIMIT:
        raise UsageError(
            f"the name {_short(name)} has {len(name)} characters; the DNS allows {NAME_LIMIT} (RFC 1035 §2.3.4)"
        )
    for label in name.split("."):
        _check_label(label, text)
    return name


def _refuse_other_addresses(text: str) -> None:
    """Tell those who paste a web or mail address which part of it is wanted."""
    if "://" in text:
        inner = text.partition("://")[2].split("/")[0]
        raise UsageError(f"{_short(text)!r} is an address of the web; give just the name, {_short(inner)!r}")
    if "@" in text:
        domain = text.rpartition("@")[2]
        raise UsageError(f"{_short(text)!r} is an address of a person; give just the domain, {_short(domain)!r}")


def _check_label(label: str, text: str) -> None:
    if not label:
        raise UsageError(f"{_short(text)!r} is no domain name: there is an empty label between two dots")
    if len(label) > LABEL_LIMIT:
        raise UsageError(
            f"{_short(text)!r} is no domain name: {_short(label)!r} has more than {LABEL_LIMIT} characters"
        )
    if not _LABEL.fullmatch(label):
        raise UsageError(
            f"{_short(text)!r} is no domain name: {_short(label)!r} holds a character that no name may have"
        )


def _to_ascii(name: str) -> str:
    import idna

    try:
        return idna.encode(name, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise UsageError(f"{_short(name)!r} is no internationalised domain name (IDNA 2008): {error}") from None


def to_unicode(name: str) -> str:
    """Give the form of a name that people read; the A-labels themselves where they are not valid."""
    if "xn--" not in name:
        return name
    import idna

    try:
        return idna.decode(name)
    except idna.IDNAError:
        return name


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def is_address(text: str) -> bool:
    """Tell whether the text is an IPv4 or IPv6 address, zone index and brackets not included."""
    return address_family(text) is not None


def address_family(text: str) -> int | None:
    """Return 4 or 6, or None when the text is no IP address."""
    try:
        return ip_address(text).version if "%" not in text else None
    except ValueError:
        return None


def host_and_port(text: str) -> tuple[str, int | None]:
    """Read ``host``, ``host:port``, ``address``, ``[v6]:port`` or a bare IPv6 address.

    Raises:
        UsageError: no valid host, or no valid port behind it.
    """
    text = text.strip()
    _refuse_other_addresses(text)
    if text.startswith("["):
        inner, bracket, rest = text[1:].partition("]")
        inner = inner.removeprefix("IPv6:")
        if not bracket or not is_address(inner) or (rest and not rest.startswith(":")):
            raise UsageError(f"{_short(text)!r} is no address in brackets; write [2001:db8::1] or [2001:db8::1]:25")
        return _usual(inner), port_number(rest[1:]) if rest else None
    if is_address(text):
        return _usual(text), None
    host, colon, port = text.rpartition(":")
    if not colon:
        return domain_name(text), None
    if not port:
        raise UsageError(f"{_short(text)!r} ends with a colon; put a port behind it, or leave it out")
    number = port_number(port)
    return (_usual(host) if is_address(host) else domain_name(host)), number


def _usual(address: str) -> str:
    """Write an address as records hold it: IPv6 has many spellings, one of them usual (RFC 5952)."""
    return str(ip_address(address))


def absolute(name: str) -> str:
    """Give a name with its final dot, as records hold it."""
    return name if name.endswith(".") else f"{name}."


def reverse_name(address: str) -> str:
    """Give the name under which the PTR record of an address lives (RFC 1035 §3.5, RFC 3596 §2.5)."""
    return ip_address(address).reverse_pointer
