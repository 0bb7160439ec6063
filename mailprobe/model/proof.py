"""The four protocols side by side, and what proves each line of it."""

from __future__ import annotations

from mailprobe.model.evidence import Exchange, Struct

PROTOCOLS = ("SMTP", "POP3", "POP3S", "IMAP")


class Row(Struct, frozen=True, kw_only=True):
    """One line of the comparison: a question about mail protocols, and the answer of each."""

    question: str
    smtp: str
    pop3: str
    pop3s: str
    imap: str

    @property
    def cells(self) -> tuple[str, ...]:
        """The answers in the order of PROTOCOLS."""
        return self.smtp, self.pop3, self.pop3s, self.imap


ROWS = (
    Row(
        question="function",
        smtp="sends and relays mail",
        pop3="fetches mail",
        pop3s="fetches mail, inside TLS",
        imap="works with mail on the server",
    ),
    Row(question="ports", smtp="25 relay, 587 and 465 submission", pop3="110", pop3s="995", imap="143; 993 inside TLS"),
    Row(
        question="direction",
        smtp="client to server, server to server",
        pop3="server to client",
        pop3s="server to client",
        imap="both ways",
    ),
    Row(
        question="sync across devices",
        smtp="none: it only carries",
        pop3="no",
        pop3s="no",
        imap="yes: flags and deletions",
    ),
    Row(
        question="mail stays on the server",
        smtp="until it is passed on",
        pop3="until a device deletes it, for all",
        pop3s="until a device deletes it, for all",
        imap="yes, until it is expunged",
    ),
    Row(
        question="encryption",
        smtp="STARTTLS on 25 and 587, TLS on 465",
        pop3="none, or STLS",
        pop3s="TLS from the first octet",
        imap="STARTTLS on 143, TLS on 993",
    ),
    Row(
        question="suited to",
        smtp="sending; between servers",
        pop3="one device that keeps its mail",
        pop3s="the same, on any network",
        imap="several devices, one mailbox",
    ),
)


class Said(Struct, frozen=True, kw_only=True):
    """One exchange of a proof and who said it: ``first`` or ``second``, the two devices."""

    device: str
    protocol: str
    exchange: Exchange


class Proof(Struct, frozen=True, kw_only=True):
    """What was done to prove one answer. *holds* is None when it could not be decided; *detail* says what was seen."""

    question: str
    protocol: str
    claim: str
    holds: bool | None
    detail: str
    dialogue: tuple[Said, ...]
