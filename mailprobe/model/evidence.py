"""Evidence: what was seen, never what it means.

Every type here is frozen and has no default, so the JSON form always carries every field and a reader can be
strict: an unknown or a missing field is an error that names its path.

Text from the wire is Latin-1 ``str``: one character per octet, so nothing a server sent is lost. Times are
milliseconds, as floats. ``None`` always means "not asked or not learnt", never "absent".
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec

SCHEMA = 1  # raised whenever the JSON form changes in a way an older reader cannot take


class Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The base of all evidence."""


class Stage(StrEnum):
    """Where in a conversation something happened."""

    RESOLVE = "resolve"
    CONNECT = "connect"
    GREETING = "greeting"
    CAPABILITIES = "capabilities"
    STARTTLS = "starttls"
    HANDSHAKE = "handshake"
    CAPABILITIES_TLS = "capabilities-tls"
    PROBE = "probe"
    LOGIN = "login"
    CAPABILITIES_LOGIN = "capabilities-login"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"  # DATA, or the first BDAT
    MESSAGE = "message"  # the letter's octets up to the reply to their end
    LIST = "list"
    FETCH = "fetch"
    DELETE = "delete"
    WAIT = "wait"  # for a letter to arrive
    QUIT = "quit"


class Kind(StrEnum):
    """Why a conversation stopped."""

    REFUSED = "refused"  # TCP RST instead of a connection
    UNREACHABLE = "unreachable"  # no route, ICMP, or no such address family here
    TIMEOUT = "timeout"  # our limit was reached; the RFC may allow more
    CLOSED = "closed"  # the peer ended the connection in good order
    RESET = "reset"  # the peer ended it with a TCP RST
    LIMIT = "limit"  # more bytes or lines than any honest peer sends
    GARBAGE = "garbage"  # bytes without the protocol's form
    REJECTED = "rejected"  # a final negative reply: 5xx, -ERR, NO, BAD, BYE
    TEMPORARY = "temporary"  # a reply that asks us to come back: 421, 4xx, [UNAVAILABLE], [SYS/TEMP]
    TLS_ALERT = "tls-alert"  # the peer ended the handshake with an alert
    NOT_TLS = "not-tls"  # the peer answered a ClientHello with something that is no TLS
    TLS_FAILED = "tls-failed"  # any other handshake failure
    LOCAL = "local"  # this machine could not: no permission, no socket, no such source address


class Trouble(Struct, frozen=True, kw_only=True):
    """Where and why a conversation stopped. What was learnt before it is kept."""

    stage: Stage
    kind: Kind
    detail: str


class Status(StrEnum):
    """What came of a DNS question. Everything but ANSWERED is a negative answer, and no two mean the same."""

    ANSWERED = "answered"
    NODATA = "nodata"  # the name exists, not with this type (RFC 2308 §2.2)
    NXDOMAIN = "nxdomain"  # neither the name nor anything below it exists (RFC 8020)
    SERVFAIL = "servfail"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    FAILED = "failed"  # anything else: another rcode, resolver unreachable, no sense in the reply


class Dnssec(StrEnum):
    """What is known of an answer's DNSSEC status (RFC 4035 §4.3)."""

    SECURE = "secure"  # the resolver says so, over a path that can be trusted
    INSECURE = "insecure"  # provably unsigned
    BOGUS = "bogus"  # SERVFAIL, but an answer when validation is switched off
    UNKNOWN = "unknown"


class Record(Struct, frozen=True, kw_only=True):
    """One resource record; *data* is its presentation form (RFC 1035 §5.1), names with the final dot."""

    name: str
    type: str
    ttl: int
    data: str


class Answer(Struct, frozen=True, kw_only=True):
    """One DNS question and what came of it.

    *records* is the answer section in order, CNAME records too, without those of names that the question does
    not lead to; *authority* the SOA of a negative answer. *attempts* counts the packets sent; *server* and
    *transport* (``udp``, ``tcp``, ``tls``, ``https``) name who answered last. *detail* says in words what a
    FAILED answer met.
    """

    name: str
    type: str
    status: Status
    rcode: str
    flags: tuple[str, ...]
    records: tuple[Record, ...]
    authority: tuple[Record, ...]
    extended_errors: tuple[str, ...]
    dnssec: Dnssec
    server: str
    transport: str
    attempts: int
    ms: float
    detail: str

    @property
    def matching(self) -> tuple[Record, ...]:
        """The records of the type that was asked for, the CNAMEs that led there left out."""
        return tuple(record for record in self.records if record.type == self.type)

    @property
    def aliases(self) -> tuple[Record, ...]:
        """The CNAME records that were followed, in the server's order."""
        return tuple(record for record in self.records if record.type == "CNAME")


class Reply(Struct, frozen=True, kw_only=True):
    """One whole reply. *status* is ``250``, ``+OK``, ``-ERR``, ``OK``, ``NO``, ``BAD``, ``BYE`` or ``PREAUTH``.

    *lines* are the lines as received, without their line ends. *quirks* are slugs of what was tolerated
    while reading them, such as ``bare-lf``.
    """

    status: str
    lines: tuple[str, ...]
    quirks: tuple[str, ...]


class Exchange(Struct, frozen=True, kw_only=True):
    """One command and its reply; *sent* is empty for the greeting and masked where it held a secret."""

    stage: Stage
    secure: bool
    sent: str
    reply: Reply
    ms: float


