"""What differs between SMTP, POP3 and IMAP when a server is got to know: the words, not the order."""

from __future__ import annotations

from typing import Protocol as Interface

from mailprobe.collect.dialogue import Dialogue, stop
from mailprobe.model.evidence import Capabilities, Kind, Reply, Stage
from mailprobe.model.ports import Protocol, Service
from mailprobe.protocols.client import Client, empty_capabilities
from mailprobe.protocols.imap import client as imap
from mailprobe.protocols.pop3 import client as pop3
from mailprobe.protocols.smtp import client as smtp


class Manners(Interface):
    """How one protocol does what all three do."""

    @property
    def client(self) -> Client:
        """The protocol's client, fresh for one conversation."""

    def welcome(self, greeting: Reply) -> None:
        """Raise Stopped unless the greeting lets us go on."""

    async def capabilities(self, dialogue: Dialogue, stage: Stage) -> Capabilities | None:
        """Learn what the server can do; None when it does not tell."""

    def starttls_offered(self, capabilities: Capabilities | None) -> bool | None:
        """Tell whether STARTTLS is offered; None when only trying can tell."""

    def starttls(self) -> bytes:
        """Give the command that asks for TLS."""

    def go_ahead(self, reply: Reply) -> None:
        """Raise Stopped unless the reply lets the handshake begin."""

    def goodbye(self) -> bytes:
        """Give the command that ends the conversation."""


def manners_for(service: Service) -> Manners:
    """Give the manners for a service; a port of no known service is first met as if it spoke SMTP."""
    if service.protocol is Protocol.POP3:
        return Pop3Manners()
    if service.protocol is Protocol.IMAP:
        return ImapManners()
    return SmtpManners()


class SmtpManners:
    """SMTP: a 220, EHLO or else HELO, STARTTLS, QUIT."""

    def __init__(self) -> None:
        self.client = smtp.SmtpClient()

    def welcome(self, greeting: Reply) -> None:
        """Go on after 220 only (RFC 5321 §3.1)."""
        if greeting.status != "220":
            raise stop(Stage.GREETING, _kind_of(greeting.status), greeting.lines[-1])

    async def capabilities(self, dialogue: Dialogue, stage: Stage) -> Capabilities | None:
        """Say EHLO, and HELO when the server knows no EHLO (RFC 5321 §3.2)."""
        reply = await dialogue.ask(stage, self.client.ehlo(dialogue.our_name))
        if reply.status.startswith("2"):
            return smtp.ehlo_capabilities(reply)
        if reply.status.startswith("4"):
            raise stop(stage, Kind.TEMPORARY, reply.lines[-1])
        if reply.status not in smtp.KNOWS_NO_EHLO:
            raise stop(stage, Kind.REJECTED, reply.lines[-1])
        reply = await dialogue.ask(stage, self.client.helo(dialogue.our_name))
        if not reply.status.startswith("2"):
            raise stop(stage, _kind_of(reply.status), reply.lines[-1])
        return empty_capabilities("helo")

    def starttls_offered(self, capabilities: Capabilities | None) -> bool | None:
        """Look for the keyword (RFC 3207 §2)."""
        return capabilities is not None and capabilities.has("STARTTLS")

    def starttls(self) -> bytes:
        """Give STARTTLS."""
        return self.client.starttls()

    def go_ahead(self, reply: Reply) -> None:
        """Take 220 (RFC 3207 §4) and no other code."""
        if reply.status != "220":
            raise stop(Stage.STARTTLS, _kind_of(reply.status), reply.lines[-1])

    def goodbye(self) -> bytes:
        """Give QUIT."""
        return self.client.quit()


