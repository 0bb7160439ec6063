"""What goes wrong is said in one line, nothing is lost by it, and everything else goes on."""

from __future__ import annotations

import contextlib
import imaplib
import itertools
import os
import poplib
import shutil
import signal
import smtplib
import socket
import sqlite3
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mailprobe.lab.post.control import Order
from mailprobe.lab.post.database import DatabaseError
from mailprobe.lab.post.queue import Queue
from mailprobe.lab.post.spool import new_queue_id
from mailprobe.lab.world import Lab
from mailprobe.model.errors import UsageError
from tests.installed import COMMAND, environment, mailprobe
from tests.lab.post.letters import spooled
from tests.lab.post.mortal import Mortal, recovered
from tests.lab.post.sites import (
    ALICE,
    BOB,
    RECEIVER,
    SENDER,
    TIMEOUT_S,
    address_of,
    arrived,
    connected,
    files_in,
    letter,
    relay,
    stored,
    submit,
)

UNMIGHTY = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")  # root, whom permissions do not stop
OFFSETS = itertools.count(61_000 + os.getpid() % 30 * 100)  # above the ports that the system gives out
GARBAGE = b"this is no database " * 400


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as running:
        yield running


def numbers(lab: Lab, address: str = BOB) -> list[int]:
    """Give the numbers of the letters in a mailbox, each of which must be whole."""
    found = []
    for data in stored(lab, address):
        number = int(arrived(data).partition(b"<")[2].partition(b"@")[0])
        assert arrived(data) == letter(number)
        found.append(number)
    return sorted(found)


# -- logins ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, dict[str, str]]]:
    """Give a lab, and the environment in which the command uses it."""
    file = tmp_path_factory.mktemp("outside") / "lab.json"
    with Lab() as lab:
        lab.lab_file().write(file)
        yield lab, {"MAILPROBE_LAB": str(file)}


@contextlib.contextmanager
def pop3(lab: Lab) -> Iterator[poplib.POP3]:
    class Client(poplib.POP3):
        def _create_socket(self, timeout: float) -> socket.socket:
            return socket.create_connection(lab.route(address_of(lab, f"mx.{RECEIVER}"), 110), TIMEOUT_S)

    with contextlib.closing(Client(f"mx.{RECEIVER}")) as client:
        client.stls(ssl.create_default_context(cafile=str(lab.ca_file)))
        client.user("bob")
        yield client


def imap(lab: Lab) -> imaplib.IMAP4:
    class Client(imaplib.IMAP4):
        def _create_socket(self, timeout: float | None) -> socket.socket:
            raw = socket.create_connection(lab.route(address_of(lab, f"mx.{RECEIVER}"), 993), TIMEOUT_S)
            context = ssl.create_default_context(cafile=str(lab.ca_file))
            return context.wrap_socket(raw, server_hostname=f"mx.{RECEIVER}")

    return Client("mx")


def test_a_wrong_password_is_told_by_each_protocol_in_its_words(outside: tuple[Lab, dict[str, str]]) -> None:
    lab, _ = outside
    with connected(lab, f"mx.{SENDER}", 587) as client:
        client.starttls(context=ssl.create_default_context(cafile=str(lab.ca_file)))
        with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
            client.login("alice", "wrong")
        assert refused.value.smtp_code == 535
        assert isinstance(refused.value.smtp_error, bytes)
        assert refused.value.smtp_error.startswith(b"5.7.8 ")
    with pop3(lab) as reader, pytest.raises(poplib.error_proto, match=r"-ERR \[AUTH\] "):
        reader.pass_("wrong")
    with imap(lab) as mail, pytest.raises(imaplib.IMAP4.error, match=r"\[AUTHENTICATIONFAILED\] "):
        mail.login("bob", "wrong")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("smtp", f"mx.{RECEIVER}:587"), "535 5.7.8 Authentication credentials invalid"),
        (("pop3", f"mx.{RECEIVER}"), "-ERR [AUTH] name or password is wrong"),
        (("imap", f"mx.{RECEIVER}"), "NO [AUTHENTICATIONFAILED] name or password is wrong"),
    ],
)
def test_the_command_says_in_one_line_that_a_password_is_wrong(
    outside: tuple[Lab, dict[str, str]], arguments: tuple[str, ...], said: str
) -> None:
    done = mailprobe(*arguments, "--login", "bob", env={**outside[1], "MAILPROBE_PASSWORD": "wrong"})
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"mailprobe: mx.{RECEIVER}: the server refused while logging in: ")
    assert line.endswith(said)


