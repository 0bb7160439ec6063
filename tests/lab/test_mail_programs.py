"""Mail programs at the mailboxes of a site: imaplib, poplib, IMAPClient, curl and mutt, one by one and all at once."""

from __future__ import annotations

import asyncio
import hashlib
import imaplib
import os
import poplib
import pty
import re
import select
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from imapclient import IMAPClient  # type: ignore[import-untyped]

from mailprobe.lab.driver import Listener, serve
from mailprobe.lab.post.mailboxes import Mailboxes
from mailprobe.protocols.events import ServerCore
from mailprobe.protocols.imap.config import ImapConfig
from mailprobe.protocols.imap.server import ImapServer
from mailprobe.protocols.pop3.server import Pop3Config, Pop3Server
from tests.lab.clients import together

HOST = "127.0.0.1"
LIMIT_S = 30
IMAP = ImapConfig(login_before_tls=True, starttls=False, append_limit=40 << 20)
POP3 = Pop3Config(login_before_tls=True, stls=False, apop=True)
LETTER = (
    b"From: Carol <carol@c.test>\r\nTo: bob@lab.test\r\nSubject: %s\r\nMessage-ID: <%s@c.test>\r\n"
    b"Date: Mon, 4 Mar 2024 01:02:03 +0000\r\n\r\n"
)
ODD = LETTER % (b"odd", b"odd") + (
    b".\r\n..\r\n.dot\r\nbare\nline\r\n\xe4\xf6\xfc \0\x1b[31m\r\n"
    + b"x" * 998
    + b"\r\n"
    + b"y" * 5000
    + b"\r\nend\r\n"
)


