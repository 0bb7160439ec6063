"""The tests' mail host: a real Postfix and a real Dovecot that belong together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, TypedDict, Unpack

import msgspec

from mailprobe.model.labfile import LabFile
from mailprobe.model.ports import WELL_KNOWN
from tests.peers.certificates import CertificateAuthority, Kind
from tests.peers.servers.dovecot import EVERY_MECHANISM, USUAL_MECHANISMS, Dovecot, DovecotOptions
from tests.peers.servers.postfix import Postfix, PostfixOptions
from tests.peers.servers.process import Process, free_port
from tests.peers.zones import MAIL_ADDRESS, MAIL_DOMAIN, MAIL_HOST

SMTP_PORTS = (25, 587, 465)
ACCESS_PORTS = (110, 995, 143, 993)
LMTP_PORT = 24  # RFC 2033 wants any but 25; this is the customary one
PASSWORD = "secret"


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """How a mail host differs from a healthy one, which has TLS 1.2 and 1.3 only and no login before TLS.

    - *certificate*: what all seven ports show.
    - *starttls* False: 25, 587, 110 and 143 know nothing of TLS; 465, 995 and 993 are as ever.
    - *dovecot* False: 110, 995, 143 and 993 refuse connections; 25 works; 587 and 465 have nobody to ask about
      logins, so Postfix ends each connection there without a word: on 587 in answer to EHLO inside TLS, on 465
      after the handshake. That takes it a second, and it lets the next client wait for up to two.
    - *legacy_tls*: Postfix with Debian's defaults (TLS 1.0 and 1.1, anonymous suites on 25), Dovecot told to
      accept TLS 1.0 and 1.1 too.
    - *plaintext_auth*: 587 offers AUTH, 110 and 143 take logins, before TLS.
    - *every_mechanism*: Dovecot lets log in by all that it knows and needs no client certificate, APOP and bearer
      tokens among them.
    - *domain*: the mail domain; the host is its ``mail``.
    - *relays*: pairs of another mail domain and the ``address:port`` to which Postfix hands its mail, where
      certificates of *trusted*, a PEM file, count.
    """

    certificate: Kind = Kind.VALID
    starttls: bool = True
    dovecot: bool = True
    legacy_tls: bool = False
    plaintext_auth: bool = False
    every_mechanism: bool = False
    domain: str = MAIL_DOMAIN
    relays: tuple[tuple[str, str], ...] = ()
    trusted: str = ""


class VariantOptions(TypedDict, total=False):
    """The fields of `Variant`, as keyword arguments."""

    certificate: Kind
    starttls: bool
    dovecot: bool
    legacy_tls: bool
    plaintext_auth: bool
    every_mechanism: bool
    domain: str
    relays: tuple[tuple[str, str], ...]
    trusted: str


class MailHostFactory(Protocol):
    """What the fixture `mail_host` is."""

    def __call__(self, **options: Unpack[VariantOptions]) -> MailHost:
        """Give the running host of that variant."""


class MailHost:
    """A running host ``mail.example.test`` for the mail domain ``example.test``, at 127.0.0.25.

    *ports* maps each of the seven usual port numbers to the one that really listens (or refuses): free ones, unless
    they are given. Dovecot takes letters by LMTP at *lmtp_port* and at *lmtp_socket*. *ca_file* is a PEM file with the
    root. Every user exists, with the same password and a mailbox of its own, so that a test which wants an empty
    mailbox takes a user name that nobody else uses; for those that are not like that see `Dovecot` and `Postfix`.
    """

    name = MAIL_HOST
    domain = MAIL_DOMAIN
    address = MAIL_ADDRESS
    password = PASSWORD

    def __init__(
        self,
        directory: Path,
        authority: CertificateAuthority,
        variant: Variant,
        ports: Mapping[int, int] | None = None,
    ) -> None:
        self.variant = variant
        self.domain = variant.domain
        self.name = f"mail.{variant.domain}"
        self.ca_file = authority.ca_file
        self.ports = ports or {port: free_port(MAIL_ADDRESS) for port in SMTP_PORTS + ACCESS_PORTS}
        self.lmtp_port = free_port(MAIL_ADDRESS)
        self._certificate = authority.issue(variant.certificate, self.name)
        self._dovecots = self._make_dovecots(directory)
        self._postfix = self._make_postfix(directory)

    @property
    def processes(self) -> tuple[Process, ...]:
        """The servers, in the order of their start."""
        return (*(dovecot.process for dovecot in self._dovecots), self._postfix.process)

    @property
    def postfix(self) -> Process:
        """Postfix, to be stopped and started again by a test that has this host for itself."""
        return self._postfix.process

    @property
    def lmtp_socket(self) -> Path:
        """Where Dovecot takes letters by LMTP, beside its port for it."""
        return self._dovecots[0].lmtp_socket

    def letters(self, user: str, folder: str = "") -> list[bytes]:
        """Give what lies in a mailbox, oldest first, with the line ends that Dovecot keeps: LF."""
        box = self._dovecots[0].mail / user / (f".{folder}" if folder else "")
        while True:
            files = [*box.glob("new/*"), *box.glob("cur/*")]
            try:
                return [file.read_bytes() for file in sorted(files, key=lambda file: file.name)]
            except FileNotFoundError:  # it has just been renamed
                continue

    @property
    def port_list(self) -> str:
        """The ports as ``--ports`` takes them: ``20001:smtp,20002:submission,...``."""
        return ",".join(f"{actual}:{WELL_KNOWN[port].value}" for port, actual in self.ports.items())

    def endpoint(self, port: int) -> tuple[str, int]:
        """Give address and port to connect to for one of the seven usual ports."""
        return self.address, self.ports[port]

    def lab_file(self, resolver: str) -> LabFile:
        """Describe this host and a name server so that the usual port numbers lead here."""
        return LabFile(
            resolver=resolver,
            ca_file=str(self.ca_file),
            internal_networks=(f"{self.address}/32",),
            ports=self.way,
        )

    @property
    def way(self) -> dict[str, str]:
        """The ports as a lab file has them: ``address:usual`` to ``address:actual``."""
        ports = {**self.ports, LMTP_PORT: self.lmtp_port}
        return {f"{self.address}:{port}": f"{self.address}:{actual}" for port, actual in ports.items()}

    def start(self) -> None:
        """Return when every port that should answer does."""
        for process in self.processes:
            process.start()

    def terminate(self) -> None:
        """Ask both servers to end, without waiting; Postfix takes a second."""
        for process in self.processes:
            process.terminate()

    def stop(self) -> None:
        """End both servers and all that they started."""
        self.terminate()
        for process in self.processes:
            process.stop()

    def _make_dovecots(self, directory: Path) -> list[Dovecot]:
        """Make none, one, or two: Dovecot cannot serve TLS on 993 and withhold STARTTLS on 143."""
        variant = self.variant
        if not variant.dovecot:
            return []
        groups: list[tuple[tuple[int, ...], bool]] = [((LMTP_PORT, *ACCESS_PORTS), True)]
        if not variant.starttls:
            groups = [((LMTP_PORT, 110, 143), False), ((995, 993), True)]
        ports = {**self.ports, LMTP_PORT: self.lmtp_port}
        return [
            Dovecot(
                directory / f"dovecot-{number}",
                MAIL_ADDRESS,
                {port: ports[port] for port in group},
                PASSWORD,
                DovecotOptions(
                    certificate=self._certificate if tls else None,
                    plaintext_auth=variant.plaintext_auth,
                    legacy_tls=variant.legacy_tls,
                    mechanisms=EVERY_MECHANISM if variant.every_mechanism else USUAL_MECHANISMS,
                ),
            )
            for number, (group, tls) in enumerate(groups, start=1)
        ]

    def _make_postfix(self, directory: Path) -> Postfix:
        variant = self.variant
        absent = directory / "no-dovecot"
        sockets = (absent, absent)
        if self._dovecots:
            sockets = (self._dovecots[0].auth_socket, self._dovecots[0].lmtp_socket)
        options = PostfixOptions(
            certificate=self._certificate,
            starttls=variant.starttls,
            plaintext_auth=variant.plaintext_auth,
            legacy_tls=variant.legacy_tls,
            relays=variant.relays,
            trusted=variant.trusted,
        )
        ports = {port: self.ports[port] for port in SMTP_PORTS}
        return Postfix(directory / "postfix", MAIL_ADDRESS, ports, (self.name, self.domain), sockets, options)
