"""Octets that arrive as they were sent: through submission, spool, queue, MTA client, MTA server and mailbox.

Every letter is sent by every way in, and read from its file, by IMAP and by POP3. Each goes to a mailbox of its own.
"""

from __future__ import annotations

import asyncio
import email
import imaplib
import random
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.message import Message
from pathlib import Path

import pytest

from mailprobe.lab.post.site import PostSite
from mailprobe.lab.scenario import Site
from mailprobe.lab.world import Lab
from mailprobe.mail.compose import Attachment, Draft, Letter, compose
from mailprobe.mail.extensions import Wishes
from mailprobe.mail.login import Login
from mailprobe.mail.ready import Handling, LineEnds, ready
from mailprobe.mail.routes import Exchangers, Route, server
from mailprobe.mail.sending import Options, send
from mailprobe.model.conversation import Security
from mailprobe.model.sending import Outcome, Sending
from mailprobe.net.labs import inside
from mailprobe.net.network import Network, Reach
from mailprobe.protocols.sasl import Credentials
from tests.installed import mailprobe
from tests.lab.post.sites import ALICE, SENDER, TIMEOUT_S, address_of, arrived, connected

EXACT = "exact.lab.test"
MANY = 100
JEANNE = f"жанна@{EXACT}"
BODIES = {
    "nothing": b"",
    "an empty line": b"\r\n",
    "only dots": b".\r\n..\r\n...\r\n.\r\n",
    "dots at line starts": b".hidden\r\n..two\r\ntext.\r\n.\r\n\r\n.\r\n.",
    "998 octets": b"x" * 998 + b"\r\n",
    "999 octets": b"x" * 999 + b"\r\n",
    "100,000 octets": b"." + b"y" * 99_999 + b"\r\n.\r\n",
    "8-bit text": "Grüße, привет, 你好\r\n".encode(),
    "every octet but NUL": bytes(octet for octet in range(1, 256) if octet not in b"\r\n") + b"\r\n",
    "bare LF": b"one\ntwo\n\nthree\r\n",
    "bare CR": b"one\rtwo\r\rthree\r\r\nfour\r\n",
    "ends without a line end": b"the end",
    "ends with CR": b"the end\r",
    "lines like commands": b"QUIT\r\nRSET\r\nMAIL FROM:<eve@far.test>\r\n+OK\r\n)\r\nA1 OK done\r\n",
    "noise": bytes(octet for octet in random.Random(5321).randbytes(300_000) if octet) + b"\r\n",
}
SMUGGLED = {
    "LF dot LF": b"one\n.\nMAIL FROM:<eve@far.test>\nRCPT TO:<bob@receiver.lab.test>\nDATA\nevil\r\n",
    "LF dot CRLF": b"one\n.\r\nMAIL FROM:<eve@far.test>\r\nRCPT TO:<bob@receiver.lab.test>\r\nDATA\r\nevil\r\n",
    "CRLF dot LF": b"one\r\n.\nMAIL FROM:<eve@far.test>\r\n",
    "CR dot CR": b"one\r.\rMAIL FROM:<eve@far.test>\r\n",
    "CRLF dot CR": b"one\r\n.\rMAIL FROM:<eve@far.test>\r\n",
    "CR dot CRLF": b"one\r.\r\nMAIL FROM:<eve@far.test>\r\n",
}
_DOT_BEHIND_BARE_LF = re.compile(rb"(?<!\r)\n\.")
Way = Callable[[Lab, str, bytes], None]


# -- ways in ---------------------------------------------------------------------------------------------------


def by_library(lab: Lab, letter: Letter, route: Route, *, chunking: bool = False) -> Sending:
    login = None if isinstance(route, Exchangers) else Login(credentials=Credentials("alice", "secret"))
    options = Options(login=login, wishes=Wishes(chunking=chunking))
    sent = asyncio.run(send(Network(inside(Reach(), lab)), letter, route, options))
    assert {each.outcome for each in sent.recipients} == {Outcome.ACCEPTED}, sent.recipients
    return sent


