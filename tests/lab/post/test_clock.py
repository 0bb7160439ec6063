"""The lab's clock."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mailprobe.lab.post.clock import OFFSET_LIMIT_S, LabClock, read_offset
from mailprobe.model.errors import UsageError


def test_it_starts_at_the_real_time_and_only_goes_forward() -> None:
    clock = LabClock()
    before = datetime.now(UTC)
    assert clock.offset_s == 0
    assert before <= clock.now() <= datetime.now(UTC)
    clock.advance(300)
    assert clock.offset_s == 300
    assert clock.now() - before >= timedelta(seconds=300)
    assert clock.now().tzinfo is UTC


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf, OFFSET_LIMIT_S + 1])
def test_what_is_no_way_forward_is_refused_and_changes_nothing(seconds: float) -> None:
    clock = LabClock()
    with pytest.raises(UsageError):
        clock.advance(seconds)
    assert clock.offset_s == 0


def test_it_goes_on_from_its_file_after_a_restart(tmp_path: Path) -> None:
    LabClock(tmp_path / "clock").advance(0.1)
    LabClock(tmp_path / "clock").advance(0.2)
    assert LabClock(tmp_path / "clock").offset_s == 0.1 + 0.2
    assert [path.name for path in tmp_path.iterdir()] == ["clock"]


def test_another_process_that_moves_it_is_noticed_at_once(tmp_path: Path) -> None:
    ours, theirs = LabClock(tmp_path / "clock"), LabClock(tmp_path / "clock")
    for seconds in (300, 600, 900):
        theirs.advance(300)
        assert ours.offset_s == seconds
    ours.advance(100)
    assert theirs.offset_s == 1000


def test_it_does_not_go_back_when_the_file_is_damaged_or_removed(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    clock = LabClock(file)
    clock.advance(300)
    for text in (b"", b"junk", b"-5", b"nan", b"1e400", b"\xff\x00", b"9" * 1000, b"12"):
        file.write_bytes(text)
        assert clock.offset_s == 300
    file.unlink()
    assert clock.offset_s == 300


@pytest.mark.parametrize("octets", [b"", b"junk", b"-5\n", b"nan", b"1e400", b"\xff", b"9" * 1000])
def test_a_file_without_a_number_is_named(tmp_path: Path, octets: bytes) -> None:
    (tmp_path / "clock").write_bytes(octets)
    with pytest.raises(UsageError, match=r"clock holds no number of seconds; remove the file"):
        LabClock(tmp_path / "clock")


def test_a_folder_in_its_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Is a directory"):
        read_offset(tmp_path)
    with pytest.raises(UsageError, match=r"clock: No such file or directory"):
        LabClock(tmp_path / "missing" / "clock").advance(1)
