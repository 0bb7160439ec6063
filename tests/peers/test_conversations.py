"""`smtp`, `pop3`, `imap` and reading mail against a real Postfix and a real Dovecot."""

from __future__ import annotations

import asyncio
import json
import smtplib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from mailprobe.mail.login import Login
from mailprobe.mail.reading import Inbox, holding, inbox_at
from mailprobe.mail.visit import Visit
from mailprobe.model.conversation import Place, Security
from mailprobe.model.ports import WELL_KNOWN
from mailprobe.net.limits import Deadline
from mailprobe.net.network import Network, Reach
from mailprobe.protocols.sasl import Credentials
from tests.installed import mailprobe
from tests.peers.certificates import Kind
from tests.peers.mailhost import ACCESS_PORTS, MailHost, MailHostFactory

Result = TypeVar("Result")
LIMIT_S = 25.0
SECURITY = {
    25: Security.STARTTLS,
    587: Security.STARTTLS,
    465: Security.TLS,
    110: Security.STARTTLS,
    995: Security.TLS,
    143: Security.STARTTLS,
    993: Security.TLS,
}


def network(host: MailHost) -> Network:
    def route(address: str, port: int) -> tuple[str, int]:
        return address, host.ports[port]

    return Network(Reach(ca_file=host.ca_file, route=route))


def place(host: MailHost, port: int) -> Place:
    return Place(host=host.name, address=host.address, port=port, service=WELL_KNOWN[port], security=SECURITY[port])


def reading(host: MailHost, port: int, user: str, act: Callable[[Inbox], Awaitable[Result]]) -> Result:
    async def run() -> Result:
        login = Login(credentials=Credentials(user, host.password))
        inbox = inbox_at(network(host), place(host, port), login, Deadline(LIMIT_S), poll_s=0.1)
        try:
            await inbox.open()
            return await act(inbox)
        finally:
            await inbox.end()

    return asyncio.run(run())


def deliver(host: MailHost, user: str, letter: bytes) -> None:
    with smtplib.SMTP(*host.endpoint(25)) as client:
        client.sendmail("sender@b.test", [f"{user}@{host.domain}"], letter)


async def arrived(inbox: Inbox, token: str) -> str:
    """Wait for the only letter with a token."""
    while not (found := await inbox.search("X-Token", token)):
        await inbox.wait(5)
    (uid,) = found
    return uid


_LOGINS = [
    *((port, mechanism) for port in (587, 465, *ACCESS_PORTS) for mechanism in (None, "PLAIN", "LOGIN")),
    (110, "USER"),
    (995, "USER"),
]


@pytest.mark.parametrize(("port", "mechanism"), _LOGINS)
def test_logins(mail_host: MailHostFactory, port: int, mechanism: str | None) -> None:
    host = mail_host()

    async def run() -> Visit:
        visit = Visit(network(host), place(host, port), Deadline(LIMIT_S))
        await visit.begin()
        assert visit.fault == ""
        await visit.log_in(Login(credentials=Credentials("login", host.password), mechanism=mechanism))
        await visit.end()
        return visit

    told = asyncio.run(run()).record()
    assert told.login is not None
    assert (told.login.succeeded, told.login.mechanism) == (True, mechanism or "PLAIN")
    assert told.after_login is not None
    assert told.trouble is None
    assert told.exchanges[-1].reply.lines != ()


BODY = b"a\r\n.dot\r\n..two\r\n" + b"x" * 998 + b"\r\n" + "grüße".encode() + b"\r\n" + b"line {5}\r\n" * 200_000


@pytest.mark.parametrize("port", ACCESS_PORTS)
def test_a_letter_is_waited_for_fetched_and_deleted_alone(mail_host: MailHostFactory, port: int) -> None:
    host = mail_host()
    user = f"reader{port}"
    deliver(host, user, b"Subject: another\r\nX-Token: <tok.11@a>\r\n\r\nstays\r\n")

    async def act(inbox: Inbox) -> tuple[bytes, str, tuple[str, ...]]:
        await arrived(inbox, "tok.11")
        loop = asyncio.get_running_loop()
        letter = b"Subject: mine\r\nX-Token: <tok.1@a>\r\n\r\n" + BODY
        sending = loop.run_in_executor(None, deliver, host, user, letter)
        uid = await arrived(inbox, "tok.1")
        await sending
        octets = await inbox.fetch(uid)
        assert await inbox.headers(uid) == octets.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        return (
            octets,
            (await inbox.delete({uid: holding("X-Token", "tok.1")})).note,
            await inbox.search("X-Token", "tok.11"),
        )

    octets, left, others = reading(host, port, user, act)
    assert octets.endswith(b"\r\n\r\n" + BODY)
    assert left == ""
    assert len(others) == 1

    async def rest(inbox: Inbox) -> list[str | None]:
        return [letter.subject for letter in await inbox.letters()]

    assert reading(host, port, user, rest) == ["another"]


