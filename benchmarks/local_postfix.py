"""A Postfix that delivers into Maildirs by itself, to put beside the lab's way from spool to mailbox."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from tests.peers.certificates import CertificateAuthority, Kind
from tests.peers.servers.postfix import Postfix, PostfixOptions
from tests.peers.servers.process import free_port

ADDRESS = "127.0.0.1"
DOMAIN = "postfix.test"

# Everything as Debian has it, fsync too, but for where mail goes: virtual(8) writes into Maildirs.
_DELIVERS = """
mydestination =
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {mail}
virtual_mailbox_maps = static:user/
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_transport = virtual
"""

_RELAYS = """
mydestination =
relay_domains = {domain}
relay_transport = smtp:[{address}]:{port}
"""

_MASTER = """
virtual unix - n n - - virtual
"""


class MaildirServer(msgspec.Struct, frozen=True):
    """A running server: where it takes mail, for whom, and where that goes."""

    address: str
    port: int
    recipient: str
    mailbox: Path


@contextmanager
def postfix(directory: Path, relay_to: MaildirServer | None = None) -> Iterator[MaildirServer]:
    """Run Postfix with its queue below *directory*, and its Maildirs too unless it hands everything on."""
    name = DOMAIN if relay_to is None else f"relay.{DOMAIN}"
    ports = {port: free_port(ADDRESS) for port in (25, 587, 465)}
    certificate = CertificateAuthority(directory / "ca").issue(Kind.VALID, name)
    sockets = (directory / "no-auth", directory / "no-lmtp")
    server = Postfix(
        directory / "postfix", ADDRESS, ports, (name, name), sockets, PostfixOptions(certificate=certificate)
    )
    config = directory / "postfix" / "conf"
    if relay_to is None:
        mail = directory / "mail"
        _append(config / "main.cf", _delivers(mail))
        _append(config / "master.cf", _MASTER)
        running = MaildirServer(ADDRESS, ports[25], f"user@{DOMAIN}", mail / "user" / "new")
    else:
        _append(config / "main.cf", _RELAYS.format(domain=DOMAIN, address=relay_to.address, port=relay_to.port))
        running = MaildirServer(ADDRESS, ports[25], relay_to.recipient, relay_to.mailbox)
    server.start()
    try:
        yield running
    finally:
        server.stop()


def _delivers(mail: Path) -> str:
    nobody = pwd.getpwnam("nobody")
    mail.mkdir()
    os.chown(mail, nobody.pw_uid, nobody.pw_gid)
    return _DELIVERS.format(domain=DOMAIN, mail=mail, uid=nobody.pw_uid, gid=nobody.pw_gid)


def _append(path: Path, text: str) -> None:
    """Add to a file and leave its date as it was: Postfix waits until its configuration has been left alone."""
    changed = path.stat().st_mtime
    with path.open("a", encoding="utf-8") as file:
        file.write(text)
    os.utime(path, (changed, changed))
