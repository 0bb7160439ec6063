"""Files of a lab that somebody or something has damaged: told of in a line, and no other letter suffers."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from mailprobe.lab.post.control import Order
from mailprobe.lab.post.database import DatabaseError
from mailprobe.lab.post.queue import Queue
from mailprobe.lab.post.spool import new_queue_id
from mailprobe.lab.world import Lab
from tests.installed import mailprobe
from tests.lab.post.letters import spooled
from tests.lab.post.mortal import recovered
from tests.lab.post.sites import BOB, RECEIVER, SENDER, files_in, letter, submit
from tests.lab.post.waiting import imap, let_go, numbers, waiting_letters

GARBAGE = b"this is no database " * 400


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
    complaints: list[str] = []
    with Lab(directory=directory, complain=complaints.append):
        pass
    assert len(complaints) == 1
    assert f"{name} was made by a newer mailprobe; use that one, or remove the file" in complaints[0]
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
