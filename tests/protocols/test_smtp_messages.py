"""What an SMTP or LMTP server core learns of a message, whom it asks, and what it says afterwards."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailprobe.lab.maildrop import Maildrop
from mailprobe.model.ports import Role
from mailprobe.protocols.events import Accept, Close, Event, Send
from mailprobe.protocols.mailstore import Asked, Envelope, StoreError, Verdict
from mailprobe.protocols.sasl import ChannelBinding, Credentials, client_exchange, decode_response
from mailprobe.protocols.smtp.client import SmtpClient
from mailprobe.protocols.smtp.config import SmtpConfig
from mailprobe.protocols.smtp.server import SmtpServer

QUEUED = Verdict(250, "2.0.0", "Queued as 4F")
LATER = Verdict(451, "4.3.0", "Try again later")
FULL = Verdict(552, "5.2.2", "Mailbox full")
BEGIN = b"MAIL FROM:<carol@c.test>\r\nRCPT TO:<alice@lab.test>\r\n"
END = b".\r\n"


class Office(Maildrop):
    """A mail store with opinions."""

    def __init__(self, sender: Verdict | None = None, recipient: Verdict | None = None) -> None:
        super().__init__()
        self.sender, self.recipient = sender, recipient
        self.asked: list[tuple[Envelope, str]] = []

    def refuse_sender(self, envelope: Envelope) -> Verdict | None:
        self.asked.append((envelope, ""))
        return self.sender

    def refuse_recipient(self, envelope: Envelope, recipient: str) -> Verdict | None:
        self.asked.append((envelope, recipient))
        return self.recipient


class Broken(Maildrop):
    """A mail store on a full disk, except for bob."""

    def deliver(self, envelope: Envelope, data: bytes) -> None:
        if "bob@lab.test" not in envelope.recipients:
            raise StoreError("no space left on device")
        super().deliver(envelope, data)


def server(mail: Maildrop | None = None, hello: bytes = b"EHLO c.test\r\n", **fields: Any) -> SmtpServer:
    core = SmtpServer(SmtpConfig(**fields), mail or Maildrop())
    core.met("192.0.2.7")
    core.greeting()
    core.receive(hello)
    return core


def lmtp(mail: Maildrop | None = None, **fields: Any) -> SmtpServer:
    return server(mail, b"LHLO c.test\r\n", lmtp=True, **fields)


def said(events: list[Event]) -> list[str]:
    return [event.data.decode().rstrip("\r\n") for event in events if isinstance(event, Send)]


def codes(events: list[Event]) -> list[str]:
    return [line[:3] for line in said(events)]


def message(events: list[Event]) -> Accept:
    assert isinstance(events[-1], Accept)
    return events[-1]


# The verdict


def test_a_message_is_handed_over_and_the_core_stands_still() -> None:
    core = server()
    events = core.receive(BEGIN + b"DATA\r\na\r\n.\r\nNOOP\r\n")
    assert codes(events) == ["250", "250", "354"]
    assert message(events).data == b"a\r\n"
    assert core.receive(b"QUIT\r\n") == []
    after = core.accepted(QUEUED)
    assert said(after) == ["250 2.0.0 Queued as 4F", "250 2.0.0 Ok", "221 2.0.0 Bye"]
    assert [event.tag for event in after if isinstance(event, Send)] == ["eom", "noop", "quit"]


def test_a_verdict_may_refuse_and_the_next_message_follows() -> None:
    core = server()
    core.receive(BEGIN + b"DATA\r\n" + END + BEGIN + b"DATA\r\n")
    assert codes(core.accepted(LATER)) == ["451", "250", "250", "354"]
    assert message(core.receive(b"b\r\n" + END)).data == b"b\r\n"


def test_421_ends_the_session() -> None:
    core = server()
    core.receive(BEGIN + b"DATA\r\n" + END + b"NOOP\r\n")
    assert core.accepted(Verdict(421, "4.3.2", "Shutting down"))[-1] == Close()
    assert core.receive(b"NOOP\r\n") == []


def test_a_verdict_that_nobody_waits_for_says_nothing() -> None:
    core = server()
    assert core.accepted(QUEUED) == []
    assert core.deliver() == []


def test_words_of_others_become_one_printable_line() -> None:
    core = server(Office(recipient=Verdict(550, "5.7.1", "no\r\n250 yes \x1b[2J\u202e" + "x" * 1000)))
    (reply,) = said(core.receive(BEGIN))[1:]
    assert reply.startswith("550 5.7.1 no??250 yes ?[2J?xxx")
    assert len(reply) < 512


def test_a_store_that_cannot_write_asks_to_come_back() -> None:
    core = server(Broken())
    core.receive(BEGIN + b"DATA\r\n" + END)
    assert said(core.deliver()) == ["451 4.3.0 The message cannot be stored now"]


# The envelope


def test_the_envelope_tells_all_that_is_known() -> None:
    core = server(role=Role.SUBMISSION, auth_inside_tls=("PLAIN",), requiretls=True, binarymime=True)
    core.secured("TLSv1.3")
    core.receive(b"EHLO c.test\r\nAUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n")
    core.receive(
        "MAIL FROM:<älice@lab.test> SMTPUTF8 BODY=8bitmime RET=hdrs ENVID=QQ+2B31 REQUIRETLS SIZE=5\r\n".encode()
    )
    core.receive(b"RCPT TO:<bob@lab.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Bob+2Bx+40lab.test\r\n")
    core.receive(b"RCPT TO:<x@elsewhere.test>\r\nDATA\r\n")
    assert message(core.receive(END)).envelope == Envelope(
        sender="älice@lab.test",
        recipients=("bob@lab.test", "x@elsewhere.test"),
        client_name="c.test",
        server_name="mail.lab.test",
        protocol="UTF8SMTPSA",
        client_address="192.0.2.7",
        user="alice",
        tls="TLSv1.3",
        asked=(Asked("SUCCESS,DELAY", "rfc822;Bob+x@lab.test"), Asked()),
        ret="HDRS",
        envid="QQ+31",
        body="8BITMIME",
        smtputf8=True,
        requiretls=True,
    )


@pytest.mark.parametrize(
    ("hello", "fields", "secure", "word"),
    [
        (b"HELO c.test\r\n", {}, False, "SMTP"),
        (b"EHLO c.test\r\n", {}, False, "ESMTP"),
        (b"EHLO c.test\r\n", {}, True, "ESMTPS"),
        (b"LHLO c.test\r\n", {"lmtp": True}, False, "LMTP"),
        (b"LHLO c.test\r\n", {"lmtp": True}, True, "LMTPS"),
    ],
)
def test_the_word_for_the_received_line(hello: bytes, fields: dict[str, Any], secure: bool, word: str) -> None:
    core = server(hello=b"", **fields)
    if secure:
        core.secured("TLSv1.2")
    core.receive(hello + BEGIN + b"DATA\r\n")
    assert message(core.receive(END)).envelope.protocol == word


def test_sender_and_recipients_are_asked_about_with_what_is_known_so_far() -> None:
    office = Office()
    server(office).receive(BEGIN + b"RCPT TO:<bob@lab.test>\r\nRCPT TO:<x@elsewhere.test>\r\n")
    assert [(envelope.recipients, recipient) for envelope, recipient in office.asked] == [
        ((), ""),
        ((), "alice@lab.test"),
        (("alice@lab.test",), "bob@lab.test"),
    ]
    assert office.asked[0][0].client_address == "192.0.2.7"


def test_a_sender_may_be_refused() -> None:
    core = server(Office(sender=Verdict(450, "4.7.1", "Greylisted")))
    assert said(core.receive(BEGIN)) == ["450 4.7.1 Greylisted", "503 5.5.1 Say MAIL first"]


def test_a_recipient_may_end_the_session() -> None:
    core = server(Office(recipient=Verdict(421, "4.7.0", "Go away")))
    assert core.receive(BEGIN)[-1] == Close()


# Wishes for delivery reports (RFC 3461) and other parameters


@pytest.mark.parametrize(
    "parameters",
    [
        "RET=FULL RET=HDRS",
        "RET=SOME",
        "RET",
        "ENVID=",
        "ENVID=" + "x" * 101,
        "ENVID=a+b",
        "ENVID=a+0D+0Ab",
        "ENVID=a+E4",
        "ENVID=ä SMTPUTF8",
        "SIZE=1 SIZE=1",
        "SIZE=-1",
        "SIZE=" + "1" * 21,
        "SIZE=٣",
        "BODY=BINARYMIME",
        "BODY",
        "SMTPUTF8=yes",
        "AUTH=a+",
        "=x",
        "SIZE==1",
    ],
)
def test_malformed_parameters_of_mail_are_refused(parameters: str) -> None:
    core = server()
    assert said(core.receive(f"MAIL FROM:<a@c.test> {parameters}\r\n".encode()))[0].startswith("501 5.5.4 ")


@pytest.mark.parametrize(
    "parameters",
    [
        "NOTIFY=NEVER,FAILURE",
        "NOTIFY=FAILURE,NEVER",
        "NOTIFY=FAILURE,",
        "NOTIFY=SOMETIMES",
        "NOTIFY",
        "NOTIFY=NEVER NOTIFY=NEVER",
        "ORCPT=alice@lab.test",
        "ORCPT=;alice",
        "ORCPT=rfc822;",
        "ORCPT=rfc822;a+4",
        "ORCPT=rfc822;a+0D+0Ab",
        "ORCPT=rfc822;a+E4b@b.test",
        "ORCPT=x400;j+C3+B6rg",
        "ORCPT=rfc822;" + "x" * 500,
        "ORCPT=utf-8;a\\x{110000}",
        "ORCPT=utf-8;a\\x{0D}",
        "ORCPT",
    ],
)
def test_malformed_parameters_of_rcpt_are_refused(parameters: str) -> None:
    core = server()
    core.receive(b"MAIL FROM:<a@c.test>\r\n")
    assert said(core.receive(f"RCPT TO:<alice@lab.test> {parameters}\r\n".encode()))[0].startswith("501 5.5.4 ")


@pytest.mark.parametrize(
    ("parameters", "asked"),
    [
        ("", Asked()),
        ("NOTIFY=never", Asked("never")),
        ("NOTIFY=SUCCESS,FAILURE,DELAY", Asked("SUCCESS,FAILURE,DELAY")),
        ("ORCPT=RFC822;a+3Db+2Bc@b.test", Asked(None, "RFC822;a=b+c@b.test")),
        ("ORCPT=utf-8;j\\x{F6}rg@b.test", Asked(None, "utf-8;jörg@b.test")),
        ("ORCPT=utf-8;jörg@b.test", Asked(None, "utf-8;jörg@b.test")),
        ("ORCPT=rfc822;j+C3+B6rg@b.test", Asked(None, "utf-8;jörg@b.test")),  # as Postfix writes it
        ("ORCPT=utf-8;a\\x{2B}2Bb@b.test", Asked(None, "utf-8;a+2Bb@b.test")),
    ],
)
def test_what_is_asked_for_a_recipient_is_decoded(parameters: str, asked: Asked) -> None:
    core = server()
    core.receive(f"MAIL FROM:<a@c.test>\r\nRCPT TO:<alice@lab.test> {parameters}\r\nDATA\r\n".encode())
    assert message(core.receive(END)).envelope.asked == (asked,)


def test_an_address_beyond_ascii_needs_smtputf8() -> None:
    core = server(local_domains=("lab.test", "Bücher.test"))
    core.receive(b"MAIL FROM:<a@c.test>\r\n")
    assert said(core.receive("RCPT TO:<alice@bücher.test>\r\n".encode()))[0].startswith("553 5.6.7")
    core.receive(b"RSET\r\nMAIL FROM:<a@c.test> SMTPUTF8\r\n")
    assert codes(core.receive("RCPT TO:<alice@bücher.test>\r\n".encode())) == ["250"]


@pytest.mark.parametrize(
    "address", [b"a\x00b@c.test", b"a\x1b@c.test", b"\xff@c.test", b'"a\rb"@c.test', b"a\xc2\x85@c.test"]
)
def test_no_control_character_comes_in_with_an_address(address: bytes) -> None:
    assert codes(server().receive(b"MAIL FROM:<" + address + b"> SMTPUTF8\r\n")) == ["501"]


@pytest.mark.parametrize("name", [b"a\x1b[2J", b"a\x00", b"\xff", b"x" * 256, "ä.test".encode()])
def test_no_control_character_comes_in_with_a_name(name: bytes) -> None:
    assert codes(server(hello=b"").receive(b"EHLO " + name + b"\r\n")) == ["501"]


def test_requiretls_is_for_inside_tls_and_where_it_is_offered() -> None:
    core = server(requiretls=True)
    assert "REQUIRETLS" not in said(core.receive(b"EHLO c.test\r\n"))[0]
    assert said(core.receive(b"MAIL FROM:<a@c.test> REQUIRETLS\r\n"))[0].startswith("555 ")
    core.secured("TLSv1.3")
    assert "REQUIRETLS" in said(core.receive(b"EHLO c.test\r\n"))[0]
    assert codes(core.receive(b"MAIL FROM:<a@c.test> REQUIRETLS\r\n")) == ["250"]
    other = server()
    other.secured("TLSv1.3")
    assert codes(other.receive(b"EHLO c.test\r\nMAIL FROM:<a@c.test> REQUIRETLS\r\n")) == ["250", "555"]


# Relaying


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("alice@lab.test", "250"),
        ("alice@LAB.test", "250"),
        ("alice@[192.0.2.25]", "250"),
        ("alice@[IPv6:2001:db8::25]", "250"),
        ("Postmaster", "250"),
        ("postmaster@lab.test", "250"),
        ("alice@[192.0.2.26]", "554"),
        ("alice@sub.lab.test", "554"),
        ("alice@lab.test.evil.test", "554"),
        ("@lab.test:alice@evil.test", "554"),
        ("alice%evil.test@evil.test", "554"),
        ("alice%evil.test@lab.test", "550"),
        ('"alice@evil.test"@lab.test', "550"),
        ("alice@evil.test@lab.test", "501"),
        ("evil.test!alice", "501"),
        ("alice@lab.test.", "501"),
        ("alice", "501"),
        ("", "501"),
    ],
)
def test_strangers_reach_users_here_and_nobody_else(address: str, code: str) -> None:
    core = server(local_domains=("lab.test", "[192.0.2.25]", "[IPv6:2001:db8::25]"))
    core.receive(b"MAIL FROM:<a@c.test>\r\n")
    assert codes(core.receive(f"RCPT TO:<{address}>\r\n".encode())) == [code]


def test_submission_without_login_does_not_relay_either() -> None:
    core = server(role=Role.SUBMISSION, login_required=False)
    assert codes(core.receive(b"MAIL FROM:<a@c.test>\r\nRCPT TO:<x@elsewhere.test>\r\n")) == ["250", "554"]


# Octets


def carried(data: bytes, pieces: list[bytes], **fields: Any) -> bytes:
    core = server(**fields)
    core.receive(BEGIN + b"DATA\r\n")
    events = [event for piece in pieces for event in core.receive(piece)]
    return message(events).data


_TEXT = st.lists(st.sampled_from([b"\r\n", b".", b"\r", b"\n", b"a", b"\0", b"\xff", b"..", b"\r\n.\r"])).map(b"".join)


@settings(max_examples=300, deadline=None)
@given(_TEXT)
def test_every_octet_arrives_whole_or_one_by_one(text: bytes) -> None:
    data = text + b"\r\n" if text and not text.endswith(b"\r\n") else text
    sent = SmtpClient().body(data)
    assert carried(data, [sent]) == data
    assert carried(data, [sent[at : at + 1] for at in range(len(sent))]) == data


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=20), min_size=1, max_size=5))
def test_chunks_arrive_whole_or_one_by_one(chunks: list[bytes]) -> None:
    client = SmtpClient()
    sent = b"".join(client.bdat(chunk, last=number == len(chunks)) for number, chunk in enumerate(chunks, 1))
    for pieces in ([sent], [sent[at : at + 1] for at in range(len(sent))]):
        core = server()
        core.receive(BEGIN)
        events = [event for piece in pieces for event in core.receive(piece)]
        assert codes(events) == ["250"] * (len(chunks) - 1)
        assert message(events).data == b"".join(chunks)


def test_a_message_of_exactly_the_limit_is_taken_however_much_its_stuffing_adds() -> None:
    data = b".\r\n" * 333 + b"x"
    for extra, code in ((b"", None), (b"x", "552")):
        core = server(size_limit=1002)
        core.receive(BEGIN + b"DATA\r\n")
        events = core.receive(SmtpClient().body(data + extra))
        assert (None if isinstance(events[-1], Accept) else codes(events)[0]) == code


def test_a_message_larger_than_the_usual_limit_may_be_allowed() -> None:
    data = (b"x" * 998 + b"\r\n") * 12_000
    sent = SmtpClient().body(data)
    pieces = [sent[at : at + 100_000] for at in range(0, len(sent), 100_000)]
    assert carried(data, pieces, size_limit=64 << 20) == data


def test_after_a_chunk_too_many_the_rest_is_swallowed() -> None:
    core = server(size_limit=10)
    core.receive(BEGIN)
    chunks = b"BDAT 8\r\n12345678BDAT 8\r\nRSET\r\nxxBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n"
    assert codes(core.receive(chunks)) == ["250", "552", "503", "250"]


def test_many_swallowed_chunks_are_no_mistakes() -> None:
    core = server(mistake_limit=3)
    assert codes(core.receive(b"BDAT 3\r\nabc" * 10)) == ["503"] * 10


def test_recipients_and_data_do_not_follow_the_first_chunk() -> None:
    core = server()
    core.receive(BEGIN)
    events = core.receive(b"BDAT 1\r\naRCPT TO:<bob@lab.test>\r\nDATA\r\nBDAT 0 LAST\r\n")
    assert codes(events) == ["250", "503", "503"]
    assert message(events).data == b"a"


def test_binarymime_is_for_bdat_and_where_it_is_offered() -> None:
    core = server(binarymime=True)
    assert "BINARYMIME" in said(core.receive(b"EHLO c.test\r\n"))[0]
    start = b"MAIL FROM:<a@c.test> BODY=BINARYMIME\r\nRCPT TO:<alice@lab.test>\r\n"
    assert codes(core.receive(start + b"DATA\r\n")) == ["250", "250", "503"]
    accept = message(core.receive(b"BDAT 4 LAST\r\n\0\r\n."))
    assert (accept.data, accept.envelope.body) == (b"\0\r\n.", "BINARYMIME")


# LMTP (RFC 2033)


TWO = BEGIN + b"RCPT TO:<nobody@lab.test>\r\nRCPT TO:<bob@lab.test>\r\n"


def test_lmtp_greets_and_is_greeted_by_its_own_name() -> None:
    core = SmtpServer(SmtpConfig(lmtp=True), Maildrop())
    assert said(core.greeting()) == ["220 mail.lab.test LMTP"]
    assert codes(core.receive(b"EHLO c.test\r\nHELO c.test\r\nLHLO c.test\r\n")) == ["500", "500", "250"]
    assert codes(server().receive(b"LHLO c.test\r\n")) == ["500"]


def test_lmtp_gives_one_reply_for_each_recipient_that_was_taken() -> None:
    core = lmtp()
    assert codes(core.receive(TWO + b"DATA\r\n")) == ["250", "250", "550", "250", "354"]
    message(core.receive(END + b"QUIT\r\n"))
    after = core.accepted(QUEUED, FULL)
    assert said(after) == ["250 2.0.0 Queued as 4F", "552 5.2.2 Mailbox full", "221 2.0.0 Bye"]
    assert [event.tag for event in after if isinstance(event, Send)] == ["eom", "eom", "quit"]


def test_lmtp_takes_one_verdict_for_all() -> None:
    core = lmtp()
    core.receive(TWO + b"BDAT 0 LAST\r\n")
    assert codes(core.accepted(LATER)) == ["451", "451"]


def test_lmtp_delivers_to_each_recipient_alone() -> None:
    core = lmtp(Broken())
    core.receive(TWO + b"DATA\r\n" + END)
    assert codes(core.deliver()) == ["451", "250"]


def test_lmtp_says_too_big_to_each() -> None:
    core = lmtp(size_limit=3)
    core.receive(TWO + b"DATA\r\n")
    assert codes(core.receive(b"abcd\r\n" + END)) == ["552", "552"]


def test_lmtp_without_recipients_gives_503_to_data() -> None:
    core = lmtp()
    core.receive(b"MAIL FROM:<a@c.test>\r\n")
    assert codes(core.receive(b"DATA\r\n")) == ["503"]


# Logging in


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "CRAM-MD5", "OAUTHBEARER", "EXTERNAL"])
@pytest.mark.parametrize("right", [True, False])
def test_modern_logins_work_where_they_are_offered(mechanism: str, right: bool) -> None:
    core = server(role=Role.SUBMISSION, auth_inside_tls=(mechanism,))
    binding = ChannelBinding("tls-server-end-point", b"\x01" * 32)
    core.secured("TLSv1.3", [binding], "alice" if right else None)
    core.receive(b"EHLO c.test\r\n")
    secret = "secret" if right else "wrong"
    wire, client = SmtpClient(), client_exchange(mechanism, Credentials("alice", secret, secret), binding)
    (reply,) = said(core.receive(wire.auth(mechanism, client.initial())))
    while reply.startswith("334"):
        (reply,) = said(core.receive(wire.auth_response(client.respond(decode_response(reply[4:].encode())))))
    assert reply[:3] == ("235" if right else "535")
    if right:
        client.finish()


def test_a_long_token_fits_into_the_command() -> None:
    core = server(role=Role.SUBMISSION, auth_inside_tls=("XOAUTH2",))
    core.secured()
    core.receive(b"EHLO c.test\r\n")
    client = client_exchange("XOAUTH2", Credentials("alice", token="x" * 6000))
    assert said(core.receive(SmtpClient().auth("XOAUTH2", client.initial())))[0].startswith("334 ")
