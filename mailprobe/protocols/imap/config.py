"""What kind of IMAP server to be."""

from __future__ import annotations

import msgspec

CAPABILITIES = (
    *("IMAP4rev1", "LITERAL+", "SASL-IR", "ID", "IDLE"),
    *("NAMESPACE", "UIDPLUS", "MOVE", "UNSELECT", "SPECIAL-USE"),
)


class ImapConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A healthy server by default; every field is something a server may do otherwise.

    *greeting* is what follows ``* OK`` with its response code (None: the capabilities and the hostname).
    *preauth_user* makes the greeting PREAUTH for that user. *capabilities* is the list without STARTTLS,
    LOGINDISABLED and AUTH=, which are put in where they belong; *capabilities_before* and
    *capabilities_after* replace the whole list before and inside TLS, word for word; they change what is
    listed, not what is understood.
    """

    hostname: str = "mail.lab.test"
    greeting: str | None = None
    greeting_lists_capabilities: bool = True
    preauth_user: str | None = None
    capabilities: tuple[str, ...] = CAPABILITIES
    capabilities_before: tuple[str, ...] | None = None
    capabilities_after: tuple[str, ...] | None = None
    starttls: bool = True
    starttls_inside_tls: bool = False
    keep_state_across_tls: bool = False
    login_before_tls: bool = False
    login_inside_tls: bool = True
    sasl_before_tls: tuple[str, ...] = ()
    sasl_inside_tls: tuple[str, ...] = ("PLAIN", "LOGIN")
    line_limit: int = 8192  # RFC 7162 §4
    literal_limit: int = 4096  # of all literals of a command together, APPEND apart
    append_limit: int = 10 << 20
    mistake_limit: int = 20

    def login(self, secure: bool) -> bool:
        """Tell whether LOGIN works at that stage."""
        return self.login_inside_tls if secure else self.login_before_tls

    def mechanisms(self, secure: bool) -> tuple[str, ...]:
        """Give the SASL mechanisms of that stage."""
        return self.sasl_inside_tls if secure else self.sasl_before_tls

    def listed(self, secure: bool) -> tuple[str, ...]:
        """Give the capabilities of that stage before login, as listed."""
        explicit = self.capabilities_after if secure else self.capabilities_before
        if explicit is not None:
            return explicit
        words = list(self.capabilities)
        if self.starttls and (not secure or self.starttls_inside_tls):
            words.append("STARTTLS")
        words += [f"AUTH={name}" for name in self.mechanisms(secure)]
        if not self.login(secure):
            words.append("LOGINDISABLED")
        return tuple(words)