def as_it_is(octets: bytes, *recipients: str) -> Letter:
    handling = Handling(line_ends=LineEnds.KEEP)
    return ready(octets, sender=ALICE, recipients=recipients, date=datetime.now(UTC), handling=handling)


def submitted(lab: Lab, recipient: str, octets: bytes) -> None:
    by_library(lab, as_it_is(octets, recipient), server(f"mx.{SENDER}"))


def submitted_in_chunks(lab: Lab, recipient: str, octets: bytes) -> None:
    by_library(lab, as_it_is(octets, recipient), server(f"mx.{SENDER}"), chunking=True)


def submitted_over_tls(lab: Lab, recipient: str, octets: bytes) -> None:
    by_library(lab, as_it_is(octets, recipient), server(f"mx.{SENDER}", Security.TLS))


def relayed(lab: Lab, recipient: str, octets: bytes) -> None:
    by_library(lab, as_it_is(octets, recipient), Exchangers())


def relayed_in_chunks(lab: Lab, recipient: str, octets: bytes) -> None:
    by_library(lab, as_it_is(octets, recipient), Exchangers(), chunking=True)


def submitted_by_smtplib(lab: Lab, recipient: str, octets: bytes) -> None:
    with connected(lab, f"mx.{SENDER}", 587) as client:
        client.starttls(context=ssl.create_default_context(cafile=str(lab.ca_file)))
        client.login("alice", "secret")
        assert client.sendmail(ALICE, [recipient], octets, ["BODY=8BITMIME"]) == {}


WAYS: tuple[Way, ...] = (
    submitted,
    submitted_in_chunks,
    submitted_over_tls,
    relayed,
    relayed_in_chunks,
    submitted_by_smtplib,
)
DIRECT = relayed_in_chunks  # the one way on which nobody speaks DATA, which cannot but end with a line end
CASES = [(way, name, body) for way in WAYS for name, body in {**BODIES, **SMUGGLED}.items()]


# -- the lab ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    names = [f"u{number}" for number in range(len(CASES) + MANY + 1)]
    users = dict.fromkeys([*names, "жанна", "big", "chunked", "cli"], "secret")
    site = Site(domain=EXACT, post=PostSite(users=users))
    complaints: list[str] = []
    directory = tmp_path_factory.mktemp("exact") / "lab"
    with Lab(directory=directory, sites=[site], complain=complaints.append) as running:
        yield running
    assert complaints == []


