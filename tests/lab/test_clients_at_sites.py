"""Mail programs at the lab's sites, whose mail is kept: sent from site to site, read, and all of it at once."""

from __future__ import annotations

import email
import email.message
import imaplib
import poplib
import smtplib
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from imapclient import IMAPClient  # type: ignore[import-untyped]

from mailprobe.lab.post.site import PostSite
from mailprobe.lab.scenario import Change, Site
from mailprobe.lab.world import Lab
from tests.lab.clients import LIMIT_S, curl, place, run, swaks, together
from tests.lab.post.sites import ALICE, BOB, CAROL, RECEIVER, SENDER, arrived, letter, stored

pytestmark = pytest.mark.peers

MX_SENDER, MX_RECEIVER, MX_SHY = f"mx.{SENDER}", f"mx.{RECEIVER}", "mx.shy.lab.test"
# A site that wants to see no passwords.
SHY = Site(
    domain="shy.lab.test",
    changes=(Change(ports=(587, 465), config={"auth_inside_tls": ("CRAM-MD5",)}),),
    post=PostSite(users={"alice": "secret"}),
)
# What a client may send and nobody may change; no octet beyond ASCII, for not every client says that it sends some.
ODD = b".\r\n..\r\n.dot\r\n" + b"x" * 998 + b"\r\n\t \r\nFrom here\r\n\r\nend\r\n"


@pytest.fixture
def post() -> Iterator[Lab]:
    complaints: list[str] = []
    with Lab(complain=complaints.append, sites=(SHY,)) as running:
        yield running
    assert complaints == []


def trusting(lab: Lab) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(lab.ca_file))


def secured(lab: Lab, host: str, port: int) -> ssl.SSLSocket:
    """Connect by TLS to a host of the lab, and see that it is the one."""
    raw = socket.create_connection(place(lab, port, host), LIMIT_S)
    return trusting(lab).wrap_socket(raw, server_hostname=host)


class Smtps(smtplib.SMTP_SSL):
    """smtplib, where names are looked up in the lab."""

    def __init__(self, lab: Lab, host: str, port: int) -> None:
        self._lab = lab
        super().__init__(host, port, local_hostname="client.test", timeout=LIMIT_S)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return secured(self._lab, host, port)


class Imaps(imaplib.IMAP4_SSL):
    """imaplib, where names are looked up in the lab."""

    def __init__(self, lab: Lab, host: str) -> None:
        self._lab = lab
        super().__init__(host, 993, timeout=LIMIT_S)

    def _create_socket(self, timeout: float | None) -> socket.socket:
        return secured(self._lab, self.host, self.port)


class Pop3s(poplib.POP3_SSL):
    """poplib, where names are looked up in the lab."""

    def __init__(self, lab: Lab, host: str) -> None:
        self._lab = lab
        super().__init__(host, 995, timeout=LIMIT_S)

    def _create_socket(self, timeout: float) -> socket.socket:
        return secured(self._lab, self.host, self.port)


def imapclient(lab: Lab, user: str) -> Any:
    """Give IMAPClient, which can be told no other way to a name: to the address, and the name is compared by us."""
    address, port = place(lab, 993, MX_RECEIVER)
    context = trusting(lab)
    context.check_hostname = False
    client = IMAPClient(address, port, ssl=True, ssl_context=context, timeout=LIMIT_S)
    client.login(user, "secret")
    return client


def submit(lab: Lab, *recipients: str, data: bytes, user: str = "alice", options: tuple[str, ...] = ()) -> None:
    with Smtps(lab, MX_SENDER, 465) as client:
        client.login(user, "secret")
        assert client.sendmail(f"{user}@{SENDER}", recipients, data, options) == {}


def settled(lab: Lab, address: str) -> list[bytes]:
    """Give the letters in a mailbox once nothing is under way any more."""
    lab.rest()
    return stored(lab, address)


@pytest.mark.parametrize(("scheme", "port"), [("smtp", 587), ("smtps", 465)])
def test_curl_sends_from_site_to_site(post: Lab, scheme: str, port: int) -> None:
    people = ("--mail-from", ALICE, "--mail-rcpt", BOB, "--mail-rcpt", CAROL, "--upload-file", "-")
    data = letter(body=ODD)
    curl(post, scheme, port, "client.test", *people, given=data.decode(), host=MX_SENDER, user="alice")
    for address in (BOB, CAROL):
        (found,) = settled(post, address)
        assert arrived(found) == data


