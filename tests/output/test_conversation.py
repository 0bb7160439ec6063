"""One conversation at a glance: steps, capabilities side by side, answers; and nothing that moves a terminal."""

from __future__ import annotations

import json
import time

import msgspec
import pytest

from mailprobe.model.conversation import Conversation, LoginOutcome
from mailprobe.model.evidence import Capabilities, Capability, Exchange, Kind, Reply, Stage
from mailprobe.model.held import Answered, FolderRow, Held, LetterRow
from mailprobe.output.conversation import HeldView, conversation_table, document, letter_text
from mailprobe.output.transcript import conversation
from tests.output.samples import HOSTILE, assert_harmless, certificate, tls, trouble


def reply(status: str, *lines: str) -> Reply:
    return Reply(status=status, lines=lines, quirks=())


def said(stage: Stage, sent: str, *lines: str, secure: bool = False) -> Exchange:
    return Exchange(stage=stage, secure=secure, sent=sent, reply=reply(lines[0][:3], *lines), ms=2.0)


def offers(**keywords: tuple[str, ...]) -> Capabilities:
    items = tuple(Capability(keyword=name, parameters=words) for name, words in keywords.items())
    return Capabilities(source="ehlo", items=items)


TOLD = Conversation(
    service="submission",
    host="mx.a.test",
    address="192.0.2.1",
    port=587,
    greeting=reply("220", "220 mx.a.test"),
    exchanges=(
        said(Stage.GREETING, "", "220 mx.a.test"),
        said(Stage.STARTTLS, "STARTTLS", "220 go"),
        said(Stage.LOGIN, "AUTH PLAIN [masked]", "235 in", secure=True),
        said(Stage.RCPT, "RCPT TO:<b@a.test>", "250 ok", secure=True),
        said(Stage.RCPT, "RCPT TO:<c@a.test>", "550 no", secure=True),
        said(Stage.QUIT, "QUIT", "221 bye", secure=True),
    ),
    before_tls=offers(STARTTLS=(), SIZE=("1000",)),
    after_tls=offers(SIZE=("1000",), AUTH=("PLAIN", "LOGIN")),
    after_login=offers(SIZE=("2000",)),
    leftover=b"",
    tls=tls(),
    login=LoginOutcome(user="alice", mechanism="PLAIN", succeeded=True, reply=reply("235", "235 in")),
    timings={"connect": 0.4, "greeting": 1.0, "handshake": 3.0, "login": 12.0, "rcpt": 4.0, "quit": 1.0},
    trouble=None,
)
HELD = Held(
    conversation=TOLD,
    tried=(),
    folders=(),
    letters=None,
    letter=None,
    answers=(
        Answered(command="RCPT TO:<b@a.test>", reply=reply("250", "250 ok")),
        Answered(command="RCPT TO:<c@a.test>", reply=reply("550", "550-no", "550 never")),
    ),
    stopped="",
)


def view(held: Held = HELD, unsafe: str = "") -> HeldView:
    return HeldView(held=held, certificate=certificate(), unsafe=unsafe)


def test_a_conversation_at_a_glance() -> None:
    assert conversation_table(view()) == (
        "mx.a.test [192.0.2.1]:587\n"
        "\n"
        "step             time  what came of it\n"
        "-------------  ------  -------------------------------\n"
        "connect        0.4 ms  connected\n"
        "greeting         1 ms  220 mx.a.test\n"
        "TLS handshake    3 ms  TLSv1.3, TLS_AES_256_GCM_SHA384\n"
        "login           12 ms  alice by PLAIN: 235 in\n"
        "RCPT             4 ms  2 exchanges\n"
        "goodbye          1 ms  221 bye\n"
        "\n"
        "encryption   TLSv1.3, TLS_AES_256_GCM_SHA384, 256 bits\n"
        "certificate  ok, 89 days left, mx.a.test\n"
        "\n"
        "capability  before TLS  in TLS       after login\n"
        "----------  ----------  -----------  -----------\n"
        "AUTH        -           PLAIN LOGIN  -\n"
        "SIZE        1000        1000         2000\n"
        "STARTTLS    yes         -            -\n"
        "\n"
        "asked               code  answer\n"
        "------------------  ----  --------\n"
        "RCPT TO:<b@a.test>  250   ok\n"
        "RCPT TO:<c@a.test>  550   no never\n"
    )


def test_letters_and_folders_are_listed() -> None:
    letters = (
        LetterRow(number=1, uid="7", size=120, flags=("\\Seen",), date="Mon", sender="b@a.test", subject="grüße"),
        LetterRow(number=2, uid="9", size=None, flags=None, date=None, sender=None, subject=None),
    )
    folders = (
        FolderRow(name="INBOX", attributes=(), junk=False),
        FolderRow(name="Spam", attributes=("\\Junk",), junk=True),
    )
    text = conversation_table(view(msgspec.structs.replace(HELD, letters=letters, folders=folders)))
    assert "folder  attributes\n------  ----------  ----\nINBOX   -\nSpam    \\Junk       junk\n" in text
    assert "no  uid  octets  date  from      subject\n" in text
    assert " 1  7       120  Mon   b@a.test  grüße\n 2  9         -  -     -         -\n" in text
    assert "no letters" in conversation_table(view(msgspec.structs.replace(HELD, letters=())))


