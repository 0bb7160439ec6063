"""Postfix on loopback ports: a relay for incoming mail, submission with STARTTLS and with implicit TLS."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec

from tests.peers.certificates import CertificateFiles
from tests.peers.servers.process import Process, find_program

DAEMONS = Path("/usr/lib/postfix/sbin")

_MAIN = """
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
maillog_file = {directory}/postfix.log
maillog_file_prefixes = {directory}
myhostname = {hostname}
mydomain = {domain}
myorigin = $mydomain
mydestination = $mydomain
mynetworks =
local_recipient_maps = regexp:{directory}/conf/users
virtual_alias_maps = texthash:{directory}/conf/aliases
transport_maps = texthash:{directory}/conf/transport
recipient_delimiter = +
alias_maps =
local_transport = lmtp:unix:{lmtp_socket}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
default_transport = error:5.1.2 this machine sends nothing to other machines
smtpd_banner = $myhostname ESMTP $mail_name (Debian/GNU)
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_error_sleep_time = 0
service_throttle_time = 1s
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_sasl_type = dovecot
smtpd_sasl_path = {auth_socket}
smtpd_sasl_security_options = noanonymous
smtpd_tls_chain_files = {key}, {chain}
smtpd_tls_security_level = {relay_tls}
smtpd_tls_auth_only = {auth_only}
smtpd_tls_session_cache_database =
smtpd_tls_loglevel = 1
smtp_tls_security_level = may
smtp_tls_loglevel = 1
smtp_tls_CAfile = {trusted}
{tls}
"""

# Every user exists but those whose names begin with nobody.
_USERS = """if !/^nobody/
/./ exists
endif
"""
_ALIASES = """
team@{domain} first@{domain}, second@{domain}
"""
_TRANSPORT = """
blackhole@{domain} discard:
"""

# Debian's own defaults take TLS 1.0 and 1.1 and, where encryption is opportunistic, suites without a certificate.
_MODERN_TLS = """
smtpd_tls_protocols = >=TLSv1.2
smtpd_tls_mandatory_protocols = >=TLSv1.2
smtpd_tls_exclude_ciphers = aNULL, MD5, RC4, 3DES, SEED, IDEA
tls_preempt_cipherlist = yes
"""

# Each listener names its address: inet_interfaces takes only what an interface list shows, of 127/8 one address.
_MASTER = """
{address}:{relay} inet n - n - - smtpd
{address}:{submission} inet n - n - - smtpd
  -o syslog_name=postfix/submission
  -o smtpd_tls_security_level={submission_tls}
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
{address}:{submissions} inet n - n - - smtpd
  -o syslog_name=postfix/submissions
  -o smtpd_tls_wrappermode=yes
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""

# What "postfix start" would make, with the owners and modes of Debian's postfix-files.
_PRIVATE_QUEUES = (
    "active bounce corrupt defer deferred flush hold incoming private saved trace".split()  # noqa: SIM905
)


class PostfixOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a Postfix differs from a healthy one.

    Without *starttls* 25 and 587 stay in clear and 465 keeps its TLS. *plaintext_auth* offers AUTH on 587 before
    TLS. *legacy_tls* leaves Debian's defaults in force: TLS 1.0, 1.1 and anonymous suites. *relays* are pairs of a
    domain and the ``address:port`` to which mail for it goes, where certificates of *trusted*, a PEM file, count.
    """

    certificate: CertificateFiles
    starttls: bool = True
    plaintext_auth: bool = False
    legacy_tls: bool = False
    relays: tuple[tuple[str, str], ...] = ()
    trusted: str = ""


class Postfix:
    """Postfix on *address*; *ports* maps 25, 587 and 465 to the ports it takes.

    Every user of its domain exists but those that begin with ``nobody``; ``team`` is an alias for ``first`` and
    ``second``, and what comes for ``blackhole`` is thrown away.

    It runs as the `master` program itself, not through "postfix start", so that it is our child in the
    foreground.
    """

    def __init__(
        self,
        directory: Path,
        address: str,
        ports: Mapping[int, int],
        names: tuple[str, str],
        sockets: tuple[Path, Path],
        options: PostfixOptions,
    ) -> None:
        hostname, domain = names
        auth_socket, lmtp_socket = sockets
        config = directory / "conf"
        config.mkdir(parents=True)
        _make_queue(directory)
        submission_tls = "may" if options.plaintext_auth else "encrypt"
        main = _MAIN.format(
            directory=directory,
            hostname=hostname,
            domain=domain,
            lmtp_socket=lmtp_socket,
            auth_socket=auth_socket,
            key=options.certificate.key,
            chain=options.certificate.chain,
            relay_tls="may" if options.starttls else "none",
            auth_only="no" if options.plaintext_auth else "yes",
            tls="" if options.legacy_tls else _MODERN_TLS,
            trusted=options.trusted,
        )
        master = _MASTER.format(
            address=address,
            relay=ports[25],
            submission=ports[587],
            submissions=ports[465],
            submission_tls=submission_tls if options.starttls else "none",
        )
        _write(config / "main.cf", main)
        _write(config / "master.cf", master)
        _write(config / "users", _USERS)
        _write(config / "aliases", _ALIASES.format(domain=domain))
        _write(config / "transport", _TRANSPORT.format(domain=domain) + _relay_rows(options.relays))
        # Of the servers only this one outlives a killed test process (it changes its user), hence a limit: -e.
        argv = [str(DAEMONS / "master"), "-c", str(config), "-d", "-e", "3600"]
        self.process = Process(argv, directory / "postfix.log", [(address, port) for port in ports.values()])

    def start(self) -> None:
        """Return when every port accepts connections."""
        self.process.start()

    def stop(self) -> None:
        """End it."""
        self.process.stop()


def why_missing() -> str | None:
    """Say why Postfix cannot run here, or None."""
    if find_program("postfix") is None or not (DAEMONS / "master").exists():
        return "Postfix is not installed"
    return None if os.geteuid() == 0 else "Postfix starts only as root"


def _relay_rows(relays: tuple[tuple[str, str], ...]) -> str:
    """Write them as transport(5) has it: an address in brackets is not looked up."""
    parts = ((domain, *endpoint.rpartition(":")[0::2]) for domain, endpoint in relays)
    return "".join(f"{domain} smtp:[{address}]:{port}\n" for domain, address, port in parts)


def _write(path: Path, text: str) -> None:
    """Write a file and date it back: Postfix waits until its configuration is more than a second old."""
    path.write_text(text, encoding="utf-8")
    changed = path.stat().st_mtime - 60
    os.utime(path, (changed, changed))


def _make_queue(directory: Path) -> None:
    owner = pwd.getpwnam("postfix").pw_uid
    postdrop = grp.getgrnam("postdrop").gr_gid
    queue = directory / "queue"
    (queue / "pid").mkdir(parents=True)
    data = directory / "data"
    for path in (data, *(queue / name for name in _PRIVATE_QUEUES)):
        path.mkdir(mode=0o700)
        os.chown(path, owner, -1)
    for name, mode in (("maildrop", 0o730), ("public", 0o710)):
        path = queue / name
        path.mkdir()
        shutil.chown(path, owner, postdrop)
        path.chmod(mode)
