"""The server side of SMTP (RFC 5321) as relay and for submission (RFC 6409), sans-IO.

Octets are lines of commands, the text of a message after DATA, or the counted octets of a BDAT; ``_step``
handles whichever it is now. Replies are made by ``_say``; only EHLO and the greeting have lines of their own.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from mailprobe.protocols.commands import AUTH_LINE_LIMIT, Conversation, OverlongLineError
from mailprobe.protocols.events import Event
from mailprobe.protocols.mailstore import Envelope, MailboxFullError, MailStore, password_fits
from mailprobe.protocols.sasl import MECHANISMS, SaslError, SaslExchange, decode_response, encode_challenge
from mailprobe.protocols.smtp.config import SmtpConfig
from mailprobe.protocols.smtp.paths import Path, PathError, parse_path

END_OF_DATA = b"\r\n.\r\n"
HARD_LIMIT = 64 << 20  # where SIZE 0 promises no limit
_MAIL_PARAMETERS = {"SIZE", "BODY", "SMTPUTF8", "RET", "ENVID", "AUTH"}
_RCPT_PARAMETERS = {"NOTIFY", "ORCPT"}


class _Body(msgspec.Struct):
    """A message on its way in; nothing more is kept once it is *too_big*."""

    data: bytearray
    limit: int
    left: int = 0  # octets of the BDAT chunk still to come
    last: bool = False
    refused: bool = False
    too_big: bool = False

    def add(self, octets: bytes) -> None:
        if self.refused or self.too_big or len(self.data) + len(octets) > self.limit:
            self.too_big = self.too_big or not self.refused
            self.data.clear()
        else:
            self.data += octets


class SmtpServer(Conversation):
    """One SMTP conversation."""

    def __init__(self, config: SmtpConfig, mail: MailStore) -> None:
        super().__init__()
        self._config = config
        self._mail = mail
        self._client = ""
        self._extended = False
        self._user: str | None = None
        self._sender: Path | None = None
        self._recipients: list[Path] = []
        self._sasl: SaslExchange | None = None
        self._data: _Body | None = None  # between 354 and the final dot
        self._chunk: _Body | None = None  # between a BDAT command and its last octet
        self._chunks: _Body | None = None  # what earlier BDATs brought
        self._tail = b""

    def greeting(self) -> list[Event]:
        """Give the 220 line."""
        text = self._config.greeting
        self._send(f"220 {self._config.hostname + ' ESMTP' if text is None else text}\r\n".encode(), "greeting")
        return self._drain()

    def _forget(self) -> None:
        if not self._config.keep_state_across_tls:
            self._client, self._extended, self._user = "", False, None
            self._reset()

    def _reset(self) -> None:
        self._sender, self._recipients, self._chunks = None, [], None

    def _say(self, tag: str, code: int, text: str, enhanced: str = "") -> None:
        known = self._extended and "ENHANCEDSTATUSCODES" in self._config.listed(self.secure)  # RFC 2034 §3
        self._send(f"{code} {enhanced + ' ' if enhanced and known else ''}{text}\r\n".encode(), tag)

    def _mistake(self, tag: str, code: int, text: str, enhanced: str) -> None:
        self._mistakes += 1
        if self._mistakes > self._config.mistake_limit:
            self._say(tag, 421, "Too many errors", "4.7.0")
            self._close()
        else:
            self._say(tag, code, text, enhanced)

    def _step(self) -> bool:
        if self._data is not None:
            return self._take_data(self._data)
        if self._chunk is not None:
            return self._take_chunk(self._chunk)
        try:
            line = self._buffer.line(AUTH_LINE_LIMIT if self._sasl else self._config.line_limit)
        except OverlongLineError as error:
            self._sasl = None
            self._mistake("overlong", 421 if error.endless else 500, "Line too long", "5.5.2")
            if error.endless and not self._closed:
                self._close()
            return True
        if line is None:
            return False
        if self._sasl is not None:
            self._continue_auth(self._sasl, line)
        else:
            self._command(line)
        return True

    def _command(self, line: bytes) -> None:
        word, _, argument = line.strip(b" \t").partition(b" ")
        handler = _COMMANDS.get(word.upper())
        if handler is None:
            self._mistake("unknown", 500, "Command not recognized", "5.5.2")
        else:
            handler(self, argument.strip())

    # Who is there

    def _ehlo(self, argument: bytes) -> None:
        if not self._config.extended:
            self._mistake("ehlo", 502, "Command not implemented", "5.5.1")
        elif self._hello("ehlo", argument):
            self._extended = True
            text = self._config.hostname if self._config.ehlo_text is None else self._config.ehlo_text
            lines = [text, *self._config.listed(self.secure)]
            marked = [f"250-{line}\r\n" for line in lines[:-1]] + [f"250 {lines[-1]}\r\n"]
            self._send("".join(marked).encode(), "ehlo")

    def _helo(self, argument: bytes) -> None:
        if self._hello("helo", argument):
            self._extended = False
            self._send(f"250 {self._config.hostname}\r\n".encode(), "helo")

    def _hello(self, tag: str, argument: bytes) -> bool:
        name = argument.decode("ascii", "replace")
        if not name or not name.isprintable() or len(name.split()) != 1:
            self._mistake(tag, 501, "Give one host name or address literal", "5.5.4")
            return False
        self._client = name
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
        elif mechanism not in offered or mechanism not in MECHANISMS:
            self._mistake("auth", 504, "Mechanism not supported", "5.5.4")
        else:
            self._begin_auth(SaslExchange(mechanism), initial.strip())

    def _begin_auth(self, exchange: SaslExchange, initial: bytes) -> None:
        self._sasl = exchange
        if initial:
            self._continue_auth(exchange, initial)
        else:
            self._challenge(exchange)

    def _challenge(self, exchange: SaslExchange) -> None:
        self._send(b"334 " + encode_challenge(exchange.challenge()) + b"\r\n", "auth-challenge")

    def _continue_auth(self, exchange: SaslExchange, line: bytes) -> None:
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
        if password_fits(self._mail, login.user, login.password):
            self._user = login.user
            self._say("auth", 235, "Authentication successful", "2.7.0")
        else:
            self._mistake("auth", 535, "Authentication credentials invalid", "5.7.8")

    # A message

    def _mail_from(self, argument: bytes) -> None:
        refusal = self._refuse_mail()
        if refusal is not None:
            self._mistake("mail", *refusal)
            return
        try:
            path = parse_path(argument, "FROM")
            self._check_parameters(path, _MAIL_PARAMETERS)
        except PathError as error:
            self._mistake("mail", 555 if error.enhanced == "5.5.1" else 501, str(error), error.enhanced)
            return
        if int(path.parameter("SIZE") or "0") > self._config.size_limit > 0:
            self._say("mail", 552, "Message too big", "5.3.4")
        elif not path.address.isascii() and path.parameter("SMTPUTF8") is None:
            self._say("mail", 553, "SMTPUTF8 is needed for this address", "5.6.7")
        else:
            self._sender = path
            self._say("mail", 250, "Sender ok", "2.1.0")

    def _refuse_mail(self) -> tuple[int, str, str] | None:
        if not self._client:
            return 503, "Say EHLO first", "5.5.1"
        if self._sender is not None:
            return 503, "MAIL was given already", "5.5.1"
        if self._config.needs_login and self._user is None:
            if not self.secure and self._config.starttls and not self._config.auth_before_tls:
                return 530, "Must issue a STARTTLS command first", "5.7.0"  # RFC 3207 §4
            return 530, "Authentication required", "5.7.0"  # RFC 4954 §6
        return None

    def _check_parameters(self, path: Path, known: set[str]) -> None:
        for name, value in path.parameters:
            if name not in known:
                raise PathError(f"Parameter not recognized: {name[:40]}", "5.5.1")
            if name == "SIZE" and not (value.isascii() and value.isdigit() and len(value) <= 20):
                raise PathError("SIZE takes a number", "5.5.4")
            if name == "BODY" and value.upper() not in ("7BIT", "8BITMIME"):
                raise PathError("BODY takes 7BIT or 8BITMIME", "5.5.4")

    def _rcpt_to(self, argument: bytes) -> None:
        if self._sender is None:
            self._mistake("rcpt", 503, "Say MAIL first", "5.5.1")
            return
        try:
            path = parse_path(argument, "TO")
            self._check_parameters(path, _RCPT_PARAMETERS)
            if not path.address:
                raise PathError("The recipient is empty", "5.1.3")
        except PathError as error:
            self._mistake("rcpt", 555 if error.enhanced == "5.5.1" else 501, str(error), error.enhanced)
            return
        refusal = self._refuse_recipient(path)
        if refusal is not None:
            self._say("rcpt", *refusal)
        else:
            self._recipients.append(path)
            self._say("rcpt", 250, "Recipient ok", "2.1.5")

    def _refuse_recipient(self, path: Path) -> tuple[int, str, str] | None:
        local = path.domain in ("", *self._config.local_domains)
        if not local and self._user is None:
            return 554, "Relay access denied", "5.7.1"
        if local and not self._mail.accepts(path.address):
            return 550, "No such user here", "5.1.1"
        if len(self._recipients) >= self._config.recipient_limit:
            return 452, "Too many recipients", "4.5.3"
        return None

    def _data_command(self, argument: bytes) -> None:
        if self._sender is None or self._chunks is not None:
            self._mistake("data", 503, "Say MAIL and RCPT first", "5.5.1")
        elif argument:
            self._mistake("data", 501, "DATA takes no parameter", "5.5.4")
        elif not self._recipients:
            self._mistake("data", 554, "No valid recipients", "5.5.1")
        else:
            self._data = _Body(bytearray(), self._config.size_limit or HARD_LIMIT)
            self._tail = b"\r\n"  # the line end before the first line of text
            self._say("data", 354, "End data with <CRLF>.<CRLF>")

    def _take_data(self, body: _Body) -> bool:
        """Read text up to CRLF dot CRLF and nothing else: any other end would let mail be smuggled."""
        fresh = self._buffer.take_all()
        if not fresh:
            return False
        octets = self._tail + fresh
        end = octets.find(END_OF_DATA)
        if end < 0:
            kept = len(octets) - min(len(octets), len(END_OF_DATA) - 1)
            body.add(octets[:kept])
            self._tail = octets[kept:]
            return True
        body.add(octets[: end + 2])
        self._buffer.put_back(octets[end + len(END_OF_DATA) :])
        self._data = None
        text = bytes(body.data).replace(b"\r\n.", b"\r\n")[2:]  # RFC 5321 §4.5.2
        self._finish("eom", text, body.too_big)
        return True

    def _bdat(self, argument: bytes) -> None:
        words = argument.upper().split()
        sized = bool(words) and words[0].isdigit() and len(words[0]) <= 12
        if not sized or words[1:] not in ([], [b"LAST"]):
            self._mistake("bdat", 501, "BDAT takes a size and LAST", "5.5.4")
            return
        body = self._chunks or _Body(bytearray(), self._config.size_limit or HARD_LIMIT)
        body.left, body.last = int(words[0]), len(words) == 2
        body.refused = self._sender is None or not self._recipients
        self._chunk = body
        if not body.left:
            self._finish_chunk(body)

    def _take_chunk(self, body: _Body) -> bool:
        fresh = self._buffer.take(body.left)
        body.add(fresh)
        body.left -= len(fresh)
        if not body.left:
            self._finish_chunk(body)
        return bool(fresh)

    def _finish_chunk(self, body: _Body) -> None:
        self._chunk, size = None, len(body.data)
        if body.refused:
            self._mistake("bdat", 503, "Say MAIL and RCPT first", "5.5.1")
        elif body.last or body.too_big:
            self._finish("bdat", bytes(body.data), body.too_big)
        else:
            self._chunks = body
            self._say("bdat", 250, f"{size} octets received so far", "2.0.0")

    def _finish(self, tag: str, text: bytes, too_big: bool) -> None:
        if too_big:
            self._say(tag, 552, "Message too big", "5.3.4")
        else:
            try:
                self._mail.deliver(self._envelope(), text)
                self._say(tag, 250, "Message accepted", "2.0.0")
            except MailboxFullError:
                self._say(tag, 452, "Mailbox full", "4.2.2")
        self._reset()

    def _envelope(self) -> Envelope:
        assert self._sender is not None, "a message has a sender"
        utf8 = "UTF8" if self._sender.parameter("SMTPUTF8") is not None else ""  # RFC 6531 §4.3
        letters = ("S" if self.secure else "") + ("A" if self._user is not None else "")
        return Envelope(
            sender=self._sender.address,
            recipients=tuple(path.address for path in self._recipients),
            client_name=self._client,
            server_name=self._config.hostname,
            protocol=(f"{utf8}SMTP" if utf8 else "ESMTP" if self._extended else "SMTP") + letters,
        )

    # Everything else

    def _rset(self, _argument: bytes) -> None:
        self._reset()
        self._say("rset", 250, "Ok", "2.0.0")

    def _noop(self, _argument: bytes) -> None:
        self._say("noop", 250, "Ok", "2.0.0")

    def _vrfy(self, argument: bytes) -> None:
        if argument:
            self._say("vrfy", 252, "Cannot verify, but will take mail and try", "2.5.0")
        else:
            self._mistake("vrfy", 501, "Give an address", "5.5.4")

    def _help(self, _argument: bytes) -> None:
        self._say("help", 214, "See RFC 5321", "2.0.0")

    def _quit(self, _argument: bytes) -> None:
        self._say("quit", 221, "Bye", "2.0.0")
        self._close()


_COMMANDS: dict[bytes, Callable[[SmtpServer, bytes], None]] = {
    b"EHLO": SmtpServer._ehlo,
    b"HELO": SmtpServer._helo,
    b"STARTTLS": SmtpServer._starttls,
    b"AUTH": SmtpServer._auth,
    b"MAIL": SmtpServer._mail_from,
    b"RCPT": SmtpServer._rcpt_to,
    b"DATA": SmtpServer._data_command,
    b"BDAT": SmtpServer._bdat,
    b"RSET": SmtpServer._rset,
    b"NOOP": SmtpServer._noop,
    b"VRFY": SmtpServer._vrfy,
    b"HELP": SmtpServer._help,
    b"QUIT": SmtpServer._quit,
}
