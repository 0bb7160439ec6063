"""The spool: every letter is there whole or not at all, and nothing that lies there can stop it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailprobe.lab.post.spool import (
    CorruptLetterError,
    Spool,
    Spooled,
    SpoolError,
    is_queue_id,
    message_id_of,
    new_queue_id,
)
from mailprobe.lab.post.spool_file import read_letter
from mailprobe.protocols.mailstore import Asked, Envelope
from tests.lab.post.letters import NOW, envelope, spooled

NOBODY = 65534
FOLDERS = ("tmp", "maildrop", "queue", "corrupt")


def files(directory: Path) -> dict[str, list[str]]:
    found = {folder: sorted(path.name for path in (directory / folder).iterdir()) for folder in FOLDERS}
    return {folder: names for folder, names in found.items() if names}


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may do everything, so be somebody else."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def on_small_disk(script: str, directory: Path) -> str:
    """Run a program that has a disk of 500 kB at *directory*."""
    mount = f'mount -t tmpfs -o size=500k none {directory} && exec "$@"'
    words = ["unshare", "-Urm", "sh", "-c", mount, "sh", sys.executable, "-c", script, str(directory)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def can_mount() -> bool:
    try:
        with tempfile.TemporaryDirectory() as folder:
            on_small_disk("", Path(folder))
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A directory that everybody may use."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


# Queue ids


def test_queue_ids_are_unique_across_threads_and_sort_by_time() -> None:
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: [new_queue_id() for _ in range(2000)], range(4)))
    assert len({queue_id for ids in found for queue_id in ids}) == 8000
    assert all(ids == sorted(ids) for ids in found)
    assert all(is_queue_id(queue_id) and len(queue_id) == 13 for ids in found for queue_id in ids)
    assert new_queue_id() > max(max(ids) for ids in found)


@pytest.mark.parametrize("text", ["", "abc", "a" * 41, "ABCDE/", "../ABCDE", "ABCD\n", "ABCDÉ", "ABC DE", "ABCD.why"])
def test_what_could_be_more_than_a_file_name_is_no_queue_id(text: str) -> None:
    assert not is_queue_id(text)


@pytest.mark.parametrize(
    ("data", "message_id"),
    [
        (b"Message-ID: <a@b.test>\r\n\r\n", "<a@b.test>"),
        (b"From: a\r\nmessage-id:<a@b.test>\r\n\r\n", "<a@b.test>"),
        (b"Message-Id:\r\n <a@b.test>\r\n\r\n", "<a@b.test>"),
        (b"Message-ID \t: \t <a@b.test> (comment)\r\n\r\n", "<a@b.test>"),
        ("Message-ID: <ü@b.test>\r\n\r\n".encode(), "<ü@b.test>"),
        (b"From: a\r\n\r\nMessage-ID: <a@b.test>\r\n", ""),
        (b"\r\nMessage-ID: <a@b.test>\r\n\r\n", ""),
        (b"Message-ID: <a\x1b[2J@b.test>\r\n\r\n", ""),
        (b"Message-ID: <a\xc2\x9b2J@b.test>\r\n\r\n", ""),
        (b"Message-ID: <\xff@b.test>\r\n\r\n", ""),
        (b"Message-ID: a@b.test\r\n\r\n", ""),
        (b"Message-ID: <" + b"a" * 2000 + b">\r\n\r\n", ""),
        (b"X-Message-ID: <a@b.test>\r\n\r\n", ""),
        (b"", ""),
        (b" " * 300_000, ""),
    ],
)
def test_a_message_id_is_read_from_the_header_only(data: bytes, message_id: str) -> None:
    assert message_id_of(data) == message_id


# Writing and reading


def test_a_letter_goes_from_maildrop_to_queue_and_comes_back_as_it_was(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    letter = spooled("bob@b.test", "carol@b.test", data=bytes(range(256)) * 10, about="PARENT123")
    assert spool.write(letter) == tmp_path / "maildrop" / letter.queue_id == spool.path(letter.queue_id)
    assert spool.waiting() == [letter.queue_id]
    assert spool.read(letter.queue_id) == letter
    assert spool.take(letter.queue_id) == letter
    assert (spool.waiting(), spool.orphans()) == ([], [letter.queue_id])
    assert spool.orphans(known={letter.queue_id}) == []
    assert spool.path(letter.queue_id) == tmp_path / "queue" / letter.queue_id
    assert spool.read(letter.queue_id) == letter
    spool.remove(letter.queue_id)
    spool.remove(letter.queue_id)
    assert files(tmp_path) == {}


def test_the_letter_can_be_read_with_cat(tmp_path: Path) -> None:
    path = Spool(tmp_path).write(spooled(data=b"Subject: x\r\n\r\nhello\r\n"))
    head, _, body = path.read_bytes().partition(b"\n")
    assert b'"recipients":["bob@b.test"]' in head
    assert body == b"Subject: x\r\n\r\nhello\r\n"
    assert path.stat().st_mode & 0o077 == 0


def test_letters_wait_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    letters = [spooled() for _ in range(20)]
    for letter in reversed(letters):
        spool.write(letter)
    assert spool.waiting() == [letter.queue_id for letter in letters]


TEXTS = st.text(st.characters(codec="utf-8") | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF), max_size=20)


@given(
    data=st.binary(max_size=300),
    texts=st.lists(TEXTS, min_size=4, max_size=4),
    asked=st.lists(st.builds(Asked, st.none() | TEXTS, TEXTS), max_size=3),
)
def test_every_envelope_survives_octets_that_are_no_utf8_included(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, texts: list[str], asked: list[Asked]
) -> None:
    spool = Spool(tmp_path_factory.getbasetemp() / "any-envelope")
    letter = Spooled(
        queue_id=new_queue_id(),
        envelope=Envelope(
            sender=texts[0],
            recipients=tuple(texts),
            client_name=texts[1],
            server_name="",
            protocol="ESMTP",
            user=texts[2],
            asked=tuple(asked),
            envid=texts[3],
            smtputf8=True,
        ),
        data=data,
        origin="submission",
        arrived=NOW,
    )
    spool.write(letter)
    assert spool.take(letter.queue_id) == letter
    spool.remove(letter.queue_id)


def test_a_letter_of_64_mb_arrives_byte_for_byte(tmp_path: Path) -> None:
    spool, letter = Spool(tmp_path), spooled(data=os.urandom(1 << 20) * 64)
    spool.write(letter)
    assert spool.take(letter.queue_id).data == letter.data


def test_many_letters_are_written_by_many_threads_at_once(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    bunches = [[spooled() for _ in range(10)] for _ in range(20)]
    with ThreadPoolExecutor(8) as threads:
        written = [path for paths in threads.map(spool.write_many, bunches) for path in paths]
    assert all(isinstance(path, Path) and path.exists() for path in written)
    assert len(spool.waiting()) == 200


def test_a_queue_id_that_is_taken_or_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    spool, letter = Spool(tmp_path / "site"), spooled()
    spool.write(letter)
    for queue_id in (letter.queue_id, "../ABCDE", "..", "/etc/passwd", "a/b/c"):
        with pytest.raises(SpoolError, match="is no new queue id"):
            spool.write(spooled(queue_id=queue_id))
    assert spool.take(letter.queue_id) == letter
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


@pytest.mark.parametrize("name", ["", ".", "..", "../queue/x", "/etc/passwd", "a\0b"])
def test_no_question_leads_out_of_the_spool(tmp_path: Path, name: str) -> None:
    spool = Spool(tmp_path)
    for ask in (spool.take, spool.read, spool.remove, spool.path):
        with pytest.raises(SpoolError, match="is no queue id"):
            ask(name)


def test_a_letter_that_is_not_there_is_named(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    with pytest.raises(SpoolError, match="ABCDEFG: no such letter"):
        spool.take("ABCDEFG")
    with pytest.raises(SpoolError, match="ABCDEFG: no such letter"):
        spool.read("ABCDEFG")


# What goes wrong


def test_what_was_left_half_written_is_removed_at_the_start_but_not_by_a_guest(tmp_path: Path) -> None:
    Spool(tmp_path)
    (tmp_path / "tmp" / "HALF").write_bytes(b"half a let")
    (tmp_path / "tmp" / "folder").mkdir()
    Spool(tmp_path, guest=True)
    assert files(tmp_path) == {"tmp": ["HALF", "folder"]}
    Spool(tmp_path)
    assert files(tmp_path) == {"tmp": ["folder"]}


def valid_file(tmp_path: Path) -> bytes:
    return Spool(tmp_path / "elsewhere").write(spooled(queue_id="ABCDEFG")).read_bytes()


def corrupt_files(good: bytes) -> dict[str, bytes]:
    head, _, body = good.partition(b"\n")
    return {
        "empty": b"",
        "no line end": head,
        "truncated": good[:-1],
        "longer": good + b"x",
        "another octet": good[:-3] + b"X" + good[-2:],
        "no JSON": b"junk\n" + body,
        "other JSON": b'{"a": 1}\n' + body,
        "JSON with a control character": b'{"\\u001b[2J": 1}\n',
        "deep JSON": b"[" * 100_000 + b"\n",
        "surrogates and junk": b'"\\udc80\n',
        "no UTF-8": b'{"queue_id": "\xff"}\n',
        "a field of another type": head.replace(b'"size":', b'"size":"x","x":') + b"\n" + body,
        "half a character": good.replace(b"bob@b.test", b"\\ud800@b.test"),
        "negative size": head.replace(b'"size":', b'"size":-') + b"\n" + body,
        "another letter's": good.replace(b"ABCDEFG", b"GFEDCBA"),
        "one endless line": b"x" * (9 << 20),
    }


@pytest.mark.parametrize("kind", corrupt_files(b"\n"))
def test_a_corrupt_file_is_moved_aside_with_the_reason(tmp_path: Path, kind: str) -> None:
    spool = Spool(tmp_path / "site")
    octets = corrupt_files(valid_file(tmp_path))[kind]
    (tmp_path / "site" / "maildrop" / "ABCDEFG").write_bytes(octets)
    with pytest.raises(CorruptLetterError, match="ABCDEFG is no letter: ") as caught:
        spool.take("ABCDEFG")
    assert str(caught.value).isprintable()
    assert files(tmp_path / "site") == {"corrupt": ["ABCDEFG", "ABCDEFG.why"]}
    assert caught.value.moved_to.read_bytes() == octets
    why = (tmp_path / "site" / "corrupt" / "ABCDEFG.why").read_text()
    assert why.strip() in str(caught.value)


def test_a_file_cut_at_any_octet_is_never_half_a_letter(tmp_path: Path) -> None:
    good = valid_file(tmp_path)
    spool = Spool(tmp_path / "site")
    for length in range(len(good)):
        (tmp_path / "site" / "queue" / "ABCDEFG").write_bytes(good[:length])
        with pytest.raises(CorruptLetterError):
            spool.read("ABCDEFG")
    assert len(files(tmp_path / "site")["corrupt"]) == 2 * len(good)


def test_a_folder_a_pipe_and_a_link_in_the_place_of_a_letter_stop_nobody(tmp_path: Path) -> None:
    spool, letter = Spool(tmp_path), spooled()
    spool.write(letter)
    maildrop = tmp_path / "maildrop"
    (maildrop / "FOLDER").mkdir()
    (maildrop / "FOLDER" / "inside").write_text("x")
    os.mkfifo(maildrop / "PIPE")
    (maildrop / "LINK").symlink_to(spool.path(letter.queue_id))
    (maildrop / "NOWHERE").symlink_to("/nonexistent")
    for name in ("FOLDER", "PIPE", "LINK", "NOWHERE"):
        with pytest.raises(CorruptLetterError):
            spool.take(name)
    assert spool.waiting() == [letter.queue_id]
    assert spool.take(letter.queue_id) == letter
    assert (tmp_path / "corrupt" / "FOLDER" / "inside").exists()


def test_foreign_names_go_aside_under_names_that_a_terminal_can_show(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    names = ["letter.eml", ".DS_Store", "x\x1b[2J", "ü", os.fsdecode(b"\xff"), "a b", "n" * 200, "ABC"]
    for name in names:
        (tmp_path / "maildrop" / name).write_text("x")
    for name in spool.waiting():
        with pytest.raises(CorruptLetterError, match="a file that the spool did not write") as caught:
            spool.take(name)
        assert str(caught.value).isprintable()
    assert spool.waiting() == []
    aside = [name for name in files(tmp_path)["corrupt"] if not name.endswith(".why")]
    assert len(aside) == len(names)
    assert all(name.isascii() and name.isprintable() for name in aside)


def test_corrupt_files_of_one_name_do_not_replace_each_other(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for text in ("one", "two", "three"):
        (tmp_path / "maildrop" / "ABCDEFG").write_text(text)
        with pytest.raises(CorruptLetterError):
            spool.take("ABCDEFG")
    aside = [path for path in (tmp_path / "corrupt").iterdir() if path.suffix != ".why"]
    assert {path.read_text() for path in aside} == {"one", "two", "three"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_file_where_a_folder_should_be_is_named(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).write_text("x")
    with pytest.raises(SpoolError, match=f"{tmp_path}: File exists"):
        Spool(tmp_path)


def test_missing_permissions_are_said_and_nothing_is_left_behind(open_path: Path) -> None:
    with as_nobody():
        spool, letter = Spool(open_path), spooled()
        (open_path / "maildrop").chmod(0o500)
        with pytest.raises(SpoolError, match="maildrop: no permission to write there") as caught:
            spool.write(letter)
        assert not caught.value.full
        assert files(open_path) == {}
        (open_path / "maildrop").chmod(0o700)
        spool.write(letter)
        (open_path / "maildrop").chmod(0o500)
        with pytest.raises(SpoolError, match="no permission to write there"):
            spool.take(letter.queue_id)
        (open_path / "maildrop").chmod(0o700)
        assert spool.take(letter.queue_id) == letter


def test_a_letter_that_may_not_be_read_goes_aside(open_path: Path) -> None:
    with as_nobody():
        spool, letter = Spool(open_path), spooled()
        spool.write(letter).chmod(0)
        with pytest.raises(CorruptLetterError, match="cannot be opened: Permission denied"):
            spool.take(letter.queue_id)
        assert files(open_path) == {"corrupt": [letter.queue_id, f"{letter.queue_id}.why"]}


def test_a_write_that_stops_half_way_leaves_nothing(tmp_path: Path) -> None:
    script = (
        "import sys, resource, signal\n"
        "from pathlib import Path\n"
        "from mailprobe.lab.post.spool import Spool, SpoolError\n"
        "from tests.lab.post.letters import spooled\n"
        "spool = Spool(Path(sys.argv[1]))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "small, large = spooled(), spooled(data=bytes(200_000))\n"
        "written = spool.write_many([large, small, large])\n"
        "sys.stdout.write(f'{[isinstance(item, SpoolError) for item in written]} {written[0]}')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[True, False, True] ")
    assert "File too large" in done.stdout
    assert list(files(tmp_path)) == ["maildrop"]
    assert len(files(tmp_path)["maildrop"]) == 1


@pytest.mark.skipif(not can_mount(), reason="no file system can be mounted here")
def test_a_full_disk_is_said_and_the_next_letter_is_written_when_there_is_space(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from mailprobe.lab.post.spool import Spool, SpoolError\n"
        "from tests.lab.post.letters import spooled\n"
        "spool = Spool(Path(sys.argv[1]))\n"
        "small, large, late = spooled(), spooled(data=bytes(400_000)), spooled(data=bytes(300_000))\n"
        "one, two, three = spool.write_many([small, late, large])\n"
        "assert isinstance(three, SpoolError), three\n"
        "sys.stdout.write(f'{three} {three.full}')\n"
        "spool.remove(late.queue_id)\n"
        "assert spool.write(large).exists()\n"
        "assert sorted(spool.waiting()) == sorted([small.queue_id, large.queue_id])\n"
        "assert not any((Path(sys.argv[1]) / 'tmp').iterdir())\n"
    )
    said = on_small_disk(script, tmp_path)
    assert said == f"{tmp_path / 'maildrop'}: no space left on the disk True"


def test_too_many_open_files_blame_no_letter(tmp_path: Path) -> None:
    script = (
        "import sys, os, resource\n"
        "from pathlib import Path\n"
        "from mailprobe.lab.post.spool import Spool, SpoolError\n"
        "from tests.lab.post.letters import spooled\n"
        "spool, letter = Spool(Path(sys.argv[1])), spooled()\n"
        "spool.write(letter)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))\n"
        "try:\n"
        "    while True: os.open('/dev/null', os.O_RDONLY)\n"
        "except OSError: pass\n"
        "try: spool.take(letter.queue_id)\n"
        "except SpoolError as error: sys.stdout.write(str(error))\n"
        "os.closerange(10, 20)\n"
        "sys.stdout.write(f'; then {spool.read(letter.queue_id) == letter}')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.endswith(": too many open files; then True")


def test_killed_at_any_time_it_has_every_letter_that_it_told_of_and_no_half_one(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from mailprobe.lab.post.spool import Spool\n"
        "from tests.lab.post.letters import spooled\n"
        "spool = Spool(Path(sys.argv[1]))\n"
        "while True:\n"
        "    letters = [spooled(data=bytes(20_000)) for _ in range(3)]\n"
        "    for path in spool.write_many(letters):\n"
        "        sys.stdout.write(path.name + '\\n')\n"
        "    sys.stdout.flush()\n"
    )
    for kill_after in range(1, 30, 3):
        with subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            told = [process.stdout.readline().strip() for _ in range(kill_after)]
            process.send_signal(signal.SIGKILL)
            told += [line.strip() for line in process.stdout if line.endswith("\n")]
        there = Spool(tmp_path).waiting()
        assert set(told) <= set(there)
        assert all(read_letter(tmp_path / "maildrop" / name).data == bytes(20_000) for name in there)
        assert list(files(tmp_path)) == ["maildrop"]


def test_flushes_are_shared_and_each_letter_waits_for_one_that_began_after_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    barrier = threading.Barrier(8)

    def write(_: int) -> bool:
        barrier.wait()
        return spool.write(spooled()).exists()

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(write, range(80)))


def test_an_envelope_with_a_thousand_recipients_is_no_problem(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    recipients = tuple(f"{'x' * 60}{number}@{'y' * 60}.test" for number in range(1000))
    letter = spooled(*recipients)
    assert letter.envelope == envelope(*recipients)
    spool.write(letter)
    assert spool.take(letter.queue_id) == letter
