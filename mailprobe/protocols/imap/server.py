"""The server side of IMAP4rev1 (RFC 3501), sans-IO.

With it: LITERAL+ (RFC 7888), SASL-IR (RFC 4959), ID (RFC 2971), IDLE (RFC 2177), NAMESPACE (RFC 2342),
UIDPLUS (RFC 4315), MOVE (RFC 6851), UNSELECT (RFC 3691) and SPECIAL-USE (RFC 6154). ``\\Recent`` is never set, as in
RFC 9051.
"""

from __future__ import annotations

from collections.abc import Callable

from mailprobe.protocols.commands import AUTH_LINE_LIMIT, Conversation, OverlongLineError
from mailprobe.protocols.events import Event
from mailprobe.protocols.imap import folders, letters
from mailprobe.protocols.imap.config import ImapConfig
from mailprobe.protocols.imap.grammar import (
    SYSTEM_FLAGS,
    BadCommandError,
    CommandReader,
    Limits,
    TooBigError,
    Words,
)
from mailprobe.protocols.imap.letters import Outcome, Refusal
from mailprobe.protocols.imap.selected import Selected
from mailprobe.protocols.mailstore import MailboxBusyError, MailStore, StoreError, password_fits
from mailprobe.protocols.sasl import SaslError, ServerExchange, decode_response, encode_challenge, server_exchange

_FLAGS = b" ".join(flag.encode() for flag in SYSTEM_FLAGS)


