"""One client's connection: what arrives, what waits to be done, and what is done next."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from enum import Enum
from typing import TYPE_CHECKING

import msgspec

from mailprobe.lab.driver.outlet import Outlet
from mailprobe.lab.plan import (
    Action,
    AnswerNext,
    Close,
    Drip,
    End,
    Flood,
    Hang,
    Pause,
    Raw,
    Send,
    StartTls,
    groups,
)
from mailprobe.lab.tls_pipe import TlsPipe
from mailprobe.protocols.events import Accept, Event
from mailprobe.protocols.mailstore import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailprobe.lab.driver.listener import Listener

INBOX_LIMIT = 65536
HELLO_LIMIT = 65536  # octets in clear that are put aside before a ClientHello
LINGER_S = 2.0  # how long the rest of what a client sends is swallowed after our end
HANDSHAKE_RECORD = b"\x16"  # the first octet of a ClientHello, RFC 8446 §5.1


class _Until(msgspec.Struct, frozen=True):
    """Do nothing until that time of the event loop."""

    time: float


class _State(Enum):
    CLEAR = "clear"
    EXPECTING_HELLO = "expecting-hello"
    HANDSHAKE = "handshake"
    SECURE = "secure"
    DEAF = "deaf"  # what arrives is swallowed


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._core = listener.core()
        self._script = listener.plan.begin()
        self._loop = asyncio.get_running_loop()
        self._state = _State.CLEAR
        self._actions: deque[Action | _Until | Accept] = deque()
        self._inbox = bytearray()
        self._arrived = 0.0
        self._more = False  # the core may have more to say to what it already has
        self._news = False
        self._undecided: Accept | None = None  # the message that others decide on
        self._eof = False
        self._blocked = False
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._start = StartTls()
        self._early = b""  # what came in clear before the ClientHello
        self._answer: AnswerNext | None = None
        self._greeted = False
        self._unsubscribe: Callable[[], None] | None = None

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello, or wait for the ClientHello."""
        assert isinstance(transport, asyncio.Transport), "a stream server makes stream transports"
        self._transport = transport
        self._out = Outlet(transport)
        self._listener.connections.add(self)
        if self._listener.subscribe is not None:
            self._unsubscribe = self._listener.subscribe(self._mail_came)
        self._core.met(_address(transport))
        self._arrived = self._loop.time()
        self._watch = self._loop.call_later(self._listener.idle_s, self._check_idle)
        opening: list[Action] = [StartTls()] if self._listener.implicit else []
        actual = self._script.apply("connect", opening)
        self._actions.extend(actual)
        if not self._listener.implicit or not _holds_tls(actual):
            self._greet()
        self._advance()

    def data_received(self, data: bytes) -> None:
        """Take octets; they are read when everything before them is done."""
        self._arrived = self._loop.time()
        if self._state is _State.DEAF:
            return
        self._inbox += data
        self._advance()
        if len(self._inbox) >= INBOX_LIMIT:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """Keep the connection until everything is said."""
        self._eof = True
        self._advance()
        return True

    def pause_writing(self) -> None:
        """Stop: the client does not read."""
        self._blocked = True

    def resume_writing(self) -> None:
        """Go on."""
        self._blocked = False
        self._advance()

    def connection_lost(self, _error: Exception | None) -> None:
        """Let go of everything."""
        self._state = _State.DEAF
        self._undecided = None
        self._actions.clear()
        self._inbox.clear()
        self._core.ended()
        for timer in (self._timer, self._watch):
            if timer is not None:
                timer.cancel()
        if self._unsubscribe is not None:
            self._unsubscribe()
        self._listener.connections.discard(self)

    def abort(self) -> None:
        """Drop the connection without a word."""
        self._transport.abort()

    def _check_idle(self) -> None:
        left = self._arrived + self._listener.idle_s - self._loop.time()
        if self._undecided is not None:  # it is the client who waits
            left = self._listener.idle_s
        if left <= 0:
            self._transport.abort()
        else:
            self._watch = self._loop.call_later(left, self._check_idle)

    def _mail_came(self) -> None:
        """Look for news later: the mail may have come from this very conversation, in the middle of a command."""
        if not self._news:
            self._news = True
            self._loop.call_soon(self._advance)

    # The queue

    def _advance(self) -> None:
        """Do what can be done now."""
        if self._busy or self._transport.is_closing():
            return
        self._busy = True
        try:
            while self._timer is None and not self._blocked and not self._transport.is_closing():
                if self._actions and self._answer is None:
                    self._perform(self._actions.popleft())
                elif self._undecided is not None or not self._take_input():
                    break
                self._out.flush_when_full()
            self._out.flush()
        finally:
            self._busy = False
        if self._eof and self._at_rest():
            self._transport.close()

    def _at_rest(self) -> bool:
        waiting = self._undecided is not None or (self._answer is None and bool(self._actions))
        return not (waiting or self._inbox or self._timer or self._more)

    def _wait(self, seconds: float) -> None:
        self._out.flush()
        self._timer = self._loop.call_later(seconds, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._advance()

    def _take_input(self) -> bool:
        """Read what has come; False when there is nothing."""
        if self._more and self._answer is None:
            self._more = False
            self._feed(b"")
            return True
        if self._inbox:
            data = bytes(self._inbox)
            self._inbox.clear()
            self._transport.resume_reading()
            self._take(data)
            return True
        if self._news:
            self._news = False
            self._answer_with(self._core.updates() if self._state in (_State.CLEAR, _State.SECURE) else [])
            return True
        return False

    def _take(self, data: bytes) -> None:
        if self._answer is not None:
            answer, self._answer = self._answer, None
            self._actions.appendleft(Raw(answer.data))
            self._actions.appendleft(self._release())
        elif self._state is _State.CLEAR:
            self._feed(data)
        elif self._state is _State.EXPECTING_HELLO:
            self._expect_hello(data)
        elif self._state is _State.HANDSHAKE:
            self._tls.feed(data)
            self._handshake()
        elif self._state is _State.SECURE:
            self._tls.feed(data)
            self._decrypt()

    def _feed(self, data: bytes) -> None:
        happened = self._core.receive(data)
        self._more = bool(happened)
        self._answer_with(happened)

    def _greet(self) -> None:
        self._greeted = True
        self._answer_with(self._core.greeting())

    def _answer_with(self, happened: list[Event]) -> None:
        """Queue what the plan makes of events; a message, with which a core stands still, comes last."""
        message = happened[-1] if happened and isinstance(happened[-1], Accept) else None
        wanted = groups(happened if message is None else happened[:-1])
        if wanted:
            self._actions.append(self._release())
        for tag, actions in wanted:
            actual = self._script.apply(tag, actions, self._core.secure)
            self._actions.extend(actual)
            if _holds_tls(actions) and not _holds_tls(actual):
                self._answer_with(self._core.resume())
        if message is not None:
            self._actions.append(message)

    def _release(self) -> _Until:
        """Give the time at which the answer to what arrived last may leave."""
        return _Until(self._arrived + self._listener.flight_delay_s)

    # Actions

    def _perform(self, action: Action | _Until | Accept) -> None:
        match action:
            case Send():
                self._out.write(action.data)
            case Raw():
                self._out.clear(action.data)
            case _Until():
                left = action.time - self._loop.time()
                if left > 0:
                    self._wait(left)
            case Pause():
                self._wait(action.seconds)
            case Drip():
                self._drip(action)
            case Flood():
                self._flood(action)
            case Accept():
                self._decide(action)
            case AnswerNext():
                self._answer = action
            case StartTls():
                self._begin_tls(action)
            case Close():
                self._end(action.how)
            case Hang():
                self._out.flush()
                self._fall_silent()

    def _decide(self, message: Accept) -> None:
        if self._listener.accept is None:
            self._answer_with(self._core.deliver())
            self._more = True
            return
        self._undecided = message

        def done(*verdicts: Verdict) -> None:
            if self._undecided is message:
                self._undecided = None
                self._answer_with(self._core.accepted(*verdicts))
                self._more = True
                self._advance()

        self._listener.accept(message.envelope, message.data, done)

    def _drip(self, drip: Drip) -> None:
        self._out.write(drip.data[: drip.chunk])
        rest = drip.data[drip.chunk :]
        if rest:
            self._actions.appendleft(Drip(rest, drip.chunk, drip.gap_s))
            self._wait(drip.gap_s)

    def _flood(self, flood: Flood) -> None:
        block = (flood.data * (1 + INBOX_LIMIT // max(1, len(flood.data))))[: flood.limit]
        self._out.write(block)
        self._out.flush()
        if block and len(block) < flood.limit:
            self._actions.appendleft(Flood(flood.data, flood.limit - len(block)))

    def _end(self, how: End) -> None:
        if how == "fin":
            self._out.end_tls()
        self._out.flush()
        self._fall_silent()
        if how == "rst":
            self._out.reset()
        elif not self._transport.is_closing():
            self._half_close()

    def _half_close(self) -> None:
        """End our side and swallow the rest of theirs: unread octets would make the kernel send an RST."""
        try:
            self._transport.write_eof()
        except OSError:  # the client has reset the connection, and asyncio has yet to find out
            self._transport.abort()
            return
        if self._watch is not None:
            self._watch.cancel()
        self._watch = self._loop.call_later(LINGER_S, self._transport.abort)

    def _fall_silent(self) -> None:
        self._state = _State.DEAF
        self._actions.clear()
        self._inbox.clear()
        self._answer, self._more, self._undecided = None, False, None
        self._transport.resume_reading()

    # TLS

    def _begin_tls(self, start: StartTls) -> None:
        assert self._listener.context is not None, "a listener that offers TLS has a context"
        self._out.clear(start.before)
        self._out.flush()
        self._start = start
        self._tls = TlsPipe(self._listener.context())
        self._state = _State.EXPECTING_HELLO if self._greeted else _State.HANDSHAKE
        pending = self._core.take_pending()
        if pending:
            self._take(pending)

    def _expect_hello(self, data: bytes) -> None:
        """Put aside what comes in clear before the ClientHello; it is thrown away unless the defect is wanted."""
        clear, hello, rest = data.partition(HANDSHAKE_RECORD)
        self._early += clear
        if len(self._early) > HELLO_LIMIT:
            self._transport.abort()
        elif hello:
            self._state = _State.HANDSHAKE
            self._out.clear(self._start.after)
            self._out.flush()
            self._take(hello + rest)

    def _handshake(self) -> None:
        try:
            finished = self._tls.handshake()
        except ssl.SSLError:
            self._out.clear(self._tls.output())  # the alert
            self._end("no-close-notify")
            return
        flight = self._tls.output()
        if finished and self._tls.ends_with_client:
            self._out.clear(flight)  # session tickets
        elif flight:
            self._actions.extend((self._release(), Raw(flight)))
        if finished:
            self._finish_handshake()

    def _finish_handshake(self) -> None:
        self._state = _State.SECURE
        self._out.through(self._tls)
        certificate = self._listener.certificate
        bindings = self._tls.bindings(None if certificate is None else certificate())
        self._core.secured(self._tls.version, bindings, self._tls.identity)
        self._actions.extend(self._script.apply("secured", [], secure=True))
        if not self._greeted:
            self._greet()
        if self._start.keep_buffer and self._early:
            self._feed(self._early)
        self._early = b""
        self._decrypt()

    def _decrypt(self) -> None:
        try:
            clear, ended = self._tls.read()
        except ssl.SSLError:
            self._transport.abort()
            return
        self._eof = self._eof or ended
        self._out.clear(self._tls.output())
        if clear:
            self._feed(clear)


def _holds_tls(actions: list[Action]) -> bool:
    return any(isinstance(action, StartTls) for action in actions)


def _address(transport: asyncio.Transport) -> str:
    """Give the client's IP address, empty on a unix socket."""
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) else ""
