"""Reading mail: found by a header field and nothing like it, deleted by uid and nobody else's, waited for patiently."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from mailprobe.collect.dialogue import Stopped
from mailprobe.collect.survey import Door
from mailprobe.mail.reading import Deleted, Folder, Inbox, holding, inbox_at
from mailprobe.mail.reading.inbox import holds, letter_row
from mailprobe.model.conversation import Place, Security
from mailprobe.model.evidence import Kind, Stage
from mailprobe.net.limits import Deadline
from mailprobe.net.network import Network
from tests.collect.servers import CONTEXT, HOST, on_network
from tests.mail.visits import ALICE
from tests.scripted import Peer, Script

Result = TypeVar("Result")
IMAPS, POP3S = 993, 995


def reading(
    act: Callable[[Inbox], Awaitable[Result]], *scripts: Script, port: int = IMAPS, letter_limit: int = 100_000
) -> tuple[Result, list[bytes]]:
    """Act on an inbox that is open; give the result and what the server heard."""

    async def run(network: Network, door: Door) -> Result:
        place = Place(host=HOST, address=door.address, port=port, service=door.port.service, security=Security.TLS)
        inbox = inbox_at(network, place, ALICE, Deadline(20), poll_s=0.01, letter_limit=letter_limit)
        try:
            await inbox.open()
            return await act(inbox)
        finally:
            await inbox.end()

    return on_network(run, *scripts, port=port)


# -- IMAP ------------------------------------------------------------------------------------------------------


def imap(
    *turns: tuple[bytes, bytes],
    offers: bytes = b"UIDPLUS IDLE",
    exists: int = 2,
    selected: bytes = b"UIDVALIDITY 1",
) -> Script:
    """An IMAP server with an open INBOX that expects these commands in this order, their tags apart."""

    def serve(peer: Peer) -> None:
        peer.start_tls(CONTEXT)
        peer.send(b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\n")
        said = (
            (b"AUTHENTICATE", b"%t OK [CAPABILITY IMAP4rev1 " + offers + b"] in\r\n"),
            (b"SELECT", b"* %d EXISTS\r\n* OK [%b] so\r\n%%t OK [READ-WRITE] done\r\n" % (exists, selected)),
            *turns,
        )
        tag = b""
        for expected, reply in said:
            line = peer.line().removesuffix(b"\r\n")
            if line != expected:
                tag, _, line = line.partition(b" ")
            assert line.startswith(expected), (line, expected)
            peer.send(reply.replace(b"%t", tag))
        peer.answer(logout=b"* BYE\r\n%t OK\r\n")

    return serve


def header(number: int, uid: int, token: bytes) -> bytes:
    octets = b"X-Trip: " + token + b"\r\n\r\n"
    return b"* %d FETCH (UID %d BODY[HEADER.FIELDS (X-TRIP)] {%d}\r\n%b)\r\n" % (number, uid, len(octets), octets)


def delete(*uids: str) -> Callable[[Inbox], Awaitable[Deleted]]:
    """Delete letters that have the token."""
    return lambda inbox: inbox.delete(dict.fromkeys(uids, holding("X-Trip", "abc.1")))


async def search(inbox: Inbox) -> tuple[str, ...]:
    return await inbox.search("X-Trip", "abc.1")


HEADERS = b"UID FETCH %b (UID BODY.PEEK[HEADER])"
FOUND = (b'UID SEARCH HEADER "X-Trip" "abc.1"', b"* SEARCH 5 6\r\n%t OK\r\n")
LOOKED = (
    b"UID FETCH 5:6 (UID BODY.PEEK[HEADER.FIELDS (X-TRIP)])",
    header(1, 5, b"<abc.1@a>") + header(2, 6, b"abc.12"),
)


def test_what_a_search_finds_is_looked_at_for_it_finds_parts_of_words() -> None:
    found, _ = reading(search, imap(FOUND, (LOOKED[0], LOOKED[1] + b"%t OK\r\n")))
    assert found == ("5",)


@pytest.mark.parametrize("reply", [b"%t BAD what\r\n", b"%t NO cannot\r\n", b"* SEARCH\r\n%t OK\r\n"])
def test_where_a_search_finds_nothing_the_newest_letters_are_looked_at(reply: bytes) -> None:
    turns = (
        (FOUND[0], reply),
        (b"UID SEARCH ALL", b"* SEARCH 6 5\r\n%t OK\r\n"),
        (LOOKED[0], LOOKED[1] + b"%t OK\r\n"),
    )
    assert reading(search, imap(*turns))[0] == ("5",)


def test_letters_are_looked_at_once_and_new_ones_after_them() -> None:
    async def act(inbox: Inbox) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return await search(inbox), await search(inbox)

    turns = (
        (FOUND[0], b"* SEARCH\r\n%t OK\r\n"),
        (b"UID SEARCH ALL", b"* SEARCH 5\r\n%t OK\r\n"),
        (b"UID FETCH 5 (UID", header(1, 5, b"other") + b"%t OK\r\n"),
        (FOUND[0], b"* SEARCH\r\n%t OK\r\n"),
        (b"UID SEARCH ALL", b"* SEARCH 5 7\r\n%t OK\r\n"),
        (b"UID FETCH 7 (UID", header(2, 7, b"abc.1") + b"%t OK\r\n"),
    )
    assert reading(act, imap(*turns))[0] == ((), ("7",))


def test_a_server_that_leaves_in_a_search_is_told_from_one_that_cannot() -> None:
    with pytest.raises(Stopped) as caught:
        reading(search, imap((FOUND[0], b"* BYE [UNAVAILABLE] going down\r\n")))
    assert caught.value.trouble.kind is Kind.TEMPORARY


LETTER = b"Subject: a\r\n\r\nbody {3}\r\n"
SIZED = (b"UID FETCH 5 (UID RFC822.SIZE)", b"* 1 FETCH (UID 5 RFC822.SIZE %d)\r\n%%t OK\r\n" % len(LETTER))


def test_a_letter_is_fetched_as_it_is_without_being_marked_as_seen() -> None:
    whole = b"* 2 FETCH (FLAGS (\\Seen) UID 9)\r\n* 1 FETCH (UID 5 BODY[] {%d}\r\n%b)\r\n%%t OK\r\n" % (
        len(LETTER),
        LETTER,
    )
    got, _ = reading(lambda inbox: inbox.fetch("5"), imap(SIZED, (b"UID FETCH 5 (UID BODY.PEEK[])", whole)))
    assert got == LETTER


@pytest.mark.parametrize(
    ("turns", "kind", "words"),
    [
        (((SIZED[0], b"%t OK\r\n"),), Kind.REJECTED, "no letter with uid 5"),
        (((SIZED[0], b"* 1 FETCH (UID 5 RFC822.SIZE 100001)\r\n%t OK\r\n"),), Kind.LIMIT, "100001 octets, and 100000"),
        ((SIZED, (b"UID FETCH", b"* 1 FETCH (UID 5 BODY[] {100001}\r\n")), Kind.LIMIT, "literal of 100001"),
        ((SIZED, (b"UID FETCH", b"* 1 FETCH (UID 5)\r\n%t OK\r\n")), Kind.GARBAGE, "does not give"),
        ((SIZED, (b"UID FETCH", b"%t NO [SERVERBUG] lost it\r\n")), Kind.REJECTED, "lost it"),
    ],
)
def test_a_letter_that_cannot_be_had_is_told(turns: tuple[tuple[bytes, bytes], ...], kind: Kind, words: str) -> None:
    with pytest.raises(Stopped) as caught:
        reading(lambda inbox: inbox.fetch("5"), imap(*turns))
    assert (caught.value.trouble.stage, caught.value.trouble.kind) == (Stage.FETCH, kind)
    assert words in caught.value.trouble.detail


@pytest.mark.parametrize("uid", ["", "0", "x", "5:*", "5 BODY[]", "١"])
def test_what_is_no_uid_is_asked_of_nobody(uid: str) -> None:
    with pytest.raises(Stopped, match="no uid of IMAP"):
        reading(lambda inbox: inbox.fetch(uid), imap())


def test_letters_are_deleted_by_uid_and_nobody_elses_are() -> None:
    turns = (
        (HEADERS % b"5,7", header(1, 5, b"abc.1") + header(2, 7, b"<abc.1@a>") + b"%t OK\r\n"),
        (b"UID STORE 5,7 +FLAGS.SILENT (\\Deleted)", b"%t OK\r\n"),
        (b"UID EXPUNGE 5,7", b"* 1 EXPUNGE\r\n* 2 EXPUNGE\r\n%t OK\r\n"),
    )
    assert reading(delete("7", "5"), imap(*turns))[0] == Deleted(("5", "7"))


def test_a_letter_whose_header_has_not_our_token_is_deleted_by_nobody() -> None:
    turns = (
        (HEADERS % b"5:7", header(1, 5, b"abc.12") + header(2, 7, b"abc.1") + b"%t OK\r\n"),
        (b"UID STORE 7 +FLAGS.SILENT (\\Deleted)", b"%t OK\r\n"),
        (b"UID EXPUNGE 7", b"* 2 EXPUNGE\r\n%t OK\r\n"),
    )
    left, _ = reading(delete("5", "6", "7"), imap(*turns))
    assert left == Deleted(("7",), "1 of 3 were gone already; 1 of 3 are left there: another letter has that place now")


def test_nothing_is_asked_for_where_no_header_is_recognised() -> None:
    left, (heard,) = reading(delete("5"), imap((HEADERS % b"5", header(1, 5, b"other") + b"%t OK\r\n")))
    assert left.uids == ()
    assert b"STORE" not in heard


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (b"UIDVALIDITY 1", b"UIDVALIDITY 1", True),
        (b"UIDVALIDITY 1", b"UIDVALIDITY 2", False),
        (b"UIDVALIDITY x", b"UIDVALIDITY x", False),
        (b"UIDNEXT 9", b"UIDNEXT 9", False),
        (b"UIDVALIDITY 1] x\r\n* NO [UIDNOTSTICKY", b"UIDVALIDITY 1] x\r\n* NO [UIDNOTSTICKY", False),
    ],
)
def test_a_uid_is_the_same_in_another_visit_while_its_validity_is(first: bytes, second: bytes, same: bool) -> None:
    async def act(inbox: Inbox) -> list[str]:
        validities = [inbox.validity("5")]
        await inbox.open()
        assert [inbox.validity("5")] == validities
        await inbox.end()
        await inbox.open()
        return [*validities, inbox.validity("5")]

    def select(code: bytes) -> tuple[bytes, bytes]:
        return (b"SELECT", b"* 2 EXISTS\r\n* OK [" + code + b"] so\r\n%t OK done\r\n")

    found, _ = reading(act, imap(select(first), selected=first), imap(selected=second))
    assert (found[0] == found[1]) is same


def test_without_uidplus_letters_stay_marked_since_expunge_would_take_others_along() -> None:
    turns = (
        (HEADERS % b"5", header(1, 5, b"abc.1") + b"%t OK\r\n"),
        (b"UID STORE 5 +FLAGS.SILENT (\\Deleted)", b"%t OK\r\n"),
    )
    left, (heard,) = reading(delete("5"), imap(*turns, offers=b"IDLE"))
    assert left.uids == ()
    assert left.note.startswith("marked as deleted, but not removed")
    assert b"EXPUNGE" not in heard


def test_nothing_to_delete_is_nothing_to_say() -> None:
    assert reading(delete(), imap())[0] == Deleted(())


def test_a_server_that_ends_idle_at_once_is_not_asked_for_it_again() -> None:
    turns = ((b"IDLE", b"+ idling\r\n%t OK enough\r\n"), (b"NOOP", b"* 3 EXISTS\r\n%t OK\r\n"))
    _, (heard,) = reading(wait, imap(*turns))
    assert heard.count(b"IDLE") == 1


async def wait(inbox: Inbox) -> bool:
    return await inbox.wait(10)


@pytest.mark.parametrize(
    "turns",
    [
        ((b"IDLE", b"+ idling\r\n* 3 EXISTS\r\n"), (b"DONE", b"m3 OK\r\n")),
        ((b"IDLE", b"+ idling\r\n* OK still here\r\n* 2 EXISTS\r\n* 3 EXISTS\r\n"), (b"DONE", b"m3 OK\r\n")),
        ((b"IDLE", b"+ idling\r\nm3 OK enough\r\n"), (b"NOOP", b"%t OK\r\n"), (b"NOOP", b"* 3 EXISTS\r\n%t OK\r\n")),
        ((b"IDLE", b"%t NO not now\r\n"), (b"NOOP", b"%t OK\r\n"), (b"NOOP", b"* 3 EXISTS\r\n%t OK\r\n")),
    ],
)
def test_news_end_the_waiting(turns: tuple[tuple[bytes, bytes], ...]) -> None:
    assert reading(wait, imap(*turns))[0]


def test_a_server_without_idle_is_asked_from_time_to_time() -> None:
    turns = ((b"NOOP", b"%t OK\r\n"), (b"NOOP", b"* 3 EXISTS\r\n%t OK\r\n"))
    assert reading(wait, imap(*turns, offers=b"UIDPLUS"))[0]


def test_waiting_ends_by_itself() -> None:
    turns = ((b"IDLE", b"+ idling\r\n"), (b"DONE", b"m3 OK\r\n"))
    assert not reading(lambda inbox: inbox.wait(0.05), imap(*turns))[0]


def test_a_server_that_leaves_in_idle_ends_the_waiting_with_its_words() -> None:
    with pytest.raises(Stopped, match="going down"):
        reading(wait, imap((b"IDLE", b"+ idling\r\n* BYE going down\r\n")))


def test_folders_are_listed_and_junk_is_known_by_its_use_or_its_name() -> None:
    listed = (
        b'* LIST () "/" INBOX\r\n* LIST (\\Junk) "/" Werbung\r\n* LIST () "/" "Mail/Spam"\r\n'
        b'* LIST (\\Noselect) "/" Mail\r\n%t OK\r\n'
    )
    found, _ = reading(lambda inbox: inbox.folders(), imap((b'LIST "" "*"', listed)))
    assert [(each.name, each.is_junk, each.can_be_opened) for each in found] == [
        ("INBOX", False, True),
        ("Werbung", True, True),
        ("Mail/Spam", True, True),
        ("Mail", False, False),
    ]


def test_the_letters_of_an_empty_folder_are_not_asked_for() -> None:
    assert reading(lambda inbox: inbox.letters(), imap(exists=0))[0] == ()


# -- POP3 ------------------------------------------------------------------------------------------------------


def pop3(uidl: bytes = b"+OK\r\n1 a\r\n2 b\r\n.\r\n", pass_: bytes = b"+OK in\r\n", **replies: bytes) -> Script:
    def serve(peer: Peer) -> None:
        peer.start_tls(CONTEXT)
        peer.send(b"+OK ready\r\n")
        told = {
            "capa": b"+OK\r\nUSER\r\n.\r\n",
            "user": b"+OK\r\n",
            "quit": b"+OK bye\r\n",
            "pass": pass_,
            "uidl": uidl,
        }
        peer.answer(**{**told, **replies})

    return serve


TOP = b"+OK\r\nX-Trip: <abc.1@a>\r\n\r\n.\r\n"


def test_pop3_looks_at_every_header_once() -> None:
    async def act(inbox: Inbox) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return await search(inbox), await search(inbox)

    found, (heard,) = reading(act, pop3(top=TOP), port=POP3S)
    assert found == (("a", "b"), ("a", "b"))
    assert heard.count(b"TOP") == 2


def old_pop3(peer: Peer) -> None:
    """A server that knows what RFC 1939 asks for and no more."""
    peer.start_tls(CONTEXT)
    peer.send(b"+OK ready\r\n")
    told = {b"USER": b"+OK\r\n", b"PASS": b"+OK\r\n", b"RETR": TOP, b"QUIT": b"+OK bye\r\n"}
    while line := peer.line():
        if line == b"LIST\r\n":
            peer.send(b"+OK\r\n1 30\r\n.\r\n")
        elif line == b"LIST 1\r\n":
            peer.send(b"+OK 1 30\r\n")
        else:
            peer.send(told.get(line.split()[0], b"-ERR what\r\n"))


def test_pop3_servers_need_neither_top_nor_uidl() -> None:
    async def act(inbox: Inbox) -> tuple[str, ...]:
        assert await inbox.uids() == ("#1",)
        return await search(inbox)

    found, _ = reading(act, old_pop3, port=POP3S)
    assert found == ("#1",)


def test_pop3_deletes_by_uid_when_it_says_goodbye() -> None:
    left, (heard,) = reading(delete("b", "gone"), pop3(top=TOP, dele=b"+OK\r\n"), port=POP3S)
    assert left == Deleted(("b",), "1 of 2 were gone already")
    assert heard.endswith(b"DELE 2\r\nQUIT\r\n")
    assert b"DELE 1" not in heard


def test_pop3_deletes_no_letter_whose_header_has_not_our_token() -> None:
    other = b"+OK\r\nX-Trip: abc.12\r\n\r\n.\r\n"
    left, (heard,) = reading(delete("b"), pop3(top=other, dele=b"+OK\r\n"), port=POP3S)
    assert left == Deleted((), "1 of 1 are left there: another letter has that place now")
    assert b"DELE" not in heard


def test_pop3_looks_at_the_header_once_more_before_it_deletes() -> None:
    async def act(inbox: Inbox) -> Deleted:
        assert await search(inbox) == ("a", "b")
        await inbox.end()
        return await delete("a")(inbox)

    again = pop3(top=b"+OK\r\nSubject: another's now\r\n\r\n.\r\n", dele=b"+OK\r\n")
    left, heard = reading(act, pop3(top=TOP), again, port=POP3S)
    assert left.uids == ()
    assert b"DELE" not in heard[1]


def test_a_number_of_pop3_names_a_letter_in_one_visit_only() -> None:
    async def act(inbox: Inbox) -> tuple[str, str]:
        (uid,) = await inbox.uids()
        before = inbox.validity(uid)
        await inbox.end()
        with pytest.raises(Stopped, match="#1 is a number of a visit that has ended"):
            await inbox.fetch(uid)
        await inbox.open()
        return before, inbox.validity(uid)

    (before, after), _ = reading(act, old_pop3, port=POP3S)
    assert before != after


def test_letters_with_one_uid_are_all_there_and_are_told_apart_by_their_numbers() -> None:
    async def act(inbox: Inbox) -> tuple[list[tuple[int, str]], list[str], tuple[str, ...], bool]:
        rows = [(row.number, row.uid) for row in await inbox.letters()]
        validity = inbox.validity("#1")
        named = [await inbox.named("1"), await inbox.named("2"), await inbox.named("c")]
        with pytest.raises(Stopped, match="uid of more than one letter: give the number"):
            await inbox.named("same")
        uids = await inbox.uids()
        await inbox.end()
        await inbox.open()
        return rows, named, uids, validity == inbox.validity("#1")

    same = b"+OK\r\n1 same\r\n2 same\r\n3 c\r\n.\r\n"
    script = pop3(uidl=same, top=TOP, list=b"+OK\r\n1 5\r\n2 5\r\n3 5\r\n.\r\n")
    found, _ = reading(act, script, port=POP3S)
    assert found == ([(1, "same"), (2, "same"), (3, "c")], ["#1", "#2", "c"], ("#1", "#2", "c"), False)


def test_a_uid_that_looks_like_a_number_of_ours_is_taken_for_none() -> None:
    found, _ = reading(lambda inbox: inbox.uids(), pop3(uidl=b"+OK\r\n1 #2\r\n2 b\r\n.\r\n"), port=POP3S)
    assert found == ("#1", "b")


def test_a_letter_is_meant_by_its_number_before_it_is_by_a_uid() -> None:
    digits = pop3(uidl=b"+OK\r\n1 2\r\n2 1\r\n3 7\r\n.\r\n")

    async def act(inbox: Inbox) -> list[str]:
        return [await inbox.named(text) for text in ("1", "2", "7")]

    assert reading(act, digits, port=POP3S)[0] == ["2", "1", "7"]


def test_pop3_looks_again_over_a_new_connection_and_minds_a_lock() -> None:
    locked = pop3(pass_=b"-ERR [IN-USE] locked\r\n")
    more = pop3(uidl=b"+OK\r\n1 a\r\n2 b\r\n3 c\r\n.\r\n")
    came, heard = reading(wait, pop3(), locked, pop3(), more, port=POP3S)
    assert came
    assert len(heard) == 4
    assert all(said.endswith(b"QUIT\r\n") for said in heard)


def test_a_wrong_password_is_not_tried_again_and_again() -> None:
    with pytest.raises(Stopped, match="-ERR no"):
        reading(wait, pop3(), pop3(pass_=b"-ERR no\r\n"), port=POP3S)


def test_pop3_has_one_folder() -> None:
    found, _ = reading(lambda inbox: inbox.folders(), pop3(), port=POP3S)
    assert found == (Folder("INBOX"),)
    with pytest.raises(Stopped, match="POP3 knows one mailbox"):
        reading(lambda inbox: inbox.open("Junk"), pop3(), port=POP3S)


def test_a_letter_is_meant_by_number_or_by_uid() -> None:
    async def act(inbox: Inbox) -> list[str]:
        return [await inbox.named("2"), await inbox.named("a")]

    assert reading(act, pop3(), port=POP3S)[0] == ["b", "a"]
    with pytest.raises(Stopped, match="there is no letter '3': 2 are there"):
        reading(lambda inbox: inbox.named("3"), pop3(), port=POP3S)


# -- headers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("octets", "held"),
    [
        (b"X-Trip: abc.1\r\n\r\n", True),
        (b"x-trip:abc.1\r\n", True),
        (b"X-Trip: <abc.1@a.test>\r\n", True),
        (b"X-Trip: a\r\n abc.1\r\n", True),
        (b"X-Trip: abc.12\r\n", False),
        (b"X-Trip: xabc.1\r\n", False),
        (b"X-Trip: abcx1\r\n", False),
        (b"X-Other: abc.1\r\n", False),
        (b"A: b\r\n\r\nX-Trip: abc.1\r\n", False),
        (b"", False),
    ],
)
def test_a_token_is_a_whole_word_of_one_field(octets: bytes, held: bool) -> None:
    assert holds(octets, "X-Trip", "abc.1") is held


@pytest.mark.parametrize(
    ("subject", "shown"),
    [
        (b"plain", "plain"),
        (b"=?utf-8?q?gr=C3=BC=C3=9Fe?=", "grüße"),
        ("grüße".encode(), "grüße"),
        (b"=?x-unknown?q?a?=", "=?x-unknown?q?a?="),
        (b"=?utf-8?b?!?=", ""),
        (b"=?utf-16?b?AA==?=", "=?utf-16?b?AA==?="),
        (b"\xff", "\ufffd"),
    ],
)
def test_a_list_shows_subjects_as_people_read_them(subject: bytes, shown: str) -> None:
    row = letter_row(1, "a", None, None, b"Subject: " + subject + b"\r\n\r\n")
    assert (row.subject, row.date, row.sender) == (shown, "", "")
