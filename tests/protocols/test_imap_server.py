"""The IMAP server core, without sockets."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailprobe.lab.maildrop import MAILBOX_LETTERS, Maildrop, MemoryMailbox
from mailprobe.protocols.events import Close, Event, Send, StartTls
from mailprobe.protocols.imap.config import ImapConfig
from mailprobe.protocols.imap.server import ImapServer
from mailprobe.protocols.mailstore import LetterGoneError, MailboxPausedError, StoreError

NOW = datetime(2024, 3, 4, 5, 6, 7, tzinfo=UTC)
PLAIN = base64.b64encode(b"\0alice\0secret").decode()
TEXT = (
    b"From: Carol <carol@c.test>\r\nTo: alice@lab.test, =?x?= <b@b.test>\r\nSubject: one\r\n two\r\n"
    b"Date: Mon, 4 Mar 2024 01:02:03 +0000\r\nMessage-ID: <1@c.test>\r\n\r\nhello\r\nworld\r\n"
)
MIXED = (
    b'Subject: mixed\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\npreamble\r\n'
    b"--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>\r\n"
    b"--b\r\nContent-Type: message/rfc822\r\nContent-Disposition: attachment; filename=x.eml\r\n\r\n"
    b"Subject: inner\r\n\r\ndeep\r\n--b--\r\nepilogue\r\n"
)


def server(mail: Maildrop | None = None, secure: bool = True, **fields: Any) -> ImapServer:
    core = ImapServer(ImapConfig(**fields), mail or Maildrop())
    if secure:
        core.secured()
    core.greeting()
    return core


def filled() -> Maildrop:
    mail = Maildrop(clock=lambda: NOW)
    inbox(mail).append(TEXT)
    inbox(mail).append(MIXED, ["\\Seen"])
    return mail


def inbox(mail: Maildrop, name: str = "INBOX") -> MemoryMailbox:
    mailbox = mail.mailbox("alice", name)
    assert mailbox is not None
    return mailbox


def inside(mail: Maildrop) -> ImapServer:
    core = server(mail)
    assert talk(core, "a LOGIN alice secret").startswith("a OK ")
    return core


def selected(mail: Maildrop) -> ImapServer:
    core = inside(mail)
    assert "a OK [READ-WRITE]" in talk(core, "a SELECT inbox")
    return core


def talk(core: ImapServer, *commands: str) -> str:
    return text(core.receive("".join(f"{command}\r\n" for command in commands).encode("latin-1")))


def text(events: list[Event]) -> str:
    return b"".join(event.data for event in events if isinstance(event, Send)).decode("latin-1").rstrip("\r\n")


def test_greeting_lists_capabilities() -> None:
    core = ImapServer(ImapConfig(hostname="a.test", capabilities=("IMAP4rev1",)), Maildrop())
    assert text(core.greeting()) == "* OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] a.test ready"
    core = ImapServer(ImapConfig(hostname="a.test", greeting_lists_capabilities=False), Maildrop())
    assert text(core.greeting()) == "* OK a.test ready"


def test_preauth_leaves_no_way_to_starttls() -> None:
    core = ImapServer(ImapConfig(preauth_user="alice", greeting="hi"), Maildrop())
    assert text(core.greeting()) == "* PREAUTH hi"
    assert talk(core, "a STARTTLS", "b SELECT INBOX").startswith("a BAD not possible in this state")


def test_capabilities_change_with_tls_and_login() -> None:
    core = server(secure=False, capabilities=("IMAP4rev1",))
    assert talk(core, "a CAPABILITY") == "* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED\r\na OK CAPABILITY completed"
    core.secured()
    assert "* CAPABILITY IMAP4rev1 AUTH=PLAIN AUTH=LOGIN\r\n" in talk(core, "a CAPABILITY")
    assert talk(core, "a LOGIN alice secret") == "a OK [CAPABILITY IMAP4rev1] logged in"


@pytest.mark.parametrize(
    ("fields", "secure", "listed"),
    [
        ({"login_before_tls": True}, False, "STARTTLS"),
        ({"sasl_before_tls": ("PLAIN",), "starttls": False}, False, "AUTH=PLAIN LOGINDISABLED"),
        ({"starttls_inside_tls": True}, True, "STARTTLS AUTH=PLAIN AUTH=LOGIN"),
        ({"login_inside_tls": False, "sasl_inside_tls": ()}, True, "LOGINDISABLED"),
        ({"capabilities_before": ("XXXX",)}, False, "XXXX"),
        ({"capabilities_after": ("IMAP4",)}, True, "IMAP4"),
    ],
)
def test_capabilities_are_what_the_configuration_says(fields: dict[str, Any], secure: bool, listed: str) -> None:
    reply = talk(server(secure=secure, **fields), "a CAPABILITY")
    assert reply.split("\r\n")[0].endswith(f" {listed}")


def test_login_needs_tls_by_default() -> None:
    core = server(secure=False)
    assert talk(core, "a LOGIN alice secret") == "a NO [PRIVACYREQUIRED] login needs TLS"
    assert talk(core, f"a AUTHENTICATE PLAIN {PLAIN}") == "a NO [CANNOT] mechanism not supported"
    assert talk(server(secure=False, login_before_tls=True), "a LOGIN alice secret").startswith("a OK ")


@pytest.mark.parametrize(
    "octets",
    [
        b"a LOGIN alice secret\r\n",
        b'a login "alice" "secret"\r\n',
        b"a LOGIN {5}\r\nalice {6}\r\nsecret\r\n",
        b"a LOGIN {5+}\r\nalice {6+}\r\nsecret\r\n",
        b"a AUTHENTICATE PLAIN " + PLAIN.encode() + b"\r\n",
        b"a AUTHENTICATE PLAIN\r\n" + PLAIN.encode() + b"\r\n",
        b"a AUTHENTICATE LOGIN\r\nYWxpY2U=\r\nc2VjcmV0\r\n",
    ],
)
def test_login_in_all_its_forms_whole_and_octet_by_octet(octets: bytes) -> None:
    whole = server().receive(octets)
    core = server()
    assert text(whole).split("\r\n")[-1].startswith("a OK [CAPABILITY ")
    assert [event for octet in octets for event in core.receive(bytes([octet]))] == whole


def test_wrong_passwords_are_refused() -> None:
    refused = "a NO [AUTHENTICATIONFAILED] name or password is wrong"
    assert talk(server(), "a LOGIN alice x") == refused
    assert talk(server(), 'a LOGIN nobody ""') == refused
    assert talk(server(), "a AUTHENTICATE PLAIN", "*") == "+ \r\na BAD cancelled"
    assert talk(server(), "a AUTHENTICATE PLAIN !") == "a BAD malformed response: not base64"


def test_starttls_forgets_the_octets_behind_it() -> None:
    core = server(secure=False)
    events = core.receive(b"a STARTTLS\r\nb CAPABILITY\r\nc LOGIN {5}\r\n")
    assert events == [Send(b"a OK begin TLS negotiation now\r\n", "starttls"), StartTls()]
    core.secured()
    assert talk(core, "d STARTTLS") == "d BAD TLS is already active"


def test_login_survives_tls_when_told_so() -> None:
    core = server(secure=False, login_before_tls=True, keep_state_across_tls=True)
    talk(core, "a LOGIN alice secret")
    core.secured()
    assert talk(core, "a NAMESPACE").startswith('* NAMESPACE (("" "/")) NIL NIL\r\na OK')


def test_select_tells_what_is_there() -> None:
    assert talk(inside(filled()), "a SELECT INBOX").split("\r\n") == [
        "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)",
        "* OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)] kept for ever",
        "* 2 EXISTS",
        "* 0 RECENT",
        "* OK [UNSEEN 1] first unseen",
        "* OK [UIDVALIDITY 1] uids valid",
        "* OK [UIDNEXT 3] next uid",
        "a OK [READ-WRITE] completed",
    ]


def test_an_empty_mailbox_can_be_selected_and_searched() -> None:
    core = selected(Maildrop())
    assert talk(core, "a SEARCH ALL", "b FETCH 1:* FLAGS", "c UID FETCH 1:* FLAGS") == (
        "* SEARCH\r\na OK SEARCH completed\r\nb OK FETCH completed\r\nc OK FETCH completed"
    )


def fetch(items: str, number: int = 1) -> str:
    reply = talk(selected(filled()), f"a FETCH {number} {items}")
    start, end = f"* {number} FETCH (", ")\r\na OK FETCH completed"
    assert reply.startswith(start)
    assert reply.endswith(end)
    return reply[len(start) : -len(end)]


@pytest.mark.parametrize(
    ("items", "answer"),
    [
        ("FLAGS", "FLAGS ()"),
        ("(UID RFC822.SIZE)", f"UID 1 RFC822.SIZE {len(TEXT)}"),
        ("INTERNALDATE", 'INTERNALDATE " 4-Mar-2024 05:06:07 +0000"'),
        ("BODY.PEEK[TEXT]", "BODY[TEXT] {14}\r\nhello\r\nworld\r\n"),
        ("BODY.PEEK[TEXT]<2.5>", "BODY[TEXT]<2> {5}\r\nllo\r\n"),
        ("BODY.PEEK[]<9999.5>", "BODY[]<9999> {0}\r\n"),
        ("BODY[1]", "BODY[1] {14}\r\nhello\r\nworld\r\n FLAGS (\\Seen)"),
        ("BODY.PEEK[2]", "BODY[2] NIL"),
        (
            "BODY.PEEK[HEADER.FIELDS (subject X)]",
            "BODY[HEADER.FIELDS (subject X)] {22}\r\nSubject: one\r\n two\r\n\r\n",
        ),
        (
            "BODY.PEEK[HEADER.FIELDS.NOT (From To Date Subject)]",
            "BODY[HEADER.FIELDS.NOT (From To Date Subject)] {26}\r\nMessage-ID: <1@c.test>\r\n\r\n",
        ),
        ("RFC822.HEADER", f"RFC822.HEADER {{{len(TEXT) - 14}}}\r\n{TEXT[:-14].decode()}"),
        ("RFC822", f"RFC822 {{{len(TEXT)}}}\r\n{TEXT.decode()} FLAGS (\\Seen)"),
        ("BODY", 'BODY ("TEXT" "PLAIN" NIL NIL NIL "7BIT" 14 2)'),
        ("FAST", f'FLAGS () INTERNALDATE " 4-Mar-2024 05:06:07 +0000" RFC822.SIZE {len(TEXT)}'),
        (
            "ENVELOPE",
            'ENVELOPE ("Mon, 4 Mar 2024 01:02:03 +0000" "one two" (("Carol" NIL "carol" "c.test")) '
            '(("Carol" NIL "carol" "c.test")) (("Carol" NIL "carol" "c.test")) '
            '((NIL NIL "alice" "lab.test")("=?x?=" NIL "b" "b.test")) NIL NIL NIL "<1@c.test>")',
        ),
    ],
)
def test_fetch_answers(items: str, answer: str) -> None:
    assert fetch(items) == answer


@pytest.mark.parametrize(
    ("items", "answer"),
    [
        ("BODY[1]", "BODY[1] {3}\r\n<p>"),
        ("BODY[1.MIME]", "BODY[1.MIME] {42}\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"),
        ("BODY[2]", "BODY[2] {22}\r\nSubject: inner\r\n\r\ndeep"),
        ("BODY[2.HEADER]", "BODY[2.HEADER] {18}\r\nSubject: inner\r\n\r\n"),
        ("BODY[2.TEXT]", "BODY[2.TEXT] {4}\r\ndeep"),
        ("BODY[2.1]", "BODY[2.1] {4}\r\ndeep"),
        ("BODY[1.HEADER]", "BODY[1.HEADER] NIL"),
        (
            "BODYSTRUCTURE",
            'BODYSTRUCTURE (("TEXT" "HTML" ("CHARSET" "utf-8") NIL NIL "7BIT" 3 0 NIL NIL NIL NIL)'
            '("MESSAGE" "RFC822" NIL NIL NIL "7BIT" 22 (NIL "inner" NIL NIL NIL NIL NIL NIL NIL NIL) '
            '("TEXT" "PLAIN" NIL NIL NIL "7BIT" 4 0 NIL NIL NIL NIL) 2 NIL ("ATTACHMENT" ("FILENAME" "x.eml")) NIL NIL)'
            ' "MIXED" ("BOUNDARY" "b") NIL NIL NIL)',
        ),
    ],
)
def test_fetch_answers_for_parts(items: str, answer: str) -> None:
    assert fetch(items, 2) == answer


def test_fetch_by_uid_adds_the_uid() -> None:
    assert talk(selected(filled()), "a UID FETCH 2:9 FLAGS").startswith("* 2 FETCH (UID 2 FLAGS (\\Seen))\r\n")
    assert talk(selected(filled()), "a UID FETCH *:9 (UID)").startswith("* 2 FETCH (UID 2)\r\n")


def test_store_changes_flags() -> None:
    core = selected(filled())
    assert talk(core, "a STORE 1 +FLAGS (\\Deleted custom)").startswith("* 1 FETCH (FLAGS (\\Deleted custom))\r\n")
    assert talk(core, "a UID STORE 1:2 -FLAGS.SILENT \\deleted") == "a OK STORE completed"
    assert talk(core, "a STORE 1:* FLAGS ()").startswith("* 1 FETCH (FLAGS ())\r\n* 2 FETCH (FLAGS ())\r\n")
    assert talk(core, "a STORE 1 +FLAGS (\\Recent)") == "a BAD no such system flag"


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ("ALL", "1 2"), ("SEEN", "2"), ("UNSEEN", "1"), ("2", "2"), ("1:*", "1 2"), ("UID 1", "1"),
        ("SUBJECT one", "1"), ("SUBJECT TWO", "1"), ("FROM carol", "1"), ("TEXT deep", "2"), ("BODY carol", ""),
        ('HEADER message-id "<1@"', "1"), ("NOT SEEN", "1"), ("OR SEEN SUBJECT one", "1 2"), ("(SEEN TEXT deep)", "2"),
        ("SINCE 4-Mar-2024", "1 2"), ("BEFORE 4-Mar-2024", ""), ("ON 04-Mar-2024", "1 2"),
        ("SENTSINCE 1-Jan-2024", "1"),
        ("LARGER 210", "2"), ("SMALLER 210", "1"), ("KEYWORD x", ""), ("UNKEYWORD x", "1 2"), ("NEW", ""),
        ("CHARSET UTF-8 SUBJECT {3+}\r\none", "1"), ("UNDELETED UNSEEN", "1"),
    ],
)  # fmt: skip
def test_search_finds(keys: str, found: str) -> None:
    assert talk(selected(filled()), f"a SEARCH {keys}") == f"* SEARCH {found}".rstrip() + "\r\na OK SEARCH completed"


ENCODED = (
    b"Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\nFrom: \xc3\xa4\r\n"
    b'Content-Type: multipart/alternative; boundary="b"\r\n\r\n'
    b"--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"M=FCnchen=\r\n liegt\r\n"
    b"--b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nUMO2cHA=\r\n"
    b"--b\r\nContent-Type: text/plain; charset=nonsense\r\nContent-Transfer-Encoding: base64\r\n\r\n!\r\n--b--\r\n"
)


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ("SUBJECT GRÜSSE", ""), ("SUBJECT Grüße", "1"), ("SUBJECT =?utf-8?q?gr", "1"), ("FROM Ä", "1"),
        ("BODY münchen", "1"), ("TEXT pöpp", "1"), ("TEXT grüße", "1"), ("BODY grüße", ""), ("TEXT UMO2", "1"),
        ("HEADER subject ", "1"), ("HEADER x-none ", ""),
    ],
)  # fmt: skip
def test_search_finds_what_people_read(keys: str, found: str) -> None:
    mail = Maildrop()
    inbox(mail).append(ENCODED)
    key, _, needle = keys.rpartition(" ")
    literal = b"{%d+}\r\n%b" % (len(needle.encode()), needle.encode())
    events = selected(mail).receive(b"a SEARCH CHARSET UTF-8 %b %b\r\n" % (key.encode(), literal))
    assert text(events) == f"* SEARCH {found}".rstrip() + "\r\na OK SEARCH completed"


def test_copy_move_and_expunge() -> None:
    mail = filled()
    core = selected(mail)
    assert talk(core, "a COPY 1 Archive") == "a NO [TRYCREATE] no such mailbox"
    assert talk(core, "a CREATE Archive", "b COPY 1:2 Archive").endswith("b OK [COPYUID 3 1:2 1:2] COPY completed")
    assert talk(core, "a UID MOVE 1 Archive") == "* OK [COPYUID 3 1 3] moved\r\n* 1 EXPUNGE\r\na OK MOVE completed"
    talk(core, "a STORE 1 +FLAGS (\\Deleted)")
    assert talk(core, "a EXPUNGE") == "* 1 EXPUNGE\r\na OK EXPUNGE completed"
    assert inbox(mail, "Archive").uids() == (1, 2, 3)
    assert inbox(mail).uids() == ()


def test_close_removes_deleted_letters_and_unselect_does_not() -> None:
    mail = filled()
    core = selected(mail)
    talk(core, "a STORE 1 +FLAGS (\\Deleted)", "b UNSELECT")
    assert inbox(mail).uids() == (1, 2)
    assert talk(core, "a SELECT INBOX", "b CLOSE").endswith("b OK CLOSE completed")
    assert inbox(mail).uids() == (2,)


def test_examine_changes_nothing() -> None:
    mail = filled()
    core = inside(mail)
    assert talk(core, "a EXAMINE INBOX").endswith("a OK [READ-ONLY] completed")
    assert "FLAGS" not in talk(core, "a FETCH 1 BODY[TEXT]")
    for command in ("STORE 1 FLAGS ()", "EXPUNGE", "MOVE 1 INBOX"):
        assert talk(core, f"a {command}").startswith("a NO [READ-ONLY]")


def test_expunges_by_others_are_told_after_fetch() -> None:
    mail = filled()
    core, other = selected(mail), selected(mail)
    talk(other, "a STORE 1 +FLAGS (\\Deleted)", "b EXPUNGE")
    assert talk(core, "a FETCH 1:2 UID") == "* 2 FETCH (UID 2)\r\na OK FETCH completed"
    assert talk(core, "a NOOP") == "* 1 EXPUNGE\r\na OK completed"
    assert talk(core, "a FETCH 1 UID") == "* 1 FETCH (UID 2)\r\na OK FETCH completed"


def test_flags_set_by_others_are_told_and_own_ones_are_not() -> None:
    mail = filled()
    core, other = selected(mail), selected(mail)
    talk(other, "a STORE 1 +FLAGS.SILENT (\\Flagged)", "b STORE 2 FLAGS (\\Deleted)", "c FETCH 1 BODY[]")
    assert talk(other, "d NOOP") == "d OK completed"
    assert talk(core, "a FETCH 1 UID") == "* 1 FETCH (UID 1)\r\na OK FETCH completed"
    assert talk(core, "a NOOP") == (
        "* 1 FETCH (UID 1 FLAGS (\\Flagged \\Seen))\r\n* 2 FETCH (UID 2 FLAGS (\\Deleted))\r\na OK completed"
    )
    assert talk(core, "a NOOP") == "a OK completed"


def test_a_silent_store_does_not_hide_what_others_did() -> None:
    mail = filled()
    core, other = selected(mail), selected(mail)
    talk(other, "a STORE 1 +FLAGS (x)")
    assert talk(core, "a STORE 1 +FLAGS.SILENT (y)") == "a OK STORE completed"
    assert talk(core, "a NOOP").startswith("* 1 FETCH (UID 1 FLAGS (x y))\r\n")
    assert talk(core, "a STORE 1 FLAGS.SILENT (z)", "b NOOP").endswith("a OK STORE completed\r\nb OK completed")


def test_expunges_flags_and_arrivals_are_told_in_an_order_that_keeps_numbers_right() -> None:
    mail = filled()
    core = selected(mail)
    inbox(mail).append(TEXT)
    talk(core, "a NOOP")
    inbox(mail).remove([1])
    inbox(mail).set_flags(3, ["\\Flagged"])
    inbox(mail).append(TEXT)
    assert talk(core, "a NOOP") == (
        "* 1 EXPUNGE\r\n* 2 FETCH (UID 3 FLAGS (\\Flagged))\r\n* 3 EXISTS\r\na OK completed"
    )


def test_idle_tells_of_flags_and_expunges() -> None:
    mail = filled()
    core = selected(mail)
    talk(core, "a IDLE")
    inbox(mail).set_flags(2, ["\\Answered"])
    assert text(core.updates()) == "* 2 FETCH (UID 2 FLAGS (\\Answered))"
    inbox(mail).remove([1])
    assert text(core.updates()) == "* 1 EXPUNGE"


def test_letters_that_go_while_they_are_fetched_are_left_out() -> None:
    mail = filled()
    core = selected(mail)
    letters = inbox(mail)._letters
    letters[1] = msgspec.structs.replace(letters[1], read=gone)
    assert talk(core, "a FETCH 1:2 BODY.PEEK[2]").startswith("* 2 FETCH (BODY[2] ")
    assert talk(core, "a SEARCH TEXT e") == "* SEARCH 2\r\na OK SEARCH completed"
    assert "b OK [COPYUID 3 2 1] COPY completed" in talk(core, "a CREATE Archive", "b COPY 1:2 Archive")
    assert talk(core, "a FETCH 1 FLAGS").startswith("* 1 FETCH (FLAGS ())")


def gone() -> bytes:
    raise LetterGoneError("the letter is gone")


def broken() -> bytes:
    raise StoreError("the disk is broken")


def test_a_letter_that_cannot_be_read_is_unavailable_and_copied_in_no_part() -> None:
    mail = filled()
    core = selected(mail)
    letters = inbox(mail)._letters
    letters[2] = msgspec.structs.replace(letters[2], read=broken)
    for command in ("FETCH 2 BODY[]", "SEARCH TEXT e", "COPY 1:2 Archive"):
        mail.create("alice", "Archive")
        assert talk(core, f"a {command}") == "a NO [UNAVAILABLE] the disk is broken"
    assert inbox(mail, "Archive").uids() == ()


class Closed(Maildrop):
    """A store that nobody can read now."""

    def mailbox(self, user: str, name: str) -> MemoryMailbox | None:
        raise MailboxPausedError("mailboxes cannot be read now")


@pytest.mark.parametrize("command", ["LOGIN alice secret", f"AUTHENTICATE PLAIN {PLAIN}"])
def test_login_is_unavailable_while_mailboxes_cannot_be_read(command: str) -> None:
    core = server(Closed())
    assert talk(core, f"a {command}") == "a NO [UNAVAILABLE] mailboxes cannot be read now"
    assert talk(core, 'a LIST "" *') == "a BAD not possible in this state"
    assert talk(server(Closed()), "a LOGIN alice wrong").startswith("a NO [AUTHENTICATIONFAILED]")


def test_a_mailbox_whose_uids_start_anew_ends_the_session() -> None:
    mail = filled()
    core = selected(mail)
    inbox(mail).uid_validity += 1
    assert talk(core, "a NOOP") == "a OK completed"
    assert talk(core, "a UID FETCH 1 FLAGS") == "* BYE [UNAVAILABLE] the mailbox was rebuilt; select it anew"


@pytest.mark.parametrize(
    ("items", "told"),
    [
        ("BODY[]", True), ("BODY.PEEK[]", True), ("BODY.PEEK[TEXT]<0.1>", True), ("RFC822", True), ("BODY[1]", True),
        ("RFC822.TEXT", True), ("RFC822.HEADER", False), ("BODY[HEADER]", False), ("FULL", False),
        ("BODY[HEADER.FIELDS (Subject)]", False), ("BODY[1.MIME]", False), ("(FLAGS BODYSTRUCTURE)", False),
    ],
)  # fmt: skip
def test_the_store_learns_once_whose_text_was_fetched(items: str, told: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    mail = filled()
    heard: list[tuple[int, str]] = []
    monkeypatch.setattr(inbox(mail), "taken", lambda *what: heard.append(what))
    talk(selected(mail), f"a FETCH 1 {items}", f"b FETCH 1 {items}")
    assert heard == ([(1, "IMAP")] if told else [])


def test_a_big_mailbox_is_read_letter_by_letter_in_linear_time() -> None:
    mail = Maildrop()
    for _ in range(MAILBOX_LETTERS):
        inbox(mail).append(TEXT)
    core = selected(mail)
    for uid in range(1, MAILBOX_LETTERS + 1):
        assert f"UID {uid} " in talk(core, f"a UID FETCH {uid} (UID FLAGS)")
    assert talk(core, "a STORE 1:* +FLAGS.SILENT (\\Deleted)", "b EXPUNGE").count("* 1 EXPUNGE\r\n") == 1


def test_idle_tells_of_new_mail() -> None:
    mail = filled()
    core = selected(mail)
    assert talk(core, "a IDLE") == "+ idling"
    assert core.updates() == []
    inbox(mail).append(TEXT)
    assert core.updates() == [Send(b"* 3 EXISTS\r\n", "idle")]
    assert core.receive(b"DONE\r\n") == [Send(b"a OK IDLE completed\r\n", "done")]
    inbox(mail).append(TEXT)
    assert core.updates() == []


def test_mailboxes_are_made_listed_and_deleted() -> None:
    core = inside(filled())
    talk(core, "a CREATE Work", "b CREATE Work/old", 'c CREATE "two words"', "d SUBSCRIBE Work")
    assert talk(core, 'a LIST "" %') == (
        '* LIST () "/" INBOX\r\n* LIST () "/" Work\r\n* LIST () "/" "two words"\r\na OK LIST completed'
    )
    assert '* LIST () "/" Work/old\r\n' in talk(core, 'a LIST "" *')
    assert '* LIST () "/" Work/old\r\na' in talk(core, 'a LIST Work/ "*"')
    assert talk(core, 'a LIST "" ""').startswith('* LIST (\\Noselect) "/" ""\r\n')
    assert talk(core, 'a LIST "" inbox').startswith('* LIST () "/" INBOX\r\n')
    assert talk(core, 'a LSUB "" *') == '* LSUB () "/" INBOX\r\n* LSUB () "/" Work\r\na OK LSUB completed'
    assert talk(core, "a RENAME Work Play", "b DELETE Play", "c DELETE Play", "d DELETE INBOX").split("\r\n")[1:] == [
        "b OK DELETE completed",
        "c NO [NONEXISTENT] no such mailbox, or INBOX",
        "d NO [NONEXISTENT] no such mailbox, or INBOX",
    ]


def test_special_uses_and_missing_levels_are_listed() -> None:
    core = inside(filled())
    talk(core, "a CREATE Junk", "b CREATE Sent", "c CREATE a/b/c", "d CREATE Junk/x", "e SUBSCRIBE a/b/c")
    assert talk(core, 'a LIST "" *') == (
        '* LIST () "/" INBOX\r\n* LIST (\\Junk) "/" Junk\r\n* LIST (\\Sent) "/" Sent\r\n'
        '* LIST () "/" a/b/c\r\n* LIST () "/" Junk/x\r\na OK LIST completed'
    )
    assert talk(core, 'a LIST "" %').split("\r\n")[3:] == ['* LIST (\\Noselect) "/" a', "a OK LIST completed"]
    assert talk(core, 'a LIST "a/" %') == '* LIST (\\Noselect) "/" a/b\r\na OK LIST completed'
    assert '* LSUB (\\Noselect) "/" a\r\n' in talk(core, 'a LSUB "" %')
    assert "SPECIAL-USE" in talk(core, "a CAPABILITY")


def test_names_with_wildcards_cannot_be_made() -> None:
    core = inside(filled())
    talk(core, "a CREATE Work")
    for command in ('CREATE "a*"', 'CREATE "%"', 'CREATE "/"', 'RENAME Work "a%b"'):
        assert talk(core, f"a {command}") == "a NO [CANNOT] no name for a mailbox"


def test_a_charset_that_is_not_known_is_refused() -> None:
    assert talk(selected(filled()), "a SEARCH CHARSET KOI8-R ALL") == (
        "a NO [BADCHARSET (US-ASCII UTF-8)] charset not supported"
    )


def test_status_counts() -> None:
    reply = talk(inside(filled()), "a STATUS INBOX (MESSAGES UNSEEN UIDNEXT UIDVALIDITY RECENT)")
    assert reply.startswith("* STATUS INBOX (MESSAGES 2 UNSEEN 1 UIDNEXT 3 UIDVALIDITY 1 RECENT 0)\r\n")


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("Entw&APw-rfe", True),
        ("A &- B", True),
        ("&2D3eAA-", True),  # beyond the BMP, as a pair of surrogates
        ("&", False),
        ("A & B", False),
        ("&AAAALw-", False),  # NUL
        ("&AAo-", False),  # a line feed
        ("&AEE-", False),  # A, which needs no shift
        ("&APw", False),  # the shift does not end
        ("&APw-&APw-", False),  # and begins again at once
        ("&AP-", False),  # half a character
        ("&2D0-", False),  # half a pair
        ("&APx-", False),  # bits that mean nothing
    ],
)
def test_a_mailbox_name_is_modified_utf_7(name: str, made: bool) -> None:
    reply = talk(inside(Maildrop()), f'a CREATE "{name}"')
    assert reply == ("a OK CREATE completed" if made else "a BAD a mailbox name is modified UTF-7 (RFC 3501)")


@pytest.mark.parametrize(
    "command",
    [
        "FETCH {} FLAGS",
        "UID FETCH 1:{} FLAGS",
        "STORE {} +FLAGS (x)",
        "COPY 1,{} INBOX",
        "SEARCH {}",
        "SEARCH UID {}:*",
        "SEARCH LARGER {}",
        "FETCH 1 BODY[]<0.{}>",
    ],
)
def test_numbers_have_32_bits(command: str) -> None:
    core = selected(filled())
    assert "a OK" in talk(core, "a " + command.format(2**32 - 1))
    assert talk(core, "a " + command.format(2**32)) == "a BAD a number has 32 bits (RFC 3501)"


def test_a_letter_with_nul_is_not_appended() -> None:
    mail = Maildrop()
    core = inside(mail)
    assert talk(core, "a APPEND INBOX {5+}", "a\0b\r\n") == "a BAD a literal holds no NUL (RFC 3501)"
    assert not inbox(mail).uids()
    assert "a OK [APPENDUID" in talk(core, "a APPEND INBOX {3+}", "a\r\n")


def test_append_with_flags_and_date_whole_and_octet_by_octet() -> None:
    octets = b'a APPEND INBOX (\\Seen x) " 1-Feb-2023 03:04:05 +0100" {5}\r\nhello\r\nb NOOP\r\n'
    for size in (1, len(octets)):
        mail = filled()
        core = selected(mail)
        events: list[Event] = []
        for start in range(0, len(octets), size):
            events += core.receive(octets[start : start + size])
        assert text(events) == ("+ go ahead\r\n* 3 EXISTS\r\na OK [APPENDUID 1 3] APPEND completed\r\nb OK completed")
        letter = inbox(mail).get(3)
        assert letter is not None
        assert (letter.data, letter.flags) == (b"hello", frozenset({"\\Seen", "x"}))
        assert letter.received.isoformat() == "2023-02-01T03:04:05+01:00"


def test_id_takes_anything() -> None:
    assert talk(server(), 'a ID ("name" "x" "version" NIL)', "b ID NIL").count('* ID ("name" "mailprobe lab")') == 2


@pytest.mark.parametrize(
    "command",
    [
        "", "a", "a ", "NOOP", "+ NOOP", "a NOOP x", "a FETCH 1 FLAGS", "a BLAH", "a LOGIN alice", "a UID NOOP",
        "a LOGIN alice secret more", 'a LOGIN "alice', "a FETCH", "a SELECT", "\x00 NOOP",
    ],
)  # fmt: skip
def test_commands_without_form_are_bad(command: str) -> None:
    reply = talk(server(), command)
    assert reply.split(" ")[1] == "BAD"
    assert "\r\n" not in reply


@pytest.mark.parametrize(
    "command",
    [
        "a FETCH 0 FLAGS", "a FETCH 1 ()", "a FETCH 1 (FLAGS", "a FETCH 1 BODY[", "a FETCH 1 BODY[MIME]", "a FETCH 1 X",
        "a FETCH 1 (ALL)", "a FETCH 1 (" + "FLAGS " * 40 + "UID)", "a SEARCH", "a SEARCH X", "a SEARCH (ALL",
        "a SEARCH " + "NOT " * 30 + "ALL", "a SEARCH " + "(" * 500 + "ALL", "a SEARCH ON 99-Foo-2024", "a STORE 1 X ()",
        'a LIST "" ' + "*a" * 20, "a STATUS INBOX (X)", "a CREATE {3+}\r\na\r\n",
    ],
)  # fmt: skip
def test_arguments_without_form_are_bad(command: str) -> None:
    assert talk(selected(filled()), command).startswith("a BAD ")


def test_a_huge_literal_is_refused_before_it_comes() -> None:
    core = server()
    assert talk(core, "a LOGIN {2000000000}") == "a NO [TOOBIG] literal too big"
    assert talk(core, "b NOOP") == "b OK completed"
    assert talk(inside(Maildrop()), "a APPEND INBOX {10485761}") == "a NO [TOOBIG] literal too big"


def test_a_huge_literal_that_comes_anyway_ends_the_session() -> None:
    events = server().receive(b"a LOGIN {2000000000+}\r\n")
    assert events == [Send(b"* BYE [TOOBIG] literal too big\r\n", "bye"), Close()]


def test_many_literals_are_one_command_and_bounded() -> None:
    core = server()
    events = core.receive(b"a LOGIN " + b"{1000+}\r\n" + (b"x" * 1000 + b" {1000+}\r\n") * 5)
    assert events[-1] == Close()


def test_an_endless_line_ends_the_session_and_is_not_kept() -> None:
    core = server()
    events = [event for _ in range(20) for event in core.receive(b"x" * 65536)]
    assert events == [Send(b"* BYE line too long\r\n", "bye"), Close()]
    assert text(server().receive(b"x" * 9000 + b"\r\na NOOP\r\n")) == "* BAD line too long\r\na OK completed"


def test_too_many_mistakes_end_the_session() -> None:
    assert text(server(mistake_limit=1).receive(b"A\r\nB\r\nC\r\n")).endswith("* BYE too many errors")


def test_a_message_nested_without_end_is_taken_apart_in_bounds() -> None:
    mail = Maildrop()
    nest = b"".join(b'Content-Type: multipart/mixed; boundary="%d"\r\n\r\n--%d\r\n' % (n, n) for n in range(500))
    inbox(mail).append(nest)
    inbox(mail).append(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\n" * 5000)
    reply = talk(selected(mail), "a FETCH 1:2 (BODYSTRUCTURE ENVELOPE)")
    assert reply.endswith("a OK FETCH completed")
    assert reply.count('"TEXT"') < 300


PIECES = [
    *(b"a LOGIN alice secret\r\n", b"b SELECT INBOX\r\n", b"c FETCH 1:* (", b"BODY[", b"]", b"{3}\r\n", b"{2+}\r\n"),
    *(b"d IDLE\r\n", b"e SEARCH ", b"OR ", b"NOT ", b"\r\n", b"f STORE 1 ", b'g LIST "" *', b"h APPEND INBOX "),
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=8)))
def test_junk_never_breaks_the_core(pieces: list[bytes]) -> None:
    core = server(filled(), mistake_limit=1000)
    for piece in pieces:
        for event in core.receive(piece):
            if isinstance(event, Send):
                assert event.data.endswith(b"\r\n")
