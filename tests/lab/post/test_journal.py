"""The journal: a letter is followed by its queue id or Message-ID, from site to site, whoever writes meanwhile."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from mailprobe.lab.post.database import DamagedDatabaseError
from mailprobe.lab.post.journal import Journal, follow, recent, trace
from mailprobe.lab.post.queue import Queue
from mailprobe.model.errors import UsageError
from mailprobe.model.road import RoadEvent, Step, What
from tests.lab.post.letters import NOW

MESSAGE_ID = "<1@a.test>"


class Site:
    """A site with a journal; its events are committed one by one."""

    def __init__(self, lab_dir: Path, name: str) -> None:
        (lab_dir / name).mkdir()
        self.name = name
        self.queue = Queue(lab_dir / name / "queue.db")
        self.journal = Journal(self.queue)

    def note(
        self, queue_id: str, what: What, message_id: str = MESSAGE_ID, at: float = 0, about: str = "", detail: str = ""
    ) -> RoadEvent:
        event = RoadEvent(
            at=NOW + timedelta(seconds=at),
            site=self.name,
            queue_id=queue_id,
            message_id=message_id,
            step=Step.BESIDE,
            what=what,
            recipient="bob@b.test",
            detail=detail,
        )
        self.journal.note(event, about)
        self.queue.commit()
        return event


@pytest.fixture
def sites(tmp_path: Path) -> tuple[Site, Site]:
    return Site(tmp_path, "sender.test"), Site(tmp_path, "receiver.test")


def test_a_letter_is_found_at_every_site_by_either_id(tmp_path: Path, sites: tuple[Site, Site]) -> None:
    sender, receiver = sites
    events = [
        sender.note("SEND1", What.SPOOLED, at=0),
        sender.note("SEND1", What.SENT, at=1),
        receiver.note("RECV1", What.RECEIVED, at=2),
        receiver.note("RECV1", What.STORED, at=3),
    ]
    sender.note("SEND2", What.SPOOLED, "<2@a.test>", at=1)
    for what in ("SEND1", "RECV1", MESSAGE_ID, "1@a.test", "<1@a.test", " <1@a.test> \n"):
        assert trace(tmp_path, what) == events
    for what in ("", "<>", "SEND", "nothing", "%", "' OR 1=1 --", "\udcff", "\x1b"):
        assert trace(tmp_path, what) == []


def test_the_reports_that_a_letter_caused_belong_to_it(tmp_path: Path, sites: tuple[Site, Site]) -> None:
    sender, receiver = sites
    bounced = receiver.note("RECV1", What.BOUNCED, at=1)
    report = receiver.note("DSN1", What.SPOOLED, "<r@b.test>", at=2, about="RECV1")
    arrived = sender.note("BACK1", What.STORED, "<r@b.test>", at=3)
    double = sender.note("DSN2", What.SPOOLED, "<d@a.test>", at=4, about="BACK1")
    assert trace(tmp_path, MESSAGE_ID) == [bounced, report, arrived, double]
    assert trace(tmp_path, "DSN1") == [report, arrived, double]


def test_letters_without_message_id_are_not_mixed_up(tmp_path: Path, sites: tuple[Site, Site]) -> None:
    sender, receiver = sites
    one = sender.note("SEND1", What.SPOOLED, "")
    receiver.note("RECV2", What.SPOOLED, "")
    assert trace(tmp_path, "SEND1") == [one]
    assert trace(tmp_path, "") == []


def test_events_of_one_moment_stay_in_the_order_in_which_they_happened(
    tmp_path: Path, sites: tuple[Site, Site]
) -> None:
    sender, receiver = sites
    for _ in range(5):
        receiver.note("OTHER", What.SPOOLED, "<other@a.test>")
    events = [site.note("Q1", What.SPOOLED, detail=str(number)) for number in range(5) for site in (sender, receiver)]
    earlier = sender.note("Q1", What.SPOOLED, at=-1)
    assert trace(tmp_path, "Q1") == [earlier, *events]


def test_nothing_is_seen_before_it_is_committed_and_all_of_it_at_once(tmp_path: Path, sites: tuple[Site, Site]) -> None:
    sender, _ = sites
    event = sender.note("SEND1", What.SPOOLED)
    sender.journal.note(event)
    sender.journal.note(event)
    assert trace(tmp_path, "SEND1") == [event]
    sender.queue.commit()
    assert trace(tmp_path, "SEND1") == [event] * 3


def test_following_gives_what_is_new_each_time_and_does_not_wait(tmp_path: Path, sites: tuple[Site, Site]) -> None:
    sender, receiver = sites
    news = follow(tmp_path, MESSAGE_ID)
    assert next(news) == []
    first = sender.note("SEND1", What.SPOOLED)
    assert next(news) == [first]
    assert next(news) == []
    second = receiver.note("RECV1", What.RECEIVED)
    receiver.note("DSN1", What.SPOOLED, "<r@b.test>")
    assert next(news) == [second]
    third = receiver.note("DSN1", What.SENT, "<r@b.test>", at=1, about="RECV1")
    assert [event.what for event in next(news)] == [What.SPOOLED, third.what]


def test_any_octets_are_kept_and_details_are_bounded(tmp_path: Path, sites: tuple[Site, Site]) -> None:
    sender, _ = sites
    event = sender.note("Q1", What.SENT, "<ü@a.test>", detail="\udcff\x1b[2J\0")
    assert trace(tmp_path, "<ü@a.test>") == [event]
    sender.note("Q2", What.SENT, "<2@a.test>", detail="x" * 1_000_000)
    assert len(trace(tmp_path, "Q2")[0].detail) == 2000


def test_the_last_events_of_all_sites_are_given(tmp_path: Path, sites: tuple[Site, Site]) -> None:
    sender, receiver = sites
    events = [site.note(f"Q{number}", What.SENT, at=number) for number in range(5) for site in (sender, receiver)]
    assert recent(tmp_path, 3) == events[-3:]
    assert recent(tmp_path, 100) == events
    assert recent(tmp_path, 0) == []


def test_the_journal_of_a_lab_that_was_killed_can_be_read(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from mailprobe.model.road import What\n"
        "from tests.lab.post.test_journal import Site\n"
        "site = Site(Path(sys.argv[1]), 'a.test')\n"
        "for _ in range(10): site.note('Q1', What.SENT)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(trace(tmp_path, "Q1")) == 10


def test_readers_are_not_disturbed_by_a_writer_that_is_in_the_middle(tmp_path: Path, sites: tuple[Site, Site]) -> None:
    sender, _ = sites
    event = sender.note("Q1", What.SENT)
    sender.queue.set("x", "y")
    assert trace(tmp_path, "Q1") == [event]
    sender.queue.commit()


def test_a_directory_without_post_offices_is_named(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UsageError, match="no post office has been in "):
            trace(directory, "Q1")


def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.test").mkdir()
    (tmp_path / "a.test" / "queue.db").write_bytes(b"junk" * 1000)
    with pytest.raises(DamagedDatabaseError, match=r"a\.test/queue\.db is damaged"):
        trace(tmp_path, "Q1")


def test_a_letter_that_goes_in_circles_is_traced_within_bounds(tmp_path: Path, sites: tuple[Site, Site]) -> None:
    for number in range(1500):
        sites[number % 2].note(f"Q{number}", What.SENT, f"<{number}@a.test>", about=f"Q{number - 1}" if number else "")
    assert 300 < len(trace(tmp_path, "Q0")) <= 1500
