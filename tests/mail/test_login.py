"""Logging in: octet for octet what is said over SMTP, POP3 and IMAP, what no transcript shows, and what is not sent."""

from __future__ import annotations

import base64

import pytest

from mailprobe.mail.login import Login
from mailprobe.model.conversation import Security
from mailprobe.model.evidence import Kind, Stage
from mailprobe.protocols.sasl import Credentials
from tests.collect.servers import EHLO, pop3, smtp
from tests.mail.visits import ALICE, dialogue, logging_in, stopped, visiting
from tests.scripted import Script

SUBMISSION, POP3S, IMAPS = 465, 995, 993
SECRETS = (b"secret", base64.b64encode(b"secret"), base64.b64encode(b"\0alice\0secret"), b"token-1")
PLAIN = base64.b64encode(b"\0alice\0secret")


def login(mechanism: str | None = None, *, user: str = "alice", password: str = "secret") -> Login:
    return Login(credentials=Credentials(user, password), mechanism=mechanism)


def smtp_server(auth: bytes, *turns: tuple[bytes, bytes]) -> Script:
    return dialogue(
        (b"EHLO probe.test", b"250-mx.a.test\r\n250 AUTH " + auth + b"\r\n"),
        *turns,
        greeting=b"220 mx.a.test\r\n",
        last={"ehlo": b"250 mx.a.test\r\n", "quit": b"221 bye\r\n"},
    )


def pop3_server(capabilities: bytes, *turns: tuple[bytes, bytes], greeting: bytes = b"+OK ready\r\n") -> Script:
    return dialogue(
        (b"CAPA", capabilities),
        *turns,
        greeting=greeting,
        last={"capa": b"+OK\r\nUIDL\r\n.\r\n", "quit": b"+OK bye\r\n"},
    )


def imap_server(capabilities: bytes, *turns: tuple[bytes, bytes]) -> Script:
    return dialogue(
        *turns,
        greeting=b"* OK [CAPABILITY IMAP4rev1 " + capabilities + b"] ready\r\n",
        last={"capability": b"* CAPABILITY IMAP4rev1 IDLE\r\n%t OK\r\n", "logout": b"* BYE\r\n%t OK\r\n"},
    )


def logged_in(script: Script, port: int, wanted: Login = ALICE) -> str:
    """Log in, see that no secret is in the transcript, and give the mechanism."""
    visit, _ = visiting(logging_in(wanted), script, port=port)
    told = visit.record()
    assert told.login is not None
    assert told.login.succeeded
    assert told.after_login is not None
    shown = repr(told.exchanges).encode()
    assert not [secret for secret in SECRETS if secret in shown]
    return told.login.mechanism


# -- SMTP ------------------------------------------------------------------------------------------------------


def test_plain_goes_with_its_initial_response_over_smtp() -> None:
    script = smtp_server(b"LOGIN PLAIN", (b"AUTH PLAIN " + PLAIN, b"235 2.7.0 in\r\n"))
    assert logged_in(script, SUBMISSION) == "PLAIN"


def test_an_initial_response_too_long_for_a_line_waits_for_the_server() -> None:
    long = base64.b64encode(b"\0alice\0" + b"x" * 400)
    script = smtp_server(b"PLAIN", (b"AUTH PLAIN", b"334 \r\n"), (long, b"235 in\r\n"))
    assert logged_in(script, SUBMISSION, login(password="x" * 400)) == "PLAIN"


def test_login_is_asked_for_name_and_password_over_smtp() -> None:
    turns = (
        (b"AUTH LOGIN", b"334 VXNlcm5hbWU6\r\n"),
        (base64.b64encode(b"alice"), b"334 UGFzc3dvcmQ6\r\n"),
        (base64.b64encode(b"secret"), b"235 in\r\n"),
    )
    assert logged_in(smtp_server(b"LOGIN", *turns), SUBMISSION) == "LOGIN"


def test_cram_md5_answers_the_challenge_of_rfc_2195() -> None:
    challenge = base64.b64encode(b"<1896.697170952@postoffice.reston.mci.net>")
    answer = b"dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw"
    turns = ((b"AUTH CRAM-MD5", b"334 " + challenge + b"\r\n"), (answer, b"235 in\r\n"))
    wanted = login(user="tim", password="tanstaaftanstaaf")
    assert logged_in(smtp_server(b"CRAM-MD5 PLAIN", *turns), SUBMISSION, wanted) == "CRAM-MD5"


