"""`mailprobe send` through a real Postfix into a real Dovecot, and straight into Dovecot by LMTP."""

from __future__ import annotations

import email
import email.message
import json
import smtplib
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from mailprobe.mail.sending import PHASES
from tests.installed import mailprobe
from tests.peers.certificates import Kind
from tests.peers.mailhost import PASSWORD, MailHost, MailHostFactory, VariantOptions
from tests.peers.servers.dovecot import FULL, GHOST

LIMIT_S = 20.0
ANNA = "anna@example.test"
Found = TypeVar("Found")


@pytest.fixture(scope="module")
def host(mail_host: MailHostFactory) -> MailHost:
    return mail_host()


class Sender(msgspec.Struct, frozen=True):
    """Runs `mailprobe send` where the usual names and ports lead to a host."""

    host: MailHost
    lab_file: Path

    def run(self, *options: str, password: str = PASSWORD, given: str = "") -> subprocess.CompletedProcess[str]:
        env = {"MAILPROBE_LAB": str(self.lab_file), "MAILPROBE_PASSWORD": password}
        return mailprobe("send", *options, env=env, given=given)

    def send(self, *options: str, sender: str = ANNA, status: int = 0, password: str = PASSWORD) -> dict[str, Any]:
        """Send, see that it ends with that status, and give the document."""
        done = self.run("--from", sender, *options, "--format", "json", password=password)
        assert (done.returncode, done.stderr) == (status, ""), done.stdout + done.stderr
        document = json.loads(done.stdout)
        assert isinstance(document, dict)
        return document

    def submit(self, *options: str, status: int = 0, password: str = PASSWORD, sender: str = ANNA) -> dict[str, Any]:
        """Send through the host, logged in."""
        login = ("--server", self.host.name, "--user", "anna")
        return self.send(*login, *options, sender=sender, status=status, password=password)


def sender_at(host: MailHost, resolver: str, directory: Path) -> Sender:
    file = directory / f"{host.domain}.json"
    host.lab_file(resolver).write(file)
    return Sender(host, file)


@pytest.fixture
def sender(host: MailHost, resolver: str, tmp_path: Path) -> Sender:
    return sender_at(host, resolver, tmp_path)


def to(user: str) -> tuple[str, str]:
    return "--to", f"{user}@example.test"


