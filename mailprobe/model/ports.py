"""Mail services and the ports they live on."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from mailprobe.model.errors import UsageError


class Protocol(StrEnum):
    """The language a port speaks once any TLS is off."""

    SMTP = "smtp"
    POP3 = "pop3"
    IMAP = "imap"
    UNKNOWN = "unknown"


class Role(StrEnum):
    """What a port is for; the same defect weighs differently in each role."""

    RELAY = "relay"  # port 25: mail from other servers, encryption opportunistic (RFC 7435)
    SUBMISSION = "submission"  # 587, 465: mail from users, who log in (RFC 6409, RFC 8314)
    ACCESS = "access"  # 110, 995, 143, 993: users read their mail (RFC 8314)
    UNKNOWN = "unknown"


class Service(StrEnum):
    """A protocol in a role with a way to reach TLS; the values are the names used with ``--ports``."""

    SMTP = "smtp"
    SUBMISSION = "submission"
    SUBMISSIONS = "submissions"
    POP3 = "pop3"
    POP3S = "pop3s"
    IMAP = "imap"
    IMAPS = "imaps"
    UNKNOWN = "unknown"

    @property
    def protocol(self) -> Protocol:
        """The protocol spoken, inside TLS where TLS comes first."""
        return _FACTS[self][0]

    @property
    def role(self) -> Role:
        """What the service is for."""
        return _FACTS[self][1]

    @property
    def implicit_tls(self) -> bool:
        """True where TLS starts with the first byte (RFC 8314 §3), False where STARTTLS may follow."""
        return _FACTS[self][2]


_FACTS = {
    Service.SMTP: (Protocol.SMTP, Role.RELAY, False),
    Service.SUBMISSION: (Protocol.SMTP, Role.SUBMISSION, False),
    Service.SUBMISSIONS: (Protocol.SMTP, Role.SUBMISSION, True),
    Service.POP3: (Protocol.POP3, Role.ACCESS, False),
    Service.POP3S: (Protocol.POP3, Role.ACCESS, True),
    Service.IMAP: (Protocol.IMAP, Role.ACCESS, False),
    Service.IMAPS: (Protocol.IMAP, Role.ACCESS, True),
    Service.UNKNOWN: (Protocol.UNKNOWN, Role.UNKNOWN, False),
}

_ALIASES = {"smtps": Service.SUBMISSIONS, "msa": Service.SUBMISSION}

# IANA service names and port numbers; 465 from RFC 8314 §7.3.
WELL_KNOWN = {
    25: Service.SMTP,
    587: Service.SUBMISSION,
    465: Service.SUBMISSIONS,
    110: Service.POP3,
    995: Service.POP3S,
    143: Service.IMAP,
    993: Service.IMAPS,
}


class Port(msgspec.Struct, frozen=True):
    """A port number and the service expected there."""

    number: int
    service: Service

    def __str__(self) -> str:
        return f"{self.number}"


SEVEN_PORTS = tuple(Port(number, service) for number, service in WELL_KNOWN.items())


def parse_ports(text: str) -> tuple[Port, ...]:
    """Read ``25,2525:smtp,4190``: numbers, each with the service expected there.

    A number of its own means the usual service of that port, or ``unknown``: then whatever greets is named.

    Raises:
        UsageError: an empty list, a number outside 1 to 65535, or a service that is not known.
    """
    items = [item.strip() for item in text.split(",") if item.strip()]
    if not items:
        raise UsageError(f"{text!r} names no port; write for example 25,587,2525:smtp")
    found = tuple(dict.fromkeys(_parse_port(item) for item in items))
    numbers = [port.number for port in found]
    twice = next((number for number in numbers if numbers.count(number) > 1), None)
    if twice is not None:
        raise UsageError(f"port {twice} is listed with two services; which one is expected there?")
    return found


def _parse_port(item: str) -> Port:
    digits, _, name = item.partition(":")
    if "-" in digits:
        raise UsageError(f"{item!r} looks like a range; list the ports one by one: 25,587,465")
    number = port_number(digits)
    if not name:
        return Port(number, WELL_KNOWN.get(number, Service.UNKNOWN))
    name = name.strip().lower()
    if name in _ALIASES:
        return Port(number, _ALIASES[name])
    try:
        return Port(number, Service(name))
    except ValueError:
        known = ", ".join(service.value for service in Service)
        raise UsageError(f"port {item!r}: unknown service {name!r}; known are {known}") from None


def port_number(text: str) -> int:
    """Read a port number from 1 to 65535.

    Raises:
        UsageError: anything else.
    """
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 5 and 1 <= int(digits) <= 65535):
        raise UsageError(f"{text!r} is not a port: a number from 1 to 65535 is needed")
    return int(digits)
