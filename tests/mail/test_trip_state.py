"""The file in which trips are remembered: whole or not at all, and a clear word when it is damaged."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from mailprobe.mail.trip_state import LETTERS_LIMIT, SentLetter, change_state, read_state
from mailprobe.model.errors import UsageError
from tests.checks.trips import sending


def letter(token: str = "mp-1", *, noted: bool = True) -> SentLetter:
    return SentLetter(
        token=token,
        message_id=f"<{token}@a.test>",
        sender="alice@a.test",
        recipient="bob@b.test",
        sent_at=datetime(2026, 3, 1, 12, tzinfo=UTC),
        body=b"From here\r\n\r\n..\r\n\xff",
        sending=sending() if noted else None,
    )


def test_no_file_yet_means_that_nothing_was_sent(tmp_path: Path) -> None:
    assert read_state(tmp_path / "state.json") == ()


def test_what_was_noted_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    change_state(path, note=[letter("mp-1"), letter("mp-2", noted=False)])
    assert read_state(path) == (letter("mp-1"), letter("mp-2", noted=False))


def test_the_same_token_is_noted_anew_and_what_is_forgotten_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    change_state(path, note=[letter("mp-1", noted=False), letter("mp-2")])
    change_state(path, note=[letter("mp-1")])
    assert read_state(path) == (letter("mp-2"), letter("mp-1"))
    change_state(path, forget=["mp-2", "mp-3"])
    assert read_state(path) == (letter("mp-1"),)


def test_a_run_keeps_what_another_one_noted_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    change_state(path, note=[letter("mp-1")])
    before = read_state(path)
    change_state(path, note=[letter("mp-2")])
    change_state(path, forget=[each.token for each in before])
    assert read_state(path) == (letter("mp-2"),)


def test_only_its_owner_can_read_it_and_nothing_else_is_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    change_state(path, note=[letter()])
    assert path.stat().st_mode & 0o077 == 0
    assert [each.name for each in tmp_path.iterdir()] == ["state.json"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    there, link = tmp_path / "there.json", tmp_path / "link.json"
    link.symlink_to(there)
    change_state(link, note=[letter()])
    assert link.is_symlink()
    assert read_state(there) == (letter(),)


def test_what_is_never_found_does_not_make_the_file_grow_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    change_state(path, note=[letter(f"mp-{number}") for number in range(LETTERS_LIMIT + 5)])
    kept = read_state(path)
    assert len(kept) == LETTERS_LIMIT
    assert kept[0].token == "mp-5"


WHOLE = msgspec.json.encode({"schema": 1, "letters": [msgspec.to_builtins(letter())]})
DAMAGED = {
    "empty": b"",
    "cut": WHOLE[: len(WHOLE) // 2],
    "no json": b"hello\n",
    "no utf-8": b'{"schema": 1, "letters": "\xff"}',
    "another schema": b'{"schema": 2, "letters": []}',
    "no letters": b'{"schema": 1}',
    "more than there may be": WHOLE[:-1] + b',"more":1}',
    "letters that are none": b'{"schema": 1, "letters": [1]}',
    "a list": b"[]",
    "deep": b"[" * 100_000,
    "a time without a zone": WHOLE.replace(b"12:00:00Z", b"12:00:00"),
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_named_and_left_as_it_is(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(text)
    for doing in (lambda: read_state(path), lambda: change_state(path, note=[letter()])):
        with pytest.raises(UsageError, match=r"state file .*state\.json: ") as raised:
            doing()
        assert "\n" not in str(raised.value)
        assert path.read_bytes() == text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(UsageError, match="Permission denied"):
        change_state(folder / "state.json", note=[letter()])


def test_a_folder_that_is_not_there_and_one_in_place_of_the_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        change_state(tmp_path / "nowhere" / "state.json", note=[letter()])
    with pytest.raises(UsageError, match="Is a directory"):
        read_state(tmp_path)


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    change_state(path, note=[letter("mp-0")])
    finished = threading.Event()

    def write() -> None:
        for number in range(30):
            change_state(path, note=[letter(f"mp-{number}")])
        finished.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not finished.is_set():
        assert read_state(path)
    writer.join()
    assert len(read_state(path)) == 30
