"""The server side of POP3 (RFC 1939) with CAPA (RFC 2449), STLS (RFC 2595) and SASL (RFC 5034), sans-IO."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable

import msgspec

from mailprobe.protocols.commands import AUTH_LINE_LIMIT, Conversation, OverlongLineError
from mailprobe.protocols.events import Event
from mailprobe.protocols.mailstore import (
    Letter,
    LetterGoneError,
    Mailbox,
    MailboxBusyError,
    MailboxPausedError,
    MailStore,
    StoreError,
    password_fits,
)
from mailprobe.protocols.sasl import SaslError, ServerExchange, decode_response, encode_challenge, server_exchange

CAPABILITIES = ("TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING")
_HEADER_END = re.compile(rb"(?:\A|\r?\n)\r?\n")


class Pop3Config(msgspec.Struct, frozen=True, kw_only=True):
    """A healthy server by default; every field is something a server may do otherwise.

    *greeting* is what follows ``+OK`` (None: the hostname). *apop* puts a time stamp behind it and lets clients
    log in with it. *capabilities* is the CAPA list without STLS, USER and SASL, which are put in where they belong;
    *capabilities_before* and *capabilities_after* replace the whole list before and inside TLS, word for word;
    they change what is listed, not what is understood.
    """

    hostname: str = "mail.lab.test"
    greeting: str | None = None
    apop: bool = False
    capa: bool = True  # False: CAPA is unknown
    capabilities: tuple[str, ...] = CAPABILITIES
    capabilities_before: tuple[str, ...] | None = None
    capabilities_after: tuple[str, ...] | None = None
    stls: bool = True
    stls_inside_tls: bool = False
    keep_state_across_tls: bool = False
    login_before_tls: bool = False
    login_inside_tls: bool = True
    sasl_before_tls: tuple[str, ...] = ()
    sasl_inside_tls: tuple[str, ...] = ("PLAIN",)
    line_limit: int = 512  # RFC 2449 §4 says 255
    mistake_limit: int = 20

    @property
    def stamp(self) -> str:
        """The time stamp of the greeting; a fixed one, as a core has no clock."""
        return f"<1896.697170952@{self.hostname}>"

    def login(self, secure: bool) -> bool:
        """Tell whether USER and PASS work at that stage."""
        return self.login_inside_tls if secure else self.login_before_tls

    def mechanisms(self, secure: bool) -> tuple[str, ...]:
        """Give the SASL mechanisms of that stage."""
        return self.sasl_inside_tls if secure else self.sasl_before_tls

    def listed(self, secure: bool) -> tuple[str, ...]:
        """Give the CAPA lines of that stage, as listed."""
        explicit = self.capabilities_after if secure else self.capabilities_before
        if explicit is not None:
            return explicit
        words = list(self.capabilities)
        if self.stls and (not secure or self.stls_inside_tls):
            words.append("STLS")
        if self.login(secure):
            words.append("USER")
        if self.mechanisms(secure):
            words.append("SASL " + " ".join(self.mechanisms(secure)))
        return tuple(words)


class Pop3Server(Conversation):
    """One POP3 conversation.

    The maildrop is a snapshot from the login. Other POP3 sessions are locked out of it until this one ends
    (RFC 1939 §4); IMAP sessions are not, so a letter may be gone when it is asked for.
    """

    def __init__(self, config: Pop3Config, mail: MailStore) -> None:
        super().__init__()
        self._config = config
        self._mail = mail
        self._name: str | None = None  # given with USER
        self._sasl: ServerExchange | None = None
        self._mailbox: Mailbox | None = None  # set means TRANSACTION state
        self._letters: tuple[Letter, ...] = ()
        self._deleted: set[int] = set()
        self._taken: set[int] = set()  # the uids of letters whose text the client has fetched
        self._unlock: Callable[[], None] | None = None

    def greeting(self) -> list[Event]:
        """Give the first +OK line."""
        text = f"{self._config.hostname} ready" if self._config.greeting is None else self._config.greeting
        stamp = f" {self._config.stamp}" if self._config.apop else ""
        self._ok("greeting", text + stamp)
        return self._drain()

    def ended(self) -> None:
        """Give the maildrop back. Without QUIT nothing is deleted (RFC 1939 §6)."""
        self._release()

    def _close(self) -> None:
        super()._close()
        self._release()

    def _release(self) -> None:
        unlock, self._unlock = self._unlock, None
        if unlock is not None:
            unlock()

    def _forget(self) -> None:
        if not self._config.keep_state_across_tls:
            self._name = None

    def _ok(self, tag: str, text: str) -> None:
        self._send(f"+OK {text}".rstrip(" ").encode() + b"\r\n", tag)

    def _lines(self, tag: str, text: str, lines: list[str]) -> None:
        body = "".join(f"{line}\r\n" for line in lines)
        self._send(f"+OK {text}\r\n{body}.\r\n".encode(), tag)

    def _err(self, tag: str, text: str) -> None:
        self._mistakes += 1
        self._send(f"-ERR {text}\r\n".encode(), tag)
        if self._mistakes > self._config.mistake_limit:
            self._close()

    def _step(self) -> bool:
        try:
            line = self._buffer.line(AUTH_LINE_LIMIT if self._sasl else self._config.line_limit)
        except OverlongLineError as error:
            self._sasl = None
            self._err("overlong", "line too long")
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
        word, _, argument = line.partition(b" ")
        handlers = _AUTHORIZATION if self._mailbox is None else _TRANSACTION
        name = word.upper()
        if name in handlers:
            handlers[name](self, argument)
        elif name in _AUTHORIZATION or name in _TRANSACTION:
            self._err(name.decode().lower(), "not possible in this state")
        else:
            self._err("unknown", "unknown command")

    # AUTHORIZATION

    def _capa(self, _argument: bytes) -> None:
        if self._config.capa:
            listed = self._config.listed(self.secure)
            if self._mailbox is not None:
                listed = tuple(word for word in listed if word != "STLS")  # RFC 2595 §4
            self._lines("capa", "capabilities follow", list(listed))
        else:
            self._err("capa", "unknown command")

    def _stls(self, _argument: bytes) -> None:
        if not self._config.stls:
            self._err("stls", "unknown command")
        elif self.secure:
            self._err("stls", "TLS is already active")
        else:
            self._ok("stls", "begin TLS negotiation")
            self._start_tls()

    def _user(self, argument: bytes) -> None:
        if not self._config.login(self.secure):
            self._err("user", "[AUTH] login needs TLS; say STLS first" if not self.secure else "not supported")
        elif not argument:
            self._err("user", "give a name")
        else:
            self._name = argument.decode("utf-8", "surrogateescape")
            self._ok("user", "send PASS")

    def _pass(self, argument: bytes) -> None:
        name, self._name = self._name, None
        if name is None:
            self._err("pass", "say USER first")
        else:
            self._login("pass", name, password_fits(self._mail, name, argument.decode("utf-8", "surrogateescape")))

    def _apop(self, argument: bytes) -> None:
        name, _, digest = argument.decode("utf-8", "surrogateescape").partition(" ")
        secret = self._mail.secret(name)
        if not self._config.apop:
            self._err("apop", "not supported")
            return
        text = (self._config.stamp + (secret or "")).encode("utf-8", "surrogateescape")
        wanted = hashlib.md5(text, usedforsecurity=False).hexdigest()  # RFC 1939 §7 knows no other
        fits = hmac.compare_digest(wanted.encode(), digest.encode("utf-8", "surrogateescape"))
        self._login("apop", name, secret is not None and fits)

    def _auth(self, argument: bytes) -> None:
        offered = self._config.mechanisms(self.secure)
        word, _, initial = argument.partition(b" ")
        mechanism = word.decode("ascii", "replace").upper()
        if not argument and offered:
            self._lines("auth", "mechanisms follow", list(offered))
            return
        exchange = server_exchange(mechanism, offered, self._mail.secret, self._bindings, self._identity)
        if exchange is None:
            self._err("auth", "mechanism not supported")
        elif initial:
            self._continue_auth(exchange, initial)
        else:
            self._sasl = exchange
            self._challenge(exchange)

    def _challenge(self, exchange: ServerExchange) -> None:
        self._send(b"+ " + encode_challenge(exchange.challenge()) + b"\r\n", "auth-challenge")

    def _continue_auth(self, exchange: ServerExchange, line: bytes) -> None:
        self._sasl = None
        if line == b"*":
            self._err("auth", "cancelled")
            return
        try:
            login = exchange.respond(decode_response(line))
        except SaslError as error:
            self._err("auth", f"malformed response: {error}")
            return
        if login is None:
            self._sasl = exchange
            self._challenge(exchange)
        else:
            self._login("auth", login.user, login.allowed)

    def _login(self, tag: str, user: str, allowed: bool) -> None:
        if not allowed:
            self._err(tag, "[AUTH] name or password is wrong")  # RFC 3206 §4
            return
        try:
            self._unlock = self._mail.lock(user)
            self._mailbox = self._open(user)
        except MailboxPausedError as error:
            self._err(tag, f"[SYS/TEMP] {error}")  # RFC 3206 §4
        except MailboxBusyError as error:
            self._err(tag, f"[IN-USE] {error}")  # RFC 2449 §8.1.2
        except StoreError as error:
            self._err(tag, f"[SYS/TEMP] {error}")
        else:
            self._ok(tag, f"{len(self._letters)} messages")
            return
        self._release()

    def _open(self, user: str) -> Mailbox:
        mailbox = self._mail.mailbox(user, "INBOX")
        if mailbox is None:
            raise StoreError("the mailbox is not there")
        letters = (mailbox.get(uid) for uid in mailbox.uids())
        self._letters = tuple(letter for letter in letters if letter is not None)
        return mailbox

    # TRANSACTION

    def _alive(self) -> list[tuple[int, Letter]]:
        return [(n, letter) for n, letter in enumerate(self._letters, 1) if n not in self._deleted]

    def _pick(self, tag: str, argument: bytes) -> tuple[int, Letter] | None:
        text = argument.strip()
        number = int(text) if text.isdigit() and len(text) <= 9 else 0
        if not 1 <= number <= len(self._letters) or number in self._deleted:
            self._err(tag, "no such message")
            return None
        return number, self._letters[number - 1]

    def _stat(self, _argument: bytes) -> None:
        alive = self._alive()
        self._ok("stat", f"{len(alive)} {sum(letter.size for _, letter in alive)}")

    def _list(self, argument: bytes) -> None:
        self._table("list", argument, lambda letter: str(letter.size))

    def _uidl(self, argument: bytes) -> None:
        validity = self._mailbox.uid_validity if self._mailbox is not None else 0
        self._table("uidl", argument, lambda letter: f"{validity}.{letter.uid}")

    def _table(self, tag: str, argument: bytes, column: Callable[[Letter], str]) -> None:
        if not argument.strip():
            alive = self._alive()
            self._lines(tag, f"{len(alive)} messages", [f"{n} {column(letter)}" for n, letter in alive])
            return
        picked = self._pick(tag, argument)
        if picked is not None:
            self._ok(tag, f"{picked[0]} {column(picked[1])}")

    def _retr(self, argument: bytes) -> None:
        picked = self._pick("retr", argument)
        data = self._text_of("retr", picked[1]) if picked is not None else None
        if picked is not None and data is not None:
            self._send(f"+OK {len(data)} octets\r\n".encode() + _stuffed(data), "retr")
            uid = picked[1].uid
            if self._mailbox is not None and uid not in self._taken:
                self._taken.add(uid)
                self._mailbox.taken(uid, "POP3")

    def _text_of(self, tag: str, letter: Letter) -> bytes | None:
        """Read a letter, or say why it cannot be read."""
        try:
            if self._mailbox is not None and self._mailbox.get(letter.uid) is not None:
                return letter.data
        except LetterGoneError:
            pass
        except StoreError as error:
            self._err(tag, f"[SYS/TEMP] {error}")
            return None
        self._err(tag, "the message was deleted by another session")
        return None

    def _top(self, argument: bytes) -> None:
        number, _, count = argument.strip().partition(b" ")
        if not count.strip().isdigit() or len(count) > 9:
            self._err("top", "give a message and a number of lines")
            return
        picked = self._pick("top", number)
        data = self._text_of("top", picked[1]) if picked is not None else None
        if data is not None:
            self._send(b"+OK\r\n" + _stuffed(_top_of(data, int(count))), "top")

    def _dele(self, argument: bytes) -> None:
        picked = self._pick("dele", argument)
        if picked is not None:
            self._deleted.add(picked[0])
            self._ok("dele", "deleted")

    def _rset(self, _argument: bytes) -> None:
        self._deleted.clear()
        self._ok("rset", f"{len(self._letters)} messages")

    def _noop(self, _argument: bytes) -> None:
        self._ok("noop", "")

    def _quit(self, _argument: bytes) -> None:
        try:
            if self._mailbox is not None and self._deleted:  # the UPDATE state, RFC 1939 §6
                self._mailbox.remove([self._letters[number - 1].uid for number in self._deleted])
        except StoreError as error:
            self._err("quit", f"[SYS/TEMP] some deleted messages are still there: {error}")
        else:
            self._ok("quit", "bye")
        if not self._closed:
            self._close()


def _top_of(data: bytes, lines: int) -> bytes:
    """Give the header of a letter and so many lines of its body."""
    header = _HEADER_END.search(data)
    end = header.end() if header is not None else len(data)
    for _ in range(lines):
        found = data.find(b"\n", end)
        if found < 0:
            return data
        end = found + 1
    return data[:end]


def _stuffed(data: bytes) -> bytes:
    """Give the body of a multi-line reply with its end (RFC 1939 §3).

    A line ends with CRLF. Clients that take a bare LF for a line end, too, must still not see the end of the letter in
    its middle, so a dot alone between such ends gets company; all other octets behind a bare LF stay as they are.
    """
    body = data.replace(b"\r\n.", b"\r\n..").replace(b"\n.\r\n", b"\n..\r\n")
    for _ in range(2):  # lines of nothing but a dot share their ends
        body = body.replace(b"\n.\n", b"\n..\n")
    if body.startswith(b"."):
        body = b"." + body
    if body.endswith(b"\n."):
        body += b"."
    return body + (b".\r\n" if body.endswith(b"\r\n") or not body else b"\r\n.\r\n")


_AUTHORIZATION: dict[bytes, Callable[[Pop3Server, bytes], None]] = {
    b"CAPA": Pop3Server._capa,
    b"STLS": Pop3Server._stls,
    b"USER": Pop3Server._user,
    b"PASS": Pop3Server._pass,
    b"APOP": Pop3Server._apop,
    b"AUTH": Pop3Server._auth,
    b"QUIT": Pop3Server._quit,
}
_TRANSACTION: dict[bytes, Callable[[Pop3Server, bytes], None]] = {
    b"CAPA": Pop3Server._capa,
    b"STAT": Pop3Server._stat,
    b"LIST": Pop3Server._list,
    b"UIDL": Pop3Server._uidl,
    b"RETR": Pop3Server._retr,
    b"TOP": Pop3Server._top,
    b"DELE": Pop3Server._dele,
    b"RSET": Pop3Server._rset,
    b"NOOP": Pop3Server._noop,
    b"QUIT": Pop3Server._quit,
}