@pytest.fixture(scope="module")
def outside(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Give the environment in which the command uses the lab."""
    file = tmp_path_factory.mktemp("file") / "lab.json"
    lab.lab_file().write(file)
    return {"MAILPROBE_LAB": str(file)}


def octets_of(name: str, body: bytes) -> bytes:
    return (
        f"Message-ID: <{name.replace(' ', '-')}@test>\r\nFrom: {ALICE}\r\nSubject: {name}\r\n"
        f"Date: Mon, 4 Mar 2024 05:06:07 +0000\r\n\r\n"
    ).encode() + body


def in_file(lab: Lab, user: str) -> bytes:
    (file,) = (lab.mail_directory / EXACT / "mail").glob(f"{user}/new/*")
    return file.read_bytes()


def by_imap(lab: Lab, user: str) -> bytes:
    class Client(imaplib.IMAP4):
        def _create_socket(self, timeout: float | None) -> socket.socket:
            return connection(lab, 993)

    with Client("mx") as client:
        client.authenticate("PLAIN", lambda _: f"\0{user}\0secret".encode())
        client.select(readonly=True)
        found = client.fetch("1", "(BODY.PEEK[])")[1][0]
    assert isinstance(found, tuple)
    return found[1]


def by_pop3(lab: Lab, user: str) -> bytes:
    """Give a letter as POP3 has it, the dots undone; poplib cannot tell line ends apart."""
    with connection(lab, 995) as raw, raw.makefile("rwb") as channel:
        for command in (f"USER {user}", "PASS secret", "RETR 1"):
            channel.readline()
            channel.write(f"{command}\r\n".encode())
            channel.flush()
        assert channel.readline().startswith(b"+OK")
        data = bytearray()
        while not data.endswith(b"\r\n.\r\n"):
            data += channel.read1(65_536)
        channel.write(b"QUIT\r\n")
        channel.flush()
        assert channel.readline().startswith(b"+OK")
    return bytes(data[:-3]).replace(b"\r\n..", b"\r\n.")


def connection(lab: Lab, port: int) -> socket.socket:
    host = f"mx.{EXACT}"
    raw = socket.create_connection(lab.route(address_of(lab, host), port), TIMEOUT_S)
    return ssl.create_default_context(cafile=str(lab.ca_file)).wrap_socket(raw, server_hostname=host)


# -- letters ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "way", "name", "body"),
    [pytest.param(number, *case, id=f"{case[0].__name__} {case[1]}") for number, case in enumerate(CASES)],
)
def test_a_letter_arrives_to_the_octet(lab: Lab, number: int, way: Way, name: str, body: bytes) -> None:
    if way is submitted_by_smtplib and _DOT_BEHIND_BARE_LF.search(body):
        pytest.skip("smtplib doubles a dot behind a bare LF")
    sent, user = octets_of(name, body), f"u{number}"
    way(lab, f"{user}@{EXACT}", sent)
    lab.rest(TIMEOUT_S)
    complete = sent if sent.endswith(b"\r\n") else sent + b"\r\n"
    expected = sent if way is DIRECT else complete
    assert arrived(in_file(lab, user)) == expected
    assert arrived(by_imap(lab, user)) == expected
    if name in {"LF dot LF", "LF dot CRLF"}:  # a client that takes LF for a line end would see the end of the letter
        complete = complete.replace(b"\n.", b"\n..")
    assert arrived(by_pop3(lab, user)) == complete
    assert not list((lab.mail_directory / EXACT / "maildrop").iterdir())


def test_nothing_was_smuggled(lab: Lab) -> None:
    lab.rest(TIMEOUT_S)
    assert not list(lab.mail_directory.glob("receiver.lab.test/mail/bob/new/*"))


def test_addresses_and_headers_in_utf8_arrive_as_they_are(lab: Lab) -> None:
    letter = compose(
        Draft(
            sender=f"Ålice <ålice@{SENDER}>",
            to=(f"Жанна <{JEANNE}>",),
            subject="Grüße",
            text="Hallo\n",
            headers=(("X-First", "1"),),
            message_id="<utf8@test>",
            date=datetime(2024, 3, 4, tzinfo=UTC),
            smtputf8=True,
        )
    )
    by_library(lab, letter, server(f"mx.{SENDER}"))
    lab.rest(TIMEOUT_S)
    data = by_imap(lab, "жанна")
    assert data.endswith(b"\r\n" + letter.octets)
    assert "Subject: Grüße\r\n".encode() in data
    assert data.startswith(f"Return-Path: <ålice@{SENDER}>\r\nDelivered-To: {JEANNE}\r\n".encode())
    assert data.count(b"with UTF8SMTPS") == 2  # one of them SA: Alice had logged in
    assert by_pop3(lab, "жанна") == data


def attachment() -> bytes:
    return random.Random(25).randbytes(25 << 20)


@pytest.mark.parametrize(("user", "chunking"), [("big", False), ("chunked", True)])
def test_25_mb_arrive_to_the_octet(lab: Lab, user: str, chunking: bool) -> None:
    octets = attachment()
    draft = Draft(
        sender=ALICE,
        to=(f"{user}@{EXACT}",),
        text="see there",
        attachments=(Attachment("noise.bin", "application/octet-stream", octets),),
        date=datetime(2024, 3, 4, tzinfo=UTC),
    )
    letter = compose(draft)
    by_library(lab, letter, server(f"mx.{SENDER}"), chunking=chunking)
    lab.rest(60)
    data = in_file(lab, user)
    assert data.endswith(b"\r\n" + letter.octets)
    assert by_imap(lab, user) == data
    assert by_pop3(lab, user) == data
    parts = email.message_from_bytes(data).get_payload()
    assert isinstance(parts, list)
    assert isinstance(parts[1], Message)
    assert parts[1].get_payload(decode=True) == octets


@pytest.mark.parametrize("port", [25, 587])
def test_100_recipients_get_it_and_the_101st_is_for_later(lab: Lab, port: int) -> None:
    crowd = [f"u{len(CASES) + number}@{EXACT}" for number in range(MANY + 1)]
    before = [len(files(lab, name.partition("@")[0])) for name in crowd]
    octets = octets_of("many", b"%d\r\n" % port)
    with connected(lab, f"mx.{EXACT}" if port == 25 else f"mx.{SENDER}", port) as client:
        if port == 587:
            client.starttls(context=ssl.create_default_context(cafile=str(lab.ca_file)))
            client.login("alice", "secret")
        refused = client.sendmail(ALICE, crowd, octets)
    assert list(refused) == crowd[MANY:]
    assert refused[crowd[MANY]] == (452, b"4.5.3 Too many recipients")
    lab.rest(TIMEOUT_S)
    found = [files(lab, name.partition("@")[0]) for name in crowd]
    assert [len(each) - old for each, old in zip(found, before, strict=True)] == [1] * MANY + [0]
    assert all(arrived(max(each, key=lambda file: file.name).read_bytes()) == octets for each in found[:MANY])


def files(lab: Lab, user: str) -> list[Path]:
    return list((lab.mail_directory / EXACT / "mail" / user).glob("new/*"))


# -- what the command does with line ends --------------------------------------------------------------------------


def command(outside: dict[str, str], file: Path, *more: str) -> tuple[int, str]:
    """Send a ready letter to the user `cli`, and give the exit status and what is said about it."""
    done = mailprobe("send", "--data", str(file), "--to", f"cli@{EXACT}", *more, env=outside)
    return done.returncode, done.stderr


@pytest.mark.parametrize("more", [(), ("--chunking",), ("--mx",), ("--server", f"mx.{SENDER}:465", "--user", "alice")])
def test_the_command_sends_bare_line_ends_as_they_are_and_says_so(
    lab: Lab, outside: dict[str, str], tmp_path: Path, more: tuple[str, ...]
) -> None:
    sent = octets_of("bare", b"one\ntwo\rthree\n.\nfour\r\n.\r\nfive\r\n")
    (tmp_path / "letter").write_bytes(sent)
    known = set(files(lab, "cli"))
    status, said = command(outside, tmp_path / "letter", *more)
    assert status == 0
    assert said.splitlines() == [
        "mailprobe: 3 bare LF, which servers may refuse or change (RFC 5321 §2.3.8)",
        "mailprobe: 1 bare CR, which servers may refuse or change (RFC 5321 §2.3.8)",
        "mailprobe: a dot between bare line ends, which some servers take for the end of the letter",
    ]
    lab.rest(TIMEOUT_S)
    (new,) = set(files(lab, "cli")) - known
    assert arrived(new.read_bytes()) == sent


def test_the_command_makes_bare_line_ends_whole_when_asked_to(
    lab: Lab, outside: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "letter").write_bytes(octets_of("bare", b"one\ntwo\r.\nthree\r\n"))
    known = set(files(lab, "cli"))
    status, said = command(outside, tmp_path / "letter", "--line-ends", "crlf")
    assert (status, said) == (0, "mailprobe: line ends were made CRLF, as mail has them\n")
    lab.rest(TIMEOUT_S)
    (new,) = set(files(lab, "cli")) - known
    assert arrived(new.read_bytes()) == octets_of("bare", b"one\r\ntwo\r\n.\r\nthree\r\n")


def test_the_command_refuses_bare_line_ends_when_strict(outside: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "letter").write_bytes(octets_of("bare", b"one\ntwo\r\n"))
    status, said = command(outside, tmp_path / "letter", "--strict")
    assert status == 2
    assert (
        said
        == "mailprobe: the letter breaks RFC 5322: 1 bare LF, which servers may refuse or change (RFC 5321 §2.3.8)\n"
    )