class ImapServer(Conversation):
    """One IMAP conversation."""

    def __init__(self, config: ImapConfig, mail: MailStore) -> None:
        super().__init__()
        self._config = config
        self._mail = mail
        self._reader = CommandReader()
        self._tag = b""
        self._user: str | None = config.preauth_user
        self._selected: Selected | None = None
        self._sasl: ServerExchange | None = None
        self._idle = False

    def greeting(self) -> list[Event]:
        """Give the first untagged response."""
        status = "OK" if self._user is None else "PREAUTH"
        text = self._config.greeting
        if text is None:
            listed = f"[CAPABILITY {self._capabilities()}] "
            text = (listed if self._config.greeting_lists_capabilities else "") + f"{self._config.hostname} ready"
        self._send(f"* {status} {text}\r\n".encode(), "greeting")
        return self._drain()

    def updates(self) -> list[Event]:
        """Tell news to a client that waits for them in IDLE."""
        if self._idle and not self._closed:
            self._news("idle")
        return self._drain()

    def _forget(self) -> None:
        self._reader.clear()
        if not self._config.keep_state_across_tls:
            self._user, self._selected = None, None

    def _capabilities(self) -> str:
        words = self._config.listed(self.secure)
        if self._user is not None:  # what only matters before login is left out
            words = tuple(w for w in words if w not in ("STARTTLS", "LOGINDISABLED") and not w.startswith("AUTH="))
        return " ".join(words)

    def _done(self, tag: str, status: str, text: bytes, untagged: bytes = b"") -> None:
        self._send(untagged + b"%b %b %b\r\n" % (self._tag, status.encode(), text), tag)

    def _bad(self, tag: str, text: str) -> None:
        self._mistakes += 1
        self._tag = self._tag or b"*"
        self._done(tag, "BAD", text.encode())
        if self._mistakes > self._config.mistake_limit:
            self._bye("too many errors")

    def _bye(self, text: str) -> None:
        self._send(f"* BYE {text}\r\n".encode(), "bye")
        self._close()

    def _news(self, tag: str) -> None:
        lines = self._fresh()
        if lines:
            self._send(b"".join(lines), tag)

    def _fresh(self) -> list[bytes]:
        try:
            return self._selected.news() if self._selected is not None and not self._selected.is_stale else []
        except StoreError:  # the next command on the mailbox will be told
            return []

    # Reading

    def _step(self) -> bool:
        try:
            if self._sasl is not None or self._idle:
                line = self._buffer.line(AUTH_LINE_LIMIT)
                if line is not None:
                    self._continue(line)
                return line is not None
            command = self._reader.read(self._buffer, self._limits())
        except OverlongLineError as error:
            self._overlong(error.endless)
            return True
        except TooBigError as error:
            self._too_big(error)
            return True
        if command is not None:
            self._command(command)
            return True
        if self._reader.wants_go_ahead:
            self._reader.wants_go_ahead = False
            self._send(b"+ go ahead\r\n", "literal")
            return True
        return False

    def _limits(self) -> Limits:
        literals = self._config.literal_limit if self._user is None else self._config.append_limit
        return Limits(lines=self._config.line_limit, literals=literals)

    def _overlong(self, endless: bool) -> None:
        self._sasl, self._idle, self._tag = None, False, b"*"
        if endless:
            self._bye("line too long")
        else:
            self._bad("overlong", "line too long")

    def _too_big(self, error: TooBigError) -> None:
        if error.endless:  # RFC 7888 §4: the octets come anyway, so the connection has to go
            self._bye("[TOOBIG] literal too big")
            return
        self._tag = error.tag if _is_tag(error.tag) else b"*"
        self._done("literal", "NO", b"[TOOBIG] literal too big")

    def _continue(self, line: bytes) -> None:
        if self._sasl is not None:
            self._continue_auth(self._sasl, line)
            return
        self._idle = False
        if line.strip().upper() == b"DONE":
            self._done("done", "OK", b"IDLE completed")
        else:
            self._bad("done", "DONE expected")

    def _command(self, command: bytes) -> None:
        tag, _, rest = command.partition(b" ")
        self._tag = tag if _is_tag(tag) else b"*"
        words, name = Words(rest), ""
        try:
            if self._tag != b"*":
                name = words.word()
            by_uid = name == "UID"
            if by_uid:
                words.space()
                name = words.word()
            self._dispatch(name, words, by_uid)
        except BadCommandError as error:
            self._bad(name.lower() if name in _COMMANDS else "unknown", str(error))
        except Refusal as refusal:
            self._done(name.lower(), "NO", str(refusal).encode())
        except (MailboxBusyError, StoreError) as error:
            self._done(name.lower(), "NO", f"[UNAVAILABLE] {error}".encode())  # RFC 5530 §3

    def _dispatch(self, name: str, words: Words, by_uid: bool) -> None:
        if name not in _COMMANDS or (by_uid and name not in _BY_UID):
            self._bad("unknown", "unknown command")
            return
        needs, bare, handler = _COMMANDS[name]
        state = "new" if self._user is None else "selected" if self._selected is not None else "in"
        if state not in needs:
            self._bad(name.lower(), "not possible in this state")
            return
        if needs == _SELECTED and self._view.is_stale:
            self._bye("[UNAVAILABLE] the mailbox was rebuilt; select it anew")
            return
        if bare and not by_uid:
            words.end()
        else:
            words.space()
        outcome = handler(self, words, by_uid)
        if outcome is not None:
            if name not in _QUIET or (by_uid and name != "SEARCH"):
                outcome.untagged.extend(self._fresh())
            self._done(name.lower(), "OK", outcome.text, b"".join(outcome.untagged))

    # Any state

    def _capability(self, _words: Words, _by_uid: bool) -> Outcome:
        return Outcome([f"* CAPABILITY {self._capabilities()}\r\n".encode()], b"CAPABILITY completed")

    def _noop(self, _words: Words, _by_uid: bool) -> Outcome:
        return Outcome([], b"completed")

    def _logout(self, _words: Words, _by_uid: bool) -> None:
        self._done("logout", "OK", b"LOGOUT completed", b"* BYE logging out\r\n")
        self._close()

    def _id(self, words: Words, _by_uid: bool) -> Outcome:
        if not words.skip(b"NIL"):
            words.literally(b"(")
            while not words.skip(b")"):
                words.skip(b" ")
                if not words.skip(b"NIL"):
                    words.string()
        words.end()
        return Outcome([b'* ID ("name" "mailprobe lab")\r\n'], b"ID completed")

    # Before login

    def _starttls(self, _words: Words, _by_uid: bool) -> None:
        if not self._config.starttls:
            self._bad("starttls", "unknown command")
        elif self.secure:
            self._bad("starttls", "TLS is already active")
        else:
            self._done("starttls", "OK", b"begin TLS negotiation now")
            self._start_tls()

    def _login(self, words: Words, _by_uid: bool) -> None:
        user = words.astring().decode("utf-8", "surrogateescape")
        words.space()
        password = words.astring().decode("utf-8", "surrogateescape")
        words.end()
        if not self._config.login(self.secure):
            raise Refusal("[PRIVACYREQUIRED] login needs TLS" if not self.secure else "[CANNOT] LOGIN is disabled")
        self._admit("login", user, password_fits(self._mail, user, password))

    def _authenticate(self, words: Words, _by_uid: bool) -> None:
        mechanism = words.word()
        initial = None
        if words.skip(b" "):
            initial = b"=" if words.skip(b"=") else words.astring()
        words.end()
        offered = self._config.mechanisms(self.secure)
        exchange = server_exchange(mechanism, offered, self._mail.secret, self._bindings, self._identity)
        if exchange is None:
            raise Refusal("[CANNOT] mechanism not supported")
        if initial is None:
            self._sasl = exchange
            self._challenge(exchange)
        else:
            self._continue_auth(exchange, initial)

    def _challenge(self, exchange: ServerExchange) -> None:
        self._send(b"+ " + encode_challenge(exchange.challenge()) + b"\r\n", "auth-challenge")

    def _continue_auth(self, exchange: ServerExchange, line: bytes) -> None:
        self._sasl = None
        if line == b"*":
            self._bad("authenticate", "cancelled")
            return
        try:
            login = exchange.respond(decode_response(line))
        except SaslError as error:
            self._bad("authenticate", f"malformed response: {error}")
            return
        if login is None:
            self._sasl = exchange
            self._challenge(exchange)
        else:
            self._admit("authenticate", login.user, login.allowed)

    def _admit(self, tag: str, user: str, allowed: bool) -> None:
        if allowed:
            try:
                self._mail.mailbox(user, "INBOX")
            except (MailboxBusyError, StoreError) as error:
                self._done(tag, "NO", f"[UNAVAILABLE] {error}".encode())
                return
            self._user = user
            self._done(tag, "OK", f"[CAPABILITY {self._capabilities()}] logged in".encode())
            return
        self._mistakes += 1
        self._done(tag, "NO", b"[AUTHENTICATIONFAILED] name or password is wrong")
        if self._mistakes > self._config.mistake_limit:
            self._bye("too many errors")

    # After login

    @property
    def _owner(self) -> str:
        assert self._user is not None, "the state was looked at before"
        return self._user

    @property
    def _view(self) -> Selected:
        assert self._selected is not None, "the state was looked at before"
        return self._selected

    def _namespace(self, _words: Words, _by_uid: bool) -> Outcome:
        return Outcome([b'* NAMESPACE (("" "/")) NIL NIL\r\n'], b"NAMESPACE completed")

    def _select(self, words: Words, _by_uid: bool) -> Outcome:
        return self._open(words, read_only=False)

    def _examine(self, words: Words, _by_uid: bool) -> Outcome:
        return self._open(words, read_only=True)

    def _open(self, words: Words, read_only: bool) -> Outcome:
        self._selected = None  # also when it fails, RFC 3501 §6.3.1
        name = words.mailbox()
        words.end()
        mailbox = self._mail.mailbox(self._owner, name)
        if mailbox is None:
            raise Refusal("[NONEXISTENT] no such mailbox")
        self._selected = Selected(name, mailbox, read_only)
        unseen = folders.unseen(mailbox)
        permanent = b"" if read_only else _FLAGS + b" \\*"
        lines = [
            b"* FLAGS (" + _FLAGS + b")\r\n",
            b"* OK [PERMANENTFLAGS (" + permanent + b")] kept for ever\r\n",
            b"* %d EXISTS\r\n* 0 RECENT\r\n" % self._selected.count,
            b"* OK [UNSEEN %d] first unseen\r\n" % unseen[0] if unseen else b"",
            b"* OK [UIDVALIDITY %d] uids valid\r\n" % mailbox.uid_validity,
            b"* OK [UIDNEXT %d] next uid\r\n" % mailbox.uid_next,
        ]
        return Outcome(lines, b"[READ-ONLY] completed" if read_only else b"[READ-WRITE] completed")

    def _start_idle(self, _words: Words, _by_uid: bool) -> None:
        self._send(b"+ idling\r\n", "idle")
        self._idle = True
        self._news("idle")

    # With a selected mailbox

    def _copy(self, words: Words, by_uid: bool) -> Outcome:
        return letters.copy(self._mail, self._owner, self._view, words, by_uid, move=False)

    def _move(self, words: Words, by_uid: bool) -> Outcome:
        return letters.copy(self._mail, self._owner, self._view, words, by_uid, move=True)

    def _close_mailbox(self, _words: Words, _by_uid: bool) -> Outcome:
        view, self._selected = self._view, None
        if not view.read_only:
            letters.remove_deleted(view, view.places())
        return Outcome([], b"CLOSE completed")

    def _unselect(self, _words: Words, _by_uid: bool) -> Outcome:
        self._selected = None
        return Outcome([], b"UNSELECT completed")


