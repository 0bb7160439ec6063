"""The SMTP client: replies however they are cut, oddities noted, limits kept, nothing carried into TLS."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailprobe.model.errors import LocalProtocolError
from mailprobe.model.evidence import Capability, Kind, Reply
from mailprobe.protocols.client import REPLY_LINES_LIMIT, REPLY_OCTETS_LIMIT
from mailprobe.protocols.smtp.client import (
    SmtpClient,
    ehlo_capabilities,
    enhanced_code,
    server_name,
)
from tests.protocols.reading import cut, outcome, refusal, replies


def only(data: bytes) -> Reply:
    (reply,) = replies(SmtpClient, data)
    return reply


@pytest.mark.parametrize(
    ("data", "status", "lines", "quirks"),
    [
        (b"220 mx.a.test ESMTP\r\n", "220", ("220 mx.a.test ESMTP",), ()),
        (b"220-wait\r\n220 mx.a.test\r\n", "220", ("220-wait", "220 mx.a.test"), ()),
        (b"250\r\n", "250", ("250",), ("bare-code",)),
        (b"250-a.test\r\n250\r\n", "250", ("250-a.test", "250"), ("bare-code",)),
        (b"250 \r\n", "250", ("250 ",), ()),
        (b"250-\r\n250 x\r\n", "250", ("250-", "250 x"), ()),
        (b"220 hello\n", "220", ("220 hello",), ("bare-lf",)),
        (b"250-a\n250 b\r\n", "250", ("250-a", "250 b"), ("bare-lf",)),
        (b"220 he\0llo\r\n", "220", ("220 he\0llo",), ("nul",)),
        (b"220 a\rb\r\n", "220", ("220 a\rb",), ("bare-cr",)),
        (b"250-a\r\n550 b\r\n", "550", ("250-a", "550 b"), ("mixed-codes",)),
        (b"220 \x1b[31mred\xe4\r\n", "220", ("220 \x1b[31mred\xe4",), ()),
        (b"421 too many\r\n", "421", ("421 too many",), ()),
        (b"354 go on\r\n", "354", ("354 go on",), ()),
    ],
)
def test_a_reply_is_read(data: bytes, status: str, lines: tuple[str, ...], quirks: tuple[str, ...]) -> None:
    assert only(data) == Reply(status=status, lines=lines, quirks=quirks)


def test_replies_in_one_packet_are_told_apart_and_quirks_belong_to_one_reply() -> None:
    first, second = replies(SmtpClient, b"250-a\n250 b\r\n220 go\r\n")
    assert (first.quirks, second.quirks) == (("bare-lf",), ())
    assert second.lines == ("220 go",)


@pytest.mark.parametrize(
    "data", [b"hello\r\n", b"\r\n", b"22\r\n", b"2200 x\r\n", b"199 x\r\n", b"650 x\r\n", b"220\tx\r\n", b" 220 x\r\n"]
)
def test_what_has_not_the_form_of_a_reply_is_garbage(data: bytes) -> None:
    assert refusal(SmtpClient, data) is Kind.GARBAGE


def test_the_line_that_broke_a_reply_is_kept_for_the_evidence() -> None:
    client = SmtpClient()
    assert outcome(client, [b"250-a\r\nHTTP/1.1 400\r\n"]) == ([], Kind.GARBAGE)
    assert client.partial_lines() == ("250-a", "HTTP/1.1 400")


@pytest.mark.parametrize(
    "data",
    [
        b"220 " + b"x" * 20_000,
        b"220-x\r\n" * (REPLY_LINES_LIMIT + 1),
        (b"220-" + b"x" * 16_000 + b"\r\n") * (REPLY_OCTETS_LIMIT // 16_000 + 1),
    ],
)
def test_a_reply_without_an_end_is_refused_in_bounded_space(data: bytes) -> None:
    assert outcome(SmtpClient(), [data]) == ([], Kind.LIMIT)
    assert outcome(SmtpClient(), [data[:5_000], data[5_000:]]) == ([], Kind.LIMIT)


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8))
def test_any_octets_end_in_replies_or_a_remote_error(data: bytes, places: list[int]) -> None:
    assert outcome(SmtpClient(), cut(data, places)) == outcome(SmtpClient(), [data])


_PIECE = st.sampled_from([b"250-", b"250 ", b"250", b"550-", b"\r\n", b"\n", b"\r", b"\0", b"x", b"STARTTLS", b"2"])


@given(st.lists(_PIECE, max_size=40), st.lists(st.integers(0, 200), max_size=8))
def test_anything_like_a_reply_reads_the_same_however_it_is_cut(pieces: list[bytes], places: list[int]) -> None:
    data = b"".join(pieces)
    assert outcome(SmtpClient(), cut(data, places)) == outcome(SmtpClient(), [data])


def test_commands_have_their_form() -> None:
    client = SmtpClient()
    assert client.ehlo("[192.0.2.1]") == b"EHLO [192.0.2.1]\r\n"
    assert client.helo("a.test") == b"HELO a.test\r\n"
    assert client.starttls() == b"STARTTLS\r\n"
    assert client.mail("") == b"MAIL FROM:<>\r\n"
    assert client.quit() == b"QUIT\r\n"


@pytest.mark.parametrize("text", ["a\r\nRCPT TO:<x>", "a\nb", "a\rb", "a\0b", "a\x7f", "\x1b"])
def test_command_smuggling_through_an_argument_is_refused(text: str) -> None:
    client = SmtpClient()
    for command in (client.ehlo, client.helo, client.mail):
        with pytest.raises(LocalProtocolError, match="control character"):
            command(text)


def test_a_name_that_is_no_text_is_refused() -> None:
    with pytest.raises(LocalProtocolError):
        SmtpClient().ehlo("a\udce4.test")


def test_starttls_comes_after_ehlo_and_before_tls() -> None:
    client = SmtpClient()
    with pytest.raises(LocalProtocolError, match="STARTTLS"):
        client.starttls()
    client.ehlo("a.test")
    client.starttls()
    client.secured()
    client.ehlo("a.test")
    with pytest.raises(LocalProtocolError, match="STARTTLS"):
        client.starttls()


def test_starttls_response_injection_is_visible_and_then_forgotten() -> None:
    client = SmtpClient()
    client.receive(b"220 go\r\n250-INJECTED\n250-half")
    assert client.next_reply() == Reply(status="220", lines=("220 go",), quirks=())
    assert client.next_reply() is None
    client.secured()
    assert client.partial_lines() == ()
    assert client.take_unread() == b""
    client.receive(b"250 mx\r\n")
    assert client.next_reply() == Reply(status="250", lines=("250 mx",), quirks=())
    assert client.secure


def test_the_octets_behind_a_reply_can_be_taken() -> None:
    client = SmtpClient()
    client.receive(b"220 go\r\n250 INJECTED\r\n")
    client.next_reply()
    assert client.take_unread() == b"250 INJECTED\r\n"
    assert client.next_reply() is None


def test_the_keywords_of_ehlo_are_read_in_any_case_and_with_any_spaces() -> None:
    reply = only(
        b"250-mx.a.test at your service\r\n250-starttls \r\n250-SIZE\r\n250-size  100  x\r\n250-AUTH PLAIN Login\r\n"
        b"250-AUTH=LOGIN PLAIN\r\n250-AUTH=\r\n250-\r\n250-X-Noise\r\n250 8BITMIME\r\n"
    )
    found = ehlo_capabilities(reply)
    assert found.source == "ehlo"
    assert found.items == (
        Capability(keyword="STARTTLS", parameters=()),
        Capability(keyword="SIZE", parameters=()),
        Capability(keyword="SIZE", parameters=("100", "x")),
        Capability(keyword="AUTH", parameters=("PLAIN", "Login")),
        Capability(keyword="AUTH=", parameters=("LOGIN", "PLAIN")),
        Capability(keyword="AUTH=", parameters=()),
        Capability(keyword="X-NOISE", parameters=()),
        Capability(keyword="8BITMIME", parameters=()),
    )
    assert found.has("starttls")
    assert found.parameters("auth") == ("PLAIN", "LOGIN")


def test_the_first_line_of_ehlo_is_no_keyword() -> None:
    assert ehlo_capabilities(only(b"250 STARTTLS\r\n")).items == ()
    assert ehlo_capabilities(only(b"250\r\n")).items == ()


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("550 5.7.1 no", "5.7.1"),
        ("250 2.0.0", "2.0.0"),
        ("250-2.1.5  ok", "2.1.5"),
        ("550 5.7 no", None),
        ("550 5.7.1no", None),
        ("550 6.7.1 no", None),
        ("250", None),
        ("", None),
    ],
)
def test_enhanced_codes(line: str, code: str | None) -> None:
    assert enhanced_code(line) == code


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"220 mx.a.test ESMTP\r\n", "mx.a.test"),
        (b"220-Welcome to us\r\n220 mx.a.test ready\r\n", "mx.a.test"),
        (b"220-mx.a.test teaser\r\n220 mx.a.test ESMTP\r\n", "mx.a.test"),
        (b"220 [192.0.2.1] hi\r\n", "[192.0.2.1]"),
        (b"220 mailserver\r\n", "mailserver"),
        (b"220 ... x\r\n", "..."),
        (b"220\r\n", ""),
        (b"220 \r\n", ""),
    ],
)
def test_the_name_in_a_greeting(data: bytes, name: str) -> None:
    assert server_name(only(data)) == name


@given(st.binary(max_size=120).map(lambda text: b"250-" + text.replace(b"\n", b"") + b"\r\n250 x\r\n"))
def test_no_reply_breaks_its_readers(data: bytes) -> None:
    for reply in outcome(SmtpClient(), [data])[0]:
        ehlo_capabilities(reply)
        server_name(reply)
        enhanced_code(reply.lines[0])


def test_the_commands_of_a_transaction_have_their_form() -> None:
    client = SmtpClient()
    assert client.lhlo("a.test") == b"LHLO a.test\r\n"
    assert client.mail("a@b.test", ("SIZE=10", "BODY=8BITMIME")) == b"MAIL FROM:<a@b.test> SIZE=10 BODY=8BITMIME\r\n"
    assert client.mail("", ("AUTH=<>",)) == b"MAIL FROM:<> AUTH=<>\r\n"
    assert client.mail('"a > b"@[192.0.2.1]') == b'MAIL FROM:<"a > b"@[192.0.2.1]>\r\n'
    assert client.rcpt("ä@b.test", ("NOTIFY=NEVER",)) == "RCPT TO:<ä@b.test> NOTIFY=NEVER\r\n".encode()
    assert client.rcpt("postmaster") == b"RCPT TO:<postmaster>\r\n"
    assert client.data() == b"DATA\r\n"
    assert client.bdat(b"a\r\n.\r\n", last=False) == b"BDAT 6\r\na\r\n.\r\n"
    assert client.bdat(b"", last=True) == b"BDAT 0 LAST\r\n"
    assert client.rset() == b"RSET\r\n"
    assert client.noop() == b"NOOP\r\n"
    assert client.vrfy("alice") == b"VRFY alice\r\n"
    assert client.expn("all") == b"EXPN all\r\n"
    assert client.help() == b"HELP\r\n"


@pytest.mark.parametrize(
    ("octets", "sent"),
    [
        (b"", b".\r\n"),
        (b".", b"..\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b"\r\n", b"\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b"a\r\n.\r\nb\r\n", b"a\r\n..\r\nb\r\n.\r\n"),
        (b".\r\n.\r\n..\r\n", b"..\r\n..\r\n...\r\n.\r\n"),
        (b"a\n.\nb\r\xff\0", b"a\n.\nb\r\xff\0\r\n.\r\n"),
        (b"a\r", b"a\r\r\n.\r\n"),
    ],
)
def test_a_message_is_stuffed_and_ended_and_nothing_else(octets: bytes, sent: bytes) -> None:
    assert SmtpClient().body(octets) == sent


def test_the_commands_of_a_login_have_their_form() -> None:
    client = SmtpClient()
    assert client.auth("LOGIN") == b"AUTH LOGIN\r\n"
    assert client.auth("EXTERNAL", b"") == b"AUTH EXTERNAL =\r\n"
    assert client.auth("PLAIN", b"\0a\0b") == b"AUTH PLAIN AGEAYg==\r\n"
    assert client.auth_response(b"") == b"\r\n"
    assert client.auth_response(b"alice") == b"YWxpY2U=\r\n"
    assert client.auth_cancel() == b"*\r\n"


@pytest.mark.parametrize("mechanism", ["", "plain", "PLAIN x", "A" * 21, "A\r\nRSET"])
def test_what_is_no_name_of_a_mechanism_is_refused(mechanism: str) -> None:
    with pytest.raises(LocalProtocolError, match="mechanism"):
        SmtpClient().auth(mechanism)


@pytest.mark.parametrize("text", ["a\r\nRCPT TO:<x>", "a\nb", "a\0b", "\x1b"])
def test_no_command_smuggles_a_second_one(text: str) -> None:
    client = SmtpClient()
    for command in (client.lhlo, client.rcpt, client.vrfy, client.expn):
        with pytest.raises(LocalProtocolError, match="control character"):
            command(text)
    for addressed in (client.mail, client.rcpt):
        with pytest.raises(LocalProtocolError, match="control character"):
            addressed("a@b.test", (text,))


@pytest.mark.parametrize(
    "address", ["a@b.test> SIZE=1", "a b@c.test", "<a@b.test>", '"a"> x<"@b.test', "a\u2028b@c.test"]
)
def test_no_address_smuggles_a_parameter(address: str) -> None:
    for command in (SmtpClient().mail, SmtpClient().rcpt):
        with pytest.raises(LocalProtocolError, match="space or an angle bracket"):
            command(address)


@pytest.mark.parametrize("parameter", ["", "SIZE=1 BODY=8BITMIME", "X>", "\u00a0"])
def test_a_parameter_is_one_word(parameter: str) -> None:
    with pytest.raises(LocalProtocolError, match="one word"):
        SmtpClient().rcpt("a@b.test", (parameter,))