def test_of_very_many_letters_the_newest_are_shown_at_once() -> None:
    row = LetterRow(number=0, uid="", size=1, flags=None, date=None, sender=None, subject=None)
    letters = tuple(msgspec.structs.replace(row, number=number, uid=f"u{number}") for number in range(1, 400_001))
    begun = time.process_time()
    shown = conversation_table(view(msgspec.structs.replace(HELD, letters=letters)))
    assert time.process_time() - begun < 2
    assert "399000 more before these; --format json has all\n" in shown
    assert " u399000 " not in shown
    assert shown.count("\n") < 1_100
    assert shown.splitlines()[-1].split()[:2] == ["400000", "u400000"]


def test_a_trouble_stands_at_its_step_and_other_addresses_at_the_top() -> None:
    refused = msgspec.structs.replace(
        TOLD, address="192.0.2.9", trouble=trouble(Stage.CONNECT, Kind.REFUSED, "connection refused")
    )
    kept_back = trouble(Stage.LOGIN, Kind.LOCAL, "the password is not sent: it is not encrypted")
    told = msgspec.structs.replace(
        TOLD, trouble=kept_back, login=None, timings={"connect": 1.0}, tls=None, leftover=b"250 x"
    )
    text = conversation_table(view(msgspec.structs.replace(HELD, conversation=told, tried=(refused,))))
    assert "  tried before: mx.a.test [192.0.2.9]:587: connection refused while connecting\n" in text
    assert "login       -  the password is not sent: it is not encrypted\n" in text
    assert "encryption   none: everything was said in clear\n" in text
    assert "injected     5 octets in clear came behind the go-ahead for STARTTLS" in text


def test_why_a_password_is_not_safe_is_told_beside_the_certificate() -> None:
    text = conversation_table(view(unsafe="the certificate is not for mx.a.test"))
    assert "certificate  ok, 89 days left, mx.a.test\n             the certificate is not for mx.a.test\n" in text


def test_json_holds_everything_and_only_ascii() -> None:
    text = document(view(msgspec.structs.replace(HELD, letter=b"\xff\x1b")))
    told = json.loads(text)
    assert text.isascii()
    assert told["conversation"]["login"]["mechanism"] == "PLAIN"
    assert told["certificate"]["verdict"] == "ok"
    assert told["letter"] == "/xs="
    assert set(told) == {
        "conversation",
        "tried",
        "folders",
        "letters",
        "letter",
        "answers",
        "stopped",
        "certificate",
        "unsafe",
    }


def test_the_transcript_is_that_of_any_conversation() -> None:
    assert conversation(TOLD) == (
        "mx.a.test [192.0.2.1]:587\n"
        "  ===  connected in 0.4 ms\n"
        "  <-   220 mx.a.test  (2 ms)\n"
        "  ->   STARTTLS\n"
        "  <-   220 go  (2 ms)\n"
        "  ===  TLS handshake: TLSv1.3, TLS_AES_256_GCM_SHA384, 3 ms\n"
        "  ~>   AUTH PLAIN [masked]\n"
        "  <~   235 in  (2 ms)\n"
        "  ~>   RCPT TO:<b@a.test>\n"
        "  <~   250 ok  (2 ms)\n"
        "  ~>   RCPT TO:<c@a.test>\n"
        "  <~   550 no  (2 ms)\n"
        "  ~>   QUIT\n"
        "  <~   221 bye  (2 ms)\n"
    )


def test_a_unix_socket_is_named_by_its_path() -> None:
    told = msgspec.structs.replace(TOLD, host="localhost", address="/run/lmtp", port=0)
    assert conversation(told).startswith("localhost /run/lmtp\n")


@pytest.mark.parametrize("width", [40, 80, 200])
def test_hostile_servers_are_harmless(width: int) -> None:
    keywords = Capabilities(source="ehlo", items=(Capability(keyword=HOSTILE, parameters=(HOSTILE,)),))
    told = msgspec.structs.replace(
        TOLD,
        host=HOSTILE,
        greeting=reply("220", HOSTILE),
        exchanges=tuple(said(stage, HOSTILE, HOSTILE) for stage in Stage),
        before_tls=keywords,
        after_login=keywords,
        leftover=HOSTILE.encode(),
        tls=tls(HOSTILE, HOSTILE),
        login=LoginOutcome(user=HOSTILE, mechanism=HOSTILE, succeeded=False, reply=reply("535", HOSTILE)),
        timings={stage.value: 1.0 for stage in Stage},
        trouble=trouble(Stage.LOGIN, Kind.LOCAL, HOSTILE),
    )
    row = LetterRow(number=1, uid=HOSTILE, size=1, flags=(HOSTILE,), date=HOSTILE, sender=HOSTILE, subject=HOSTILE)
    held = msgspec.structs.replace(
        HELD,
        conversation=told,
        tried=(told,),
        folders=(FolderRow(name=HOSTILE, attributes=(HOSTILE,), junk=True),),
        letters=(row,),
        letter=HOSTILE.encode(),
        answers=(Answered(command=HOSTILE, reply=reply("250", HOSTILE)),),
    )
    seen = HeldView(held=held, certificate=certificate(HOSTILE, 1, HOSTILE), unsafe=HOSTILE)
    assert_harmless(conversation_table(seen, width=width))
    assert_harmless(conversation(told))
    assert_harmless(document(seen))


def test_a_letter_is_shown_line_by_line_and_moves_no_terminal() -> None:
    assert letter_text(b"a\tb\r\n\x1b[31mred\r\n\xc3\xa9\r\nbare\rcr\r\n") == ("a    b\n\\x1b[31mred\né\nbare\\x0dcr\n")