def test_a_mailbox_that_another_pop3_session_has_is_for_later(outside: tuple[Lab, dict[str, str]]) -> None:
    lab, variables = outside
    with pop3(lab) as first:
        first.pass_("secret")
        with pop3(lab) as second, pytest.raises(poplib.error_proto, match=r"-ERR \[IN-USE\] "):
            second.pass_("secret")
        done = mailprobe("pop3", f"mx.{RECEIVER}", "--login", "bob", env={**variables, "MAILPROBE_PASSWORD": "secret"})
        assert done.returncode == 3
        (line,) = done.stderr.splitlines()
        assert line.endswith("-ERR [IN-USE] another POP3 session has the mailbox")
        with imap(lab) as mail:  # which needs no lock
            assert mail.login("bob", "secret")[0] == "OK"
        first.quit()
    with pop3(lab) as third:
        assert third.pass_("secret").startswith(b"+OK")


# -- a full disk -----------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of 4 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be had: {mounted.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def enough_may() -> bool:
    """Tell whether file systems may be mounted, or a namespace can be had in which they may."""
    return (
        os.geteuid() == 0
        or not subprocess.run(["unshare", "-Urm", "true"], capture_output=True, check=False).returncode
    )


@pytest.mark.skipif(not shutil.which("unshare") or not enough_may(), reason="no file system can be mounted here")
@pytest.mark.parametrize("size", [2_000, 300_000])
def test_a_full_disk_puts_senders_off_and_loses_nothing(size: int, request: pytest.FixtureRequest) -> None:
    if os.geteuid() == 0:
        fill_and_empty(request.getfixturevalue("small_disk"), size)
        return
    inner = f"{__file__}::{request.node.name}"
    done = subprocess.run(
        ["unshare", "-Urm", sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", inner],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def fill_and_empty(disk: Path, size: int) -> None:
    (disk / "filler").write_bytes(b"x" * (2 << 20))
    body = b"x" * 70 + b"\r\n"
    complaints: list[str] = []
    with Lab(directory=disk / "lab", complain=complaints.append) as lab:
        accepted, refusals = fill(lab, body * (size // len(body)))
        assert accepted
        assert refusals[0] == (452, b"4.3.1 The spool has no room; try again later")
        assert all(400 <= code < 500 for code, _ in refusals)
        (disk / "filler").unlink()
        submit_patiently(lab, letter(999_999))
        lab.skips_waiting = True
        lab.order(Order("look"))
        lab.rest(30)
        found = [arrived(data) for data in stored(lab, BOB)]
        assert {letter(number, body * (size // len(body))) for number in accepted} | {letter(999_999)} <= set(found)
        assert all(data.endswith((body, b"Hello\r\n")) for data in found)
        assert files_in(disk / "lab" / SENDER / "tmp") == files_in(disk / "lab" / RECEIVER / "tmp") == []
    assert complaints
    assert all("no space left" in text.lower() or "disk I/O error" in text for text in complaints), complaints


def fill(lab: Lab, body: bytes) -> tuple[list[int], list[tuple[int, object]]]:
    """Hand letters over until ten in a row are refused; give the numbers of the others, and the refusals."""
    accepted: list[int] = []
    refusals: list[tuple[int, object]] = []
    number = row = 0
    context = ssl.create_default_context(cafile=str(lab.ca_file))
    while row < 10:
        number += 1
        try:
            with connected(lab, f"mx.{SENDER}", 587) as client:
                client.starttls(context=context)
                client.login("alice", "secret")
                client.sendmail(ALICE, BOB, letter(number, body))
        except smtplib.SMTPResponseException as error:
            refusals.append((error.smtp_code, error.smtp_error))
            row += 1
        except (smtplib.SMTPException, OSError):  # an office that is opened again hangs up
            row += 1
        else:
            accepted.append(number)
            row = 0
    return accepted, refusals


def submit_patiently(lab: Lab, data: bytes) -> None:
    for _ in range(200):
        with contextlib.suppress(smtplib.SMTPException, OSError):
            submit(lab, BOB, data=data)
            return
        lab.rest(TIMEOUT_S)
        with contextlib.suppress(TimeoutError, UsageError):
            lab.order(Order("restart", site=SENDER))
    raise AssertionError("there is room, and no letter is taken")


# -- permissions -----------------------------------------------------------------------------------------------

unmighty = pytest.mark.skipif(
    os.geteuid() == 0 and not shutil.which("setpriv"), reason="nothing here takes root's power over permissions away"
)


def under() -> tuple[str, ...]:
    return UNMIGHTY if os.geteuid() == 0 else ()


@contextlib.contextmanager
def forbidden(path: Path, mode: int = 0o500) -> Iterator[None]:
    before = path.stat().st_mode
    path.chmod(mode)
    try:
        yield
    finally:
        path.chmod(before)


def hand_over(lab: Mortal, number: int) -> int:
    """Submit a letter, and give the code of what was said of it."""
    with smtplib.SMTP(timeout=TIMEOUT_S) as client:
        client.connect(*lab.ports[f"{SENDER}:587"])
        client._host = f"mx.{SENDER}"  # type: ignore[attr-defined]
        client.ehlo("client.test")
        client.starttls(context=lab.context())
        client.login("alice", "secret")
        try:
            client.sendmail(ALICE, BOB, letter(number))
        except smtplib.SMTPResponseException as error:
            return error.smtp_code
    return 250


@unmighty
@pytest.mark.parametrize(
    ("folder", "code"),
    [
        (f"{SENDER}/tmp", 451),
        (f"{SENDER}/maildrop", 451),
        (f"{SENDER}/queue", 250),  # it is safe in the maildrop
        (f"{RECEIVER}/tmp", 250),
        (f"{RECEIVER}/mail/bob/tmp", 250),
        (f"{RECEIVER}/mail/bob/new", 250),
        (f"{RECEIVER}/mail/bob", 250),
    ],
)
def test_a_folder_without_permission_makes_letters_wait(folder: str, code: int, tmp_path: Path) -> None:
    directory = tmp_path / "lab"
    lab = Mortal(directory, skips=False, under=under())
    assert hand_over(lab, 1) == 250
    assert lab.ask("rest") == "rested"
    mode = 0o000 if folder.endswith("bob") else 0o500
    with forbidden(directory / folder, mode):
        assert hand_over(lab, 2) == code
        assert lab.ask("rest") == "rested"
    assert lab.ask("tick 400") == "rested"
    assert hand_over(lab, 3) == 250
    assert lab.ask("tick 400") == "rested"
    status, said = lab.finish()
    assert status == 0
    assert said or folder.endswith("bob"), "it was complained of; what .forward could not be read for, the queue tells"
    assert all(" permission " in text or "Permission denied" in text for text in said), said
    with recovered(directory) as again:
        assert numbers(again) == ([1, 2, 3] if code == 250 else [1, 3])


@unmighty
@pytest.mark.parametrize("what", ["", SENDER, f"{SENDER}/queue.db", f"{SENDER}/mail", f"{SENDER}/aliases.db", "lock"])
def test_a_lab_whose_files_it_may_not_read_says_so_and_loses_nothing(what: str, tmp_path: Path) -> None:
    directory = waiting_letters(tmp_path / "lab")
    with forbidden(directory / what, 0o000):
        status, said = up(directory, under())
    assert status in (0, 2)
    assert said
    assert len(said) == 1
    assert any(word in said[0] for word in ("Permission denied", "permission", "not readable", "cannot be opened")), (
        said
    )
    with recovered(directory) as lab:
        let_go(lab)
        assert numbers(lab) == [1]


def waiting_letters(directory: Path, count: int = 1, part: str = "client") -> Path:
    """Make a lab's directory in which letters wait for a part that is paused."""
    with Lab(directory=directory) as lab:
        lab.order(Order("pause", part=part, site=SENDER))
        for number in range(1, count + 1):
            submit(lab, BOB, data=letter(number))
        lab.rest()
    return directory


def let_go(lab: Lab) -> None:
    """Let what waits go on."""
    for part in ("pickup", "client"):
        lab.order(Order("resume", part=part, site=SENDER))
    lab.rest()


def up(directory: Path, prefix: tuple[str, ...] = ()) -> tuple[int, list[str]]:
    """Run ``mailprobe lab up`` until it says that it is up; give its status, 0 if it was, and what else it said."""
    process = subprocess.Popen(
        [*prefix, COMMAND, "lab", "up", "--offset", str(next(OFFSETS)), "--directory", str(directory)],
        env=environment(),
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    said, is_up = [], False
    with process.stderr:
        for line in process.stderr:
            if line.startswith("export "):
                is_up = True
                process.send_signal(signal.SIGINT)
            elif line != "mailprobe: the lab has ended\n":
                said.append(line.rstrip("\n"))
    status = process.wait(TIMEOUT_S)
    assert not any("Traceback" in line for line in said), said
    return 0 if is_up else status, said


# -- directories -----------------------------------------------------------------------------------------------


def test_a_directory_that_is_a_file_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        status, said = up(path)
        assert status == 2
        assert len(said) == 1
        assert str(path) in said[0]
        with pytest.raises((UsageError, OSError)), Lab(directory=path) as lab:
            lab.lab_file()
    assert (tmp_path / "file").read_text() == "mine"


@unmighty
def test_a_directory_that_is_read_only_is_told_in_one_line(tmp_path: Path) -> None:
    with forbidden(tmp_path):
        for path in (tmp_path, tmp_path / "new"):
            status, said = up(path, under())
            assert status == 2
            assert len(said) == 1
            assert "Permission denied" in said[0]
            assert str(path) in said[0]
    assert list(tmp_path.iterdir()) == []


def test_a_second_lab_on_a_directory_is_refused_and_does_the_first_no_harm(tmp_path: Path) -> None:
    directory = waiting_letters(tmp_path / "lab")
    with Lab(directory=directory) as first:
        first.lab_file()
        let_go(first)
        status, said = up(directory)
        refusal = f"another lab runs in {directory}; end it first, or use another directory"
        assert (status, said) == (2, [f"mailprobe: {refusal}"])
        with pytest.raises(UsageError, match=f"^{refusal}$"):
            Lab(directory=directory).start()
        submit(first, BOB, data=letter(2))  # by the certificate that the first lab wrote there
        first.rest()
        assert numbers(first) == [1, 2]
    with Lab(directory=directory) as third:
        assert numbers(third) == [1, 2]


def test_two_labs_that_begin_at_once_do_not_share_a_post_office(tmp_path: Path) -> None:
    complaints: list[str] = []
    with Lab(directory=tmp_path) as first, Lab(directory=tmp_path, complain=complaints.append) as second:
        relay(first, BOB)
        with connected(second, f"mx.{RECEIVER}", 25) as client:
            assert client.mail("eve@far.test")[0] == 421
        first.rest()
        assert numbers(first) == [1]
    assert set(complaints) == {f"{RECEIVER}: another lab runs in {tmp_path}; end it first, or use another directory"}


# -- files of the spool that are no letters any more -----------------------------------------------------------


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def empty(file: Path) -> None:
    os.truncate(file, 0)


def garble(file: Path) -> None:
    file.write_bytes(b"\x1b[31m\0" * 1_000)


def link(file: Path) -> None:
    file.unlink()
    file.symlink_to("/etc/passwd")


def make_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def make_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


Harm = Callable[[Path], None]
HARMS: tuple[Harm, ...] = (flip, cut, empty, garble, link, make_folder, make_pipe)


@pytest.mark.parametrize("place", ["maildrop", "queue", "queue, unknown"])
@pytest.mark.parametrize("harm", HARMS)
def test_a_file_that_is_no_letter_any_more_is_put_aside_when_the_lab_starts(
    harm: Harm, place: str, tmp_path: Path
) -> None:
    directory = waiting_letters(tmp_path / "lab", 3, "pickup" if place == "maildrop" else "client")
    site, folder = directory / SENDER, place.partition(",")[0]
    harmed = files_in(site / folder)[1]
    if place == "queue, unknown":
        for file in site.glob("queue.db*"):
            file.unlink()
    harm(site / folder / harmed)
    complaints: list[str] = []
    with Lab(directory=directory, complain=complaints.append) as lab:
        lab.lab_file()
        let_go(lab)
        assert numbers(lab) == [1, 3]
    assert files_in(site / "corrupt") == [harmed, f"{harmed}.why"]
    assert len(complaints) == 1
    assert complaints[0].startswith(f"{SENDER}: {harmed} is no letter: ")
    assert complaints[0].isprintable()


@pytest.mark.parametrize("harm", HARMS)
def test_a_file_that_is_no_letter_any_more_is_put_aside_while_the_lab_runs(harm: Harm, tmp_path: Path) -> None:
    complaints: list[str] = []
    with Lab(directory=tmp_path, complain=complaints.append) as lab:
        lab.order(Order("pause", part="client"))
        for number in (1, 2, 3):
            submit(lab, BOB, data=letter(number))
        lab.rest()
        harmed = files_in(tmp_path / SENDER / "queue")[1]
        harm(tmp_path / SENDER / "queue" / harmed)
        lab.order(Order("resume", part="client"))
        lab.rest()
        assert numbers(lab) == [1, 3]
        assert files_in(tmp_path / SENDER / "corrupt") == [harmed, f"{harmed}.why"]
        assert len(complaints) == 1
        assert f"{harmed} is no letter: " in complaints[0]
        done = mailprobe("lab", "queue", "--directory", str(tmp_path))
        assert done.returncode == 0


def test_a_letter_whose_file_is_gone_is_told_of_and_the_rest_goes_on(tmp_path: Path) -> None:
    directory = waiting_letters(tmp_path / "lab", 3)
    gone = files_in(directory / SENDER / "queue")[1]
    (directory / SENDER / "queue" / gone).unlink()
    complaints: list[str] = []
    with Lab(directory=directory, complain=complaints.append) as lab:
        let_go(lab)
        assert numbers(lab) == [1, 3]
    assert len(complaints) == 1
    assert gone in complaints[0]
    assert "the file of the letter is gone" in complaints[0]


def test_names_that_nobody_wrote_in_the_spool_harm_nothing(tmp_path: Path) -> None:
    complaints: list[str] = []
    with Lab(directory=tmp_path, complain=complaints.append) as lab:
        lab.lab_file()
        maildrop = tmp_path / SENDER / "maildrop"
        for name in ("\x1b[2J", "a b", ".hidden", "x" * 200, "é"):
            (maildrop / name).write_bytes(b"{}\n")
        (maildrop / new_queue_id()).symlink_to("/dev/zero")
        submit(lab, BOB, data=letter(1))
        lab.order(Order("look"))
        lab.rest()
        assert numbers(lab) == [1]
        assert files_in(maildrop) == []
    assert len(complaints) == 6
    assert all(text.isprintable() for text in complaints)


# -- databases -------------------------------------------------------------------------------------------------


def overwrite(database: Path) -> None:
    database.write_bytes(GARBAGE)


def halve(database: Path) -> None:
    os.truncate(database, database.stat().st_size // 2)


def scratch(database: Path) -> None:
    """Damage everything behind the first page, which still says that this is a database."""
    with database.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (database.stat().st_size - 4096))


def come_from_the_future(database: Path) -> None:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA user_version = 99")


DAMAGES: tuple[Harm, ...] = (overwrite, halve, empty, scratch)


def damaged(directory: Path, site: str, name: str, damage: Harm) -> None:
    database = directory / site / name
    for suffix in ("-wal", "-shm"):
        database.with_name(name + suffix).unlink(missing_ok=True)
    damage(database)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_queue_loses_no_letter(damage: Harm, tmp_path: Path) -> None:
    directory = waiting_letters(tmp_path / "lab", 3)
    damaged(directory, SENDER, "queue.db", damage)
    complaints: list[str] = []
    with Lab(directory=directory, complain=complaints.append) as lab:
        lab.lab_file()
        let_go(lab)
        assert numbers(lab) == [1, 2, 3]
    assert len(complaints) == (damage is not empty)  # an empty file is as good as none
    assert all(text.startswith(f"{SENDER}: queue.db was damaged: it is now ") for text in complaints)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_index_loses_no_letter_of_a_mailbox(damage: Harm, tmp_path: Path) -> None:
    with Lab(directory=tmp_path) as lab:
        for number in (1, 2, 3):
            submit(lab, BOB, data=letter(number))
        lab.rest()
        before = uids(lab)
    damaged(tmp_path, RECEIVER, "mailboxes.db", damage)
    complaints: list[str] = []
    with Lab(directory=tmp_path, complain=complaints.append) as lab:
        after = uids(lab)
        submit(lab, BOB, data=letter(4))
        lab.rest()
        assert numbers(lab) == [1, 2, 3, 4]
    assert after[1] == 3
    assert after[0] > before[0], "the uids are others, and their validity says so"
    assert len(complaints) == 1
    assert "mailboxes.db was damaged" in complaints[0]


def uids(lab: Lab) -> tuple[int, int]:
    """Give uidvalidity and number of the letters in bob's mailbox."""
    with imap(lab) as client:
        client.login("bob", "secret")
        count = client.select(readonly=True)[1][0]
        validity = client.response("UIDVALIDITY")[1][0]
    assert isinstance(count, bytes)
    assert isinstance(validity, bytes)
    return int(validity), int(count)


@pytest.mark.parametrize("damage", [overwrite, halve, scratch])
def test_a_damaged_alias_table_makes_letters_wait_until_it_is_moved_away(damage: Harm, tmp_path: Path) -> None:
    with Lab(directory=tmp_path) as lab:
        submit(lab, f"team@{RECEIVER}", data=letter(1))
        lab.rest()
    damaged(tmp_path, RECEIVER, "aliases.db", damage)
    complaints: list[str] = []
    with Lab(directory=tmp_path, complain=complaints.append) as lab:
        submit(lab, f"team@{RECEIVER}", data=letter(2))
        lab.rest()
        assert numbers(lab) == [1]
        assert complaints
        assert all("aliases.db is damaged" in text and "move it away" in text for text in complaints), complaints
        for file in (tmp_path / RECEIVER).glob("aliases.db*"):
            file.unlink()
        lab.order(Order("restart", site=RECEIVER))
        lab.order(Order("tick", seconds=400))
        lab.rest()
        assert numbers(lab) == [1, 2]


@pytest.mark.parametrize("name", ["queue.db", "mailboxes.db", "aliases.db"])
def test_a_database_of_a_newer_program_is_left_alone(name: str, tmp_path: Path) -> None:
    directory = waiting_letters(tmp_path / "lab")
    damaged(directory, SENDER, name, come_from_the_future)
    status, said = up(directory)
    assert status == 0
    assert len(said) == 1
    assert name in said[0]
    with contextlib.closing(sqlite3.connect(directory / SENDER / name)) as connection:
        connection.execute("PRAGMA user_version = 1")
    with recovered(directory) as lab:
        let_go(lab)
        assert numbers(lab) == [1]


def test_a_database_that_fails_half_way_holds_no_half_of_a_letter(tmp_path: Path) -> None:
    queue = Queue(tmp_path / "queue.db")
    with contextlib.closing(sqlite3.connect(queue.path)) as other:
        other.execute("DROP TABLE recipient")  # so that the letter can be written, and whom it is for cannot
    with pytest.raises(DatabaseError):
        queue.add(spooled())
    with pytest.raises(DatabaseError):
        queue.commit()
    queue.close()
    with contextlib.closing(sqlite3.connect(queue.path)) as other:
        assert other.execute("SELECT count(*) FROM message").fetchone() == (0,)


def test_a_queue_that_fails_while_the_lab_runs_loses_no_letter(tmp_path: Path) -> None:
    complaints: list[str] = []
    with Lab(directory=tmp_path, complain=complaints.append) as lab:
        submit(lab, BOB, data=letter(1))
        lab.rest()
        with contextlib.closing(sqlite3.connect(tmp_path / RECEIVER / "queue.db")) as other:
            other.execute("DROP TABLE recipient")
        submit(lab, BOB, data=letter(2))
        lab.rest()
        assert len(files_in(tmp_path / RECEIVER / "queue")) == 1
        for file in (tmp_path / RECEIVER).glob("queue.db*"):
            file.unlink()
        lab.order(Order("restart", site=RECEIVER))
        lab.order(Order("tick", seconds=400))
        lab.rest()
        assert set(numbers(lab)) == {1, 2}
    assert complaints
    assert all("no such table: recipient" in text for text in complaints)


@pytest.mark.parametrize(
    "words", [("queue",), ("trace", "<1@test>"), ("aliases", SENDER), ("mailbox", f"alice@{SENDER}")]
)
@pytest.mark.parametrize("damage", DAMAGES)
def test_whoever_looks_at_damaged_databases_is_told_in_a_line(
    damage: Harm, words: tuple[str, ...], tmp_path: Path
) -> None:
    directory = waiting_letters(tmp_path / "lab")
    for site in (SENDER, RECEIVER):
        for name in ("queue.db", "mailboxes.db", "aliases.db"):
            if (directory / site / name).exists():
                damaged(directory, site, name, damage)
    done = mailprobe("lab", *words, "--directory", str(directory))
    assert done.returncode in {0, 2}
    assert len(done.stderr.splitlines()) == (done.returncode == 2)
    (directory / SENDER / "aliases.db").unlink()  # without which nobody knows where letters go
    with Lab(directory=directory) as lab:
        lab.lab_file()
        let_go(lab)
        assert numbers(lab) == [1]
