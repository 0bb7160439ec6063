"""The POP3 client: one-line and dotted replies however they are cut, and what can be read from them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailprobe.model.errors import LocalProtocolError
from mailprobe.model.evidence import Capability, Kind, Reply
from mailprobe.protocols.client import REPLY_LINES_LIMIT
from mailprobe.protocols.pop3.client import Pop3Client, apop_stamp, capa_capabilities, response_code
from tests.protocols.reading import cut, outcome, refusal, replies


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
