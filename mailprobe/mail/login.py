"""Logging in, over SMTP, POP3 and IMAP: which mechanism, which words, and whether the connection is safe for it.

Credentials go out only inside TLS whose certificate is trusted and names the host, or over a unix socket, unless the
user says in words that they may.
"""

from __future__ import annotations

import msgspec

from mailprobe.collect.dialogue import MASKED, Dialogue, Stopped, stop
from mailprobe.collect.manners import kind_of
from mailprobe.model.conversation import LoginOutcome
from mailprobe.model.errors import LocalProtocolError, RecordError
from mailprobe.model.evidence import Capabilities, Kind, Reply, Stage, Tls, Trouble
from mailprobe.net.tls import channel_binding
from mailprobe.protocols.imap.client import ImapClient
from mailprobe.protocols.pop3.client import Pop3Client, apop_stamp
from mailprobe.protocols.sasl import (
    ChannelBinding,
    ClientExchange,
    Credentials,
    SaslError,
    client_exchange,
    decode_response,
    strongest,
)
from mailprobe.protocols.smtp.client import SmtpClient

SMTP_LINE_LIMIT = 512  # RFC 5321 §4.5.3.1.4; a longer AUTH goes without its initial response (RFC 4954 §4)
SAY_SO = "say --insecure-login to send it all the same"
GO_ON_SO = "say --insecure-login to go on all the same"
_SUCCESS = {"235", "+OK", "OK"}
_CHALLENGE = {"334", "+"}


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """Who logs in, and how.

    *mechanism* is a SASL name, ``USER`` or ``APOP`` (POP3), ``LOGIN`` (IMAP's own command where SASL LOGIN is not
    offered), or None for the best that both sides know. *insecure* lets the password out in clear and to anybody.
    """

    credentials: Credentials
    mechanism: str | None = None
    insecure: bool = False


class LoginRefused(Stopped):
    """The server did not let us in."""

    def __init__(self, trouble: Trouble, outcome: LoginOutcome) -> None:
        super().__init__(trouble)
        self.outcome = outcome


def fault_of(tls: Tls | None, host: str) -> str:
    """Say why a connection is not safe for a password; empty when it is."""
    if tls is None:
        return "the connection is not encrypted"
    if tls.trust is None or not tls.chain:
        return "the server shows no certificate"
    if not tls.trust.trusted:
        return f"the certificate is not trusted ({tls.trust.reason})"
    from mailprobe.records.certificate import names_host, read

    try:
        return "" if names_host(read(tls.chain[0]), host) else f"the certificate is not for {host}"
    except RecordError:
        return "the certificate cannot be read"


async def log_in(
    dialogue: Dialogue, capabilities: Capabilities | None, login: Login, *, fault: str, greeting: Reply | None = None
) -> LoginOutcome:
    """Log in with the best mechanism, or with the one asked for; *fault* is what `fault_of` says.

    *capabilities* None means that the server did not tell. The *greeting* may offer APOP.

    Raises:
        LoginRefused: the server said no, or later.
        Stopped: LOCAL when the password may not be sent here or is none; REJECTED when no mechanism fits; GARBAGE
            when the server breaks the mechanism or cannot prove who it is; else how the conversation ended.
    """
    if fault and not login.insecure:
        raise stop(Stage.LOGIN, Kind.LOCAL, f"the password is not sent: {fault}; {SAY_SO}")
    stamp = apop_stamp(greeting) if greeting is not None else None
    attempt = _Attempt(dialogue, _Offer(dialogue.client, capabilities, stamp), login.credentials)
    mechanism = _choose(attempt.offer, login, attempt.binding, secure=not fault)
    try:
        return await attempt.make(mechanism)
    except (SaslError, LocalProtocolError) as error:  # it cannot even be begun
        raise stop(Stage.LOGIN, Kind.LOCAL, str(error)) from None