class Pop3Manners:
    """POP3: +OK, CAPA, STLS, QUIT."""

    def __init__(self) -> None:
        self.client = pop3.Pop3Client()

    def welcome(self, greeting: Reply) -> None:
        """Go on after +OK only."""
        if greeting.status != "+OK":
            raise stop(Stage.GREETING, _pop3_kind(greeting), greeting.lines[-1])

    async def capabilities(self, dialogue: Dialogue, stage: Stage) -> Capabilities | None:
        """Ask CAPA; an old server may refuse it and still be well (RFC 2449 §5)."""
        reply = await dialogue.ask(stage, self.client.capa())
        return pop3.capa_capabilities(reply) if reply.status == "+OK" else None

    def starttls_offered(self, capabilities: Capabilities | None) -> bool | None:
        """Look for STLS (RFC 2595 §4)."""
        return capabilities.has("STLS") if capabilities is not None else None

    def starttls(self) -> bytes:
        """Give STLS."""
        return self.client.stls()

    def go_ahead(self, reply: Reply) -> None:
        """Take +OK."""
        if reply.status != "+OK":
            raise stop(Stage.STARTTLS, _pop3_kind(reply), reply.lines[-1])

    def goodbye(self) -> bytes:
        """Give QUIT."""
        return self.client.quit()


class ImapManners:
    """IMAP: OK, CAPABILITY unless the greeting told, STARTTLS, LOGOUT."""

    def __init__(self, foreign_tags: tuple[str, ...] = ()) -> None:
        self.client = imap.ImapClient(foreign_tags)
        self.told: Capabilities | None = None  # by the greeting

    def welcome(self, greeting: Reply) -> None:
        """Go on after OK and PREAUTH."""
        if greeting.status == "BYE":
            raise stop(Stage.GREETING, _imap_kind(greeting), greeting.lines[-1])
        self.told = imap.capabilities_in(greeting)

    async def capabilities(self, dialogue: Dialogue, stage: Stage) -> Capabilities | None:
        """Take the list of the greeting, or ask; always ask inside TLS (RFC 9051 §6.2.1)."""
        if self.told is not None:
            told, self.told = self.told, None
            return told
        reply = await dialogue.ask(stage, self.client.capability())
        if reply.status == "BYE":
            raise stop(stage, _imap_kind(reply), reply.lines[-1])
        return imap.capabilities_in(reply) if reply.status == "OK" else None

    def starttls_offered(self, capabilities: Capabilities | None) -> bool | None:
        """Look for the keyword (RFC 9051 §6.2.1)."""
        return capabilities.has("STARTTLS") if capabilities is not None else None

    def starttls(self) -> bytes:
        """Give STARTTLS, and drop what the greeting told."""
        self.told = None
        return self.client.starttls()

    def go_ahead(self, reply: Reply) -> None:
        """Take OK."""
        if reply.status != "OK":
            raise stop(Stage.STARTTLS, _imap_kind(reply), reply.lines[-1])

    def goodbye(self) -> bytes:
        """Give LOGOUT."""
        return self.client.logout()


def kind_of(client: Client, reply: Reply) -> Kind:
    """Tell whether a negative reply to any command means "later" (TEMPORARY) or "no" (REJECTED)."""
    if isinstance(client, pop3.Pop3Client):
        return _pop3_kind(reply)
    return _imap_kind(reply) if isinstance(client, imap.ImapClient) else _kind_of(reply.status)


def _kind_of(code: str) -> Kind:
    """Tell "later" from "no" (RFC 5321 §4.2.1)."""
    return Kind.TEMPORARY if code.startswith("4") else Kind.REJECTED


def _pop3_kind(reply: Reply) -> Kind:
    """Tell "later" from "no" by the response code (RFC 2449 §8.1, RFC 3206)."""
    temporary = {"SYS/TEMP", "IN-USE", "LOGIN-DELAY"}
    return Kind.TEMPORARY if pop3.response_code(reply) in temporary else Kind.REJECTED


def _imap_kind(reply: Reply) -> Kind:
    """Tell "later" from "no" by the response code (RFC 5530 §3)."""
    code = imap.response_code(reply)
    return Kind.TEMPORARY if code and code[0] in {"UNAVAILABLE", "INUSE", "LIMIT"} else Kind.REJECTED