class Capability(Struct, frozen=True, kw_only=True):
    """A keyword in upper case and its parameters as received."""

    keyword: str
    parameters: tuple[str, ...]


class Capabilities(Struct, frozen=True, kw_only=True):
    """What a server said it can do, at one stage. *source* is ``greeting``, ``ehlo``, ``helo`` or ``asked``."""

    source: str
    items: tuple[Capability, ...]

    def find(self, keyword: str) -> Capability | None:
        """Give the capability of that name (case does not count), or None."""
        wanted = keyword.upper()
        return next((item for item in self.items if item.keyword == wanted), None)

    def has(self, keyword: str) -> bool:
        """Tell whether the keyword was listed."""
        return self.find(keyword) is not None

    def parameters(self, keyword: str) -> tuple[str, ...]:
        """Give the parameters of every line with that keyword, in upper case."""
        wanted = keyword.upper()
        return tuple(text.upper() for item in self.items if item.keyword == wanted for text in item.parameters)


class Trust(Struct, frozen=True, kw_only=True):
    """What this machine's trust store said of a chain. *code* is OpenSSL's X509_V_ERR number, 0 when trusted.

    *depth* is the certificate at fault, 0 the server's own. *store* names where the trust anchors came from.
    """

    trusted: bool
    code: int
    reason: str
    depth: int
    store: str


class Tls(Struct, frozen=True, kw_only=True):
    """A finished handshake. *chain* is DER exactly as sent, leaf first; *server_name* the SNI sent, or None."""

    version: str
    cipher: str
    bits: int
    server_name: str | None
    chain: tuple[bytes, ...]
    trust: Trust | None


class Injection(Struct, frozen=True, kw_only=True):
    """What became of a command put behind STARTTLS in the same write, before the handshake.

    *executed* is None when it could not be learnt; *reply* is the first line received inside TLS.
    *kept_state* tells whether a transaction begun before TLS was still there after it, None when not learnt.
    """

    executed: bool | None
    reply: str
    kept_state: bool | None
    trouble: Trouble | None


class Legacy(Struct, frozen=True, kw_only=True):
    """What a hello of TLS 1.1 at most met. *version* is what the server took, None when it took none.

    *refused* is True only when the server said no: an alert or the end of the connection at the handshake.
    """

    version: str | None
    refused: bool
    trouble: Trouble | None


class Session(Struct, frozen=True, kw_only=True):
    """One conversation with one port of one address, and the facts that other connections to it added.

    *service* is what was expected there. *speaks* is the protocol that answered (``smtp``, ``pop3``,
    ``imap``, ``tls``, ``http``, ``ssh``, ``ftp``, ``sieve``, ``lmtp``, ``other``), None when nothing did.
    *answered_in_clear* is True when a port for implicit TLS greeted without it. *leftover* holds the octets that
    followed the server's go-ahead for STARTTLS before the handshake, *offers_starttls* is None when no
    capability list was seen. *nameless* is a handshake without SNI, over a second connection; when it failed,
    *nameless_trouble* says how. *timings* maps phase to milliseconds.
    """

    host: str
    address: str
    port: int
    service: str
    speaks: str | None
    answered_in_clear: bool
    greeting: Reply | None
    exchanges: tuple[Exchange, ...]
    before_tls: Capabilities | None
    after_tls: Capabilities | None
    offers_starttls: bool | None
    leftover: bytes
    tls: Tls | None
    injection: Injection | None
    nameless: Tls | None
    nameless_trouble: Trouble | None
    legacy: Legacy | None
    timings: dict[str, float]
    trouble: Trouble | None


class Address(Struct, frozen=True, kw_only=True):
    """An address of a host, its reverse names with their addresses, and a session for each port asked.

    *reverse* is None when PTR was not asked; *forward* has two answers (A, AAAA or just the fitting one) per
    reverse name.
    """

    address: str
    reverse: Answer | None
    forward: tuple[Answer, ...]
    sessions: tuple[Session, ...]


class Host(Struct, frozen=True, kw_only=True):
    """A host by name (or address literal) with the answers for its addresses."""

    name: str
    answers: tuple[Answer, ...]
    addresses: tuple[Address, ...]
    greeted_as: tuple[Answer, ...]


class Domain(Struct, frozen=True, kw_only=True):
    """A mail domain: its MX answer, and the address answers of the domain itself when MX gave none."""

    name: str
    mx: Answer
    implicit: tuple[Answer, ...]


class Target(Struct, frozen=True, kw_only=True):
    """One thing the user asked about. *domain* is None when a host or an address was given."""

    asked: str
    domain: Domain | None
    hosts: tuple[Host, ...]
    trouble: Trouble | None


class Settings(Struct, frozen=True, kw_only=True):
    """How the evidence was gathered, as far as a check may need to know.

    *internal_networks* are CIDR ranges that the user declared as reachable here, so that addresses in them are
    no mistake. *ports* are the port numbers asked. *thorough* tells whether STARTTLS ports, too, were asked for
    old TLS versions.
    """

    resolver: str
    ehlo_name: str
    internal_networks: tuple[str, ...]
    ports: tuple[int, ...]
    thorough: bool


class Evidence(Struct, frozen=True, kw_only=True):
    """Everything one run saw. *collected_at* is the only "now" that a check may see."""

    schema: int
    mailprobe: str
    collected_at: Annotated[datetime, msgspec.Meta(tz=True)]
    settings: Settings
    targets: tuple[Target, ...]
