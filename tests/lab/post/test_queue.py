"""The queue: its states, its times, and that nothing is lost with it."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from mailprobe.lab.post.database import DamagedDatabaseError, DatabaseError
from mailprobe.lab.post.expander import Kind as Goal
from mailprobe.lab.post.expander import Target
from mailprobe.lab.post.queue import LETTERS_KEPT, TRIM_EVERY, Kind, Queue, Recipient, Schedule, State, read_rows
from mailprobe.lab.post.spool import Spool, Spooled, SpoolError, new_queue_id
from mailprobe.model.errors import UsageError
from mailprobe.protocols.mailstore import Asked
from tests.lab.post.letters import DATA, NOW, envelope, spooled


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    opened = Queue(tmp_path / "queue.db")
    yield opened
    opened.close()


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def target(recipient: str, kind: Goal = Goal.MAILBOX, address: str = "", **fields: str) -> Target:
    path = (recipient, address) if address else (recipient,)
    return Target(kind=kind, address=address or recipient, path=path, **fields)


def due(queue: Queue, at: datetime = NOW) -> list[tuple[str, list[str]]]:
    return [(item.message.queue_id, [each.address for each in item.recipients]) for item in queue.due(at)]


def straight(queue: Queue, letter: Spooled) -> tuple[Recipient, ...]:
    """Bring a letter through an expander that changes nothing, and make its recipients active."""
    queue.add(letter)
    queue.due(NOW)
    queue.expanded(letter.queue_id, [target(address) for address in letter.envelope.recipients], NOW)
    (item,) = queue.due(NOW)
    return item.recipients


# The schedule


def test_waits_double_up_to_the_longest() -> None:
    schedule = Schedule()
    assert [schedule.backoff(tries) for tries in range(7)] == [300, 300, 600, 1200, 2400, 4000, 4000]
    assert schedule.backoff(100_000) == 4000
    assert Schedule(minimal_backoff_s=10, maximal_backoff_s=5).backoff(3) == 10
    assert schedule.next_try(2, NOW) == later(600)


def test_a_letter_expires_after_five_days_and_warns_only_when_asked_to() -> None:
    schedule = Schedule()
    assert not schedule.is_expired(NOW, later(5 * 86400 - 1))
    assert schedule.is_expired(NOW, later(5 * 86400))
    assert schedule.expires(NOW) == later(5 * 86400)
    assert not schedule.is_warning_due(NOW, later(5 * 86400))
    assert Schedule(delay_warning_s=14400).is_warning_due(NOW, later(14400))
    assert not Schedule(delay_warning_s=14400).is_warning_due(NOW, later(14399))


# The way of a letter


def test_a_letter_waits_for_the_expander_then_for_delivery_and_is_finished(queue: Queue) -> None:
    letter = spooled("team@b.test", "x@c.test")
    assert queue.add(letter)
    (first,) = queue.due(NOW)
    assert first.message == queue.message(letter.queue_id)
    assert (first.message.message_id, first.message.size) == ("<1@a.test>", len(DATA))
    assert [(each.number, each.kind, each.state) for each in first.recipients] == [
        (0, Kind.NEW, State.ACTIVE),
        (1, Kind.NEW, State.ACTIVE),
    ]
    targets = [
        target("team@b.test", address="bob@b.test", user="bob", owner="owner-team@b.test"),
        target("x@c.test", Goal.REMOTE),
    ]
    new = queue.expanded(letter.queue_id, targets, NOW)
    (second,) = queue.due(NOW)
    assert [(each.number, each.kind, each.address, each.recipient, each.user, each.sender) for each in new] == [
        (2, Kind.MAILBOX, "bob@b.test", "team@b.test", "bob", "owner-team@b.test"),
        (3, Kind.REMOTE, "x@c.test", "x@c.test", "", "a@a.test"),
    ]
    assert [each.address for each in second.recipients] == ["bob@b.test", "x@c.test"]
    assert not queue.finished(letter.queue_id)
    queue.mark(letter.queue_id, 2, State.SENT, "delivered")
    queue.mark(letter.queue_id, 3, State.BOUNCED, "550 5.1.1 no", remote="mx.c.test")
    assert queue.finished(letter.queue_id)
    assert queue.unfinished() == []
    last = queue.recipients(letter.queue_id)[1]
    assert (last.state, last.reply, last.remote, last.tries) == (State.BOUNCED, "550 5.1.1 no", "mx.c.test", 1)


def test_adding_a_letter_again_changes_nothing(queue: Queue) -> None:
    letter = spooled()
    (recipient,) = straight(queue, letter)
    queue.mark(letter.queue_id, recipient.number, State.SENT, "ok")
    assert not queue.add(letter)
    assert [each.state for each in queue.recipients(letter.queue_id)] == [State.SENT]


def test_a_recipient_that_is_named_twice_is_there_once(queue: Queue) -> None:
    letter = spooled("bob@b.test", "bob@b.test", "carol@b.test")
    queue.add(letter)
    assert due(queue) == [(letter.queue_id, ["bob@b.test", "carol@b.test"])]


def test_what_the_sender_asked_for_stays_with_each_recipient(queue: Queue) -> None:
    asked = (Asked("NEVER", "rfc822;x@c.test"), Asked())
    letter = Spooled(
        queue_id=new_queue_id(),
        envelope=envelope("list@b.test", "bob@b.test", asked=asked),
        data=DATA,
        origin="network",
        arrived=NOW,
    )
    queue.add(letter)
    queue.due(NOW)
    targets = [target("list@b.test", address="carol@b.test"), target("bob@b.test")]
    new = queue.expanded(letter.queue_id, targets, NOW)
    assert [(each.notify, each.orcpt) for each in new] == [("NEVER", "rfc822;x@c.test"), (None, "")]


def test_an_owner_does_not_make_a_report_answerable(queue: Queue) -> None:
    letter = Spooled(
        queue_id=new_queue_id(), envelope=envelope("l@b.test", sender=""), data=DATA, origin="network", arrived=NOW
    )
    queue.add(letter)
    queue.due(NOW)
    (new,) = queue.expanded(letter.queue_id, [target("l@b.test", address="bob@b.test", owner="owner-l@b.test")], NOW)
    assert new.sender == ""


def test_an_alias_that_cannot_be_read_now_is_expanded_again_later(queue: Queue) -> None:
    letter = spooled("team@b.test")
    queue.add(letter)
    queue.due(NOW)
    failed = target("team@b.test", Goal.FAILED, enhanced="4.2.4", text=":include:x: no such file")
    (new,) = queue.expanded(letter.queue_id, [failed], NOW)
    assert (new.kind, new.state, new.next_try, new.tries) == (Kind.NEW, State.DEFERRED, later(300), 1)
    assert due(queue, later(299)) == []
    (again,) = queue.due(later(300))
    assert again.recipients[0].reply == "4.2.4 :include:x: no such file"
    (new,) = queue.expanded(letter.queue_id, [target("team@b.test")], later(300))
    assert (new.kind, new.number) == (Kind.MAILBOX, 2)


def test_a_letter_that_is_gone_or_expanded_already_is_not_expanded(queue: Queue) -> None:
    assert queue.expanded("GONE", [target("bob@b.test")], NOW) == ()
    letter = spooled()
    straight(queue, letter)
    assert queue.expanded(letter.queue_id, [target("bob@b.test")], NOW) == ()
    assert not queue.finished("GONE")


def test_a_deferred_recipient_is_due_at_its_time_and_not_before(queue: Queue) -> None:
    letter = spooled("bob@b.test", "carol@b.test")
    bob, carol = straight(queue, letter)
    queue.mark(letter.queue_id, bob.number, State.DEFERRED, "451 later", later(300))
    queue.mark(letter.queue_id, carol.number, State.DEFERRED, "451 later", later(600))
    assert queue.next_due() == later(300)
    assert due(queue, later(299)) == []
    assert due(queue, later(300)) == [(letter.queue_id, ["bob@b.test"])]
    assert due(queue, later(300)) == []
    assert queue.next_due() == later(600)
    assert due(queue, later(9000)) == [(letter.queue_id, ["carol@b.test"])]
    assert queue.next_due() is None


def test_what_was_put_back_untried_does_not_count_as_a_try(queue: Queue) -> None:
    letter = spooled()
    (bob,) = straight(queue, letter)
    queue.mark(letter.queue_id, bob.number, State.INCOMING, "", NOW, tried=False)
    (item,) = queue.due(NOW)
    assert item.recipients[0].tries == 0


def test_letters_are_given_out_first_come_first_served_up_to_the_limit(queue: Queue) -> None:
    letters = [spooled("bob@b.test", "carol@b.test", at=later(number)) for number in range(5)]
    for letter in reversed(letters):
        queue.add(letter)
    given = [item.message.queue_id for _ in range(3) for item in queue.due(later(10), limit=2)]
    assert given == [letter.queue_id for letter in letters]


def test_only_what_the_running_parts_can_do_is_given_out(queue: Queue) -> None:
    letter = spooled("bob@b.test", "x@c.test")
    queue.add(letter)
    assert queue.due(NOW, kinds=[Kind.MAILBOX, Kind.REMOTE]) == []
    queue.due(NOW, kinds=[Kind.NEW])
    queue.expanded(letter.queue_id, [target("bob@b.test"), target("x@c.test", Goal.REMOTE)], NOW)
    (item,) = queue.due(NOW, kinds=[Kind.MAILBOX])
    assert [each.address for each in item.recipients] == ["bob@b.test"]
    assert queue.next_due([Kind.MAILBOX]) is None
    assert queue.next_due([Kind.REMOTE]) == NOW


def test_any_octets_in_addresses_and_replies_come_back_as_they_were(queue: Queue) -> None:
    hostile = "\udcff\x1b[2J'\"; DROP TABLE message;--\x00ü@b.test"
    letter = Spooled(
        queue_id=new_queue_id(), envelope=envelope(hostile, sender=hostile), data=DATA, origin="network", arrived=NOW
    )
    (recipient,) = straight(queue, letter)
    queue.mark(letter.queue_id, recipient.number, State.DEFERRED, hostile, NOW, remote=hostile)
    (found,) = queue.recipients(letter.queue_id)
    assert (found.address, found.sender, found.reply, found.remote) == (hostile,) * 4
    assert queue.message(letter.queue_id) is not None


def test_replies_are_bounded(queue: Queue) -> None:
    letter = spooled()
    (recipient,) = straight(queue, letter)
    queue.mark(letter.queue_id, recipient.number, State.BOUNCED, "x" * 1_000_000)
    assert len(queue.recipients(letter.queue_id)[0].reply) == 1000


# What an administrator does


def test_letters_are_held_and_released_one_or_all(queue: Queue) -> None:
    one, two = spooled(), spooled()
    queue.add(one)
    queue.add(two)
    assert queue.hold(one.queue_id) == 1
    assert due(queue) == [(two.queue_id, ["bob@b.test"])]
    assert queue.hold() == 0
    assert not queue.finished(one.queue_id)
    assert queue.release(NOW) == 1
    assert due(queue) == [(one.queue_id, ["bob@b.test"])]


def test_a_flush_makes_deferred_letters_due_now_and_leaves_held_ones(queue: Queue) -> None:
    letter, held = spooled(), spooled()
    (bob,) = straight(queue, letter)
    queue.mark(letter.queue_id, bob.number, State.DEFERRED, "", later(300))
    queue.add(held)
    queue.hold(held.queue_id)
    assert queue.flush(NOW, held.queue_id) == 0
    assert queue.flush(NOW) == 1
    assert due(queue) == [(letter.queue_id, ["bob@b.test"])]


def test_a_deleted_letter_is_forgotten_but_for_what_is_being_worked_on(queue: Queue) -> None:
    letter, other = spooled("bob@b.test", "carol@b.test"), spooled()
    bob, carol = straight(queue, letter)
    queue.add(other)
    queue.mark(letter.queue_id, carol.number, State.DEFERRED, "", later(300))
    assert queue.delete(letter.queue_id) == 1
    assert [each.number for each in queue.recipients(letter.queue_id)] == [bob.number]
    queue.mark(letter.queue_id, bob.number, State.SENT)
    assert queue.delete() == 2
    assert queue.known() == set()


def test_recipients_are_counted_by_state(queue: Queue) -> None:
    straight(queue, spooled("bob@b.test", "carol@b.test"))
    queue.add(spooled())
    counts = queue.counts()
    assert set(counts) == set(State)
    assert (counts[State.ACTIVE], counts[State.INCOMING], counts[State.SENT]) == (2, 1, 0)


def test_settings_outlive_the_process(tmp_path: Path) -> None:
    with Queue(tmp_path / "queue.db") as queue:
        queue.set("paused", "pickup")
        queue.set("gone", "x")
        queue.set("gone", None)
    queue.close()
    again = Queue(tmp_path / "queue.db")
    assert (again.setting("paused"), again.setting("gone")) == ("pickup", None)


# Crashes and damage


def test_what_was_being_worked_on_is_due_again_after_a_restart(tmp_path: Path) -> None:
    letter = spooled("bob@b.test", "carol@b.test")
    with Queue(tmp_path / "queue.db") as queue:
        bob, _ = straight(queue, letter)
        queue.mark(letter.queue_id, bob.number, State.SENT)
    queue.close()
    again = Queue(tmp_path / "queue.db")
    assert again.unfinished() == [letter.queue_id]
    assert due(again) == [(letter.queue_id, ["carol@b.test"])]


def test_what_was_not_committed_is_forgotten_and_what_was_is_not(tmp_path: Path) -> None:
    queue = Queue(tmp_path / "queue.db")
    one, two = spooled(), spooled()
    queue.add(one)
    queue.commit()
    queue.add(two)
    queue.close()
    assert Queue(tmp_path / "queue.db").known() == {one.queue_id}


def test_an_error_takes_back_what_was_not_committed(tmp_path: Path) -> None:
    queue = Queue(tmp_path / "queue.db")
    queue.add(spooled())
    with pytest.raises(SpoolError), queue:
        Spool(tmp_path).take("GONE")
    assert queue.known() == set()


def test_what_was_committed_survives_a_kill(tmp_path: Path) -> None:
    script = (
        "import sys, os, signal\n"
        "from pathlib import Path\n"
        "from mailprobe.lab.post.queue import Queue\n"
        "from tests.lab.post.letters import spooled\n"
        "queue = Queue(Path(sys.argv[1]))\n"
        "for _ in range(20): queue.add(spooled())\n"
        "queue.commit()\n"
        "queue.add(spooled())\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "queue.db")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(read_rows(tmp_path)) == 20
    assert len(Queue(tmp_path / "queue.db").known()) == 20


@pytest.mark.parametrize("damage", [b"no database at all " * 500, b"\0" * 8192, b"SQLite format 3\0" + b"\xff" * 8000])
def test_a_damaged_database_moves_aside_and_the_letters_come_back_from_their_files(
    tmp_path: Path, damage: bytes
) -> None:
    spool = Spool(tmp_path)
    letters = [spooled() for _ in range(3)]
    for letter in letters:
        spool.write(letter)
        spool.take(letter.queue_id)
    (tmp_path / "queue.db").write_bytes(damage)
    (tmp_path / "queue.db-wal").write_bytes(b"left over")
    with pytest.raises(DamagedDatabaseError, match=r"queue\.db is (damaged|another program's)"):
        Queue(tmp_path / "queue.db")
    queue = Queue.open_or_rebuild(tmp_path / "queue.db", NOW)
    assert queue.moved_aside == tmp_path / "queue.db.damaged-20240304T050607"
    assert queue.moved_aside.read_bytes() == damage
    for queue_id in spool.orphans(queue.known()):
        queue.add(spool.read(queue_id))
    assert queue.unfinished() == [letter.queue_id for letter in letters]
    queue.close()
    (tmp_path / "queue.db").write_bytes(damage)
    again = Queue.open_or_rebuild(tmp_path / "queue.db", NOW)
    assert again.moved_aside == tmp_path / "queue.db.damaged-20240304T050607-1"


def test_a_page_damaged_in_the_middle_is_found_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "queue.db"
    with Queue(file) as queue:
        for _ in range(300):
            queue.add(spooled())
    queue.close()
    octets = bytearray(file.read_bytes())
    octets[len(octets) // 2 :] = os.urandom(len(octets) - len(octets) // 2)
    file.write_bytes(octets)
    assert Queue.open_or_rebuild(file, NOW).moved_aside is not None


def test_an_empty_file_is_a_new_database_and_a_healthy_one_stays(tmp_path: Path) -> None:
    (tmp_path / "queue.db").touch()
    with Queue.open_or_rebuild(tmp_path / "queue.db", NOW) as queue:
        queue.add(spooled())
    queue.close()
    again = Queue.open_or_rebuild(tmp_path / "queue.db", NOW)
    assert again.moved_aside is None
    assert len(again.known()) == 1


def test_a_folder_in_its_place_is_an_error_and_not_damage(tmp_path: Path) -> None:
    (tmp_path / "queue.db").mkdir()
    with pytest.raises(DatabaseError, match=r"queue\.db: cannot be opened") as caught:
        Queue.open_or_rebuild(tmp_path / "queue.db", NOW)
    assert not isinstance(caught.value, DamagedDatabaseError)


def test_another_program_that_keeps_it_locked_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailprobe.lab.post.database.BUSY_S", 0.0)
    Queue(tmp_path / "queue.db").close()
    other = sqlite3.connect(tmp_path / "queue.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(DatabaseError, match="another process is writing it; does a lab run in this directory"):
        Queue(tmp_path / "queue.db")
    other.close()


def test_the_database_forgets_the_oldest_finished_letters_only(tmp_path: Path) -> None:
    queue = Queue(tmp_path / "queue.db")
    waiting, finished = spooled(), spooled()
    queue.add(waiting)
    (recipient,) = straight(queue, finished)[-1:]
    queue.mark(finished.queue_id, recipient.number, State.SENT)
    for _ in range(LETTERS_KEPT + TRIM_EVERY):
        queue.add(spooled())
    queue.commit()
    known = queue.known()
    assert finished.queue_id not in known
    assert waiting.queue_id in known
    assert queue.recipients(finished.queue_id) == ()
    assert len(queue.recipients(waiting.queue_id)) == 1


# Other processes look


def test_everything_that_a_site_has_is_listed_while_the_lab_writes(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    in_spool, orphan, queued, sent = (spooled("bob@b.test", "x@c.test") for _ in range(4))
    queue = Queue(tmp_path / "queue.db")
    for letter in (queued, sent):
        straight(queue, letter)
    for recipient in queue.recipients(sent.queue_id):
        queue.mark(sent.queue_id, recipient.number, State.SENT, "ok")
    queue.mark(queued.queue_id, 2, State.DEFERRED, "451 later", later(300))
    queue.commit()
    queue.add(spooled())
    for letter in (in_spool, orphan, queued):
        spool.write(letter)
    spool.take(orphan.queue_id)
    spool.take(queued.queue_id)
    rows = read_rows(tmp_path)
    assert [(row.queue_id, row.recipient, row.state) for row in rows] == [
        (in_spool.queue_id, "bob@b.test", "spool"),
        (in_spool.queue_id, "x@c.test", "spool"),
        (orphan.queue_id, "bob@b.test", "spool"),
        (orphan.queue_id, "x@c.test", "spool"),
        (queued.queue_id, "bob@b.test", "deferred"),
        (queued.queue_id, "x@c.test", "active"),
    ]
    assert (rows[4].reply, rows[4].next_try, rows[4].tries) == ("451 later", later(300), 1)
    assert (rows[0].site, rows[0].arrived, rows[0].size) == (tmp_path.name, NOW, len(DATA))
    assert rows[4:] == [row for row in queue.rows(tmp_path.name) if row.queue_id == queued.queue_id]
    assert [row.state for row in read_rows(tmp_path, finished=True)][-2:] == ["sent", "sent"]


def test_looking_changes_nothing_and_unreadable_letters_are_listed_with_the_reason(tmp_path: Path) -> None:
    Spool(tmp_path)
    (tmp_path / "maildrop" / "ABCDEFG").write_bytes(b"junk\n")
    (tmp_path / "maildrop" / "HIJKLMN").mkdir()
    (tmp_path / "maildrop" / ".hidden").touch()
    before = sorted(tmp_path.rglob("*"))
    rows = read_rows(tmp_path)
    assert [(row.queue_id, row.state, row.recipient) for row in rows] == [
        ("ABCDEFG", "spool", ""),
        ("HIJKLMN", "spool", ""),
    ]
    assert rows[0].reply.startswith("no letter: its first line is no envelope")
    assert rows[1].reply == "no letter: it cannot be opened: not a plain file"
    assert sorted(tmp_path.rglob("*")) == before


def test_a_directory_without_a_post_office_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not the directory of a post office"):
        read_rows(tmp_path)
    with pytest.raises(UsageError, match="is not the directory of a post office"):
        read_rows(tmp_path / "missing")


def test_a_damaged_database_is_named_to_who_looks(tmp_path: Path) -> None:
    Spool(tmp_path)
    (tmp_path / "queue.db").write_bytes(b"junk" * 1000)
    with pytest.raises(DamagedDatabaseError, match=r"queue\.db is damaged"):
        read_rows(tmp_path)


def read_as_nobody(directory: Path) -> str:
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from mailprobe.lab.post.queue import read_rows\n"
        "from mailprobe.model.errors import MailprobeError\n"
        "os.chdir('/')\n"
        "os.setgroups([]) if os.geteuid() == 0 else None\n"
        "os.setuid(65534) if os.geteuid() == 0 else None\n"
        "try: sys.stdout.write(str(len(read_rows(Path(sys.argv[1])))))\n"
        "except MailprobeError as error: sys.stdout.write(str(error))\n"
    )
    words = [sys.executable, "-c", script, str(directory)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def read_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A post office whose folder others may read and not write."""
    directory = Path(f"/tmp/mailprobe-read-only-{os.getpid()}")
    Spool(directory)
    queue = Queue(directory / "queue.db")
    queue.add(spooled())
    queue.commit()
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield directory
    queue.close()
    directory.chmod(0o755)
    shutil.rmtree(directory)


def test_a_read_only_directory_can_be_looked_into_or_says_why_not(read_only: Path) -> None:
    assert read_as_nobody(read_only) == "1"  # while the lab runs
    read_only.chmod(0o755)
    (read_only / "queue.db-shm").unlink()  # as when a copy was made of a lab that runs
    read_only.chmod(0o555)
    said = read_as_nobody(read_only)
    assert said.startswith(f"{read_only}/queue.db cannot be read: its folder is read-only here, and its last changes")
    assert said.endswith("copy the folder to where you may write, and read it there")


def test_a_read_only_directory_of_a_lab_that_ended_well_can_be_looked_into(tmp_path: Path) -> None:
    directory = Path(f"/tmp/mailprobe-ended-{os.getpid()}")
    try:
        Spool(directory)
        with Queue(directory / "queue.db") as queue:
            queue.add(spooled())
        queue.close()
        for path in (directory, *directory.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        assert read_as_nobody(directory) == "1"
    finally:
        directory.chmod(0o755)
        shutil.rmtree(directory)