class _Offer:
    """The ways to log in that a server offers."""

    def __init__(self, client: object, capabilities: Capabilities | None, stamp: str | None) -> None:
        self.told = capabilities is not None
        self.initial_response = capabilities is not None and capabilities.has("SASL-IR")  # IMAP (RFC 4959)
        self.stamp = stamp
        self.sasl: tuple[str, ...] = ()
        self.commands: tuple[str, ...] = ()  # the protocol's own, the better first
        found = capabilities
        words = ("SASL",) if isinstance(client, Pop3Client) else ("AUTH", "AUTH=")
        if found is not None:
            self.sasl = tuple(dict.fromkeys(name for word in words for name in found.parameters(word)))
        if isinstance(client, ImapClient) and not (found is not None and found.has("LOGINDISABLED")):
            self.commands = ("LOGIN",)
        elif isinstance(client, Pop3Client):
            user = ("USER",) if found is None or found.has("USER") else ()
            self.commands = (*user, "APOP") if stamp else user

    def __str__(self) -> str:
        listed = dict.fromkeys((*self.sasl, *self.commands))
        return f"the server offers {', '.join(listed)}" if listed else "the server offers none"


def _choose(offer: _Offer, login: Login, binding: ChannelBinding | None, *, secure: bool) -> str:
    asked = login.mechanism.upper() if login.mechanism is not None else None
    if asked is not None:
        if offer.told and asked not in offer.sasl and asked not in offer.commands:
            raise stop(Stage.LOGIN, Kind.REJECTED, f"{asked} is not offered here: {offer}")
        return asked
    credentials = login.credentials
    best = strongest(offer.sasl, credentials, secure=secure or login.insecure, binding=binding)
    if best is None and credentials.password is not None and offer.commands:
        # Broken as APOP is (RFC 6151), it does not say the password aloud.
        best = "APOP" if not secure and "APOP" in offer.commands else offer.commands[0]
    if best is None:
        raise stop(Stage.LOGIN, Kind.REJECTED, f"there is no way to log in with these credentials: {offer}")
    return best


