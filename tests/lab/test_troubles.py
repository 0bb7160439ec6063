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
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailprobe.lab.post.control import Order
from mailprobe.lab.world import Lab
from mailprobe.model.errors import UsageError
from tests.installed import COMMAND, environment, mailprobe
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
from tests.lab.post.waiting import imap, let_go, numbers, waiting_letters

UNMIGHTY = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")  # root, whom permissions do not stop
OFFSETS = itertools.count(61_000 + os.getpid() % 30 * 100)  # above the ports that the system gives out


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as running:
        yield running


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
