"""No letter is lost and none is half: a lab is killed at points spread over all that it does, and started again.

At least once is what is promised: a copy too many is counted and told, a letter too few or cut fails the test.
"""

from __future__ import annotations

import email
import re
import smtplib
from collections import Counter
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from mailprobe.lab.post.waiting import read_rows
from tests.lab.post.killed_lab import GREY
from tests.lab.post.mortal import Mortal, mortal, recovered
from tests.lab.post.sites import (
    ALICE,
    BOB,
    CAROL,
    RECEIVER,
    SENDER,
    TIMEOUT_S,
    arrived,
    files_in,
    letter,
    submit,
)

CHUNKS, KILLS = 12, 5  # chunks, so that several workers can share them
OPENINGS = 24  # kills while a post office is opened for the first time
_REPORTED = re.compile(rb"^Message-ID: <(\d+)@test>", re.MULTILINE)
CLUB = {f"gus@{GREY}", f"gwen@{GREY}", ALICE}


class Errand(msgspec.Struct, frozen=True):
    """A letter: who it is for, in whose mailboxes it has to be, and of how many failures its sender has to hear."""

    to: tuple[str, ...]
    copies: frozenset[str]
    reports: int = 0
    body: bytes = b"Hello\r\n"


LAST = 8  # is sent when the lab has recovered: all that was there works again, the aliases too
ERRANDS = {
    1: Errand((BOB,), frozenset({BOB})),
    2: Errand((f"team@{RECEIVER}",), frozenset({BOB, CAROL}), body=b"..\r\n.\r\n\xe2\x82\xac\r\n"),
    3: Errand((BOB, f"amir@{SENDER}", f"gus@{GREY}"), frozenset({BOB, f"amir@{SENDER}", f"gus@{GREY}"})),
    4: Errand((f"ghost@{RECEIVER}",), frozenset(), reports=1),
    5: Errand((f"club@{GREY}",), frozenset(CLUB), reports=1),
    6: Errand((f"dave@{RECEIVER}",), frozenset({f"dave@{RECEIVER}"}), body=b"0123456789abcdef" * 62 + b"\r\n"),
    7: Errand((f"dave@{RECEIVER}",), frozenset({f"dave@{RECEIVER}"}), body=(b"x" * 70 + b"\r\n") * 6_000),
    LAST: Errand(
        (f"team@{RECEIVER}", f"postmaster@{GREY}", f"abuse@{SENDER}"), frozenset({BOB, CAROL, f"gwen@{GREY}", ALICE})
    ),
}


def text(number: int) -> bytes:
    return letter(number, ERRANDS[number].body)


# -- living and dying --------------------------------------------------------------------------------------------


def hand_over(lab: Mortal) -> set[int]:
    """Submit all letters, and give the numbers of those that were acknowledged before the lab died."""
    accepted: set[int] = set()
    with suppress(OSError, smtplib.SMTPException, KeyError), smtplib.SMTP(timeout=TIMEOUT_S) as client:
        client.connect(*lab.ports[f"{SENDER}:587"])
        client._host = f"mx.{SENDER}"  # type: ignore[attr-defined]
        client.ehlo("client.test")
        client.starttls(context=lab.context())
        client.login("alice", "secret")
        for number in range(1, LAST):
            assert client.sendmail(ALICE, ERRANDS[number].to, text(number)) == {}
            accepted.add(number)
    return accepted


def recover(directory: Path) -> None:
    """Start the lab again, let it finish, and use it."""
    with recovered(directory) as lab:
        submit(lab, *ERRANDS[LAST].to, data=text(LAST))
        lab.rest(TIMEOUT_S)


# -- what has to hold ------------------------------------------------------------------------------------------


class Found(msgspec.Struct):
    """What lies in the mailboxes: whose copies of which letter, and of which letters a report came back."""

    copies: Counter[tuple[int, str]]
    reports: Counter[int]

    @property
    def duplicates(self) -> int:
        wanted = {number: errand.reports for number, errand in ERRANDS.items()}
        return sum(count - 1 for count in self.copies.values()) + sum(
            count - wanted[number] for number, count in self.reports.items()
        )


def look(directory: Path) -> Found:
    """Read every letter of every mailbox; each must be whole."""
    found = Found(Counter(), Counter())
    for file in sorted(directory.glob("*/mail/*/*/*")):
        site, user = file.parts[-5], file.parts[-3]
        assert file.parent.name != "tmp", f"{file} is left over"
        number = _number(file.read_bytes())
        if number:
            found.copies[number, f"{user}@{site}"] += 1
        else:
            assert (user, site) == ("alice", SENDER)
            found.reports[_reported(file.read_bytes())] += 1
    return found


