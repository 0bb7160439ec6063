"""Dovecot on loopback ports: POP3, IMAP, LMTP for deliveries, and logins for Postfix."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import pwd
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from tests.peers.certificates import CertificateFiles
from tests.peers.servers.process import Process, find_program

# Debian builds OpenSSL with security level 2; TLS 1.0 and 1.1 need level 0, for their SHA-1 signatures.
_LEGACY_TLS = "ssl_min_protocol = TLSv1\nssl_cipher_list = ALL:!aNULL:!eNULL:@SECLEVEL=0\n"
_TLS = "ssl = yes\nssl_cert = <{chain}\nssl_key = <{key}\nssl_dh = </usr/share/dovecot/dh.pem\n{legacy}"

USUAL_MECHANISMS = "plain login"
EVERY_MECHANISM = "plain login cram-md5 scram-sha-1 scram-sha-256 apop xoauth2 oauthbearer"

# Who is not like everybody.
ODD_USER, ODD_PASSWORD = "odd", 'pä"s\\s {5}ürd+='
GHOST = "ghost"  # unknown here, though Postfix takes its mail
FULL = "full"  # whose mailbox takes no letter of any size
_SECRET_OF_TOKENS = b"a key that only these tests know"

_CONFIG = """
base_dir = {directory}/run
state_dir = {directory}/state
log_path = /dev/stderr
instance_name = {directory}
verbose_proctitle = yes
listen = {address}
protocols = imap pop3 lmtp
mail_location = maildir:{directory}/mail/%n
disable_plaintext_auth = {disable_plaintext_auth}
auth_mechanisms = {mechanisms}
auth_username_format = %Ln
auth_failure_delay = 0
first_valid_uid = 1
recipient_delimiter = +
lmtp_save_to_detail_mailbox = yes
lda_mailbox_autocreate = yes
ssl_client_ca_file =
{tls}
passdb {{
  driver = passwd-file
  args = {directory}/ghosts
  deny = yes
}}
{tokens}
passdb {{
  driver = passwd-file
  args = {directory}/users
}}
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = passwd-file
  args = {directory}/users
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={directory}/mail/%n
}}
namespace inbox {{
  inbox = yes
  mailbox Junk {{
    special_use = \\Junk
  }}
}}
protocol lmtp {{
  mail_plugins = quota
}}
plugin {{
  quota = count:User quota
  quota_vsizes = yes
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
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
  inet_listener lmtp {{
    port = {lmtp}
  }}
}}
"""

# A bearer token is a JSON web token; Dovecot finds its key by the client, the algorithm and the key's name.
_TOKENS = """
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {directory}/oauth2.conf
}}
"""
_OAUTH2 = """
introspection_mode = local
local_validation_key_dict = fs:posix:prefix={directory}/keys/
username_attribute = sub
"""


class DovecotOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a Dovecot differs from a healthy one.

    *certificate* None means ``ssl = no``: no STARTTLS, and nothing on 995 and 993. *plaintext_auth* allows
    logins before TLS. *mechanisms* are those it takes logins by.
    """

    certificate: CertificateFiles | None
    plaintext_auth: bool = False
    legacy_tls: bool = False
    mechanisms: str = USUAL_MECHANISMS


class Dovecot:
    """Dovecot on *address*; *ports* maps 110, 995, 143, 993 and 24 (LMTP) to the ports it takes, and leaves out what it
    does not.

    Every user name exists but `GHOST`, each with an empty mailbox at first and the same password; `ODD_USER` has one of
    its own. What comes for ``user+Folder`` is put into that folder.
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
            mechanisms=options.mechanisms,
            tls="ssl = no" if files is None else _TLS.format(chain=files.chain, key=files.key, legacy=legacy),
            tokens=_TOKENS.format(directory=directory) if "xoauth2" in options.mechanisms else "",
            password=password,
            uid=nobody.pw_uid,
            gid=nobody.pw_gid,
            pop3=ports.get(110, 0),
            pop3s=ports.get(995, 0),
            imap=ports.get(143, 0),
            imaps=ports.get(993, 0),
            lmtp=ports.get(24, 0),
        )
        path = directory / "dovecot.conf"
        path.write_text(config, encoding="utf-8")
        _write_users(directory, nobody, password)
        _write_token_key(directory)
        self.mail = mail
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


def bearer_token(user: str, *, valid_s: float = 3600.0) -> str:
    """Make an OAuth token with which that user may log in (RFC 7519, RFC 7515 §3.1)."""
    claims = {"sub": user, "exp": int(time.time() + valid_s)}
    signed = b".".join(_base64url(json.dumps(each).encode()) for each in ({"alg": "HS256", "typ": "JWT"}, claims))
    signature = hmac.digest(_SECRET_OF_TOKENS, signed, hashlib.sha256)
    return (signed + b"." + _base64url(signature)).decode()


def _base64url(octets: bytes) -> bytes:
    return base64.urlsafe_b64encode(octets).rstrip(b"=")


def _write_users(directory: Path, owner: pwd.struct_passwd, password: str) -> None:
    (directory / "ghosts").write_text(f"{GHOST}:\n", encoding="utf-8")
    rows = [
        f"{user}:{{PLAIN}}{secret}:{owner.pw_uid}:{owner.pw_gid}::{directory}/mail/{user}::{more}\n"
        for user, secret, more in (
            (ODD_USER, ODD_PASSWORD, ""),
            (FULL, password, "userdb_quota_rule=*:bytes=1"),
        )
    ]
    (directory / "users").write_text("".join(rows), encoding="utf-8")


def _write_token_key(directory: Path) -> None:
    keys = directory / "keys/default/HS256"
    keys.mkdir(parents=True)
    (keys / "default").write_bytes(base64.b64encode(_SECRET_OF_TOKENS))
    (directory / "oauth2.conf").write_text(_OAUTH2.format(directory=directory), encoding="utf-8")