@pytest.mark.parametrize("tls", [False, True])
def test_curl_finds_flags_appends_and_takes_away(post: Lab, tls: bool, tmp_path: Path) -> None:
    for number in (1, 2):
        submit(post, BOB, data=letter(number, body=ODD, fields=b"Subject: letter %d\r\n" % number))
    post.rest()

    def imap(path: str, *options: str) -> str:
        return curl(post, *(("imaps", 993) if tls else ("imap", 143)), path, *options, host=MX_RECEIVER)

    def pop3(path: str, *options: str) -> str:
        return curl(post, *(("pop3s", 995) if tls else ("pop3", 110)), path, *options, host=MX_RECEIVER)

    assert imap("INBOX?SUBJECT%20%22letter%202%22").split() == ["*", "SEARCH", "2"]
    assert imap("INBOX;UID=1;SECTION=HEADER.FIELDS%20(SUBJECT)").strip() == "Subject: letter 1"
    assert "\\Flagged" in imap("INBOX", "--request", "STORE 1 +FLAGS (\\Flagged)")
    assert "\\Flagged" in imap("INBOX", "--request", "FETCH 1 (FLAGS)")
    (tmp_path / "letter").write_bytes(letter(3, body=ODD))
    imap("INBOX", "--upload-file", str(tmp_path / "letter"))
    sizes = dict(line.split() for line in pop3("").splitlines())
    assert list(sizes) == ["1", "2", "3"]
    assert int(sizes["3"]) == len(letter(3, body=ODD))
    assert arrived(pop3("2").replace("\n", "\r\n").replace("\r\r", "\r").encode()).endswith(ODD)
    pop3("2", "--request", "DELE", "--list-only")
    assert [line.split()[0] for line in pop3("").splitlines()] == ["1", "2"]
    assert imap("INBOX?ALL").split() == ["*", "SEARCH", "1", "2"]


@pytest.mark.parametrize(
    ("host", "port", "options"),
    [
        (MX_SENDER, 587, ("--tls", "--auth", "PLAIN")),
        (MX_SENDER, 587, ("--tls", "--auth", "LOGIN", "--pipeline")),
        (MX_SENDER, 465, ("--tlsc", "--auth", "PLAIN")),
        (MX_SHY, 587, ("--tls", "--auth", "CRAM-MD5")),
        (MX_SHY, 465, ("--tlsc", "--auth", "CRAM-MD5", "--pipeline")),
    ],
)
def test_swaks_submits_letters_with_attachments_and_octets_beyond_ascii(
    post: Lab, host: str, port: int, options: tuple[str, ...], tmp_path: Path
) -> None:
    attachment = bytes(range(256)) * 100
    (tmp_path / "scan.bin").write_bytes(attachment)
    people = ("--from", ALICE, "--to", f"{BOB},{CAROL}", "--auth-user", "alice", "--auth-password", "secret")
    content = ("--attach", f"@{tmp_path / 'scan.bin'}", "--body", "grüße\n.\n..dots", "--h-Subject", "swaks")
    done = swaks(post, host, port, *options, *people, *content)
    assert done.returncode == 0, done.stdout + done.stderr
    for address in (BOB, CAROL):
        (found,) = settled(post, address)
        text, attached = email.message_from_bytes(found).get_payload()  # type: ignore[str-unpack]
        assert isinstance(text, email.message.Message)
        assert isinstance(attached, email.message.Message)
        assert "grüße".encode() in found
        assert b"\r\n.\r\n..dots" in found
        assert attached.get_payload(decode=True) == attachment


@pytest.mark.parametrize(
    ("port", "options", "status"),
    [
        (587, ("--tls", "--auth", "PLAIN", "--auth-user", "alice", "--auth-password", "wrong"), 28),
        (587, ("--tls",), 23),  # MAIL is refused to whoever has not logged in
        (25, ("--tls", "--to", "x@elsewhere.test"), 24),
        (25, ("--tls", "--to", f"nobody@{SENDER}"), 24),
    ],
)
def test_swaks_hears_why_it_is_not_let_in(post: Lab, port: int, options: tuple[str, ...], status: int) -> None:
    done = swaks(post, MX_SENDER, port, "--from", ALICE, *options)
    assert done.returncode == status, done.stdout


def test_swaks_brings_mail_from_elsewhere_to_port_25(post: Lab) -> None:
    for options in (("--tls",), ("--pipeline",), ("--tls", "--pipeline")):
        done = swaks(post, MX_RECEIVER, 25, *options, "--from", "x@far.test", "--to", f"{BOB},{CAROL}")
        assert done.returncode == 0, done.stdout
    assert len(settled(post, BOB)) == len(settled(post, CAROL)) == 3


def test_the_standard_library_sends_and_reads_inside_tls(post: Lab) -> None:
    data = letter(body=ODD + "grüße\r\n".encode())
    submit(post, BOB, data=data, options=("BODY=8BITMIME",))
    post.rest()
    imap = Imaps(post, MX_RECEIVER)
    imap.login("bob", "secret")
    assert imap.select() == ("OK", [b"1"])
    read = imap.fetch("1", "(BODY.PEEK[])")[1][0]
    assert isinstance(read, tuple)
    assert arrived(read[1]) == data
    pop3 = Pop3s(post, MX_RECEIVER)
    pop3.user("bob")
    pop3.pass_("secret")
    assert arrived(b"\r\n".join(pop3.retr(1)[1]) + b"\r\n") == data
    pop3.dele(1)
    pop3.quit()
    assert imap.noop()[0] == "OK"
    assert imap.search(None, "ALL") == ("OK", [b""])
    imap.logout()


