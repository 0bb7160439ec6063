"""The lab file: written whole, read strictly."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailprobe.model.errors import UsageError
from mailprobe.model.labfile import LabFile, read_lab_file

FILE = LabFile(
    resolver="127.53.0.53:5353",
    ca_file="ca.pem",
    internal_networks=("127.53.0.0/16",),
    ports={"127.53.0.1:25": "127.53.0.1:10025"},
    directory="/var/lab",
    control="/var/lab/control.sock",
    clock="/var/lab/clock",
)


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "lab.json"
    FILE.write(path)
    assert read_lab_file(path) == FILE
    assert [each.name for each in tmp_path.iterdir()] == ["lab.json"]


def test_a_file_of_a_lab_without_post_offices_is_read(tmp_path: Path) -> None:
    path = tmp_path / "lab.json"
    path.write_text('{"resolver": "", "ca_file": "", "internal_networks": [], "ports": {}}')
    assert read_lab_file(path).directory == read_lab_file(path).control == read_lab_file(path).clock == ""


def test_writing_again_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "lab.json"
    path.write_text("old")
    FILE.write(path)
    assert read_lab_file(path) == FILE


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"\xff", "malformed"),
        (b"[]", "Expected `object`, got `array`"),
        (b"{}", "missing required field `resolver`"),
        (b'{"resolver": 1}', r"Expected `str`, got `int` - at `\$.resolver`"),
        (b'{"resolver": "", "ca_file": "", "internal_networks": [], "ports": {}, "x": 1}', "unknown field `x`"),
        (b'{"x":' + b"[" * 200_000, "unknown field `x`|nested"),
    ],
)
def test_what_is_no_lab_file_is_refused_and_named(tmp_path: Path, text: bytes, words: str) -> None:
    path = tmp_path / "lab.json"
    path.write_bytes(text)
    with pytest.raises(UsageError, match=words) as caught:
        read_lab_file(path)
    assert str(path) in str(caught.value)


def test_a_lab_that_is_not_there_is_asked_after(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file or directory; is the lab running"):
        read_lab_file(tmp_path / "none.json")
    with pytest.raises(UsageError, match="Is a directory"):
        read_lab_file(tmp_path)
