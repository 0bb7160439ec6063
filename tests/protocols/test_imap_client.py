"""The IMAP client: greetings, tagged replies, literals however they are cut, and what can be read from them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailprobe.model.errors import LocalProtocolError
from mailprobe.model.evidence import Capability, Kind, Reply
from mailprobe.protocols.client import REPLY_LINES_LIMIT, REPLY_OCTETS_LIMIT
from mailprobe.protocols.imap.client import LITERAL_LIMIT, ImapClient, capabilities_in, response_code
from tests.protocols.reading import cut, outcome, refusal, replies


def asked() -> ImapClient:
    """A client that has sent one command, tagged m1."""
    client = ImapClient(foreign_tags=("x1",))
    assert client.capability() == b"m1 CAPABILITY\r\n"
    return client


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"* OK ready\r\n", "OK"),
        (b"* ok\r\n", "OK"),
        (b"* PREAUTH welcome\r\n", "PREAUTH"),
        (b"* BYE busy\r\n", "BYE"),
    ],
)
def test_a_greeting_is_read(data: bytes, status: str) -> None:
    (reply,) = replies(ImapClient, data)
    assert reply.status == status


@pytest.mark.parametrize("data", [b"+OK ready\r\n", b"* NO\r\n", b"* OKAY\r\n", b"220 mx\r\n", b"\r\n", b"m1 OK\r\n"])
def test_what_is_no_greeting_is_garbage(data: bytes) -> None:
    assert refusal(ImapClient, data) is Kind.GARBAGE


def test_a_greeting_ends_with_its_line_and_the_next_one_belongs_to_the_next_reply() -> None:
    client = ImapClient()
    client.receive(b"* OK hi\r\n* OK [ALERT] read me\r\n")
    greeting = client.next_reply()
    assert greeting is not None
    assert greeting.lines == ("* OK hi",)
    client.capability()
    client.receive(b"m1 OK done\r\n")
    reply = client.next_reply()
    assert reply is not None
    assert reply.lines == ("* OK [ALERT] read me", "m1 OK done")


@pytest.mark.parametrize("status", ["OK", "NO", "BAD", "ok", "No"])
def test_a_completion_carries_the_data_before_it(status: str) -> None:
    (reply,) = replies(asked, b"* CAPABILITY IMAP4rev1\r\nm1 " + status.encode() + b" done\r\n")
    assert reply.status == status.upper()
    assert reply.lines == ("* CAPABILITY IMAP4rev1", f"m1 {status} done")


def test_a_completion_without_words_is_one() -> None:
    assert replies(asked, b"m1 OK\r\n")[0].status == "OK"


def test_the_tag_counts_in_its_own_case() -> None:
    assert refusal(asked, b"M1 OK done\r\n") is Kind.GARBAGE


@pytest.mark.parametrize("data", [b"m2 OK done\r\n", b"m1 OKAY\r\n", b"m1 BYE\r\n", b"hello\r\n", b"\r\n", b" OK\r\n"])
def test_what_completes_nothing_is_garbage(data: bytes) -> None:
    assert refusal(asked, data) is Kind.GARBAGE


def test_a_foreign_tag_completes_nothing_and_is_kept() -> None:
    (reply,) = replies(asked, b"x1 OK noop\r\nm1 OK done\r\n")
    assert reply.lines == ("x1 OK noop", "m1 OK done")


def test_a_continuation_that_nobody_asked_for_is_noted() -> None:
    (reply,) = replies(asked, b"+\r\nm1 OK done\r\n")
    assert reply.quirks == ("continuation-unasked",)


def test_a_bye_ends_the_reply_unless_it_was_asked_for() -> None:
    assert replies(asked, b"* BYE shutting down\r\n")[0].status == "BYE"
    client = ImapClient()
    assert client.logout() == b"m1 LOGOUT\r\n"
    client.receive(b"* BYE bye\r\nm1 OK done\r\n")
    reply = client.next_reply()
    assert reply is not None
    assert reply.status == "OK"


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"* X {3}\r\nabc\r\nm1 OK\r\n", "* X {3}abc"),
        (b"* X {3+}\r\na\r\n end\r\nm1 OK\r\n", "* X {3+}a\r\n end"),
        (b"* X ~{3}\r\n\0\0\0 {2}\r\nab)\r\nm1 OK\r\n", "* X ~{3}\0\0\0 {2}ab)"),
        (b"* X {0}\r\n rest\r\nm1 OK\r\n", "* X {0} rest"),
        (b"* X {0}\r\n\r\nm1 OK\r\n", "* X {0}"),
        (b"* X {6}\r\nm1 OK \r\nm1 OK\r\n", "* X {6}m1 OK "),
        (b'* X "{3}" a\r\nm1 OK\r\n', '* X "{3}" a'),
    ],
)
def test_a_literal_continues_its_line(data: bytes, line: str) -> None:
    (reply,) = replies(asked, data)
    assert reply.lines[0] == line


def test_a_literal_whose_octets_look_like_a_literal_is_just_octets() -> None:
    (reply,) = replies(asked, b"* X {3}\r\n{5}\r\nm1 OK\r\n")
    assert reply.lines == ("* X {3}{5}", "m1 OK")


@pytest.mark.parametrize(
    "data",
    [
        b"* X {4294967295}\r\n",
        b"* X {9999999999}\r\n",
        b"* X {%d}\r\n" % LITERAL_LIMIT,
        b"* X {1}\r\na" + b" {60000}\r\n" + b"x" * 60_000 + b" {6000}\r\n",
    ],
)
def test_a_huge_literal_is_refused_before_it_is_read(data: bytes) -> None:
    assert outcome(asked(), [data]) == ([], Kind.LIMIT)


def test_many_large_literals_are_refused_in_bounded_space() -> None:
    line = b"* X {50000}\r\n" + b"x" * 50_000 + b"\r\n"
    assert outcome(asked(), [line] * (REPLY_OCTETS_LIMIT // 50_000 + 1)) == ([], Kind.LIMIT)


def test_a_line_of_endless_empty_literals_is_refused_after_a_bounded_number() -> None:
    lines = REPLY_LINES_LIMIT + 2
    assert outcome(asked(), [b"* X {0}\r\n", *([b"{0}\r\n"] * lines)]) == ([], Kind.LIMIT)


@pytest.mark.parametrize("data", [b"* " + b"x" * 20_000, b"* 1 EXISTS\r\n" * (REPLY_LINES_LIMIT + 1)])
def test_a_reply_without_an_end_is_refused_in_bounded_space(data: bytes) -> None:
    assert outcome(asked(), [data]) == ([], Kind.LIMIT)


_PIECE = st.sampled_from(
    [b"* ", b"m1 ", b"OK", b"NO", b"BYE", b"{3}", b"{0}", b"~{2+}", b"\r\n", b"\n", b"+", b"x1 OK", b"\0", b"["]
)
_OCTETS = st.binary(max_size=200) | st.lists(_PIECE, max_size=40).map(b"".join)


@given(_OCTETS, st.lists(st.integers(0, 200), max_size=8), st.booleans())
def test_any_octets_end_in_the_same_replies_or_a_remote_error(data: bytes, places: list[int], greeting: bool) -> None:
    start = ImapClient if greeting else asked
    whole = outcome(start(), [data])
    assert outcome(start(), cut(data, places)) == whole
    for reply in whole[0]:
        capabilities_in(reply)
        response_code(reply)


def test_starttls_belongs_before_tls() -> None:
    client = ImapClient()
    assert client.starttls() == b"m1 STARTTLS\r\n"
    client.secured()
    with pytest.raises(LocalProtocolError, match="STARTTLS"):
        client.starttls()
    assert client.identify() == b"m2 ID NIL\r\n"


@pytest.mark.parametrize("behind", [b"* 99 EXISTS\r\n* OK [AL", b"* X {500}\r\nhalf", b"* X {3}\r\nabc and"])
def test_untagged_data_injected_before_tls_is_forgotten(behind: bytes) -> None:
    client = ImapClient()
    client.starttls()
    client.receive(b"m1 OK go\r\n" + behind)
    assert client.next_reply() is not None
    assert client.next_reply() is None
    client.secured()
    assert (client.partial_lines(), client.take_unread(), client.secure) == ((), b"", True)
    client.capability()
    client.receive(b"* CAPABILITY IMAP4rev1\r\nm2 OK done\r\n")
    assert client.next_reply() == Reply(status="OK", lines=("* CAPABILITY IMAP4rev1", "m2 OK done"), quirks=())


def test_unsolicited_untagged_data_is_no_extra_reply_but_a_tagged_line_is() -> None:
    client = asked()
    client.receive(b"m1 OK done\r\n* 3 EXISTS\r\n")
    client.next_reply()
    assert client.take_unasked() == b""
    client.starttls()
    client.receive(b"m2 OK go\r\nm7 OK what\r\n")
    reply = client.next_reply()
    assert reply is not None
    assert reply.lines == ("* 3 EXISTS", "m2 OK go")
    assert client.take_unasked() == b"m7 OK what\r\n"


@pytest.mark.parametrize(
    ("data", "source", "keywords"),
    [
        (b"* OK [CAPABILITY IMAP4rev1 STARTTLS] hi\r\n", "greeting", ("IMAP4REV1", "STARTTLS")),
        (b"* ok [capability imap4rev2] hi\r\n", "greeting", ("IMAP4REV2",)),
        (b"* PREAUTH [CAPABILITY IMAP4rev1] hi\r\n", "greeting", ("IMAP4REV1",)),
    ],
)
def test_capabilities_stand_in_the_greeting(data: bytes, source: str, keywords: tuple[str, ...]) -> None:
    (reply,) = replies(ImapClient, data)
    found = capabilities_in(reply)
    assert found is not None
    assert found.source == source
    assert tuple(item.keyword for item in found.items) == keywords


def test_the_last_list_of_capabilities_wins() -> None:
    (reply,) = replies(
        asked, b"* CAPABILITY IMAP4rev1 A\r\n* CAPABILITY IMAP4rev1 B\r\nm1 OK [CAPABILITY IMAP4rev1 C] done\r\n"
    )
    found = capabilities_in(reply)
    assert found is not None
    assert [item.keyword for item in found.items] == ["IMAP4REV1", "C"]


def test_mechanisms_become_parameters_of_auth() -> None:
    (reply,) = replies(asked, b"* capability IMAP4rev1 auth=plain AUTH=LOGIN LITERAL+ I18NLEVEL=1\r\nm1 OK\r\n")
    found = capabilities_in(reply)
    assert found is not None
    assert found.items == (
        Capability(keyword="IMAP4REV1", parameters=()),
        Capability(keyword="AUTH", parameters=("plain",)),
        Capability(keyword="AUTH", parameters=("LOGIN",)),
        Capability(keyword="LITERAL+", parameters=()),
        Capability(keyword="I18NLEVEL=1", parameters=()),
    )
    assert found.parameters("AUTH") == ("PLAIN", "LOGIN")


def test_words_that_only_mention_capabilities_are_no_list() -> None:
    (reply,) = replies(asked, b'* X "say [CAPABILITY STARTTLS]"\r\nm1 OK\r\n')
    assert capabilities_in(reply) is None


def test_no_list_is_none() -> None:
    assert capabilities_in(replies(ImapClient, b"* OK hi\r\n")[0]) is None


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"* BYE [UNAVAILABLE] later\r\n", ("UNAVAILABLE", "")),
        (b"* OK [REFERRAL imap://b.test/] go\r\n", ("REFERRAL", "imap://b.test/")),
        (b"* OK hello [ALERT]\r\n", None),
        (b"* OK\r\n", None),
    ],
)
def test_response_codes(data: bytes, code: tuple[str, str] | None) -> None:
    assert response_code(replies(ImapClient, data)[0]) == code
