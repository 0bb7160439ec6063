"""Dovecot on loopback ports: POP3, IMAP, LMTP for deliveries, and logins for Postfix."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from pathlib import Path

import msgspec

from tests.peers.certificates import CertificateFiles
from tests.peers.servers.process import Process, find_program

# Debian builds OpenSSL with security level 2; TLS 1.0 and 1.1 need level 0, for their SHA-1 signatures.
_LEGACY_TLS = "ssl_min_protocol = TLSv1\nssl_cipher_list = ALL:!aNULL:!eNULL:@SECLEVEL=0\n"
_TLS = "ssl = yes\nssl_cert = <{chain}\nssl_key = <{key}\nssl_dh = </usr/share/dovecot/dh.pem\n{legacy}"

_CONFIG = """
base_dir = {directory}/run
state_dir = {directory}/state
log_path = /dev/stderr
instance_name = {directory}
listen = {address}
protocols = imap pop3 lmtp
mail_location = maildir:{directory}/mail/%n
disable_plaintext_auth = {disable_plaintext_auth}
auth_mechanisms = plain login
auth_username_format = %Ln
first_valid_uid = 1
ssl_client_ca_file =
{tls}
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={directory}/mail/%n allow_all_users=yes
}}
namespace inbox {{
  inbox = yes
}}
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
  service_count = 0
  client_limit = 1000
  process_min_avail = 1
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = {pop3s}
    ssl = yes
  }}
  service_count = 0
  client_limit = 1000
  process_min_avail = 1
}}
service auth {{
  unix_listener postfix-auth {{
    mode = 0666
  }}
}}
service lmtp {{
  unix_listener lmtp {{
    mode = 0666
  }}
}}
"""


class DovecotOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a Dovecot differs from a healthy one.

    *certificate* None means ``ssl = no``: no STARTTLS, and nothing on 995 and 993. *plaintext_auth* allows
    logins before TLS.
    """

    certificate: CertificateFiles | None
    plaintext_auth: bool = False
    legacy_tls: bool = False


class Dovecot:
    """Dovecot on *address*; *ports* maps 110, 995, 143, 993 to the ports it takes, and leaves out what it does not.

    Every user name exists, each with an empty mailbox at first and the same password.
    """

    def __init__(
        self, directory: Path, address: str, ports: Mapping[int, int], password: str, options: DovecotOptions
    ) -> None:
        nobody = pwd.getpwnam("nobody")
        mail = directory / "mail"
        mail.mkdir(parents=True)
        os.chown(mail, nobody.pw_uid, nobody.pw_gid)
        files = options.certificate
        legacy = _LEGACY_TLS if options.legacy_tls else ""
        config = _CONFIG.format(
            directory=directory,
            address=address,
            disable_plaintext_auth="no" if options.plaintext_auth else "yes",
            tls="ssl = no" if files is None else _TLS.format(chain=files.chain, key=files.key, legacy=legacy),
            password=password,
            uid=nobody.pw_uid,
            gid=nobody.pw_gid,
            pop3=ports.get(110, 0),
            pop3s=ports.get(995, 0),
            imap=ports.get(143, 0),
            imaps=ports.get(993, 0),
        )
        path = directory / "dovecot.conf"
        path.write_text(config, encoding="utf-8")
        self.auth_socket = directory / "run/postfix-auth"
        self.lmtp_socket = directory / "run/lmtp"
        argv = [find_program("dovecot") or "dovecot", "-F", "-c", str(path)]
        self.process = Process(argv, directory / "dovecot.log", [(address, port) for port in ports.values()])

    def start(self) -> None:
        """Return when every port accepts connections."""
        self.process.start()

    def stop(self) -> None:
        """End it."""
        self.process.stop()
