"""Reading files within a bound, and writing them whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mailprobe.model.files import read_whole, write_whole


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"12345")
    assert read_whole(file, 5) == b"12345"
    with pytest.raises(OSError, match="more than 0 KB, which is the limit"):
        read_whole(file, 4)


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/null", "/dev/full"])
@pytest.mark.parametrize("pipes", [True, False])
def test_a_device_is_not_read(name: str, pipes: bool) -> None:
    with pytest.raises(OSError, match="it is no regular file"):
        read_whole(Path(name), 10, pipes=pipes)


def test_a_directory_and_a_name_with_nul_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        read_whole(tmp_path, 10)
    with pytest.raises(OSError, match="null"):
        read_whole(Path("a\0b"), 10)


def test_a_pipe_is_read_only_where_it_may_be(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="no regular file"):
        read_whole(pipe, 10)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"x" * 200_000,))
    writer.start()
    assert len(read_whole(pipe, 200_000, pipes=True)) == 200_000
    writer.join()


def test_a_pipe_that_nobody_writes_into_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailprobe.model.files.WRITER_S", 0.1)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(TimeoutError, match="nobody writes into this pipe"):
        read_whole(pipe, 10, pipes=True)


def test_a_pipe_whose_writer_is_silent_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailprobe.model.files.SILENCE_S", 0.1)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    both = os.open(pipe, os.O_RDWR)
    try:
        with pytest.raises(TimeoutError, match="was silent"):
            read_whole(pipe, 10, pipes=True)
    finally:
        os.close(both)


def test_a_pipe_without_end_stops_at_the_limit(tmp_path: Path) -> None:
    source = subprocess.Popen(["yes"], stdout=subprocess.PIPE)
    assert source.stdout is not None
    try:
        with pytest.raises(OSError, match="more than 1 MB"):
            read_whole(Path(f"/dev/fd/{source.stdout.fileno()}"), 1_000_000, pipes=True)
    finally:
        source.kill()
        source.communicate()


def test_a_file_is_replaced_whole_and_keeps_its_mode(tmp_path: Path) -> None:
    file, link = tmp_path / "f", tmp_path / "link"
    file.write_bytes(b"old")
    file.chmod(0o640)
    link.symlink_to(file)
    write_whole(link, b"new")
    assert (file.read_bytes(), file.stat().st_mode & 0o777, link.is_symlink()) == (b"new", 0o640, True)
    assert sorted(tmp_path.iterdir()) == [file, link]


def test_a_private_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    write_whole(tmp_path / "f", b"x", private=True)
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o600


WITHOUT_ROOM = """
import resource, sys
from pathlib import Path
from mailprobe.model.files import write_whole
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_whole(Path(sys.argv[1]), b"x" * 5000)
except OSError as error:
    print(error.strerror)
"""


def test_a_file_for_whose_successor_there_is_no_room_stays_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"old")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_ROOM, str(file)], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "File too large\n"
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_pipe_is_written_to_as_it_is_if_somebody_reads(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="No such device"):
        write_whole(pipe, b"x")
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_whole(pipe, b"letter")
        assert os.read(reader, 100) == b"letter"
    finally:
        os.close(reader)


def test_a_full_device_and_a_directory_are_told(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        write_whole(Path("/dev/full"), b"x")
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path, b"x")
    with pytest.raises(OSError, match="null"):
        write_whole(Path("a\0b"), b"x")