def _number(data: bytes) -> int:
    """Give the number of a letter of ours, which must be here to the octet; 0 for any other."""
    name = email.message_from_bytes(data)["Message-ID"]
    local, _, domain = name.strip("<>").partition("@")
    if domain != "test":
        return 0
    assert arrived(data) == text(int(local)), f"letter {local} is not what was sent"
    return int(local)


def _reported(data: bytes) -> int:
    """Give the number of the letter that a report is about; the report must be whole."""
    report = email.message_from_bytes(data)
    assert report.get_content_type() == "multipart/report"
    assert data.endswith(f"--{report.get_boundary()}--\r\n".encode())
    found = _REPORTED.findall(data)
    assert len(found) == 1
    return int(found[0])


def check(directory: Path, accepted: set[int]) -> Found:
    """See that nothing accepted is missing, nothing is there in part, and nothing is left to do."""
    found = look(directory)
    seen = {number for number, _ in found.copies} | set(found.reports)
    for number in accepted | seen | {LAST}:  # what was not acknowledged may be there, then for everybody
        errand = ERRANDS[number]
        assert {who for found_number, who in found.copies if found_number == number} == errand.copies
        assert found.reports[number] >= errand.reports
    for site in (SENDER, RECEIVER, GREY):
        for folder in ("maildrop", "queue", "tmp", "corrupt"):
            assert files_in(directory / site / folder) == [], f"{site}/{folder}"
        assert read_rows(directory / site) == []
    return found


# -- on the road -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Counter[str]:
    """Count the points of a life in which nothing goes wrong."""
    directory = tmp_path_factory.mktemp("reference") / "lab"
    with mortal(directory) as lab:
        assert hand_over(lab) == set(range(1, LAST))
        assert lab.ask("rest") == "rested"
        passed = Counter(lab.ask("points"))
    recover(directory)
    assert check(directory, set(ERRANDS)).duplicates == 0
    return passed


def test_a_life_has_points_in_all_that_is_done(points: Counter[str]) -> None:
    print(f"{points.total()} points: {points.most_common()}")
    assert points.total() > 500
    assert min(points[kind] for kind in ("fsync", "os.rename", "os.remove", "sql insert", "sql commit")) > 10
    assert min(points[kind] for kind in ("socket.connect", "socket.send", "open", "write")) > 5


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_killed_at_any_point_it_loses_no_accepted_letter(chunk: int, points: Counter[str], tmp_path: Path) -> None:
    for kill in range(KILLS):
        share = (chunk + CHUNKS * kill + 0.5) / (CHUNKS * KILLS)
        directory = tmp_path / str(kill)
        accepted, where = live_and_die(directory, round(points.total() * 0.97 * share))
        recover(directory)
        found = check(directory, accepted)
        print(f"killed before {where}: {len(accepted)} accepted, {found.duplicates} duplicates")
        assert where, "it was killed"


def live_and_die(directory: Path, point: int) -> tuple[set[int], str]:
    lab = Mortal(directory, point)
    accepted = hand_over(lab)
    lab.ask("rest")
    return accepted, lab.end()


@pytest.mark.parametrize("chunk", range(4))
def test_killed_while_an_office_is_opened_for_the_first_time_it_opens_later(chunk: int, tmp_path: Path) -> None:
    with mortal(tmp_path / "whole") as lab:
        points = opened(lab, 0)
    for kill in range(chunk, OPENINGS, 4):
        directory = tmp_path / str(kill)
        lab = Mortal(directory)
        opened(lab, 1 + round((points - 2) * kill / OPENINGS))
        where = lab.end()
        recover(directory)
        check(directory, set())
        print(f"killed before {where or 'nothing'}")


def opened(lab: Mortal, point: int) -> int:
    """Come to a post office that nobody came to before; give the points that this took."""
    assert lab.ask(f"arm {point}") == "armed"
    with suppress(OSError, smtplib.SMTPException), smtplib.SMTP(timeout=TIMEOUT_S) as client:
        client.connect(*lab.ports[f"{SENDER}:587"])
        client.ehlo("client.test")
    return sum((lab.ask("points") or {}).values())


@pytest.mark.parametrize("chunk", range(6))
def test_killed_again_while_it_recovers_it_loses_nothing_either(
    chunk: int, points: Counter[str], tmp_path: Path
) -> None:
    for number in range(2):
        directory = tmp_path / str(number)
        accepted, where = live_and_die(directory, round(points.total() * (0.3 + 0.1 * chunk)))
        deaths = [where]
        for point in (60 + 20 * chunk, 45 + 50 * number, 150):
            lab = Mortal(directory, point)
            lab.ask("rest")
            deaths.append(lab.end())
        recover(directory)
        found = check(directory, accepted)
        print(f"killed before {deaths}: {len(accepted)} accepted, {found.duplicates} duplicates")