class _Attempt:
    """One attempt to log in."""

    def __init__(self, dialogue: Dialogue, offer: _Offer, credentials: Credentials) -> None:
        self.offer = offer
        self._dialogue = dialogue
        self._credentials = credentials
        tls = dialogue.opened.tls
        found = channel_binding(tls) if tls is not None else None
        self.binding = ChannelBinding(*found) if found is not None else None

    async def make(self, mechanism: str) -> LoginOutcome:
        """Log in by a mechanism."""
        client, offer = self._dialogue.client, self.offer
        complaint = ""
        if isinstance(client, Pop3Client) and mechanism in {"USER", "APOP"}:
            reply = await (self._user(client) if mechanism == "USER" else self._apop(client))
        elif isinstance(client, ImapClient) and mechanism == "LOGIN" and mechanism not in offer.sasl:
            reply = await self._imap_login(client)
        else:
            exchange = client_exchange(mechanism, self._credentials, self.binding)
            reply = await self._sasl(mechanism, exchange)
            complaint = exchange.complaint
        return self._outcome(mechanism, reply, complaint)

    def _outcome(self, mechanism: str, reply: Reply, complaint: str) -> LoginOutcome:
        succeeded = reply.status in _SUCCESS
        outcome = LoginOutcome(user=self._credentials.user, mechanism=mechanism, succeeded=succeeded, reply=reply)
        if not succeeded:
            kind = kind_of(self._dialogue.client, reply)
            words = reply.lines[-1] if reply.lines else ""
            detail = f"{words} ({complaint})" if complaint else words
            raise LoginRefused(Trouble(stage=Stage.LOGIN, kind=kind, detail=detail[:500]), outcome)
        return outcome

    # -- the protocols' own commands ---------------------------------------------------------------------------

    @property
    def _password(self) -> str:
        if self._credentials.password is None:
            raise SaslError("a password is needed")
        return self._credentials.password

    async def _user(self, client: Pop3Client) -> Reply:
        password = client.pass_(self._password)  # made first: if it cannot be sent, neither is the name
        reply = await self._ask(client.user(self._credentials.user), None)
        return await self._ask(password, f"PASS {MASKED}") if reply.status == "+OK" else reply

    async def _apop(self, client: Pop3Client) -> Reply:
        if self.offer.stamp is None:
            raise stop(Stage.LOGIN, Kind.REJECTED, "APOP is not offered here: the greeting has no stamp (RFC 1939 §7)")
        user = self._credentials.user
        return await self._ask(client.apop(user, self._password, self.offer.stamp), f"APOP {user} {MASKED}")

    async def _imap_login(self, client: ImapClient) -> Reply:
        if "LOGIN" not in self.offer.commands:
            raise stop(Stage.LOGIN, Kind.REJECTED, f"LOGIN is not allowed here (LOGINDISABLED): {self.offer}")
        command = client.login(self._credentials.user, self._password)
        reply = await self._ask(command, f"{command.split()[0].decode('ascii')} LOGIN {MASKED}")
        while reply.status == "+":
            reply = await self._ask(client.go_on(), MASKED)
        return reply

    # -- SASL --------------------------------------------------------------------------------------------------

    async def _sasl(self, mechanism: str, exchange: ClientExchange) -> Reply:
        client = self._dialogue.client
        assert isinstance(client, SmtpClient | Pop3Client | ImapClient)
        pending = exchange.initial()
        with_it = pending is not None and self._goes_with(client, mechanism, pending)
        command = _begin(client, mechanism, pending if with_it else None)
        pending = None if with_it else pending
        # Of the salt and the server's signature passwords can be guessed, offline and as fast as one likes.
        telling = mechanism.startswith("SCRAM-")
        reply = await self._ask(command, _without_last_word(command) if with_it else None, telling=telling)
        while reply.status in _CHALLENGE:
            try:
                challenge = decode_response(_behind_status(reply))
                response = exchange.respond(challenge) if pending is None else pending
            except SaslError as error:
                await self._ask(client.auth_cancel(), None)
                raise stop(Stage.LOGIN, Kind.GARBAGE, f"{mechanism}: {error}") from None
            pending = None
            reply = await self._ask(client.auth_response(response), MASKED if response else "", telling=telling)
        if reply.status in _SUCCESS:
            _check(mechanism, exchange)
        return reply

    def _goes_with(self, client: SmtpClient | Pop3Client | ImapClient, mechanism: str, initial: bytes) -> bool:
        """Tell whether the initial response can stand in the command itself.

        POP3 servers that take it there (RFC 5034 §4) do not say so, and older ones (RFC 1734) do not.
        """
        if isinstance(client, SmtpClient):
            return len(f"AUTH {mechanism} \r\n") + (len(initial) + 2) // 3 * 4 <= SMTP_LINE_LIMIT
        return isinstance(client, ImapClient) and self.offer.initial_response

    async def _ask(self, command: bytes, shown: str | None, *, telling: bool = False) -> Reply:
        """Ask; *telling* keeps the words of a challenge from being written down."""
        reply = await self._dialogue.ask(Stage.LOGIN, command, shown=shown)
        if telling and reply.status in _CHALLENGE:
            self._dialogue.hide_reply()
        return reply


def _begin(client: SmtpClient | Pop3Client | ImapClient, mechanism: str, initial: bytes | None) -> bytes:
    if isinstance(client, Pop3Client):
        return client.auth(mechanism)
    return (
        client.authenticate(mechanism, initial) if isinstance(client, ImapClient) else client.auth(mechanism, initial)
    )


def _without_last_word(command: bytes) -> str:
    return f"{command.decode('ascii').rstrip().rpartition(' ')[0]} {MASKED}"


def _behind_status(reply: Reply) -> bytes:
    """Give the base64 of a challenge."""
    return reply.lines[-1][len(reply.status) :].strip().encode("latin-1")


def _check(mechanism: str, exchange: ClientExchange) -> None:
    """See whether the server has proven what the mechanism wants it to."""
    try:
        exchange.finish()
    except SaslError as error:
        raise stop(Stage.LOGIN, Kind.GARBAGE, f"{mechanism}: {error}") from None
