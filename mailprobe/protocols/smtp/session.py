"""An SMTP server before and around its messages: replies, EHLO, STARTTLS and AUTH (RFC 5321, RFC 3207, RFC 4954).

Replies are made by ``_say``; only EHLO and the greeting have lines of their own.
"""

from __future__ import annotations

from mailprobe.protocols.commands import AUTH_LINE_LIMIT, Conversation
from mailprobe.protocols.events import Event
from mailprobe.protocols.mailstore import MailStore, Verdict
from mailprobe.protocols.sasl import SaslError, ServerExchange, decode_response, encode_challenge, server_exchange
from mailprobe.protocols.smtp.config import SmtpConfig
from mailprobe.protocols.smtp.parameters import Sender
from mailprobe.protocols.smtp.paths import is_address_literal

NAME_LIMIT = 255  # RFC 5321 §4.5.3.1.2
TEXT_LIMIT = 400  # of a reply's text that others have made; RFC 5321 §4.5.3.1.5 says 512 for the line


class SmtpSession(Conversation):
    """Who is there, how far they are trusted, and what is said to them; a subclass takes their mail."""

    def __init__(self, config: SmtpConfig, mail: MailStore) -> None:
        super().__init__()
        self._config = config
        self._mail = mail
        self._client = ""
        self._extended = False
        self._enhanced = False  # codes of RFC 3463 are listed, so they are given
        self._user: str | None = None
        self._sender: Sender | None = None  # set means that a transaction is open
        self._sasl: ServerExchange | None = None

    def greeting(self) -> list[Event]:
        """Give the 220 line."""
        text = self._config.greeting
        if text is None:
            text = f"{self._config.hostname} {'LMTP' if self._config.lmtp else 'ESMTP'}"
        self._send(f"220 {text}\r\n".encode(), "greeting")
        return self._drain()

    def _forget(self) -> None:
        if not self._config.keep_state_across_tls:
            self._client, self._extended, self._user = "", False, None
            self._reset()
        self._enhanced = self._extended and "ENHANCEDSTATUSCODES" in self._config.listed(self.secure)

    def _reset(self) -> None:
        """Break off the transaction."""
        raise NotImplementedError

    def _say(self, tag: str, code: int, text: str, enhanced: str = "") -> None:
        if self._enhanced and enhanced:  # RFC 2034 §3
            self._send(f"{code} {enhanced} {text}\r\n".encode(), tag)
        else:
            self._send(f"{code} {text}\r\n".encode(), tag)

    def _pronounce(self, tag: str, verdict: Verdict) -> None:
        """Say what others have decided, in whatever words."""
        text = verdict.text
        if len(text) > TEXT_LIMIT or not (text.isascii() and text.isprintable()):
            text = "".join(c if c.isascii() and c.isprintable() else "?" for c in text[:TEXT_LIMIT])
        self._say(tag, verdict.code, text, verdict.enhanced)
        if verdict.code == 421:  # RFC 5321 §3.8
            self._close()

    def _mistake(self, tag: str, code: int, text: str, enhanced: str) -> None:
        self._mistakes += 1
        if self._mistakes > self._config.mistake_limit:
            self._say(tag, 421, "Too many errors", "4.7.0")
            self._close()
        else:
            self._say(tag, code, text, enhanced)

    def _line_limit(self) -> int:
        """Give a login room for a token, in a line of its own or in the AUTH command (RFC 4954 §4)."""
        if self._sasl is not None or (self._user is None and self._config.mechanisms(self.secure)):
            return max(AUTH_LINE_LIMIT, self._config.line_limit)
        return self._config.line_limit

    # Who is there

    def _ehlo(self, argument: bytes) -> None:
        if not self._config.extended:
            self._mistake("ehlo", 502, "Command not implemented", "5.5.1")
        elif self._config.lmtp:
            self._mistake("ehlo", 500, "This is LMTP: say LHLO", "5.5.1")  # RFC 2033 §4.1
        else:
            self._introduce("ehlo", argument)

    def _lhlo(self, argument: bytes) -> None:
        if self._config.lmtp:
            self._introduce("lhlo", argument)
        else:
            self._mistake("unknown", 500, "Command not recognized", "5.5.2")

    def _introduce(self, tag: str, argument: bytes) -> None:
        if self._hello(tag, argument, extended=True):
            listed = self._config.listed(self.secure)
            text = self._config.hostname if self._config.ehlo_text is None else self._config.ehlo_text
            lines = [text, *listed]
            marked = [f"250-{line}\r\n" for line in lines[:-1]] + [f"250 {lines[-1]}\r\n"]
            self._send("".join(marked).encode(), tag)

    def _helo(self, argument: bytes) -> None:
        if self._config.lmtp:
            self._mistake("helo", 500, "This is LMTP: say LHLO", "5.5.1")
        elif self._hello("helo", argument, extended=False):
            self._send(f"250 {self._config.hostname}\r\n".encode(), "helo")

    def _hello(self, tag: str, argument: bytes, extended: bool) -> bool:
        name = argument.decode("ascii", "surrogateescape")
        if not name or len(name) > NAME_LIMIT or not name.isprintable() or len(name.split()) != 1:
            self._mistake(tag, 501, "Give one host name or address literal", "5.5.4")
            return False
        if name.startswith("[") and not is_address_literal(name):
            self._mistake(tag, 501, "Malformed address literal", "5.5.4")
            return False
        self._client, self._extended = name, extended
        self._enhanced = extended and "ENHANCEDSTATUSCODES" in self._config.listed(self.secure)
        self._reset()
        return True

    def _starttls(self, argument: bytes) -> None:
        if not self._config.starttls:
            self._mistake("starttls", 502, "Command not implemented", "5.5.1")
        elif self.secure:
            self._mistake("starttls", 503, "TLS is already active", "5.5.1")
        elif argument:
            self._mistake("starttls", 501, "STARTTLS takes no parameter", "5.5.4")
        else:
            self._say("starttls", 220, "Ready to start TLS", "2.0.0")
            self._start_tls()

    def _auth(self, argument: bytes) -> None:
        offered = self._config.mechanisms(self.secure)
        word, _, initial = argument.partition(b" ")
        mechanism = word.decode("ascii", "replace").upper()
        if not self._extended or self._user is not None or self._sender is not None:
            self._mistake("auth", 503, "AUTH is not possible now", "5.5.1")
        elif not offered and self._config.mechanisms(True) and not self.secure:
            self._mistake("auth", 538, "Encryption is required for AUTH", "5.7.11")
        elif not offered:
            self._mistake("auth", 502, "Command not implemented", "5.5.1")
        else:
            exchange = server_exchange(mechanism, offered, self._mail.secret, self._bindings, self._identity)
            self._begin_auth(exchange, initial.strip())

    def _begin_auth(self, exchange: ServerExchange | None, initial: bytes) -> None:
        self._sasl = exchange
        if exchange is None:
            self._mistake("auth", 504, "Mechanism not supported", "5.5.4")
        elif initial:
            self._continue_auth(exchange, initial)
        else:
            self._challenge(exchange)

    def _challenge(self, exchange: ServerExchange) -> None:
        self._send(b"334 " + encode_challenge(exchange.challenge()) + b"\r\n", "auth-challenge")

    def _continue_auth(self, exchange: ServerExchange, line: bytes) -> None:
        if line == b"*":
            self._sasl = None
            self._say("auth", 501, "Authentication cancelled", "5.7.0")
            return
        try:
            login = exchange.respond(decode_response(line))
        except SaslError as error:
            self._sasl = None
            self._mistake("auth", 501, f"Malformed response: {error}", "5.5.2")
            return
        if login is None:
            self._challenge(exchange)
            return
        self._sasl = None
        if login.allowed:
            self._user = login.user
            self._say("auth", 235, "Authentication successful", "2.7.0")
        else:
            self._mistake("auth", 535, "Authentication credentials invalid", "5.7.8")