def _is_tag(tag: bytes) -> bool:
    return 0 < len(tag) <= 64 and all(0x21 <= octet <= 0x7E for octet in tag) and not set(tag) & set(b'(){%*"\\+')


_Handler = Callable[[ImapServer, Words, bool], Outcome | None]


def _on_folders(name: str) -> _Handler:
    return lambda server, words, _by_uid: folders.COMMANDS[name](server._mail, server._owner, words)


def _on_letters(name: str) -> _Handler:
    return lambda server, words, by_uid: letters.COMMANDS[name](server._view, words, by_uid)


_ANY = ("new", "in", "selected")
_NEW = ("new",)
_IN = ("in", "selected")
_SELECTED = ("selected",)
_BY_UID = {"FETCH", "STORE", "SEARCH", "COPY", "MOVE", "EXPUNGE"}
_QUIET = {"FETCH", "STORE", "SEARCH", "SELECT", "EXAMINE"}
_COMMANDS: dict[str, tuple[tuple[str, ...], bool, _Handler]] = {  # states, without arguments, handler
    "CAPABILITY": (_ANY, True, ImapServer._capability),
    "NOOP": (_ANY, True, ImapServer._noop),
    "LOGOUT": (_ANY, True, ImapServer._logout),
    "ID": (_ANY, False, ImapServer._id),
    "STARTTLS": (_NEW, True, ImapServer._starttls),
    "LOGIN": (_NEW, False, ImapServer._login),
    "AUTHENTICATE": (_NEW, False, ImapServer._authenticate),
    "NAMESPACE": (_IN, True, ImapServer._namespace),
    "SELECT": (_IN, False, ImapServer._select),
    "EXAMINE": (_IN, False, ImapServer._examine),
    "IDLE": (_IN, True, ImapServer._start_idle),
    "CHECK": (_SELECTED, True, ImapServer._noop),
    "COPY": (_SELECTED, False, ImapServer._copy),
    "MOVE": (_SELECTED, False, ImapServer._move),
    "CLOSE": (_SELECTED, True, ImapServer._close_mailbox),
    "UNSELECT": (_SELECTED, True, ImapServer._unselect),
    **{name: (_IN, False, _on_folders(name)) for name in folders.COMMANDS},
    **{name: (_SELECTED, name == "EXPUNGE", _on_letters(name)) for name in letters.COMMANDS},
}
