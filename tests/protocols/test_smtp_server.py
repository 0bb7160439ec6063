"""The SMTP server core, without sockets."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailprobe.lab.maildrop import Maildrop
from mailprobe.model.ports import Role
from mailprobe.protocols.commands import ENDLESS
from mailprobe.protocols.events import Accept, Close, Event, Send, StartTls
from mailprobe.protocols.smtp.config import SmtpConfig
from mailprobe.protocols.smtp.server import SmtpServer

LETTER = b"MAIL FROM:<carol@c.test>\r\nRCPT TO:<alice@lab.test>\r\nDATA\r\n"
PLAIN = base64.b64encode(b"\0alice\0secret").decode()


def server(mail: Maildrop | None = None, secure: bool = False, **fields: Any) -> SmtpServer:
    core = SmtpServer(SmtpConfig(**fields), mail or Maildrop())
    if secure:
        core.secured()
    core.greeting()
    return core


def submission(secure: bool = True, **fields: Any) -> SmtpServer:
    return server(secure=secure, role=Role.SUBMISSION, **fields)


def talk(core: SmtpServer, *commands: str) -> list[str]:
    return replies(heard(core, "".join(f"{command}\r\n" for command in commands).encode()))


def heard(core: SmtpServer, octets: bytes) -> list[Event]:
    """Give what octets cause, when every whole message goes into the mail store at once."""
    events = core.receive(octets)
    while events and isinstance(events[-1], Accept):
        events = [*events[:-1], *core.deliver()]
    return events


def replies(events: list[Event]) -> list[str]:
    return [event.data.decode().rstrip("\r\n") for event in events if isinstance(event, Send)]


def codes(core: SmtpServer, *commands: str) -> list[str]:
    return [reply[:3] for reply in talk(core, *commands)]


def inbox(mail: Maildrop, user: str = "alice") -> list[bytes]:
    mailbox = mail.mailbox(user, "INBOX")
    assert mailbox is not None
    letters = [mailbox.get(uid) for uid in mailbox.uids()]
    return [letter.data for letter in letters if letter is not None]


def test_greeting_names_the_host() -> None:
    core = SmtpServer(SmtpConfig(hostname="mx.a.test"), Maildrop())
    assert core.greeting() == [Send(b"220 mx.a.test ESMTP\r\n", "greeting")]


def test_greeting_text_may_be_anything() -> None:
    core = SmtpServer(SmtpConfig(greeting="hello"), Maildrop())
    assert replies(core.greeting()) == ["220 hello"]


def test_ehlo_lists_keywords_with_starttls_and_without_auth_on_a_relay() -> None:
    lines = talk(server(), "EHLO c.test")[0].split("\r\n")
    assert lines[0] == "250-mail.lab.test"
    assert lines[-1] == "250 STARTTLS"
    assert "250-SIZE 10485760" in lines
    assert not [line for line in lines if "AUTH" in line]


def test_ehlo_inside_tls_drops_starttls_and_offers_auth_for_submission() -> None:
    lines = talk(submission(), "EHLO c.test")[0].split("\r\n")
    assert lines[-1] == "250 AUTH PLAIN LOGIN"
    assert "250-STARTTLS" not in lines


@pytest.mark.parametrize(
    ("fields", "secure", "line"),
    [
        ({"starttls_inside_tls": True}, True, "250 STARTTLS"),
        ({"auth_before_tls": ("PLAIN",)}, False, "250 AUTH PLAIN"),
        ({"keywords_before": ("XXXXXXXA",)}, False, "250 XXXXXXXA"),
        ({"keywords_after": ("AUTH=LOGIN",)}, True, "250 AUTH=LOGIN"),
        ({"keywords_after": ()}, True, "250 mail.lab.test"),
        ({"ehlo_text": "", "keywords_before": ()}, False, "250 "),
        ({"keywords": ("SIZE abc",), "starttls": False}, False, "250 SIZE abc"),
    ],
)
def test_ehlo_lists_what_the_configuration_says(fields: dict[str, Any], secure: bool, line: str) -> None:
    assert talk(server(secure=secure, **fields), "EHLO c.test")[0].split("\r\n")[-1] == line


def test_ehlo_is_unknown_and_helo_works_when_not_extended() -> None:
    assert codes(server(extended=False), "EHLO c.test", "HELO c.test") == ["502", "250"]


def test_ehlo_without_a_name_is_refused() -> None:
    assert codes(server(), "EHLO", "EHLO a b", "HELO") == ["501", "501", "501"]


@pytest.mark.parametrize("verb", ["EHLO", "HELO"])
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("[192.0.2.1]", "250"),
        ("[IPv6:2001:db8::1]", "250"),
        ("[ipv6:::1]", "250"),
        ("[999.1.1.1]", "501"),
        ("[192.0.2]", "501"),
        ("[192.0.2.1", "501"),
        ("[]", "501"),
        ("[::1]", "501"),
        ("[IPv6:192.0.2.1]", "501"),
        ("[IPv6:fe80::1%eth0]", "501"),
        ("[x400:something]", "501"),
    ],
)
def test_an_address_literal_has_to_be_one(verb: str, name: str, code: str) -> None:
    assert [reply[:3] for reply in talk(server(), f"{verb} {name}")] == [code]


@pytest.mark.parametrize(("domain", "code"), [("[192.0.2.1]", "250"), ("[999.1.1.1]", "501"), ("[IPv6:::g]", "501")])
def test_the_address_literal_of_a_sender_has_to_be_one(domain: str, code: str) -> None:
    assert codes(server(), "EHLO c.test", f"MAIL FROM:<a@{domain}>")[1] == code


def test_a_message_is_delivered_with_dots_undone_and_trace_lines() -> None:
    mail = Maildrop()
    core = server(mail)
    talk(core, "EHLO c.test")
    events = heard(core, LETTER + b"Subject: a\r\n\r\n..dot\r\n.x\r\n.\r\nQUIT\r\n")
    assert [reply[:3] for reply in replies(events)] == ["250", "250", "354", "250", "221"]
    assert events[-1] == Close()
    (letter,) = inbox(mail)
    assert letter.startswith(b"Return-Path: <carol@c.test>\r\nReceived: from c.test by mail.lab.test\r\n\twith ESMTP; ")
    assert letter.endswith(b"\r\nSubject: a\r\n\r\n.dot\r\nx\r\n")


def test_octets_may_come_one_by_one() -> None:
    whole, single = Maildrop(), Maildrop()
    octets = b"EHLO c.test\r\n" + LETTER + b".\r\n" + LETTER + b"..a\n.\n\r\n.\r\nBDAT 2\r\nQUIT\r\n"
    expected = heard(server(whole), octets)
    core = server(single)
    assert [event for octet in octets for event in heard(core, bytes([octet]))] == expected
    assert [letter.partition(b"; ")[2][31:] for letter in inbox(single)] == [b"\r\n", b"\r\n.a\n.\n\r\n"]
    assert len(inbox(whole)) == 2


@pytest.mark.parametrize("end", [b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\n", b"\r\n.\r"])
def test_smuggled_end_of_data_does_not_end_the_message(end: bytes) -> None:
    core = server()
    talk(core, "EHLO c.test")
    events = core.receive(LETTER + b"a" + end + b"MAIL FROM:<x@y.test>\r\n")
    assert [reply[:3] for reply in replies(events)] == ["250", "250", "354"]


def test_bdat_takes_counted_octets_in_chunks() -> None:
    mail = Maildrop()
    core = server(mail)
    talk(core, "EHLO c.test", "MAIL FROM:<> BODY=8BITMIME", "RCPT TO:<bob+tag@LAB.test>")
    events = heard(core, b"BDAT 5\r\na\r\n.\rBDAT 4 LAST\r\n\nQUI")
    assert replies(events) == ["250 2.0.0 5 octets received so far", "250 2.0.0 Message accepted"]
    assert inbox(mail, "bob")[0].endswith(b"\r\na\r\n.\r\nQUI")


def test_bdat_without_recipients_swallows_its_octets() -> None:
    core = server()
    talk(core, "EHLO c.test")
    events = core.receive(b"BDAT 6 LAST\r\nQUIT\r\nNOOP\r\nBDAT 0 LAST\r\n")
    assert [reply[:3] for reply in replies(events)] == ["503", "250", "503"]


def test_relay_takes_mail_for_its_own_domains_and_users_only() -> None:
    core = server(local_domains=("a.test",))
    talk(core, "EHLO c.test", "MAIL FROM:<c@c.test>")
    assert talk(core, "RCPT TO:<alice@b.test>", "RCPT TO:<nobody@a.test>", "RCPT TO:<postmaster>") == [
        "554 5.7.1 Relay access denied",
        "550 5.1.1 No such user here",
        "250 2.1.5 Recipient ok",
    ]


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("MAIL FROM:<a@b.test> SIZE=99999999", "552 5.3.4"),
        ("MAIL FROM:<a@b.test> SIZE=x", "501 5.5.4"),
        ("MAIL FROM:<a@b.test> FOO=1", "555 5.5.1"),
        ("MAIL FROM:<a@b.test> BODY=BINARYMIME", "501 5.5.4"),
        ("MAIL FROM:<a@b.test> RET=HDRS ENVID=QQ314159", "250 2.1.0"),
        ("MAIL FROM:<@r.test,@s.test:a@b.test>", "250 2.1.0"),
        ('MAIL FROM:<"a > b"@[192.0.2.1]>', "250 2.1.0"),
        ("mail from: <a@b.test>", "250 2.1.0"),
        ("MAIL FROM:<ä@b.test>", "553 5.6.7"),
        ("MAIL FROM:<ä@b.test> SMTPUTF8", "250 2.1.0"),
        ("MAIL FROM:a@b.test", "501 5.1.7"),
        ("MAIL FROM:<a@@b.test>", "501 5.1.7"),
        (f"MAIL FROM:<{'a' * 65}@b.test>", "501 5.1.7"),
        ("MAIL TO:<a@b.test>", "501 5.5.4"),
        ("RCPT TO:<alice@lab.test>", "503 5.5.1"),
        ("DATA", "503 5.5.1"),
        ("VRFY alice", "252 2.5.0"),
        ("HELP", "214 2.0.0"),
        ("NOOP x", "250 2.0.0"),
        ("RSET", "250 2.0.0"),
        ("EXPN all", "500 5.5.2"),
        ("GET / HTTP/1.1", "500 5.5.2"),
        ("", "500 5.5.2"),
        ("AUTH PLAIN", "502 5.5.1"),
        ("STARTTLS now", "501 5.5.4"),
    ],
)
def test_relay_replies(command: str, reply: str) -> None:
    core = server()
    talk(core, "EHLO c.test")
    assert talk(core, command)[0].startswith(reply)


def test_enhanced_codes_are_left_out_when_not_listed() -> None:
    assert talk(server(), "HELO c.test", "NOOP")[1] == "250 Ok"
    assert talk(server(keywords=("PIPELINING",)), "EHLO c.test", "NOOP")[1] == "250 Ok"


def test_mail_needs_ehlo() -> None:
    assert codes(server(), "MAIL FROM:<a@b.test>") == ["503"]


def test_rcpt_limit_asks_to_come_back() -> None:
    core = server(recipient_limit=1)
    talk(core, "EHLO c.test", "MAIL FROM:<a@b.test>")
    assert codes(core, "RCPT TO:<alice@lab.test>", "RCPT TO:<bob@lab.test>") == ["250", "452"]


def test_a_message_over_the_limit_is_refused_and_not_kept() -> None:
    mail = Maildrop()
    core = server(mail, size_limit=1000)
    talk(core, "EHLO c.test")
    core.receive(LETTER)
    for _ in range(100):
        assert core.receive(b"x" * 997 + b"\r\n") == []
        assert len(core._buffer) < 1400
    assert replies(core.receive(b".\r\n")) == ["552 5.3.4 Message too big"]
    assert inbox(mail) == []


def test_a_full_mailbox_asks_to_come_back() -> None:
    mail = Maildrop()
    core = server(mail)
    talk(core, "EHLO c.test")
    for _ in range(1000):
        heard(core, LETTER + b".\r\n")
    assert replies(heard(core, LETTER + b".\r\n"))[-1] == "452 4.2.2 Mailbox full"


def test_starttls_stands_still_and_forgets() -> None:
    core = server()
    talk(core, "EHLO c.test", "MAIL FROM:<a@b.test>")
    events = core.receive(b"STARTTLS\r\nRCPT TO:<alice@lab.test>\r\n")
    assert events == [Send(b"220 2.0.0 Ready to start TLS\r\n", "starttls"), StartTls()]
    assert core.receive(b"NOOP\r\n") == []
    core.secured()
    assert core.secure
    assert codes(core, "RCPT TO:<alice@lab.test>", "MAIL FROM:<a@b.test>", "STARTTLS") == ["503", "503", "503"]


def test_starttls_command_injection_gives_the_octets_to_the_driver_only() -> None:
    core = server()
    core.receive(b"EHLO c.test\r\nSTARTTLS\r\nNOOP\r\n")
    assert core.take_pending() == b"NOOP\r\n"


def test_starttls_that_does_not_come_lets_the_core_go_on() -> None:
    core = server()
    core.receive(b"EHLO c.test\r\nSTARTTLS\r\nNOOP\r\n")
    assert replies(core.resume()) == ["250 2.0.0 Ok"]
    assert codes(core, "STARTTLS") == ["220"]


def test_state_survives_tls_when_told_so() -> None:
    core = server(keep_state_across_tls=True)
    talk(core, "EHLO c.test", "MAIL FROM:<a@b.test>", "STARTTLS")
    core.secured()
    assert codes(core, "RCPT TO:<alice@lab.test>", "DATA") == ["250", "354"]


def test_starttls_is_unknown_when_not_offered() -> None:
    assert codes(server(starttls=False), "EHLO c.test", "STARTTLS") == ["250", "502"]


def test_submission_asks_for_tls_then_for_login() -> None:
    mail = "MAIL FROM:<alice@lab.test>"
    assert talk(submission(secure=False), "EHLO c.test", mail)[1] == "530 5.7.0 Must issue a STARTTLS command first"
    assert talk(submission(), "EHLO c.test", mail)[1] == "530 5.7.0 Authentication required"
    assert codes(submission(secure=False), "EHLO c.test", f"AUTH PLAIN {PLAIN}") == ["250", "538"]
    assert codes(submission(login_required=False), "EHLO c.test", mail) == ["250", "250"]


@pytest.mark.parametrize(
    "commands",
    [
        (f"AUTH PLAIN {PLAIN}",),
        ("auth plain", PLAIN),
        ("AUTH LOGIN", "YWxpY2U=", "c2VjcmV0"),
        ("AUTH LOGIN YWxpY2U=", "c2VjcmV0"),
    ],
)
def test_login_opens_the_way_to_everywhere(commands: tuple[str, ...]) -> None:
    core = submission()
    talk(core, "EHLO c.test")
    assert talk(core, *commands)[-1] == "235 2.7.0 Authentication successful"
    assert codes(core, "MAIL FROM:<alice@lab.test>", "RCPT TO:<x@elsewhere.test>") == ["250", "250"]
    assert codes(core, "RSET", f"AUTH PLAIN {PLAIN}") == ["250", "503"]


@pytest.mark.parametrize(
    ("commands", "reply"),
    [
        (("AUTH PLAIN", "*"), "501 5.7.0"),
        (("AUTH PLAIN", "!!"), "501 5.5.2"),
        (("AUTH PLAIN ="), "501 5.5.2"),
        (("AUTH LOGIN", "YWxpY2U=", "YQ=="), "535 5.7.8"),
        (("AUTH PLAIN " + base64.b64encode(b"bob\0alice\0secret").decode(),), "501 5.5.2"),
        (("AUTH CRAM-MD5",), "504 5.5.4"),
        (("AUTH",), "504 5.5.4"),
    ],
)
def test_login_fails(commands: tuple[str, ...] | str, reply: str) -> None:
    core = submission()
    talk(core, "EHLO c.test")
    given_commands = (commands,) if isinstance(commands, str) else commands
    assert talk(core, *given_commands)[-1].startswith(reply)
    assert codes(core, "MAIL FROM:<alice@lab.test>") == ["530"]


def test_login_challenges_are_the_usual_ones() -> None:
    core = submission()
    talk(core, "EHLO c.test")
    assert talk(core, "AUTH LOGIN", "YWxpY2U=") == ["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6"]
    assert talk(submission(), "EHLO c.test", "AUTH PLAIN")[1] == "334 "


def test_too_many_mistakes_end_the_session() -> None:
    core = server(mistake_limit=2)
    events = core.receive(b"A\r\nB\r\nC\r\nD\r\n")
    assert [reply[:3] for reply in replies(events)] == ["500", "500", "421"]
    assert events[-1] == Close()
    assert core.receive(b"NOOP\r\n") == []


def test_an_overlong_line_is_one_mistake() -> None:
    core = server()
    assert core.receive(b"NOOP " + b"x" * 5000) == []
    assert len(core._buffer) == 0
    assert [reply[:3] for reply in replies(core.receive(b"y" * 10 + b"\r\nHELO c.test\r\n"))] == ["500", "250"]


def test_an_endless_line_ends_the_session_and_is_not_kept() -> None:
    core = server()
    events: list[Event] = []
    for _ in range(ENDLESS // 65536 + 1):
        events += core.receive(b"x" * 65536)
        assert len(core._buffer) <= 65536
    assert replies(events) == ["421 Line too long"]
    assert events[-1] == Close()


def test_octets_behind_starttls_are_bounded() -> None:
    core = server()
    core.receive(b"EHLO c.test\r\nSTARTTLS\r\n")
    for _ in range(10):
        core.receive(b"x" * 65536)
    assert len(core.take_pending()) == 65536


def test_much_output_comes_in_portions() -> None:
    core = server(ehlo_text="x" * 10000)
    first = core.receive(b"EHLO c.test\r\n" * 100)
    assert 20 < len(first) < 40
    total = len(first)
    while events := core.receive(b""):
        total += len(events)
    assert total == 100


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from([b"EHLO a\r\n", LETTER, b".\r\n", b"BDAT 3 LAST\r\n", b"AUTH LOGIN\r\n", b"\n", b"*"])
        | st.binary()
    )
)
def test_junk_never_breaks_the_core(pieces: list[bytes]) -> None:
    for core in (server(), submission(auth_inside_tls=("LOGIN",))):
        for piece in pieces:
            for event in heard(core, piece):
                if isinstance(event, Send):
                    assert event.data.endswith(b"\r\n")
                    assert event.data[:3].isdigit()
