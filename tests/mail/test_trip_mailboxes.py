"""Trips to mailboxes that are not what they should be: uids that change hands, servers that hang up, drip or hang."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from mailprobe.mail.login import Login
from mailprobe.mail.routes import Server
from mailprobe.mail.sending import Options
from mailprobe.mail.trip import Plan, trip
from mailprobe.mail.trip_desk import Desk
from mailprobe.mail.trip_pace import LONGEST_PAUSE_S, PAUSE_S, QUICK_ONES, Pace
from mailprobe.model.conversation import Security
from mailprobe.model.ports import Service
from mailprobe.model.trip import State, Thresholds, Trip
from mailprobe.net.limits import Limits
from mailprobe.net.network import Network, Reach
from mailprobe.protocols.sasl import Credentials
from tests.scripted import Peer, Script, Scripted

OTHER = b"From: boss@b.test\r\nSubject: precious\r\n\r\nkeep me\r\n"
HERE = "127.0.0.1"
Answer = Callable[[Peer, bytes], bool]  # False ends the connection


def head(letter: bytes) -> bytes:
    return letter.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


class Mailbox:
    """One mailbox behind SMTP, IMAP and POP3; *letters* are by uid, or by number in POP3.

    *begin* is called as each connection to read mail begins. *unique_id* gives what UIDL says, None without UIDL.
    """

    def __init__(self) -> None:
        self.letters: dict[int, bytes] = {}
        self.validity = 1
        self.unique_id: Callable[[int], int] | None = lambda uid: uid
        self.instead: dict[bytes, Answer] = {}
        self.offers = b"UIDPLUS IDLE"
        self.begin: Callable[[], None] = lambda: None
        self.fetched = False
        self.deleted: list[bytes] = []
        self.visits = 0

    def take(self, peer: Peer) -> None:
        """Take one letter by SMTP, and put it into the mailbox."""
        peer.send(b"220 a.test ESMTP\r\n")
        while line := peer.line():
            word = line.split()[0].upper()
            if word == b"DATA":
                peer.send(b"354 go\r\n")
                octets = b""
                while (more := peer.line()) not in {b".\r\n", b""}:
                    octets += more[1:] if more.startswith(b".") else more
                self.letters[7] = octets
            peer.send(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")

    # -- IMAP --------------------------------------------------------------------------------------------------

    def imap(self, peer: Peer) -> None:
        self.visits += 1
        self.begin()
        peer.send(b"* OK [CAPABILITY IMAP4rev1 %b] ready\r\n" % self.offers)
        while line := peer.line():
            tag, _, rest = line.rstrip().partition(b" ")
            words = rest.upper().split()
            word = b" ".join(words[:2]) if words[0] == b"UID" else words[0]
            special = self.instead.get(word)
            if special is not None:
                if not special(peer, tag):
                    peer.finish()
                    return
                continue
            told: dict[bytes, Callable[[], bytes]] = {
                b"CAPABILITY": lambda: b"* CAPABILITY IMAP4rev1 %b\r\n" % self.offers,
                b"LIST": lambda: b'* LIST () "/" INBOX\r\n',
                b"SELECT": self._select,
                b"UID SEARCH": lambda: b"* SEARCH %b\r\n" % b" ".join(b"%d" % uid for uid in sorted(self.letters)),
                b"UID FETCH": lambda: self._fetch(words),  # noqa: B023 - called at once
                b"UID EXPUNGE": lambda: self._expunge(words),  # noqa: B023 - called at once
                b"LOGOUT": lambda: b"* BYE\r\n",
            }
            peer.send(told.get(word, lambda: b"")() + tag + b" OK done\r\n")

    def _select(self) -> bytes:
        return b"* %d EXISTS\r\n* OK [UIDVALIDITY %d] so\r\n" % (len(self.letters), self.validity)

    def _asked(self, words: list[bytes]) -> list[int]:
        spans = [each.split(b":") for each in words[2].split(b",")]
        return [uid for uid in sorted(self.letters) if any(int(span[0]) <= uid <= int(span[-1]) for span in spans)]

    def _fetch(self, words: list[bytes]) -> bytes:
        return b"".join(self._item(uid, b" ".join(words[3:])) for uid in self._asked(words))

    def _item(self, uid: int, items: bytes) -> bytes:
        letter = self.letters[uid]
        if b"BODY" not in items:
            date = time.strftime("%d-%b-%Y %H:%M:%S +0000", time.gmtime()).encode()
            self.fetched |= b"INTERNALDATE" in items
            return b'* 1 FETCH (UID %d RFC822.SIZE %d INTERNALDATE "%b")\r\n' % (uid, len(letter), date)
        octets = head(letter) if b"HEADER" in items else letter
        return b"* 1 FETCH (UID %d BODY[] {%d}\r\n%b)\r\n" % (uid, len(octets), octets)

    def _expunge(self, words: list[bytes]) -> bytes:
        self.deleted += [self.letters.pop(uid) for uid in self._asked(words)]
        return b""

    # -- POP3 --------------------------------------------------------------------------------------------------

    def pop3(self, peer: Peer) -> None:
        self.visits += 1
        self.begin()
        numbered = dict(enumerate(self.letters.items(), 1))
        marked: list[int] = []
        peer.send(b"+OK ready\r\n")
        while line := peer.line():
            word, *rest = line.upper().split()
            numbers = [int(each) for each in rest if each.isdigit()]
            reply = b"+OK\r\n"
            if word == b"CAPA":
                reply = b"+OK\r\nUSER\r\nTOP\r\n.\r\n"
            elif word == b"UIDL" and self.unique_id is None:
                reply = b"-ERR what\r\n"
            elif word in {b"UIDL", b"LIST"} and not numbers:
                tell = self.unique_id if word == b"UIDL" and self.unique_id is not None else (lambda _: 5)
                rows = [(number, tell(uid)) for number, (uid, _) in numbered.items()]
                reply = b"+OK\r\n" + b"".join(b"%d %d\r\n" % row for row in rows) + b".\r\n"
            elif word == b"LIST":
                reply = b"+OK %d 5\r\n" % numbers[0]
            elif word in {b"TOP", b"RETR"}:
                letter = numbered[numbers[0]][1]
                self.fetched |= word == b"RETR"
                octets = head(letter) if word == b"TOP" else letter
                reply = b"+OK\r\n" + (b"\r\n" + octets).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"
            elif word == b"DELE":
                marked.append(numbered[numbers[0]][0])
            elif word == b"QUIT":
                self.deleted += [self.letters.pop(uid) for uid in marked]
            peer.send(reply)


@contextmanager
def reached(box: Mailbox, read: Script, limits: Limits) -> Iterator[Network]:
    with Scripted(box.take) as sending, Scripted(read) as reading:

        def route(_address: str, port: int) -> tuple[str, int]:
            return sending.endpoint if port == 25 else reading.endpoint

        yield Network(Reach(route=route, ehlo_name="probe.test", limits=limits))


def made(box: Mailbox, service: Service = Service.IMAP, wait_s: float = 5.0, timeout: float = 5.0) -> Trip:
    """Make a trip to a mailbox, in clear."""
    login = Login(credentials=Credentials("bob", "secret"), insecure=True)
    port = 143 if service is Service.IMAP else 110
    wanted = Plan(
        sender="alice@a.test",
        recipient="bob@b.test",
        route=Server(HERE, 25, Security.CLEAR),
        options=Options(),
        desk=Desk(host=HERE, port=port, service=service, security=Security.CLEAR, login=login),
        sender_desk=None,
        thresholds=Thresholds(warn_s=95.0, crit_s=300.0, wait_s=wait_s),
    )
    read = box.imap if service is Service.IMAP else box.pop3
    with reached(box, read, Limits.within(timeout)) as network:
        return asyncio.run(trip(network, wanted))


# -- what is deleted --------------------------------------------------------------------------------------------


def hang_up_once_fetched(box: Mailbox, then: Callable[[], None]) -> None:
    """End the connection at the first SELECT behind a whole letter; what changes then is there at the next visit."""

    def select(peer: Peer, tag: bytes) -> bool:
        if box.fetched:
            del box.instead[b"SELECT"]
            then()
            return False
        peer.send(box._select() + tag + b" OK done\r\n")
        return True

    box.instead[b"SELECT"] = select


def test_a_uid_that_became_anothers_with_a_new_uidvalidity_deletes_nothing() -> None:
    box = Mailbox()

    def change() -> None:
        box.validity, box.letters = 2, {7: OTHER}

    hang_up_once_fetched(box, change)
    found = made(box)
    assert (found.state, found.copies[0].removed) == (State.ARRIVED, False)
    assert (box.deleted, box.letters) == ([], {7: OTHER})


def test_a_uid_that_became_anothers_while_uidvalidity_stayed_deletes_nothing_either() -> None:
    box = Mailbox()
    hang_up_once_fetched(box, lambda: box.letters.update({7: OTHER}))
    assert not made(box).copies[0].removed
    assert (box.deleted, box.letters) == ([], {7: OTHER})


def test_a_letter_is_found_again_and_deleted_under_its_new_uidvalidity() -> None:
    box = Mailbox()

    def change() -> None:
        box.validity, box.letters = 2, {7: OTHER, 9: box.letters[7]}

    hang_up_once_fetched(box, change)
    found = made(box)
    (copy,) = found.copies
    assert (copy.uid, copy.removed) == ("9", True)
    assert box.letters == {7: OTHER}


@pytest.mark.parametrize("ours_stays", [True, False])
def test_without_uidl_a_number_that_became_anothers_deletes_nothing_of_theirs(ours_stays: bool) -> None:
    box = Mailbox()
    box.unique_id = None

    def shift() -> None:
        if box.fetched:  # number 1 is another's from here on
            ours = box.letters.pop(7, b"")
            box.letters = {3: OTHER} | ({7: ours} if ours_stays else {})

    box.begin = shift
    found = made(box, Service.POP3)
    (copy,) = found.copies
    assert (copy.uid, copy.removed) == (("#2", True) if ours_stays else ("#1", False))
    assert box.letters == {3: OTHER}


def test_two_letters_with_one_unique_id_cost_nobody_a_letter() -> None:
    box = Mailbox()
    box.letters = {3: OTHER}
    box.unique_id = lambda _: 77
    assert made(box, Service.POP3).copies[0].removed
    assert box.letters == {3: OTHER}


# -- how a server is treated ------------------------------------------------------------------------------------


def says(octets: bytes, *, stays: bool = True) -> Answer:
    def answer(peer: Peer, tag: bytes) -> bool:
        peer.send(octets.replace(b"%t", tag))
        return stays

    return answer


@pytest.mark.parametrize(
    "idle",
    [
        says(b"* BYE no\r\n", stays=False),
        says(b"", stays=False),
        says(b"+ go\r\nzzz\r\n", stays=False),
        says(b"+ go\r\n%t OK that was it\r\n"),
        says(b"%t BAD no\r\n"),
    ],
)
def test_a_server_that_does_not_bear_idle_is_not_visited_again_and_again(idle: Answer) -> None:
    box = Mailbox()
    asked: list[bytes] = []

    def counted(peer: Peer, tag: bytes) -> bool:
        asked.append(tag)
        return idle(peer, tag)

    box.instead = {b"IDLE": counted, b"UID SEARCH": says(b"* SEARCH\r\n%t OK\r\n")}
    found = made(box, wait_s=1.5)
    assert found.state is State.LOST
    assert box.visits <= 2
    assert len(asked) <= 2


@pytest.mark.parametrize("select", [b"%t NO [INUSE] later\r\n", b"* BYE later\r\n"])
def test_a_mailbox_that_cannot_be_opened_is_tried_at_leisure(select: bytes) -> None:
    box = Mailbox()
    box.instead = {b"SELECT": says(select)}
    assert made(box, wait_s=1.5).state is State.UNKNOWN
    assert box.visits <= 3


def drip(peer: Peer, _tag: bytes) -> bool:
    """Say something all the time, and never end."""
    try:
        while True:
            peer.send(b"*")
            if peer.overhear(0.05):
                return False
    except OSError:
        return False


def hang(peer: Peer, _tag: bytes) -> bool:
    peer.rest()
    return False


@pytest.mark.parametrize("answer", [drip, hang])
@pytest.mark.parametrize("word", [b"SELECT", b"LIST", b"UID SEARCH", b"UID FETCH", b"IDLE"])
def test_a_trip_ends_soon_after_its_wait_and_its_timeout_whatever_the_server_does(word: bytes, answer: Answer) -> None:
    box = Mailbox()
    box.instead = {word: answer}
    if word == b"IDLE":
        box.instead[b"UID SEARCH"] = says(b"* SEARCH\r\n%t OK\r\n")
    began = time.monotonic()
    made(box, wait_s=0.4, timeout=0.8)
    assert time.monotonic() - began < 6.0


def test_the_pause_doubles_with_each_failure_up_to_a_minute() -> None:
    pace = Pace()
    seen = [pace.pause_s]
    for _ in range(6):
        pace.went_wrong()
        seen.append(pace.pause_s)
    assert seen == [PAUSE_S, PAUSE_S, 10.0, 20.0, 40.0, LONGEST_PAUSE_S, LONGEST_PAUSE_S]
    assert pace.rests
    pace.went_well()
    assert (pace.pause_s, pace.rests) == (PAUSE_S, False)


def test_news_without_end_are_looked_at_once_a_second() -> None:
    pace = Pace()
    assert [pace.heard_after(0.01) for _ in range(QUICK_ONES)] == [0.0] * QUICK_ONES
    assert pace.heard_after(0.01) == 1.0
    assert pace.heard_after(3.0) == 0.0