def test_external_says_nothing_and_a_token_says_who() -> None:
    script = smtp_server(b"EXTERNAL", (b"AUTH EXTERNAL =", b"235 in\r\n"))
    assert logged_in(script, SUBMISSION, Login(credentials=Credentials(""))) == "EXTERNAL"
    said = base64.b64encode(b"user=alice\x01auth=Bearer token-1\x01\x01")
    script = smtp_server(b"XOAUTH2", (b"AUTH XOAUTH2 " + said, b"235 in\r\n"))
    assert logged_in(script, SUBMISSION, Login(credentials=Credentials("alice", token="token-1"))) == "XOAUTH2"


def test_a_refused_token_is_answered_by_an_empty_line_and_the_reason_told() -> None:
    said = base64.b64encode(b"user=alice\x01auth=Bearer token-1\x01\x01")
    reason = base64.b64encode(b'{"status":"400","schemes":"Bearer"}')
    script = smtp_server(b"XOAUTH2", (b"AUTH XOAUTH2 " + said, b"334 " + reason + b"\r\n"), (b"", b"535 5.7.8 no\r\n"))
    wanted = Login(credentials=Credentials("alice", token="token-1"))
    trouble, _ = stopped(logging_in(wanted), script, port=SUBMISSION)
    assert trouble.detail == "535 5.7.8 no (status 400, schemes Bearer)"


def test_old_servers_list_their_mechanisms_behind_an_equals_sign() -> None:
    script = dialogue(
        (b"EHLO probe.test", b"250-mx.a.test\r\n250 AUTH=PLAIN\r\n"),
        (b"AUTH PLAIN " + PLAIN, b"235 in\r\n"),
        greeting=b"220 mx.a.test\r\n",
        last={"ehlo": b"250 mx.a.test\r\n", "quit": b"221 bye\r\n"},
    )
    assert logged_in(script, SUBMISSION) == "PLAIN"


@pytest.mark.parametrize(("reply", "kind"), [(b"535 5.7.8 no\r\n", Kind.REJECTED), (b"454 later\r\n", Kind.TEMPORARY)])
def test_a_wrong_password_is_told_from_a_server_that_cannot_say(reply: bytes, kind: Kind) -> None:
    trouble, heard = stopped(logging_in(), smtp_server(b"PLAIN", (b"AUTH PLAIN " + PLAIN, reply)), port=SUBMISSION)
    assert (trouble.stage, trouble.kind) == (Stage.LOGIN, kind)
    assert trouble.detail == reply.decode().rstrip()
    assert heard.endswith(b"QUIT\r\n")


@pytest.mark.parametrize("challenge", [b"334 !\r\n", b"334 " + base64.b64encode(b"r=wrong,s=QSXCR,i=4096") + b"\r\n"])
def test_a_challenge_without_sense_is_cancelled(challenge: bytes) -> None:
    script = dialogue(
        (b"EHLO probe.test", b"250-mx.a.test\r\n250 AUTH SCRAM-SHA-256\r\n"),
        greeting=b"220 mx.a.test\r\n",
        last={"auth": challenge, "*": b"501 cancelled\r\n", "quit": b"221 bye\r\n"},
    )
    trouble, heard = stopped(logging_in(), script, port=SUBMISSION)
    assert (trouble.stage, trouble.kind) == (Stage.LOGIN, Kind.GARBAGE)
    assert trouble.detail.startswith("SCRAM-SHA-256: ")
    assert b"\r\n*\r\n" in heard


def test_a_server_that_lets_us_in_without_proving_itself_is_not_believed() -> None:
    script = dialogue(
        (b"EHLO probe.test", b"250-mx.a.test\r\n250 AUTH SCRAM-SHA-256\r\n"),
        greeting=b"220 mx.a.test\r\n",
        last={"auth": b"235 in\r\n", "quit": b"221 bye\r\n"},
    )
    trouble, _ = stopped(logging_in(), script, port=SUBMISSION)
    assert (trouble.stage, trouble.kind) == (Stage.LOGIN, Kind.GARBAGE)