def test_imapclient_is_told_of_a_letter_that_comes_and_puts_it_elsewhere(post: Lab) -> None:
    client = imapclient(post, "bob")
    assert client.select_folder("INBOX")[b"EXISTS"] == 0
    client.idle()
    submit(post, BOB, data=letter(body=ODD, fields=b"Subject: news\r\n"))
    assert client.idle_check(timeout=LIMIT_S) == [(1, b"EXISTS")]
    client.idle_done()
    (uid,) = client.search(["SUBJECT", "news", "UNSEEN"])
    assert arrived(client.fetch([uid], ["BODY.PEEK[]"])[uid][b"BODY[]"]).endswith(ODD)
    client.create_folder("Done")
    client.append("Done", letter(2), flags=["\\Seen"])
    client.move([uid], "Done")
    assert client.search() == []
    assert client.select_folder("Done")[b"EXISTS"] == 2
    assert client.search(["SEEN"]) == [1]
    client.logout()


@pytest.mark.parametrize(("scheme", "port"), [("smtp", 587), ("smtps", 465)])
def test_mutt_sends_an_attachment_without_a_person(post: Lab, scheme: str, port: int, tmp_path: Path) -> None:
    address, actual = place(post, port, MX_SENDER)
    attachment = bytes(range(256)) * 40
    (tmp_path / "scan.bin").write_bytes(attachment)
    settings = {
        "from": ALICE,
        "use_envelope_from": "yes",
        "hostname": "client.test",
        "smtp_url": f"{scheme}://alice@{address}:{actual}/",
        "smtp_pass": "secret",
        "ssl_force_tls": "yes",
        "ssl_ca_certificates_file": str(post.ca_file),
        "ssl_verify_host": "no",  # mutt is given an address, and the certificate has the name
        "copy": "no",
        "certificate_file": str(tmp_path / "certificates"),
    }
    (tmp_path / "muttrc").write_text("".join(f'set {name}="{value}"\n' for name, value in settings.items()))
    done = run(
        "mutt", "-n", "-F", str(tmp_path / "muttrc"), "-s", "with a scan", "-a", str(tmp_path / "scan.bin"), "--", BOB,
        given="see the scan\n.\n",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (found,) = settled(post, BOB)
    text, attached = email.message_from_bytes(found).get_payload()  # type: ignore[str-unpack]
    assert isinstance(text, email.message.Message)
    assert isinstance(attached, email.message.Message)
    assert text.get_payload() == "see the scan\r\n.\r\n"
    assert attached.get_payload(decode=True) == attachment


def test_writers_and_readers_at_one_mailbox_lose_nothing(post: Lab) -> None:
    wanted = 40
    ids: Counter[str] = Counter()
    over = threading.Event()

    def name_of(octets: bytes) -> str:
        return str(email.message_from_bytes(octets)["Message-ID"])

    def by_smtplib(first: int) -> None:
        for number in range(first, first + 10):
            submit(post, BOB, data=letter(number, body=ODD))

    def by_curl() -> None:
        for number in range(120, 130):
            people = ("--mail-from", ALICE, "--mail-rcpt", BOB, "--upload-file", "-")
            data = letter(number, body=ODD).decode()
            curl(post, "smtps", 465, "client.test", *people, given=data, host=MX_SENDER, user="alice")

    def by_swaks() -> None:
        for number in range(130, 140):
            people = ("--from", "x@far.test", "--to", BOB, "--data", letter(number, body=b"hi\r\n").decode())
            assert swaks(post, MX_RECEIVER, 25, "--tls", *people).returncode == 0

    def taking_by_pop3() -> None:
        while not over.is_set():
            client = Pop3s(post, MX_RECEIVER)
            client.user("bob")
            try:
                client.pass_("secret")
            except poplib.error_proto as error:
                assert b"IN-USE" in error.args[0]  # noqa: PT017 - the other one reads
                client.close()
                continue
            for number in range(1, min(3, client.stat()[0]) + 1):
                with suppress(poplib.error_proto):  # the IMAP client was faster
                    ids[name_of(b"\r\n".join(client.retr(number)[1]) + b"\r\n")] += 1
                    client.dele(number)
            client.quit()

    def taking_by_imap() -> None:
        client = imapclient(post, "bob")
        client.select_folder("INBOX")
        while not over.is_set():
            client.idle()
            client.idle_check(timeout=0.2)
            client.idle_done()
            uids = client.search()[-3:]
            for answer in client.fetch(uids, ["BODY[]"]).values() if uids else ():
                ids[name_of(answer[b"BODY[]"])] += 1
            if uids:
                client.delete_messages(uids)
                client.expunge(uids)
        client.logout()

    def writing() -> None:
        try:
            together(lambda: by_smtplib(100), lambda: by_smtplib(110), by_curl, by_swaks)
            post.rest(LIMIT_S)
        finally:
            over.set()

    together(writing, taking_by_pop3, taking_by_pop3, taking_by_imap)
    for octets in settled(post, BOB):
        ids[name_of(octets)] += 1
    assert set(ids) == {f"<{number}@test>" for number in range(100, 100 + wanted)}
