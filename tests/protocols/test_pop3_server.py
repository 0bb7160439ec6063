"""The POP3 server core, without sockets."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailprobe.lab.maildrop import Maildrop, MemoryMailbox
from mailprobe.model.errors import MailprobeError
from mailprobe.protocols.events import Close, Event, Send, StartTls
from mailprobe.protocols.mailstore import MailboxBusyError, MailboxPausedError, StoreError
from mailprobe.protocols.pop3.server import Pop3Config, Pop3Server

FIRST = b"Subject: one\r\n\r\n.dot\r\nb\r\nc\r\n"
SECOND = b"Subject: two\r\n\r\nno end"


def server(mail: Maildrop | None = None, secure: bool = True, **fields: Any) -> Pop3Server:
    core = Pop3Server(Pop3Config(**fields), mail or Maildrop())
    if secure:
        core.secured()
    core.greeting()
    return core


def filled() -> Maildrop:
    mail = Maildrop()
    inbox(mail).append(FIRST)
    inbox(mail).append(SECOND)
    return mail


def inside(mail: Maildrop) -> Pop3Server:
    core = server(mail)
    assert talk(core, "USER alice", "PASS secret") == ["+OK send PASS", "+OK 2 messages"]
    return core


def talk(core: Pop3Server, *commands: str) -> list[str]:
    return replies(core.receive("".join(f"{command}\r\n" for command in commands).encode()))


def replies(events: list[Event]) -> list[str]:
    return [event.data.decode().removesuffix("\r\n") for event in events if isinstance(event, Send)]


def test_greeting_holds_a_stamp_with_apop_only() -> None:
    assert replies(Pop3Server(Pop3Config(), Maildrop()).greeting()) == ["+OK mail.lab.test ready"]
    core = Pop3Server(Pop3Config(apop=True, greeting="hi"), Maildrop())
    assert replies(core.greeting()) == ["+OK hi <1896.697170952@mail.lab.test>"]


def test_capa_before_tls_offers_stls_and_no_login() -> None:
    lines = talk(server(secure=False), "CAPA")[0].split("\r\n")
    assert lines[0].startswith("+OK")
    assert lines[-2:] == ["STLS", "."]
    assert not {"USER", "SASL PLAIN"} & set(lines)


def test_capa_inside_tls_offers_login_and_no_stls() -> None:
    lines = talk(server(), "CAPA")[0].split("\r\n")
    assert lines[-3:] == ["USER", "SASL PLAIN", "."]
    assert "STLS" not in lines


@pytest.mark.parametrize(
    ("fields", "secure", "line"),
    [
        ({"login_before_tls": True}, False, "USER"),
        ({"sasl_before_tls": ("PLAIN",)}, False, "SASL PLAIN"),
        ({"stls_inside_tls": True, "login_inside_tls": False, "sasl_inside_tls": ()}, True, "STLS"),
        ({"capabilities_before": ("XXXX",)}, False, "XXXX"),
        ({"capabilities_after": ()}, True, "+OK capabilities follow"),
    ],
)
def test_capa_lists_what_the_configuration_says(fields: dict[str, Any], secure: bool, line: str) -> None:
    assert talk(server(secure=secure, **fields), "CAPA")[0].split("\r\n")[-2] == line


def test_capa_may_be_unknown() -> None:
    assert talk(server(capa=False), "CAPA") == ["-ERR unknown command"]


def test_login_needs_tls_by_default() -> None:
    core = server(secure=False)
    assert talk(core, "USER alice", "PASS secret", "AUTH PLAIN") == [
        "-ERR [AUTH] login needs TLS; say STLS first",
        "-ERR say USER first",
        "-ERR mechanism not supported",
    ]


def test_login_before_tls_when_told_so() -> None:
    core = server(secure=False, login_before_tls=True)
    assert talk(core, "USER alice", "PASS secret")[1] == "+OK 0 messages"


def test_wrong_password_is_refused() -> None:
    assert (
        talk(server(), "USER alice", "PASS x", "USER nobody", "PASS secret")[1::2]
        == ["-ERR [AUTH] name or password is wrong"] * 2
    )


def test_sasl_plain_with_and_without_initial_response() -> None:
    secret = base64.b64encode(b"\0alice\0secret").decode()
    assert talk(server(filled()), f"AUTH PLAIN {secret}") == ["+OK 2 messages"]
    assert talk(server(filled()), "auth plain", secret) == ["+ ", "+OK 2 messages"]
    assert talk(server(), "AUTH PLAIN", "*", "AUTH PLAIN", "!") == [
        "+ ",
        "-ERR cancelled",
        "+ ",
        "-ERR malformed response: not base64",
    ]
    assert talk(server(), "AUTH") == ["+OK mechanisms follow\r\nPLAIN\r\n."]


def test_apop_works_when_offered() -> None:
    digest = hashlib.md5(b"<1896.697170952@mail.lab.test>secret").hexdigest()
    assert talk(server(filled(), secure=False, apop=True), f"APOP alice {digest}") == ["+OK 2 messages"]
    assert talk(server(apop=True), "APOP alice x", "APOP nobody x")[1].startswith("-ERR [AUTH]")
    assert talk(server(), f"APOP alice {digest}") == ["-ERR not supported"]


def test_the_maildrop_is_listed_and_read() -> None:
    core = inside(filled())
    assert talk(core, "STAT", "LIST", "LIST 2", "UIDL", "UIDL 1", "RETR 1", "RETR 2", "TOP 1 1", "NOOP") == [
        f"+OK 2 {len(FIRST) + len(SECOND)}",
        f"+OK 2 messages\r\n1 {len(FIRST)}\r\n2 {len(SECOND)}\r\n.",
        f"+OK 2 {len(SECOND)}",
        "+OK 2 messages\r\n1 1.1\r\n2 1.2\r\n.",
        "+OK 1 1.1",
        f"+OK {len(FIRST)} octets\r\nSubject: one\r\n\r\n..dot\r\nb\r\nc\r\n.",
        f"+OK {len(SECOND)} octets\r\nSubject: two\r\n\r\nno end\r\n.",
        "+OK\r\nSubject: one\r\n\r\n..dot\r\n.",
        "+OK",
    ]


def test_deletes_count_only_after_quit() -> None:
    mail = filled()
    core = inside(mail)
    talk(core, "DELE 1")
    assert talk(core, "DELE 1", "RETR 1", "STAT") == ["-ERR no such message"] * 2 + [f"+OK 1 {len(SECOND)}"]
    core.ended()  # the connection breaks without QUIT
    core = inside(mail)
    assert talk(core, "STAT")[0].startswith("+OK 2 ")
    talk(core, "DELE 1", "RSET", "DELE 2")
    assert core.receive(b"QUIT\r\n")[-1] == Close()
    assert inbox(mail).uids() == (1,)


def inbox(mail: Maildrop) -> MemoryMailbox:
    mailbox = mail.mailbox("alice", "INBOX")
    assert mailbox is not None
    return mailbox


@pytest.mark.parametrize("ending", ["quit", "mistakes", "lost"])
def test_the_maildrop_is_for_one_session_until_it_ends(ending: str) -> None:
    mail = filled()
    core = inside(mail)
    other = server(mail)
    assert talk(other, "USER alice", "PASS secret")[1] == "-ERR [IN-USE] another POP3 session has the mailbox"
    assert talk(server(mail), "USER bob", "PASS secret")[1] == "+OK 0 messages"
    match ending:
        case "quit":
            talk(core, "QUIT")
        case "mistakes":
            talk(core, *["X"] * 30)
        case _:
            core.ended()
    assert talk(other, "USER alice", "PASS secret")[1] == "+OK 2 messages"
    core.ended()  # gives back nothing that is no longer its own
    assert talk(server(mail), "USER alice", "PASS secret")[1].startswith("-ERR [IN-USE]")


class Troubled(Maildrop):
    """A store that has the trouble that it is told to have."""

    def __init__(self, error: MailprobeError) -> None:
        super().__init__()
        self.error = error
        self.told: list[tuple[int, str]] = []

    def mailbox(self, user: str, name: str) -> MemoryMailbox | None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "reply"),
    [
        (MailboxPausedError("mailboxes cannot be read now"), "-ERR [SYS/TEMP] mailboxes cannot be read now"),
        (StoreError("the disk is broken"), "-ERR [SYS/TEMP] the disk is broken"),
        (MailboxBusyError("busy"), "-ERR [IN-USE] busy"),
    ],
)
def test_a_maildrop_that_cannot_be_opened_is_no_matter_of_the_password(error: MailprobeError, reply: str) -> None:
    mail = Troubled(error)
    assert talk(server(mail), "USER alice", "PASS secret")[1] == reply
    mail.lock("alice")  # was given back


def test_a_letter_that_another_session_deleted_is_refused_and_the_others_are_not() -> None:
    mail = filled()
    core = inside(mail)
    inbox(mail).remove([1])
    assert talk(core, "RETR 1", "TOP 1 0", "LIST 1") == [
        "-ERR the message was deleted by another session",
        "-ERR the message was deleted by another session",
        f"+OK 1 {len(FIRST)}",
    ]
    assert talk(core, "RETR 2")[0].startswith("+OK ")
    assert talk(core, "DELE 1", "QUIT") == ["+OK deleted", "+OK bye"]


def test_the_store_learns_once_which_letters_were_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    mail = filled()
    told: list[tuple[int, str]] = []
    monkeypatch.setattr(inbox(mail), "taken", lambda *what: told.append(what))
    talk(inside(mail), "TOP 1 1", "RETR 2", "RETR 2", "RETR 9")
    assert told == [(2, "POP3")]


@pytest.mark.parametrize(
    ("letter", "sent"),
    [
        (b".a\r\n..\r\n.\r\n", b"..a\r\n...\r\n..\r\n.\r\n"),
        (b"a\n.b\r\n", b"a\n.b\r\n.\r\n"),  # a line ends with CRLF, so there is none that begins with a dot
        (b"a\n.\r\nb\n.\nc\n.", b"a\n..\r\nb\n..\nc\n..\r\n.\r\n"),  # but no client may take this for the end
        (b"\n.\n.\n.\n.\r\n.\r\n", b"\n..\n..\n..\n..\r\n..\r\n.\r\n"),
        (b".", b"..\r\n.\r\n"),
        (b"", b".\r\n"),
        (b"a\r", b"a\r\r\n.\r\n"),
        (b"\0\xff\r\n", b"\0\xff\r\n.\r\n"),
    ],
)
def test_letters_are_sent_as_they_are_but_for_dots(letter: bytes, sent: bytes) -> None:
    mail = Maildrop()
    inbox(mail).append(letter)
    core = server(mail)
    talk(core, "USER alice", "PASS secret")
    (reply,) = core.receive(b"RETR 1\r\n")
    assert isinstance(reply, Send)
    assert reply.data == f"+OK {len(letter)} octets\r\n".encode() + sent


@pytest.mark.parametrize(
    ("letter", "lines", "sent"),
    [
        (b"A: b\r\n\r\n1\r2\r\n3\r\n", 1, b"A: b\r\n\r\n1\r2\r\n"),
        (b"A: b\r\n\r\n1\r\n2\r\n", 999999999, b"A: b\r\n\r\n1\r\n2\r\n"),
        (b"A: b\n\n1\n2\n", 1, b"A: b\n\n1\n"),
        (b"\r\n1\r\n2\r\n", 1, b"\r\n1\r\n"),
        (b"A: b\r\n", 5, b"A: b\r\n"),
    ],
)
def test_top_gives_the_header_and_so_many_lines(letter: bytes, lines: int, sent: bytes) -> None:
    mail = Maildrop()
    inbox(mail).append(letter)
    core = server(mail)
    talk(core, "USER alice", "PASS secret")
    (reply,) = core.receive(b"TOP 1 %d\r\n" % lines)
    assert isinstance(reply, Send)
    assert reply.data == b"+OK\r\n" + sent + (b".\r\n" if sent.endswith(b"\r\n") else b"\r\n.\r\n")


def test_a_letter_of_many_dots_takes_no_time() -> None:
    mail = Maildrop()
    letter = b".\r\n" * (8 << 20)
    inbox(mail).append(letter)
    core = server(mail)
    talk(core, "USER alice", "PASS secret")
    for command in (b"RETR 1\r\n", b"TOP 1 999999999\r\n"):
        (reply,) = core.receive(command)
        assert isinstance(reply, Send)
        assert len(reply.data) > 4 * (8 << 20)


def test_octets_may_come_one_by_one() -> None:
    octets = b"CAPA\r\nUSER alice\r\nPASS secret\r\nRETR 1\nDELE 2\r\nQUIT\r\n"
    expected = server(filled()).receive(octets)
    core = server(filled())
    assert [event for octet in octets for event in core.receive(bytes([octet]))] == expected


@pytest.mark.parametrize(
    "command", ["RETR", "RETR 0", "RETR 3", "RETR x", "RETR -1", f"RETR {'9' * 400}", "TOP 1", "TOP 1 x", "DELE 7"]
)
def test_numbers_that_name_nothing_are_refused(command: str) -> None:
    assert talk(inside(filled()), command)[0].startswith("-ERR ")


def test_commands_belong_to_their_state() -> None:
    assert talk(server(), "STAT", "BLAH") == ["-ERR not possible in this state", "-ERR unknown command"]
    assert talk(inside(filled()), "STLS", "USER bob")[1] == "-ERR not possible in this state"


def test_stls_forgets_and_is_not_repeated() -> None:
    core = server(secure=False, login_before_tls=True)
    events = core.receive(b"USER alice\r\nSTLS\r\nPASS secret\r\n")
    assert events[1:] == [Send(b"+OK begin TLS negotiation\r\n", "stls"), StartTls()]
    core.secured()
    assert talk(core, "PASS secret", "STLS") == ["-ERR say USER first", "-ERR TLS is already active"]


def test_state_survives_tls_when_told_so() -> None:
    core = server(secure=False, login_before_tls=True, keep_state_across_tls=True)
    talk(core, "USER alice", "STLS")
    core.secured()
    assert talk(core, "PASS secret") == ["+OK 0 messages"]


def test_stls_is_unknown_when_not_offered() -> None:
    assert talk(server(secure=False, stls=False), "STLS") == ["-ERR unknown command"]


def test_too_many_mistakes_end_the_session() -> None:
    assert server(mistake_limit=1).receive(b"A\r\nB\r\nC\r\n")[-1] == Close()


def test_an_endless_line_ends_the_session_and_is_not_kept() -> None:
    core = server()
    events = [event for _ in range(20) for event in core.receive(b"x" * 65536)]
    assert events == [Send(b"-ERR line too long\r\n", "overlong"), Close()]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from([b"USER alice\r\n", b"PASS secret\r\n", b"AUTH PLAIN\r\n", b"TOP 1 ", b"\n"]) | st.binary()
    )
)
def test_junk_never_breaks_the_core(pieces: list[bytes]) -> None:
    core = server(filled(), apop=True)
    for piece in pieces:
        for event in core.receive(piece):
            if isinstance(event, Send):
                assert event.data.startswith((b"+OK", b"-ERR", b"+ "))