def test_a_server_that_asks_for_ever_is_left() -> None:
    script = smtp_server(b"PLAIN", (b"AUTH PLAIN " + PLAIN, b"334 \r\n"), (b"*", b"501 cancelled\r\n"))
    trouble, _ = stopped(logging_in(), script, port=SUBMISSION)
    assert trouble.kind is Kind.GARBAGE


# -- POP3 ------------------------------------------------------------------------------------------------------


def test_pop3_servers_are_waited_for_before_a_response() -> None:
    script = pop3_server(b"+OK\r\nSASL PLAIN\r\n.\r\n", (b"AUTH PLAIN", b"+ \r\n"), (PLAIN, b"+OK in\r\n"))
    assert logged_in(script, POP3S) == "PLAIN"


@pytest.mark.parametrize("capabilities", [b"+OK\r\nUSER\r\n.\r\n", b"-ERR what\r\n"])
def test_user_and_pass_are_what_every_pop3_server_knows(capabilities: bytes) -> None:
    script = pop3_server(capabilities, (b"USER alice", b"+OK\r\n"), (b"PASS secret", b"+OK in\r\n"))
    assert logged_in(script, POP3S) == "USER"


STAMP = b"+OK ready <1896.697170952@dbc.mtview.ca.us>\r\n"
DIGEST = b"c4c9334bac560ecc979e58001b3e22fb"  # RFC 1939 §7


@pytest.mark.parametrize("asked", ["APOP", None])
def test_apop_is_used_when_asked_for_or_when_there_is_nothing_better(asked: str | None) -> None:
    capabilities = b"+OK\r\nSASL PLAIN\r\nUSER\r\n.\r\n" if asked else b"+OK\r\nUIDL\r\n.\r\n"
    script = pop3_server(capabilities, (b"APOP mrose " + DIGEST, b"+OK in\r\n"), greeting=STAMP)
    assert logged_in(script, POP3S, login(asked, user="mrose", password="tanstaaf")) == "APOP"


def test_apop_without_a_stamp_cannot_be() -> None:
    trouble, _ = stopped(logging_in(login("APOP")), pop3_server(b"-ERR\r\n"), port=POP3S)
    assert "no stamp" in trouble.detail


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (b"-ERR [AUTH] no\r\n", Kind.REJECTED),
        (b"-ERR [IN-USE] locked\r\n", Kind.TEMPORARY),
        (b"-ERR [LOGIN-DELAY] wait\r\n", Kind.TEMPORARY),
    ],
)
def test_a_locked_mailbox_is_no_wrong_password(reply: bytes, kind: Kind) -> None:
    script = pop3_server(b"+OK\r\nUSER\r\n.\r\n", (b"USER alice", b"+OK\r\n"), (b"PASS secret", reply))
    trouble, _ = stopped(logging_in(), script, port=POP3S)
    assert trouble.kind is kind


def test_a_refused_name_is_not_followed_by_the_password() -> None:
    script = pop3_server(b"+OK\r\nUSER\r\n.\r\n", (b"USER alice", b"-ERR who\r\n"))
    trouble, heard = stopped(logging_in(), script, port=POP3S)
    assert trouble.detail == "-ERR who"
    assert b"PASS" not in heard


# -- IMAP ------------------------------------------------------------------------------------------------------


def test_imap_takes_the_initial_response_where_it_says_so() -> None:
    script = imap_server(b"SASL-IR AUTH=PLAIN", (b"%t AUTHENTICATE PLAIN " + PLAIN, b"%t OK in\r\n"))
    assert logged_in(script, IMAPS) == "PLAIN"
    script = imap_server(b"AUTH=PLAIN", (b"%t AUTHENTICATE PLAIN", b"+ \r\n"), (PLAIN, b"m1 OK in\r\n"))
    assert logged_in(script, IMAPS) == "PLAIN"


def test_imap_has_a_login_of_its_own() -> None:
    script = imap_server(b"IDLE", (b'%t LOGIN "alice" "secret"', b"%t OK in\r\n"))
    assert logged_in(script, IMAPS) == "LOGIN"


def test_what_cannot_be_quoted_is_a_literal_of_imap() -> None:
    script = imap_server(b"IDLE", (b'%t LOGIN "alice" {6}', b"+ go\r\n"), ("päss1".encode(), b"m1 OK in\r\n"))
    assert logged_in(script, IMAPS, login(password="päss1")) == "LOGIN"


