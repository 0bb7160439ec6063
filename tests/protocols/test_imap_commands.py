"""The IMAP client at work: commands that nobody can break out of, literals, challenges, news, and letters."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailprobe.model.errors import LocalProtocolError
from mailprobe.model.evidence import Capabilities, Capability, Kind
from mailprobe.protocols.imap.client import ImapClient
from mailprobe.protocols.imap.responses import Exists, Expunged, Fetched, Found
from mailprobe.protocols.imap.writing import header_is
from tests.protocols.reading import cut, outcome

_PIECE = st.sampled_from(
    [b"* 1 FETCH (", b"m1 ", b"OK", b"BODY[] ", b"UID 7", b"{3}", b"{0}", b"~{2+}", b"\r\n", b"\n", b"+", b")", b"\0"]
)
_OCTETS = st.binary(max_size=200) | st.lists(_PIECE, max_size=40).map(b"".join)


@pytest.mark.parametrize(
    ("make", "octets"),
    [
        (lambda client: client.login("a b", 'p"\\w'), b'm1 LOGIN "a b" "p\\"\\\\w"\r\n'),
        (lambda client: client.authenticate("PLAIN"), b"m1 AUTHENTICATE PLAIN\r\n"),
        (lambda client: client.authenticate("PLAIN", b"\0a\0b"), b"m1 AUTHENTICATE PLAIN AGEAYg==\r\n"),
        (lambda client: client.authenticate("EXTERNAL", b""), b"m1 AUTHENTICATE EXTERNAL =\r\n"),
        (lambda client: client.auth_response(b"x"), b"eA==\r\n"),
        (lambda client: client.auth_cancel(), b"*\r\n"),
        (lambda client: client.select("INBOX"), b'm1 SELECT "INBOX"\r\n'),
        (lambda client: client.examine("Entw\u00fcrfe & mehr"), b'm1 EXAMINE "Entw&APw-rfe &- mehr"\r\n'),
        (lambda client: client.list(), b'm1 LIST "" "*"\r\n'),
        (lambda client: client.list(special_use=True), b'm1 LIST "" "*" RETURN (SPECIAL-USE)\r\n'),
        (lambda client: client.status("A"), b'm1 STATUS "A" (MESSAGES UIDNEXT UIDVALIDITY)\r\n'),
        (lambda client: client.uid_search("ALL"), b"m1 UID SEARCH ALL\r\n"),
        (lambda client: client.uid_search(*header_is("X-A", "b c")), b'm1 UID SEARCH HEADER "X-A" "b c"\r\n'),
        (lambda client: client.uid_fetch([3, 1, 2, 7], "FLAGS"), b"m1 UID FETCH 1:3,7 (FLAGS)\r\n"),
        (lambda client: client.uid_fetch("5:*", "UID", "BODY.PEEK[]"), b"m1 UID FETCH 5:* (UID BODY.PEEK[])\r\n"),
        (lambda client: client.uid_store([4], "\\Deleted"), b"m1 UID STORE 4 +FLAGS.SILENT (\\Deleted)\r\n"),
        (
            lambda client: client.uid_store([4], "\\Seen", "$x", remove=True),
            b"m1 UID STORE 4 -FLAGS.SILENT (\\Seen $x)\r\n",
        ),
        (lambda client: client.uid_expunge([4, 5]), b"m1 UID EXPUNGE 4:5\r\n"),
        (lambda client: client.expunge(), b"m1 EXPUNGE\r\n"),
        (lambda client: client.close(), b"m1 CLOSE\r\n"),
        (lambda client: client.noop(), b"m1 NOOP\r\n"),
        (lambda client: client.namespace(), b"m1 NAMESPACE\r\n"),
        (lambda client: client.idle(), b"m1 IDLE\r\n"),
        (lambda client: client.done(), b"DONE\r\n"),
    ],
)
def test_commands(make: Callable[[ImapClient], bytes], octets: bytes) -> None:
    assert make(ImapClient()) == octets


@pytest.mark.parametrize(
    "make",
    [
        lambda client: client.login("a\r\nx LOGOUT", "b"),
        lambda client: client.login("a", "b\0"),
        lambda client: client.select("a\nb"),
        lambda client: client.authenticate("PLAIN\r\nx"),
        lambda client: client.authenticate(""),
        lambda client: client.uid_search(*header_is("Subject", "a\r\nm2 EXPUNGE")),
        lambda client: client.uid_fetch([], "FLAGS"),
        lambda client: client.uid_fetch([0], "FLAGS"),
        lambda client: client.uid_fetch("1:5) X (", "FLAGS"),
        lambda client: client.uid_fetch([1], "FLAGS) X ("),
        lambda client: client.uid_fetch([1]),
        lambda client: client.uid_store([1]),
        lambda client: client.uid_store([1], "\\Seen) X"),
        lambda client: client.append("INBOX", b"x", "a b"),
        lambda client: client.status("A", "X\r\n"),
        lambda client: client.go_on(),
    ],
)
def test_what_a_user_gives_never_becomes_another_command(make: Callable[[ImapClient], bytes]) -> None:
    with pytest.raises(LocalProtocolError):
        make(ImapClient())


def test_a_password_beyond_ascii_goes_as_a_literal_that_the_server_is_waited_for() -> None:
    client = ImapClient()
    assert client.login("j\u00f6", "p\u00e4ss") == b"m1 LOGIN {3}\r\n"
    client.receive(b"+ go\r\n")
    assert _status(client) == "+"
    assert client.go_on() == "jö {5}\r\n".encode()
    client.receive(b"+\r\n")
    assert _status(client) == "+"
    assert client.go_on() == "päss\r\n".encode()
    assert not client.waits
    client.receive(b"m1 OK in\r\n")
    assert _status(client) == "OK"


@pytest.mark.parametrize(
    ("keyword", "octets", "written"),
    [
        ("LITERAL+", b"x" * 5_000, b'm1 APPEND "A" {5000+}\r\n' + b"x" * 5_000 + b"\r\n"),
        ("LITERAL-", b"x" * 4_096, b'm1 APPEND "A" {4096+}\r\n' + b"x" * 4_096 + b"\r\n"),
        ("LITERAL-", b"x" * 4_097, b'm1 APPEND "A" {4097}\r\n'),
        ("IDLE", b"x", b'm1 APPEND "A" {1}\r\n'),
    ],
)
def test_literals_go_at_once_where_the_server_takes_them(keyword: str, octets: bytes, written: bytes) -> None:
    client = ImapClient()
    client.learn(Capabilities(source="asked", items=(Capability(keyword=keyword, parameters=()),)))
    assert client.append("A", octets) == written


def test_a_refused_literal_is_not_sent() -> None:
    client = ImapClient()
    client.append("A", b"letter", "\\Seen")
    client.receive(b"m1 NO [OVERQUOTA] full\r\n")
    assert _status(client) == "NO"
    assert not client.waits
    with pytest.raises(LocalProtocolError):
        client.go_on()


def test_challenges_are_replies_until_the_login_is_over() -> None:
    client = ImapClient()
    client.authenticate("LOGIN")
    client.receive(b"+ VXNlcm5hbWU6\r\n")
    assert _status(client) == "+"
    client.receive(b"* CAPABILITY IMAP4rev1\r\n+ UGFzc3dvcmQ6\r\n")
    assert _status(client) == "+"
    client.receive(b"m1 OK in\r\n")
    assert _status(client) == "OK"


def test_news_in_idle_are_read_as_they_come() -> None:
    client = ImapClient()
    client.idle()
    client.receive(b"+ idling\r\n* 4 EXI")
    assert _status(client) == "+"
    assert client.next_reply() is None
    assert client.take_responses() == ()
    client.receive(b"STS\r\n* 2 EXPUNGE\r\n")
    assert client.next_reply() is None
    assert client.take_responses() == (Exists(4), Expunged(2))
    assert client.waits
    assert client.done() == b"DONE\r\n"
    client.receive(b"m1 OK done\r\n")
    assert _status(client) == "OK"


def _status(client: ImapClient) -> str:
    reply = client.next_reply()
    assert reply is not None
    return reply.status


# -- letters ---------------------------------------------------------------------------------------------------

LETTER = b"Subject: a\r\n\r\n" + b"line {3}\r\n)\r\nm1 OK no\r\n" * 40_000


def fetching(limit: int = 2_000_000) -> ImapClient:
    client = ImapClient()
    client.uid_fetch([7], "UID", "BODY.PEEK[]", limit=limit)
    return client


@pytest.mark.parametrize("step", [len(LETTER) + 100, 65_536, 4_099])
def test_a_letter_comes_octet_for_octet_and_stays_out_of_the_reply(step: int) -> None:
    data = b"* 1 EXISTS\r\n* 3 FETCH (UID 7 BODY[] {%d}\r\n%b FLAGS (\\Seen))\r\nm1 OK done\r\n" % (len(LETTER), LETTER)
    client = fetching()
    got, error = outcome(client, [data[at : at + step] for at in range(0, len(data), step)])
    assert error is None
    (reply,) = got
    assert reply.status == "OK"
    assert reply.lines[:3] == ("* 1 EXISTS", f"* 3 FETCH (UID 7 BODY[] {{{len(LETTER)}}}", "Subject: a")
    assert reply.lines[-3:] == (f"[{len(LETTER)} octets]", " FLAGS (\\Seen))", "m1 OK done")
    assert sum(map(len, reply.lines)) < 1_000
    exists, fetched = client.take_responses()
    assert exists == Exists(1)
    assert fetched == Fetched(number=3, uid=7, flags=("\\Seen",), sections={"BODY[]": LETTER})
    assert client.take_responses() == ()


def test_a_letter_over_the_limit_is_refused_before_it_is_read() -> None:
    assert outcome(fetching(1_000), [b"* 1 FETCH (UID 7 BODY[] {1001}\r\n"]) == ([], Kind.LIMIT)
    assert outcome(fetching(1_000), [b"* 1 FETCH (X {600}\r\n" + b"x" * 600 + b" Y {600}\r\n"]) == ([], Kind.LIMIT)


def test_a_hundred_thousand_letters_can_be_searched_but_not_endlessly_many() -> None:
    client = ImapClient()
    client.uid_search("ALL")
    client.receive(b"* SEARCH " + b" ".join(b"%d" % uid for uid in range(1, 100_001)) + b"\r\nm1 OK done\r\n")
    assert _status(client) == "OK"
    assert client.take_responses() == (Found(tuple(range(1, 100_001))),)
    client.uid_search("ALL")
    assert outcome(client, [b"* SEARCH " + b"1 " * 3_000_000]) == ([], Kind.LIMIT)


@given(_OCTETS, st.lists(st.integers(0, 200), max_size=8))
def test_any_octets_amid_letters_end_in_the_same_replies_or_a_remote_error(data: bytes, places: list[int]) -> None:
    whole, pieces = fetching(100), fetching(100)
    assert outcome(whole, [data]) == outcome(pieces, cut(data, places))
    assert whole.take_responses() == pieces.take_responses()