def test_a_letter_read_over_imap_is_still_unseen(mail_host: MailHostFactory) -> None:
    host = mail_host()
    deliver(host, "unseen", b"Subject: a\r\nX-Token: tok.2\r\n\r\nb\r\n")

    async def act(inbox: Inbox) -> None:
        await inbox.fetch(await arrived(inbox, "tok.2"))

    async def look(inbox: Inbox) -> list[tuple[str, ...] | None]:
        return [letter.flags for letter in await inbox.letters()]

    reading(host, 993, "unseen", act)
    (flags,) = reading(host, 993, "unseen", look)
    assert flags is not None
    assert "\\Seen" not in flags


def run(
    host: MailHost, resolver: str, directory: Path, *arguments: str, password: str | None = None
) -> tuple[int, dict[str, Any], str]:
    """Run a command for the usual port numbers, led by a lab file; give status, document and what was said."""
    file = directory / "lab.json"
    host.lab_file(resolver).write(file)
    env = {"MAILPROBE_LAB": str(file), "MAILPROBE_PASSWORD": password or host.password}
    done = mailprobe(*arguments, host.name, "--format", "json", env=env)
    return done.returncode, json.loads(done.stdout), done.stderr


def test_commands_log_in_list_and_fetch(mail_host: MailHostFactory, resolver: str, tmp_path: Path) -> None:
    host = mail_host()
    deliver(host, "listed", b"Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\nX-Token: tok.3\r\n\r\nhello\r\n")
    reading(host, 993, "listed", lambda inbox: arrived(inbox, "tok.3"))
    for command in ("imap", "pop3"):
        saved = tmp_path / command
        options = ("--login", "listed", "--list", "--fetch", "1", "--save", str(saved))
        status, told, said = run(host, resolver, tmp_path, command, *options)
        assert (status, said) == (0, "")
        assert [letter["subject"] for letter in told["letters"]] == ["grüße"]
        assert saved.read_bytes().endswith(b"\r\n\r\nhello\r\n")
        assert told["conversation"]["after_login"] is not None
        assert told["folders"][0]["name"] == "INBOX"


@pytest.mark.parametrize("command", ["smtp", "pop3", "imap"])
def test_a_wrong_password_is_refused(mail_host: MailHostFactory, resolver: str, tmp_path: Path, command: str) -> None:
    status, told, said = run(mail_host(), resolver, tmp_path, command, "--login", "login", password="wrong")
    assert status == 1
    assert told["conversation"]["login"]["succeeded"] is False
    assert "the server refused while logging in" in said


@pytest.mark.parametrize("kind", [Kind.EXPIRED, Kind.SELF_SIGNED, Kind.INCOMPLETE])
def test_no_password_goes_to_a_server_that_nobody_vouches_for(
    mail_host: MailHostFactory, resolver: str, tmp_path: Path, kind: Kind
) -> None:
    host = mail_host(certificate=kind)
    status, told, said = run(host, resolver, tmp_path, "imap", "--login", "login")
    assert status == 1
    assert "the password is not sent: the certificate is not trusted" in said
    assert not [exchange for exchange in told["conversation"]["exchanges"] if exchange["stage"] == "login"]
    status, _, said = run(host, resolver, tmp_path, "imap", "--login", "login", "--insecure-login")
    assert (status, said) == (0, "")


def test_no_password_goes_out_in_clear(mail_host: MailHostFactory, resolver: str, tmp_path: Path) -> None:
    host = mail_host(starttls=False)
    for command in ("pop3", "imap"):
        status, _, said = run(host, resolver, tmp_path, command, "--login", "login")
        assert status == 1
        assert "the password is not sent: the connection is not encrypted" in said
        status, _, said = run(host, resolver, tmp_path, command, "--security", "starttls")
        assert status == 1
        assert "STARTTLS is not offered" in said


def test_postfix_says_which_recipients_it_takes(mail_host: MailHostFactory, resolver: str, tmp_path: Path) -> None:
    host = mail_host()
    options = ("--mail-from", "a@b.test", "--rcpt", f"x@{host.domain}", "--rcpt", "x@elsewhere.test")
    status, told, _ = run(host, resolver, tmp_path, "smtp", *options)
    assert status == 1
    assert [answer["reply"]["status"] for answer in told["answers"]] == ["250", "250", "554"]


def test_dovecot_speaks_lmtp_over_its_socket(mail_host: MailHostFactory) -> None:
    host = mail_host()
    (socket,) = (dovecot.lmtp_socket for dovecot in host._dovecots)
    done = mailprobe("smtp", "--lmtp", str(socket), "--rcpt", f"bob@{host.domain}", "--format", "json")
    told = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert told["conversation"]["service"] == "lmtp"
    assert [answer["reply"]["status"] for answer in told["answers"]] == ["250", "250"]
