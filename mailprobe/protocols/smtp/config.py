"""What kind of SMTP server to be."""

from __future__ import annotations

import msgspec

from mailprobe.model.ports import Role

KEYWORDS = ("PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES", "CHUNKING")
USUAL_MECHANISMS = ("PLAIN", "LOGIN")
HARD_LIMIT = 64 << 20  # octets of a message where SIZE 0 promises no limit


class SmtpConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A healthy server by default; every field is something a server may do otherwise.

    *greeting* and *ehlo_text* are what follows ``220`` and the first ``250-`` (None: the hostname).
    *keywords* is the EHLO list without STARTTLS, AUTH, BINARYMIME and REQUIRETLS, which are put in where they
    belong; ``SIZE`` alone gets *size_limit* behind it. *keywords_before* and *keywords_after* replace the whole
    list before and inside TLS, word for word; they change what is listed, not what is understood.
    *auth_inside_tls* None means PLAIN and LOGIN for submission and nothing for a relay; every mechanism of
    `mailprobe.protocols.sasl` can be listed, and the lab's post offices list SCRAM and tokens, too. *login_required*
    None means for submission. *local_domains* may hold address literals (``[192.0.2.1]``). *lmtp* speaks RFC 2033.
    """

    hostname: str = "mail.lab.test"
    role: Role = Role.RELAY
    lmtp: bool = False
    greeting: str | None = None
    ehlo_text: str | None = None
    local_domains: tuple[str, ...] = ("lab.test",)
    extended: bool = True  # False: EHLO is unknown, only HELO works
    keywords: tuple[str, ...] = KEYWORDS
    keywords_before: tuple[str, ...] | None = None
    keywords_after: tuple[str, ...] | None = None
    binarymime: bool = False  # RFC 3030
    requiretls: bool = False  # RFC 8689
    starttls: bool = True
    starttls_inside_tls: bool = False
    keep_state_across_tls: bool = False
    auth_before_tls: tuple[str, ...] = ()
    auth_inside_tls: tuple[str, ...] | None = None
    login_required: bool | None = None
    size_limit: int = 10 << 20
    recipient_limit: int = 100  # RFC 5321 §4.5.3.1.8
    line_limit: int = 2048  # RFC 5321 §4.5.3.1.4 says 512, and extensions add to it
    mistake_limit: int = 20

    def mechanisms(self, secure: bool) -> tuple[str, ...]:
        """Give the AUTH mechanisms offered at that stage."""
        if not secure:
            return self.auth_before_tls
        if self.auth_inside_tls is not None:
            return self.auth_inside_tls
        return USUAL_MECHANISMS if self.role is Role.SUBMISSION else ()

    def listed(self, secure: bool) -> tuple[str, ...]:
        """Give the EHLO keywords of that stage, as listed."""
        explicit = self.keywords_after if secure else self.keywords_before
        if explicit is not None:
            return explicit
        words = [f"SIZE {self.size_limit}" if word == "SIZE" else word for word in self.keywords]
        if self.binarymime:
            words.append("BINARYMIME")
        if self.requiretls and secure:
            words.append("REQUIRETLS")
        if self.starttls and (not secure or self.starttls_inside_tls):
            words.append("STARTTLS")
        if self.mechanisms(secure):
            words.append("AUTH " + " ".join(self.mechanisms(secure)))
        return tuple(words)

    @property
    def bodies(self) -> tuple[str, ...]:
        """The values that BODY takes."""
        return ("7BIT", "8BITMIME", "BINARYMIME") if self.binarymime else ("7BIT", "8BITMIME")

    @property
    def needs_login(self) -> bool:
        """True when mail is taken from users who logged in, and from nobody else."""
        return self.role is Role.SUBMISSION if self.login_required is None else self.login_required
