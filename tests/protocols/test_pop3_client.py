"""The POP3 client: one-line and dotted replies however they are cut, and what can be read from them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailprobe.model.errors import LocalProtocolError
from mailprobe.model.evidence import Capability, Kind, Reply
from mailprobe.protocols.client import REPLY_LINES_LIMIT
from mailprobe.protocols.pop3.client import (
    Pop3Client,
    apop_stamp,
    capa_capabilities,
    response_code,
    size_of,
    sizes,
    statistics,
    unique_ids,
)
from tests.protocols.reading import bytewise, cut, outcome, refusal, replies


def asked_capa() -> Pop3Client:
    client = Pop3Client()
    assert client.capa() == b"CAPA\r\n"
    return client


def only(data: bytes) -> Reply:
    (reply,) = replies(Pop3Client, data)
    return reply


@pytest.mark.parametrize(
    ("data", "status", "quirks"),
    [
        (b"+OK ready\r\n", "+OK", ()),
        (b"+OK\r\n", "+OK", ()),
        (b"-ERR no\r\n", "-ERR", ()),
        (b"-ERR\r\n", "-ERR", ()),
        (b"+ok ready\r\n", "+OK", ("lower-case-status",)),
        (b"-Err no\r\n", "-ERR", ("lower-case-status",)),
        (b"+OK ready\n", "+OK", ("bare-lf",)),
        (b"+OK re\0ady\r\n", "+OK", ("nul",)),
    ],
)
def test_a_reply_of_one_line_is_read(data: bytes, status: str, quirks: tuple[str, ...]) -> None:
    reply = only(data)
    assert (reply.status, reply.quirks) == (status, quirks)


@pytest.mark.parametrize("data", [b"220 mx\r\n", b"+OKAY\r\n", b"\r\n", b"OK\r\n", b"+ERR\r\n", b" +OK\r\n"])
def test_what_is_neither_ok_nor_err_is_garbage(data: bytes) -> None:
    assert refusal(Pop3Client, data) is Kind.GARBAGE
    assert refusal(asked_capa, data) is Kind.GARBAGE


def test_a_list_ends_with_a_dot_and_loses_the_stuffed_ones() -> None:
    (reply,) = replies(asked_capa, b"+OK list\r\nUSER\r\n..dot\r\n...\r\nSTLS\r\n.\r\n")
    assert reply == Reply(status="+OK", lines=("+OK list", "USER", ".dot", "..", "STLS"), quirks=())


def test_a_refused_list_is_one_line() -> None:
    first, second = replies(asked_capa, b"-ERR what\r\n-ERR again\r\n")
    assert (first.lines, second.lines) == (("-ERR what",), ("-ERR again",))


def test_an_empty_list_is_a_list() -> None:
    (reply,) = replies(asked_capa, b"+ok\r\n.\n")
    assert reply == Reply(status="+OK", lines=("+ok",), quirks=("bare-lf", "lower-case-status"))


@pytest.mark.parametrize("data", [b"+OK " + b"x" * 20_000, b"+OK\r\n" + b"X\r\n" * REPLY_LINES_LIMIT])
def test_a_list_without_an_end_is_refused_in_bounded_space(data: bytes) -> None:
    assert outcome(asked_capa(), [data]) == ([], Kind.LIMIT)


_PIECE = st.sampled_from([b"+OK", b"-ERR", b" ", b"\r\n", b"\n", b".", b"..", b"\0", b"x", b"+ok"])
_OCTETS = st.binary(max_size=200) | st.lists(_PIECE, max_size=40).map(b"".join)


@given(_OCTETS, st.lists(st.integers(0, 200), max_size=8), st.booleans())
def test_any_octets_end_in_the_same_replies_or_a_remote_error(data: bytes, places: list[int], capa: bool) -> None:
    start = asked_capa if capa else Pop3Client
    whole = outcome(start(), [data])
    assert outcome(start(), cut(data, places)) == whole
    for reply in whole[0]:
        capa_capabilities(reply)
        apop_stamp(reply)
        response_code(reply)


def test_stls_belongs_before_tls() -> None:
    client = Pop3Client()
    assert client.stls() == b"STLS\r\n"
    client.secured()
    with pytest.raises(LocalProtocolError, match="STLS"):
        client.stls()
    assert client.quit() == b"QUIT\r\n"


def test_tls_makes_everything_forgotten() -> None:
    client = asked_capa()
    client.receive(b"+ok\nUSER\r\nST")
    assert client.next_reply() is None
    client.secured()
    assert (client.partial_lines(), client.take_unread(), client.secure) == ((), b"", True)
    client.receive(b"+OK one line\r\n")
    assert client.next_reply() == Reply(status="+OK", lines=("+OK one line",), quirks=())


def test_the_capabilities_are_read() -> None:
    (reply,) = replies(asked_capa, b"+OK\r\nuser\r\nSASL PLAIN login\r\n\r\nEXPIRE 60\r\nSTLS \r\n.\r\n")
    found = capa_capabilities(reply)
    assert found.source == "asked"
    assert found.items == (
        Capability(keyword="USER", parameters=()),
        Capability(keyword="SASL", parameters=("PLAIN", "login")),
        Capability(keyword="EXPIRE", parameters=("60",)),
        Capability(keyword="STLS", parameters=()),
    )


@pytest.mark.parametrize(
    ("data", "stamp"),
    [
        (b"+OK ready <1896.697170952@a.test>\r\n", "<1896.697170952@a.test>"),
        (b"+OK ready\r\n", None),
        (b"+OK <not a stamp>\r\n", None),
        (b"+OK <@>\r\n", None),
    ],
)
def test_the_stamp_of_apop(data: bytes, stamp: str | None) -> None:
    assert apop_stamp(only(data)) == stamp


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"-ERR [SYS/TEMP] later\r\n", "SYS/TEMP"),
        (b"-ERR [in-use] locked\r\n", "IN-USE"),
        (b"-ERR later [SYS/TEMP]\r\n", None),
        (b"+OK\r\n", None),
    ],
)
def test_response_codes(data: bytes, code: str | None) -> None:
    assert response_code(only(data)) == code


@pytest.mark.parametrize(
    ("make", "octets"),
    [
        (lambda client: client.user("alice"), b"USER alice\r\n"),
        (lambda client: client.pass_("a b"), b"PASS a b\r\n"),
        (
            lambda client: client.apop("mrose", "tanstaaf", "<1896.697170952@dbc.mtview.ca.us>"),
            b"APOP mrose c4c9334bac560ecc979e58001b3e22fb\r\n",  # the example of RFC 1939 §7
        ),
        (lambda client: client.auth("PLAIN"), b"AUTH PLAIN\r\n"),
        (lambda client: client.auth("PLAIN", b"\0a\0b"), b"AUTH PLAIN AGEAYg==\r\n"),
        (lambda client: client.auth("EXTERNAL", b""), b"AUTH EXTERNAL =\r\n"),
        (lambda client: client.auth_response(b"x"), b"eA==\r\n"),
        (lambda client: client.auth_cancel(), b"*\r\n"),
        (lambda client: client.stat(), b"STAT\r\n"),
        (lambda client: client.list(), b"LIST\r\n"),
        (lambda client: client.list(2), b"LIST 2\r\n"),
        (lambda client: client.uidl(), b"UIDL\r\n"),
        (lambda client: client.uidl(2), b"UIDL 2\r\n"),
        (lambda client: client.top(3, 0), b"TOP 3 0\r\n"),
        (lambda client: client.retr(3), b"RETR 3\r\n"),
        (lambda client: client.dele(3), b"DELE 3\r\n"),
        (lambda client: client.rset(), b"RSET\r\n"),
        (lambda client: client.noop(), b"NOOP\r\n"),
    ],
)
def test_commands(make: Callable[[Pop3Client], bytes], octets: bytes) -> None:
    assert make(Pop3Client()) == octets


@pytest.mark.parametrize(
    "make",
    [
        lambda client: client.user("a\r\nDELE 1"),
        lambda client: client.user("a b"),
        lambda client: client.user(""),
        lambda client: client.pass_("a\nb"),
        lambda client: client.apop("a b", "x", "<a@b>"),
        lambda client: client.auth("PLAIN x"),
    ],
)
def test_what_a_user_gives_never_becomes_another_command(make: Callable[[Pop3Client], bytes]) -> None:
    with pytest.raises(LocalProtocolError):
        make(Pop3Client())


def asked_auth() -> Pop3Client:
    client = Pop3Client()
    client.auth("LOGIN")
    return client


def test_challenges_are_replies_until_the_login_is_over() -> None:
    found = replies(asked_auth, b"+ VXNlcm5hbWU6\r\n+\r\n+OK in\r\n")
    assert [reply.status for reply in found] == ["+", "+", "+OK"]
    assert refusal(Pop3Client, b"+ VXNlcm5hbWU6\r\n") is Kind.GARBAGE


# -- letters ---------------------------------------------------------------------------------------------------


def asked_retr(limit: int = 10_000_000) -> Pop3Client:
    client = Pop3Client()
    client.retr(1, limit)
    return client


def letter_in(data: bytes, pieces: list[bytes] | None = None) -> tuple[list[Reply], bytes]:
    client = asked_retr()
    found, error = outcome(client, pieces or [data])
    assert error is None
    return found, client.take_body()


@pytest.mark.parametrize(
    ("wire", "letter"),
    [
        (b"a\r\n.\r\n", b"a\r\n"),
        (b".\r\n", b""),
        (b"..\r\n.\r\n", b".\r\n"),
        (b"..a\r\n...\r\n.\r\n", b".a\r\n..\r\n"),
        (b".x\r\n.\r\n", b"x\r\n"),
        (b"a\n.\nb\r\n.\r\n", b"a\n.\nb\r\n"),  # bare LF is no line end here
        (b"a\r.\r\n.\r\n", b"a\r.\r\n"),
        (b"\r\n\r\n.\r\n", b"\r\n\r\n"),
        (b"\0\xff\r\n.\r\n", b"\0\xff\r\n"),
    ],
)
def test_a_letter_loses_the_dots_that_were_added_and_nothing_else(wire: bytes, letter: bytes) -> None:
    data = b"+OK letter\r\n" + wire + b"+OK next\r\n"
    whole = letter_in(data)
    assert letter_in(data, bytewise(data)) == whole
    found, body = whole
    assert body == letter
    assert [reply.lines[0] for reply in found] == ["+OK letter", "+OK next"]


def test_a_server_that_writes_bare_lf_is_understood() -> None:
    found, body = letter_in(b"+OK\na\n..b\n.\n")
    assert (found[0].quirks, body) == (("bare-lf",), b"a\n.b\n")


@pytest.mark.parametrize("step", [10_000_000, 65_536, 4_099])
def test_a_large_letter_stays_out_of_the_reply(step: int) -> None:
    letter = b"Subject: a\r\n\r\n" + b"a line of a letter, and some more of it\r\n" * 50_000
    data = b"+OK\r\n" + letter + b".\r\n"
    (reply,), body = letter_in(data, [data[at : at + step] for at in range(0, len(data), step)])
    assert body == letter
    assert reply.lines[:2] == ("+OK", "Subject: a")
    assert reply.lines[-1] == f"[{len(letter)} octets]"
    assert len(reply.lines) < 20


def test_a_letter_over_the_limit_is_refused_in_bounded_space() -> None:
    client = asked_retr(1_000)
    assert outcome(client, [b"+OK\r\n" + b"x" * 990]) == ([], None)
    assert client.partial_lines() == ("+OK", "[990 octets so far]")
    assert outcome(client, [b"x" * 20]) == ([], Kind.LIMIT)


def test_a_refused_letter_is_one_line() -> None:
    (reply,), body = letter_in(b"-ERR no such letter\r\n")
    assert (reply.status, body) == ("-ERR", b"")


def test_tls_makes_a_half_letter_forgotten() -> None:
    client = asked_retr()
    client.receive(b"+OK\r\nhalf")
    assert client.next_reply() is None
    client.secured()
    assert (client.partial_lines(), client.take_body()) == ((), b"")


@given(_OCTETS, st.lists(st.integers(0, 200), max_size=8))
def test_any_octets_amid_letters_end_in_the_same_replies_or_a_remote_error(data: bytes, places: list[int]) -> None:
    whole, pieces = asked_retr(100), asked_retr(100)
    assert outcome(whole, [data]) == outcome(pieces, cut(data, places))


def test_lists_are_read_and_lines_that_are_none_passed_over() -> None:
    body = b"1 120\r\n2 x\r\nnonsense\r\n\r\n3 30 more\r\n"
    assert sizes(body) == {1: 120, 3: 30}
    assert unique_ids(body) == {1: "120", 2: "x", 3: "30"}
    assert unique_ids(b"1 whqtswO00WBw418f9t5JxYwZ\r\n") == {1: "whqtswO00WBw418f9t5JxYwZ"}


@pytest.mark.parametrize(
    ("data", "numbers"),
    [(b"+OK 2 320\r\n", (2, 320)), (b"+ok 2 320 more\r\n", (2, 320)), (b"+OK\r\n", None), (b"-ERR 2 3\r\n", None)],
)
def test_statistics(data: bytes, numbers: tuple[int, int] | None) -> None:
    assert statistics(only(data)) == numbers
    assert size_of(only(data)) == (numbers[1] if numbers else None)