def outcomes(document: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Give what became of each user, and at which stage that was decided."""
    return {each["address"].partition("@")[0]: (each["outcome"], each["stage"]) for each in document["recipients"]}


def commands(document: dict[str, Any]) -> list[str]:
    return [exchange["sent"] for held in document["conversations"] for exchange in held["exchanges"]]


def until(host: MailHost, look: Callable[[], Found | None]) -> Found:
    """Look until there is something, for so long as real servers may take."""
    deadline = time.monotonic() + LIMIT_S
    while (found := look()) is None:
        assert time.monotonic() < deadline, [process.log[-4000:] for process in host.processes]
        time.sleep(0.02)
    return found


def arrived(host: MailHost, user: str, folder: str = "", count: int = 1) -> list[bytes]:
    """Wait for so many letters, and give them with CRLF, as they came."""

    def look() -> list[bytes] | None:
        found = host.letters(user, folder)
        return found if len(found) >= count else None

    return [letter.replace(b"\n", b"\r\n") for letter in until(host, look)]


def body(letter: bytes) -> bytes:
    return letter.partition(b"\r\n\r\n")[2]


def mark(host: MailHost, user: str) -> None:
    """Send a letter by another client, behind what was sent before, and wait until it is there."""
    with smtplib.SMTP(*host.endpoint(25)) as client:
        client.sendmail("marker@b.test", [f"{user}@{host.domain}"], b"Subject: marker\r\n\r\nlast\r\n")
    until(host, lambda: any(b"Subject: marker" in each for each in host.letters(user)) or None)


def reports(host: MailHost, user: str, count: int = 1) -> list[email.message.Message]:
    """Wait for delivery reports in a mailbox."""

    def look() -> list[email.message.Message] | None:
        read = map(email.message_from_bytes, host.letters(user))
        found = [each for each in read if each.get_content_type() == "multipart/report"]
        return found if len(found) >= count else None

    return until(host, look)


def parts(message: email.message.Message) -> list[email.message.Message]:
    found = message.get_payload()
    assert isinstance(found, list)
    return [part for part in found if isinstance(part, email.message.Message)]


# -- the ways ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("way", "greeted_as"),
    [
        (("--server", "mail.example.test", "--user", "anna"), "ESMTPSA"),
        (("--server", "mail.example.test:465", "--user", "anna"), "ESMTPSA"),
        (("--mx",), "ESMTPS"),
        (("--lmtp", "mail.example.test:24"), "LMTPS"),
    ],
    ids=["submission", "submissions", "mx", "lmtp"],
)
def test_every_way_ends_in_the_mailbox(sender: Sender, way: tuple[str, ...], greeted_as: str) -> None:
    user = f"way-{greeted_as.lower()}-{len(''.join(way))}"
    sent = sender.send(*way, *to(user), "--subject", "über alles", "--text", ".dot\n..\nfünf\n")
    assert outcomes(sent) == {user: ("accepted", "message")}
    (held,) = sent["conversations"]
    assert held["tls"]["version"] == "TLSv1.3"
    assert held["tls"]["trust"]["trusted"] is True
    assert held["trouble"] is None
    (letter,) = arrived(sender.host, user)
    read = email.message_from_bytes(letter)
    assert greeted_as in " ".join(read.get_all("Received", [])[-1].split())
    assert read.get_payload(decode=True) == ".dot\r\n..\r\nfünf\r\n".encode()
    assert read["Message-ID"] == sent["message_id"]


def test_a_unix_socket_leads_to_dovecot(sender: Sender) -> None:
    sent = sender.send("--lmtp", str(sender.host.lmtp_socket), *to("by-socket"))
    assert outcomes(sent) == {"by-socket": ("accepted", "message")}
    assert sent["conversations"][0]["tls"] is None
    assert len(arrived(sender.host, "by-socket")) == 1


@pytest.mark.parametrize("phase", PHASES)
def test_it_stops_where_it_is_told_and_nothing_is_sent(sender: Sender, phase: str) -> None:
    user = f"stop-{phase}"
    login = ("--user", "anna") if [*PHASES].index(phase) >= [*PHASES].index("auth") else ()
    sent = sender.send("--server", sender.host.name, *login, *to(user), "--stop-after", phase)
    mark(sender.host, user)
    assert len(sender.host.letters(user)) == (2 if phase == "message" else 1)
    if phase != "message":
        assert sent["recipients"][0]["outcome"] == "not-sent"
        assert sent["recipients"][0]["stage"] in PHASES[phase]
        assert sent["conversations"][0]["trouble"] is None


# -- whom a password goes to ------------------------------------------------------------------------------------


@pytest.mark.parametrize("port", ["587", "465"])
def test_a_wrong_password_is_told_and_nothing_is_sent(sender: Sender, port: str) -> None:
    way = ("--server", f"{sender.host.name}:{port}", "--user", "anna", *to("kept-out"))
    sent = sender.send(*way, status=1, password="wrong")
    assert outcomes(sent) == {"kept-out": ("not-sent", "login")}
    (held,) = sent["conversations"]
    assert held["login"]["succeeded"] is False
    assert "535" in sent["recipients"][0]["detail"]
    assert not [command for command in commands(sent) if command.startswith("MAIL")]


@pytest.mark.parametrize("kind", [Kind.EXPIRED, Kind.SELF_SIGNED, Kind.INCOMPLETE])
def test_nobody_logs_in_where_the_certificate_is_wrong(
    mail_host: MailHostFactory, resolver: str, tmp_path: Path, kind: Kind
) -> None:
    sender = sender_at(mail_host(certificate=kind), resolver, tmp_path)
    sent = sender.submit(*to("unsafe"), status=1)
    assert outcomes(sent) == {"unsafe": ("not-sent", "login")}
    assert "the password is not sent: the certificate is not trusted" in sent["recipients"][0]["detail"]
    assert not [command for command in commands(sent) if command.startswith(("AUTH", "MAIL"))]
    assert outcomes(sender.submit(*to("unsafe"), "--insecure-login")) == {"unsafe": ("accepted", "message")}
    # Between servers encryption without proof is the rule (RFC 7435).
    assert outcomes(sender.send("--mx", *to("unsafe"))) == {"unsafe": ("accepted", "message")}


_CLEAR: VariantOptions = {"starttls": False}


def test_nothing_goes_out_in_clear_unless_the_user_says_so(
    mail_host: MailHostFactory, resolver: str, tmp_path: Path
) -> None:
    sender = sender_at(mail_host(**_CLEAR), resolver, tmp_path)
    sent = sender.submit(*to("clear"), status=1)
    assert outcomes(sent) == {"clear": ("not-sent", "starttls")}
    assert "STARTTLS is not offered" in sent["recipients"][0]["detail"]
    sent = sender.submit(*to("clear"), "--security", "clear", status=1)
    assert "the password is not sent: the connection is not encrypted" in sent["recipients"][0]["detail"]
    assert outcomes(sender.send("--mx", *to("clear"))) == {"clear": ("accepted", "message")}
    assert outcomes(sender.send("--mx", "--security", "starttls", *to("clear"), status=1)) == {
        "clear": ("not-sent", "starttls")
    }


def test_a_postfix_that_cannot_ask_about_logins_hangs_up_and_that_is_told(
    mail_host: MailHostFactory, resolver: str, tmp_path: Path
) -> None:
    sender = sender_at(mail_host(dovecot=False), resolver, tmp_path)
    sent = sender.submit(*to("nowhere"), status=3)
    assert sent["recipients"][0]["outcome"] == "not-sent"
    assert sent["recipients"][0]["stage"] in {"capabilities-tls", "greeting", "login"}
    assert sent["recipients"][0]["detail"].startswith("4.")


# -- who is taken -----------------------------------------------------------------------------------------------


def test_an_unknown_recipient_is_refused(sender: Sender) -> None:
    sent = sender.submit(*to("nobody"), status=1)
    assert outcomes(sent) == {"nobody": ("refused", "rcpt")}
    assert sent["recipients"][0]["reply"]["status"] == "550"
    assert "5.1.1" in sent["recipients"][0]["detail"]


@pytest.mark.parametrize("way", [(), ("--no-pipelining",), ("--chunking",), ("--no-pipelining", "--chunking")])
def test_one_is_taken_and_another_is_not(sender: Sender, way: tuple[str, ...]) -> None:
    user = "some" + "-".join(way)
    sent = sender.submit(*way, *to("nobody-at-all"), *to(user), *to("nobody"), status=1)
    assert outcomes(sent) == {
        "nobody-at-all": ("refused", "rcpt"),
        user: ("accepted", "message"),
        "nobody": ("refused", "rcpt"),
    }
    assert len(arrived(sender.host, user)) == 1


@pytest.mark.parametrize("way", [(), ("--no-pipelining",), ("--chunking",)])
@pytest.mark.parametrize("by_socket", [True, False])
def test_dovecot_answers_for_each_recipient(sender: Sender, way: tuple[str, ...], by_socket: bool) -> None:
    where = str(sender.host.lmtp_socket) if by_socket else f"{sender.host.name}:24"
    user = f"each-{by_socket}".lower() + "-".join(way)
    people = (*to(FULL), *to(user), *to(GHOST), *to(f"{user}+Junk"))
    sent = sender.send("--lmtp", where, *way, *people, status=1)
    assert outcomes(sent) == {
        FULL: ("refused", "message"),
        user: ("accepted", "message"),
        GHOST: ("refused", "rcpt"),
        f"{user}+Junk": ("accepted", "message"),
    }
    words = {each["address"].partition("@")[0]: each["detail"] for each in sent["recipients"]}
    assert "Quota exceeded" in words[FULL]
    assert user in words[user]
    assert len(sender.host.letters(user)) == len(sender.host.letters(user, "Junk")) == 1
    assert sender.host.letters(FULL) == []


def test_where_nobody_is_taken_nothing_is_sent(sender: Sender) -> None:
    for way in ((), ("--no-pipelining",), ("--chunking",)):
        sent = sender.submit(*way, *to("nobody"), *to("nobody-else"), status=1)
        assert {outcome for outcome, _ in outcomes(sent).values()} == {"refused"}
        assert sent["conversations"][0]["trouble"] is None
        assert commands(sent)[-1] == "QUIT"


def test_strangers_are_not_relayed_for(sender: Sender) -> None:
    server = ("--server", f"{sender.host.name}:25")
    sent = sender.send(*server, "--to", "x@elsewhere.test", *to("relayed"), status=1)
    assert outcomes(sent) == {"x": ("refused", "rcpt"), "relayed": ("accepted", "message")}
    assert "Relay access denied" in sent["recipients"][0]["detail"]


def test_a_hundred_recipients_get_it(sender: Sender) -> None:
    people = [f"hundred-{number:03d}" for number in range(100)]
    options = [option for user in people for option in to(user)]
    assert set(outcomes(sender.submit(*options)).values()) == {("accepted", "message")}
    found = {body(letter) for user in people for letter in arrived(sender.host, user)}
    assert len(found) == 1


# -- what the letter needs --------------------------------------------------------------------------------------


def ready(directory: Path, octets: bytes) -> str:
    path = directory / "letter"
    path.write_bytes(octets)
    return str(path)


HEAD = b"From: anna@example.test\r\nTo: b@example.test\r\nDate: Mon, 4 Mar 2024 01:02:03 +0000\r\nSubject: x\r\n\r\n"
ODD = b".\r\n..\r\n.dot\r\n" + b"x" * 998 + b"\r\n" + "grüße 台北\r\n".encode() + b"\x01\t \r\nFrom here\r\n\r\n"


@pytest.mark.parametrize("chunking", [False, True])
@pytest.mark.parametrize("way", ["submission", "lmtp"])
def test_octets_arrive_as_they_were(sender: Sender, tmp_path: Path, way: str, chunking: bool) -> None:
    user = f"octets-{way}-{chunking}".lower()
    options = ("--data", ready(tmp_path, HEAD + ODD), *(("--chunking",) if chunking else ()), *to(user))
    sent = sender.submit(*options) if way == "submission" else sender.send("--lmtp", f"{sender.host.name}:24", *options)
    assert any(command.startswith("MAIL") and "BODY=8BITMIME" in command for command in commands(sent))
    (letter,) = arrived(sender.host, user)
    assert body(letter) == ODD


def test_large_letters_arrive_in_chunks_and_without(sender: Sender, tmp_path: Path) -> None:
    large = b"".join(b".%d %s\r\n" % (number, b"y" * 60) for number in range(360_000))
    assert len(large) > 25_000_000
    file = ready(tmp_path, HEAD + large)
    for user, options in (("large", ()), ("large-chunks", ("--chunking",))):
        sent = sender.send("--lmtp", str(sender.host.lmtp_socket), "--data", file, *options, *to(user))
        assert sum(command.startswith("BDAT") for command in commands(sent)) == (24 if options else 0)
        (letter,) = arrived(sender.host, user)
        assert body(letter) == large


@pytest.mark.parametrize("way", [(), ("--chunking",), ("--no-pipelining",)])
def test_a_letter_beyond_the_limit_is_refused_before_it_is_sent(
    sender: Sender, tmp_path: Path, way: tuple[str, ...]
) -> None:
    file = ready(tmp_path, HEAD + b"z" * 70 + b"\r\n" * 5_200_000)
    sent = sender.submit("--data", file, *way, *to("too-large"), status=1)
    assert outcomes(sent) == {"too-large": ("refused", "mail")}
    assert sent["recipients"][0]["reply"]["status"] == "552"


def test_an_address_beyond_ascii_needs_a_server_that_takes_it(sender: Sender) -> None:
    sent = sender.submit(*to("grün"))
    assert outcomes(sent) == {"grün": ("accepted", "message")}
    assert any(command.endswith("BODY=8BITMIME SMTPUTF8") for command in commands(sent))
    sent = sender.send("--lmtp", f"{sender.host.name}:24", *to("grün"), status=1)
    assert outcomes(sent) == {"grün": ("not-sent", "mail")}
    assert sent["recipients"][0]["detail"].startswith("5.6.7 ")


def test_postfix_offers_no_requiretls_and_so_does_not_get_the_letter(sender: Sender) -> None:
    sent = sender.submit("--requiretls", *to("required"), status=1)
    assert outcomes(sent) == {"required": ("not-sent", "mail")}


# -- reports ----------------------------------------------------------------------------------------------------


def test_postfix_reports_success_as_it_was_asked_to(sender: Sender) -> None:
    wishes = ("--notify", "SUCCESS", "--ret", "HDRS", "--envid", "a b+c=d")
    login = ("--server", sender.host.name, "--user", "anna")
    sent = sender.send(*login, *wishes, *to("dsn-good"), "--text", "not to be returned", sender="dsn@example.test")
    (report,) = reports(sender.host, "dsn")
    _, status, returned = parts(report)
    about, recipient = parts(status)
    assert about["Original-Envelope-Id"] == "a b+c=d"
    assert recipient["Original-Recipient"] == "rfc822;dsn-good@example.test"
    assert recipient["Action"] in {"delivered", "relayed"}
    assert sent["message_id"] in returned.as_string()
    assert "not to be returned" not in returned.as_string()


def test_postfix_keeps_quiet_where_it_was_asked_to(sender: Sender) -> None:
    for wish in ("NEVER", "FAILURE"):  # the same road for both, one after the other
        login = ("--server", sender.host.name, "--user", "anna", "--notify", wish, "--envid", wish)
        sender.send(*login, *to(GHOST), sender="quiet@example.test")
    (report,) = reports(sender.host, "quiet")
    assert "Original-Envelope-Id: FAILURE" in report.as_string()


# -- many -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["submission", "mx", "lmtp"])
def test_fifty_letters_over_two_connections_all_arrive(sender: Sender, way: str) -> None:
    user = f"fifty-{way}"
    routes = {
        "submission": ("--server", sender.host.name, "--user", "anna"),
        "mx": ("--mx",),
        "lmtp": ("--lmtp", str(sender.host.lmtp_socket)),
    }
    summary = sender.send(*routes[way], *to(user), "--count", "50", "--connections", "2")
    assert (summary["letters"], summary["accepted"], summary["refused"], summary["deferred"]) == (50, 50, 0, 0)
    letters = arrived(sender.host, user, count=50)
    assert len({email.message_from_bytes(letter)["Message-ID"] for letter in letters}) == len(letters) == 50


def test_many_letters_for_some_who_are_unknown(sender: Sender) -> None:
    summary = sender.submit(*to("many-some"), *to("nobody"), "--count", "20", status=1)
    assert (summary["letters"], summary["accepted"], summary["refused"]) == (20, 20, 20)
    assert summary["replies"] == {"250": 20, "550 5.1.1": 20}
    assert len(arrived(sender.host, "many-some", count=20)) == 20


# -- what a person sees -----------------------------------------------------------------------------------------


def test_the_transcript_shows_all_but_the_password(sender: Sender) -> None:
    done = sender.run("--from", ANNA, "--server", sender.host.name, "--user", "anna", *to("seen"), "-v")
    assert done.returncode == 0
    assert PASSWORD not in done.stdout
    assert "AUTH PLAIN [masked]" in done.stdout
    assert "250 2.0.0 Ok: queued as" in done.stdout
    assert "logged in as anna by PLAIN" in " ".join(done.stdout.split())