def test_imap_login_is_not_tried_where_it_is_disabled() -> None:
    for asked in (None, "LOGIN"):
        trouble, heard = stopped(logging_in(login(asked)), imap_server(b"LOGINDISABLED"), port=IMAPS)
        assert trouble.kind is Kind.REJECTED
        assert b"LOGIN" not in heard


def test_the_capabilities_that_come_with_the_login_need_not_be_asked() -> None:
    script = imap_server(
        b"SASL-IR AUTH=PLAIN",
        (b"%t AUTHENTICATE PLAIN " + PLAIN, b"%t OK [CAPABILITY IMAP4rev1 UIDPLUS] in\r\n"),
    )
    visit, (heard,) = visiting(logging_in(), script, port=IMAPS)
    assert visit.capabilities is not None
    assert visit.capabilities.has("UIDPLUS")
    assert b"CAPABILITY" not in heard


# -- what is not done ------------------------------------------------------------------------------------------


def test_a_mechanism_that_is_not_offered_is_not_tried() -> None:
    trouble, heard = stopped(logging_in(login("CRAM-MD5")), smtp_server(b"PLAIN LOGIN"), port=SUBMISSION)
    assert trouble.detail == "CRAM-MD5 is not offered here: the server offers PLAIN, LOGIN"
    assert b"AUTH" not in heard
    trouble, _ = stopped(logging_in(), smtp_server(b"GSSAPI"), port=SUBMISSION)
    assert trouble.detail == "there is no way to log in with these credentials: the server offers GSSAPI"


@pytest.mark.parametrize(
    ("user", "password"), [("a\r\nQUIT", "x"), ("alice", "a\0b"), ("a b", "x"), ("alice", "a\nDELE 1")]
)
def test_a_name_or_password_that_breaks_out_is_not_sent(user: str, password: str) -> None:
    script = pop3_server(b"+OK\r\nUSER\r\n.\r\n")
    if password == "a\0b":
        script = smtp_server(b"PLAIN")
    port = SUBMISSION if password == "a\0b" else POP3S
    trouble, heard = stopped(logging_in(login(user=user, password=password)), script, port=port)
    assert (trouble.stage, trouble.kind) == (Stage.LOGIN, Kind.LOCAL)
    assert b"USER" not in heard
    assert b"AUTH" not in heard


@pytest.mark.parametrize("security", [Security.CLEAR, Security.OPPORTUNISTIC])
def test_a_password_is_not_sent_in_clear(security: Security) -> None:
    script = smtp(ehlo=b"250-mx.a.test\r\n250 AUTH PLAIN\r\n")
    trouble, heard = stopped(logging_in(), script, security=security)
    assert trouble.kind is Kind.LOCAL
    assert trouble.detail == (
        "the password is not sent: the connection is not encrypted; say --insecure-login to send it all the same"
    )
    assert b"AUTH" not in heard


@pytest.mark.parametrize("host", ["other.a.test", "127.0.0.1"])
def test_a_password_is_not_sent_to_whom_the_certificate_does_not_name(host: str) -> None:
    script = smtp_server(b"PLAIN")
    trouble, heard = stopped(logging_in(), script, port=SUBMISSION, host=host)
    assert f"the certificate is not for {host}" in trouble.detail
    assert b"AUTH" not in heard


def test_a_password_is_sent_anywhere_to_who_says_so() -> None:
    wanted = Login(credentials=Credentials("alice", "secret"), insecure=True)
    script = smtp(ehlo=EHLO.replace(b"SIZE 10240000", b"AUTH PLAIN"), auth=b"235 in\r\n")
    visit, (heard,) = visiting(logging_in(wanted), script, security=Security.CLEAR)
    assert visit.login is not None
    assert PLAIN in heard


def test_apop_is_better_than_a_password_said_aloud_in_clear() -> None:
    wanted = Login(credentials=Credentials("mrose", "tanstaaf"), insecure=True)
    script = pop3(greeting=STAMP, apop=b"+OK in\r\n", capa=b"+OK\r\nUSER\r\n.\r\n")
    visit, (heard,) = visiting(logging_in(wanted), script, port=110, security=Security.CLEAR)
    assert visit.login is not None
    assert visit.login.mechanism == "APOP"
    assert b"tanstaaf" not in heard