class Post:
    """The mailboxes of a site with a POP3 and an IMAP server in a thread."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.read: list[tuple[str, str, str, str]] = []
        self.paused = False
        self.failures: list[dict[str, Any]] = []
        self._at_end: list[Callable[[], object]] = []
        self.mail = Mailboxes(
            directory, {"bob": "secret"}, journal_read=lambda *what: self.read.append(what), paused=lambda: self.paused
        )
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda _loop, context: self.failures.append(context))
        self._listeners: list[tuple[Listener, asyncio.Server]] = []
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.imap_port = self._listen(lambda: ImapServer(IMAP, self.mail))
        self.pop3_port = self._listen(lambda: Pop3Server(POP3, self.mail))

    def _listen(self, core: Callable[[], ServerCore]) -> int:
        listener = Listener(core, subscribe=self.mail.subscribe)
        server = asyncio.run_coroutine_threadsafe(serve(listener, HOST, 0), self._loop).result()
        self._listeners.append((listener, server))
        return int(server.sockets[0].getsockname()[1])

    def close(self) -> None:
        for end in self._at_end:
            with suppress(OSError):  # it is closed already
                end()

        async def stop() -> None:
            for listener, server in self._listeners:
                server.close()
                listener.abort()
            await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self.mail.close()

    def store(self, name: str, data: bytes, folder: str = "INBOX") -> Path:
        return self.mail.store("bob", folder, f"{name}.a", data)

    def imap(self) -> imaplib.IMAP4:
        client = imaplib.IMAP4(HOST, self.imap_port, timeout=LIMIT_S)
        self._at_end.append(client.shutdown)
        client.login("bob", "secret")
        return client

    def imapclient(self) -> Any:
        client = IMAPClient(HOST, self.imap_port, ssl=False, timeout=LIMIT_S)
        self._at_end.append(client.shutdown)
        client.login("bob", "secret")
        return client

    def pop3(self) -> poplib.POP3:
        client = poplib.POP3(HOST, self.pop3_port, timeout=LIMIT_S)
        self._at_end.append(client.close)
        client.user("bob")
        client.pass_("secret")
        return client


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    post = Post(tmp_path / "site.test")
    yield post
    post.close()
    assert post.failures == []


def letter(number: int) -> bytes:
    """Make a letter that shows whether it is whole."""
    body = b"".join(b"%d %d .line\r\n.\r\n" % (number, line) for line in range(50))
    digest = hashlib.sha256(body).hexdigest().encode()
    return LETTER % (b"letter %d" % number, b"%d" % number) + digest + b"\r\n" + body


def is_whole(data: bytes) -> bool:
    head, _, rest = data.partition(b"\r\n\r\n")
    digest, _, body = rest.partition(b"\r\n")
    return head.startswith(b"From: Carol") and hashlib.sha256(body).hexdigest().encode() == digest


# One by one


def test_imaplib_does_everything_it_can(post: Post) -> None:
    post.store("odd", ODD)
    client = post.imap()
    assert client.select() == ("OK", [b"1"])
    assert client.fetch("1", "(RFC822)")[1][0][1] == ODD  # type: ignore[index]
    assert client.search(None, "SEEN", "SUBJECT", "odd") == ("OK", [b"1"])
    assert client.store("1", "+FLAGS", "(\\Flagged urgent)")[0] == "OK"
    assert client.create("Work/old")[0] == "OK"
    assert client.copy("1", "Work/old")[0] == "OK"
    assert client.append("Work/old", "(\\Draft)", imaplib.Time2Internaldate(0), letter(1))[0] == "OK"
    assert client.status("Work/old", "(MESSAGES UNSEEN)") == ("OK", [b"Work/old (MESSAGES 2 UNSEEN 1)"])
    assert client.rename("Work/old", "Play")[0] == "OK"
    assert client.list('""', "%") == ("OK", [b'() "/" INBOX', b'() "/" Play'])
    assert client.store("1", "+FLAGS", "\\Deleted")[0] == "OK"
    assert client.expunge() == ("OK", [b"1"])
    assert client.select("Play") == ("OK", [b"2"])
    flags = client.fetch("1:2", "(FLAGS)")[1]
    assert flags == [b"1 (FLAGS (\\Flagged \\Seen urgent))", b"2 (FLAGS (\\Draft))"]
    assert client.fetch("2", "(BODY.PEEK[])")[1][0][1] == letter(1)  # type: ignore[index]
    assert client.uid("SEARCH", "ALL") == ("OK", [b"1 2"])
    client.logout()


def test_poplib_reads_and_deletes(post: Post) -> None:
    plain = letter(1)
    post.store("1", plain)
    post.store("2", letter(2))
    client = post.pop3()
    assert client.stat() == (2, len(plain) + len(letter(2)))
    assert b"\r\n".join(client.retr(1)[1]) + b"\r\n" == plain
    assert client.top(2, 0)[1][-1] == b""
    ids = client.uidl()[1]
    client.dele(1)
    client.close()  # without QUIT
    client = post.pop3()
    assert client.uidl()[1] == ids
    client.dele(1)
    client.quit()
    client = poplib.POP3(HOST, post.pop3_port, timeout=LIMIT_S)
    client.apop("bob", "secret")
    assert client.uidl()[1] == [b"1 " + ids[1].split()[1]]
    client.quit()


def test_pop3_and_imap_agree_on_every_octet(post: Post) -> None:
    (post.directory / "mail" / "bob" / "new" / "foreign").write_bytes(b"Subject: x\n\n.\nend\n")
    pop3, imap = post.pop3(), post.imap()
    imap.select()
    served = imap.fetch("1", "(BODY.PEEK[] RFC822.SIZE)")[1][0]
    assert isinstance(served, tuple)
    assert served[1] == b"Subject: x\r\n\r\n.\r\nend\r\n"
    assert b"{22}" in served[0]
    assert b"\r\n".join(pop3.retr(1)[1]) + b"\r\n" == served[1]
    assert pop3.list()[1] == [b"1 22"]
    pop3.quit()
    imap.logout()


def test_a_letter_of_25_megabytes_arrives_octet_for_octet(post: Post) -> None:
    big = LETTER % (b"big", b"big") + (b"." * 76 + b"\r\n") * (25 * 1024 * 1024 // 78)
    post.store("big", big)
    pop3 = post.pop3()
    assert b"\r\n".join(pop3.retr(1)[1]) + b"\r\n" == big
    pop3.quit()
    imap = post.imap()
    imap.select()
    assert imap.fetch("1", "(BODY.PEEK[])")[1][0][1] == big  # type: ignore[index]
    assert imap.append("INBOX", "", "", big)[0] == "OK"
    assert imap.fetch("2", "(RFC822.SIZE)") == ("OK", [b"2 (RFC822.SIZE %d)" % len(big)])
    imap.logout()


def test_imapclient_works_with_folders_flags_and_idle(post: Post) -> None:
    client = post.imapclient()
    client.create_folder("Sent")
    client.create_folder("Grüße & 台北")
    assert client.find_special_folder(b"\\Sent") == "Sent"
    assert [name for _, _, name in client.list_folders()] == ["INBOX", "Grüße & 台北", "Sent"]
    assert (post.directory / "mail" / "bob" / ".Gr&APwA3w-e &- &U,BTFw-").is_dir()
    assert client.select_folder("INBOX")[b"EXISTS"] == 0
    assert client.search() == []
    client.idle()
    post.store("1", letter(1))
    assert client.idle_check(timeout=LIMIT_S) == [(1, b"EXISTS")]
    other = post.imap()
    other.select()
    other.store("1", "+FLAGS", "\\Flagged")
    assert client.idle_check(timeout=LIMIT_S) == [(1, b"FETCH", (b"UID", 1, b"FLAGS", (b"\\Flagged",)))]
    client.idle_done()
    assert client.fetch([1], ["FLAGS", "BODY[]", "ENVELOPE"])[1][b"BODY[]"] == letter(1)
    assert client.get_flags([1]) == {1: (b"\\Flagged", b"\\Seen")}
    client.add_flags([1], ["later"])
    assert client.search(["KEYWORD", "later", "SUBJECT", "letter"]) == [1]
    client.move([1], "Grüße & 台北")
    client.select_folder("Grüße & 台北", readonly=True)
    assert client.fetch(client.search(), ["FLAGS"])[1][b"FLAGS"] == (b"\\Flagged", b"\\Seen", b"later")
    assert other.noop()[0] == "OK"
    assert other.response("EXPUNGE")[1] == [b"1"]
    client.logout()
    other.logout()
    assert ("bob", "INBOX", "1.a", "IMAP") in post.read


def test_a_second_pop3_session_waits_and_imap_sessions_do_not(post: Post) -> None:
    post.store("1", letter(1))
    first = post.pop3()
    with pytest.raises(poplib.error_proto, match="IN-USE"):
        post.pop3()
    imap = post.imap()
    imap.select()
    imap.store("1", "+FLAGS", "\\Deleted")
    imap.expunge()
    with pytest.raises(poplib.error_proto, match="deleted by another session"):
        first.retr(1)
    first.quit()
    second = post.pop3()
    assert second.stat() == (0, 0)
    second.quit()
    imap.logout()


def test_readers_are_told_to_come_back_while_they_are_paused(post: Post) -> None:
    post.paused = True
    with pytest.raises(poplib.error_proto, match=r"\[SYS/TEMP\] mailboxes cannot be read now"):
        post.pop3()
    with pytest.raises(imaplib.IMAP4.error, match=r"\[UNAVAILABLE\] mailboxes cannot be read now"):
        post.imap()
    post.store("1", letter(1))
    post.paused = False
    client = post.pop3()
    assert client.stat()[0] == 1
    client.quit()


def run(*command: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    return subprocess.run(command, capture_output=True, timeout=LIMIT_S, check=False, **options)


def curl(url: str, *options: str) -> bytes:
    done = run("curl", "--silent", "--show-error", "--noproxy", "*", "--user", "bob:secret", url, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.peers
def test_curl_reads_finds_flags_and_stores(post: Post, tmp_path: Path) -> None:
    post.store("odd", ODD)
    imap, pop3 = f"imap://{HOST}:{post.imap_port}", f"pop3://{HOST}:{post.pop3_port}"
    assert curl(f"{pop3}/1") == ODD
    assert curl(pop3).split() == [b"1", b"%d" % len(ODD)]
    assert curl(f"{imap}/INBOX;MAILINDEX=1") == ODD
    assert curl(f"{imap}/INBOX;UID=1;SECTION=HEADER.FIELDS%20(SUBJECT)") == b"Subject: odd\r\n\r\n"
    assert curl(f"{imap}/INBOX?SUBJECT%20odd") == b"* SEARCH 1\r\n"
    assert b"FLAGS (\\Flagged" in curl(f"{imap}/INBOX", "--request", "STORE 1 +Flags (\\Flagged)")
    (tmp_path / "letter").write_bytes(letter(1))
    curl(f"{imap}/INBOX", "--upload-file", str(tmp_path / "letter"))
    assert curl(f"{imap}/INBOX;UID=2") == letter(1)
    assert curl(imap) == b'* LIST () "/" INBOX\r\n'
    curl(f"{pop3}/1", "--request", "DELE", "--list-only")
    assert curl(pop3).split()[0::2] == [b"1"]


def mutt(home: Path, mailbox: str, keys: str) -> None:
    """Have mutt open a mailbox, press keys and leave, as at a terminal."""
    if shutil.which("mutt") is None:
        pytest.skip("mutt is not installed")
    options = (
        "imap_pass=secret pop_pass=secret ssl_starttls=no ssl_force_tls=no sleep_time=0"
        f" folder={home} confirmappend=no wait_key=no delete=yes quit=yes copy=no mark_old=no move=no"
    )
    (home / "muttrc").write_text(f'set {options}\npush "{keys}"\n')
    command = ["mutt", "-n", "-F", str(home / "muttrc"), "-f", mailbox]
    terminal, inner = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "HOME": str(home), "LANG": "C.UTF-8"}
    with subprocess.Popen(command, stdin=inner, stdout=inner, stderr=inner, env=environment, cwd=home) as process:
        os.close(inner)
        shown = _screen(terminal, process)
        os.close(terminal)
    assert process.returncode == 0, bytes(shown[-2000:])


def _screen(terminal: int, process: subprocess.Popen[bytes]) -> bytearray:
    """Read what a program shows until it leaves, or put an end to it."""
    shown = bytearray()
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                shown += os.read(terminal, 65536)
            except OSError:  # it has left
                return shown
    process.kill()
    return shown


@pytest.mark.peers
def test_mutt_reads_flags_copies_and_deletes_by_imap(post: Post, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        post.store(f"{number}", letter(number))
    copy = tmp_path / "copy"
    copied = f"<copy-message>{copy}<enter>y"
    mutt(
        tmp_path,
        f"imap://bob@{HOST}:{post.imap_port}/INBOX",
        f"<search>letter 2<enter>{copied}<flag-message><search>letter 3<enter><delete-message><sync-mailbox><quit>",
    )
    client = post.imapclient()
    client.select_folder("INBOX")
    flags = {uid: set(answer[b"FLAGS"]) for uid, answer in client.fetch(client.search(), ["FLAGS"]).items()}
    assert flags.keys() == {1, 2}
    assert b"\\Flagged" in flags[2]
    client.logout()
    assert re.search(rb"^Subject: letter 2$", copy.read_bytes(), re.MULTILINE)


@pytest.mark.peers
def test_mutt_works_on_the_maildir_itself_while_the_servers_run(post: Post, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        post.store(f"{number}", letter(number))
    client = post.imapclient()
    client.select_folder("INBOX")
    mutt(
        tmp_path,
        str(post.directory / "mail" / "bob"),
        "<search>letter 1<enter><flag-message><search>letter 2<enter><delete-message><sync-mailbox><quit>",
    )
    client.noop()
    flags = {uid: set(answer[b"FLAGS"]) for uid, answer in client.fetch(client.search(), ["FLAGS"]).items()}
    assert flags.keys() == {1, 3}
    assert b"\\Flagged" in flags[1]
    assert client.fetch([3], ["BODY[]"])[3][b"BODY[]"] == letter(3)
    client.logout()


@pytest.mark.peers
def test_mutt_fetches_by_pop3(post: Post, tmp_path: Path) -> None:
    post.store("1", letter(1))
    copy = tmp_path / "copy"
    mutt(tmp_path, f"pop://bob@{HOST}:{post.pop3_port}/", f"<copy-message>{copy}<enter>y<quit>")
    assert re.search(rb"^Subject: letter 1$", copy.read_bytes(), re.MULTILINE)


# All at once


def test_two_sessions_flag_and_expunge_while_a_third_reads_and_mail_arrives(post: Post) -> None:
    count = 60
    for number in range(count):
        post.store(f"{number}", letter(number))
    read: dict[int, bytes] = {}
    deleted: set[int] = set()

    def flagging() -> None:
        client = post.imapclient()
        client.select_folder("INBOX")
        for uid in range(1, count + 1):
            client.add_flags([uid], ["\\Flagged"] if uid % 3 else ["x", "\\Answered"])
        client.logout()

    def expunging() -> None:
        client = post.imapclient()
        client.select_folder("INBOX")
        for uid in range(2, count + 1, 2):
            client.add_flags([uid], ["\\Deleted"], silent=True)
            client.expunge([uid])
            deleted.add(uid)
        client.logout()

    def reading() -> None:
        client = post.imapclient()
        client.select_folder("INBOX")
        for _ in range(4):
            for uid, answer in client.fetch(client.search(), ["BODY[]", "FLAGS", "RFC822.SIZE"]).items():
                read[uid] = answer[b"BODY[]"]
                assert answer[b"RFC822.SIZE"] == len(answer[b"BODY[]"])
        client.logout()

    def arriving() -> None:
        for number in range(count, 2 * count):
            post.store(f"{number}", letter(number))

    together(flagging, expunging, reading, arriving)
    assert all(is_whole(data) for data in read.values())
    client = post.imapclient()
    client.select_folder("INBOX")
    left = client.fetch(client.search(), ["BODY.PEEK[]", "FLAGS"])
    client.logout()
    assert left.keys() == set(range(1, 2 * count + 1)) - deleted
    assert {answer[b"BODY[]"] for answer in left.values()} == {
        letter(number) for number in range(2 * count) if number + 1 not in deleted
    }
    assert all(b"\\Flagged" in left[uid][b"FLAGS"] for uid in range(1, count + 1, 2) if uid % 3)


def test_pop3_and_imap_sessions_empty_a_mailbox_together_and_lose_nothing(post: Post) -> None:
    count = 80
    taken: list[bytes] = []

    def by_pop3() -> None:
        for _ in range(200):
            try:
                client = post.pop3()
            except poplib.error_proto:
                continue
            for number in range(1, min(5, client.stat()[0]) + 1):
                try:
                    data = b"\r\n".join(client.retr(number)[1]) + b"\r\n"
                except poplib.error_proto:
                    continue  # the IMAP session was faster
                client.dele(number)
                taken.append(data)
            client.quit()
            if len(set(taken)) == count:
                return

    def by_imap() -> None:
        client = post.imapclient()
        client.select_folder("INBOX")
        for _ in range(200):
            uids = client.search()[-3:]
            for answer in client.fetch(uids, ["BODY[]"]).values() if uids else ():
                taken.append(answer[b"BODY[]"])
            if uids:
                client.delete_messages(uids)
                client.expunge(uids)
            if len(set(taken)) == count:
                break
        client.logout()

    def arriving() -> None:
        for number in range(count):
            post.store(f"{number}", letter(number))

    together(by_pop3, by_pop3, by_imap, arriving)
    client = post.pop3()
    left = [b"\r\n".join(client.retr(number)[1]) + b"\r\n" for number in range(1, client.stat()[0] + 1)]
    client.quit()
    assert {*taken, *left} == {letter(number) for number in range(count)}
