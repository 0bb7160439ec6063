"""The samples: each is what its name says, to the octet."""

from __future__ import annotations

import email
import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

import mailprobe.mail.samples
from mailprobe.mail.compose import Letter
from mailprobe.mail.samples import SAMPLES, Envelope, eicar, gtube, sample
from mailprobe.model.errors import UsageError

ENVELOPE = Envelope(
    sender="Alice <alice@a.test>",
    to=("bob@b.test",),
    bcc=("carol@c.test",),
    date=datetime(2024, 1, 1, 12, 0, 1, tzinfo=UTC),
)


def body_of(name: str) -> bytes:
    return sample(name, ENVELOPE).octets.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_is_a_whole_letter(name: str) -> None:
    letter = sample(name, ENVELOPE)
    found = email.message_from_bytes(letter.octets)
    assert found["From"] == "Alice <alice@a.test>"
    assert found["To"] == "bob@b.test"
    assert found["Message-ID"] == letter.message_id
    assert "Date" in found
    assert "Subject" in found
    assert b"carol" not in letter.octets
    assert (letter.sender, letter.recipients) == ("alice@a.test", ("bob@b.test", "carol@c.test"))


def test_eicar_and_gtube_are_what_scanners_look_for_and_not_in_the_source() -> None:
    assert len(eicar()) == 68
    assert hashlib.md5(eicar(), usedforsecurity=False).hexdigest() == "44d88612fea8a8f36de82e1278abb02f"
    assert len(gtube()) == 68
    assert gtube().startswith("XJS*C4JDBQADN1.")
    assert gtube().endswith("*C.34X")
    source = Path(mailprobe.mail.samples.__file__).read_bytes()
    assert eicar() not in source
    assert gtube().encode() not in source


def test_eicar_is_an_attachment_and_gtube_a_line() -> None:
    *_, last = email.message_from_bytes(sample("eicar", ENVELOPE).octets).walk()
    assert last.get_payload(decode=True) == eicar()
    assert gtube().encode() in body_of("gtube").split(b"\r\n")


@pytest.mark.parametrize("length", [998, 999])
def test_a_line_is_as_long_as_it_says(length: int) -> None:
    letter = sample(f"line-{length}", ENVELOPE)
    assert max(map(len, letter.octets.split(b"\r\n"))) == length
    assert bool(letter.notes[1:]) is (length > 998)


def test_dots_begin_lines_and_one_stands_alone_at_the_end() -> None:
    lines = body_of("dots").split(b"\r\n")
    assert [line for line in lines if line == b"."] == [b"."] * 3
    assert lines[-2:] == [b".", b""]


@pytest.mark.parametrize(("name", "end"), [("bare-lf", b"\n"), ("bare-cr", b"\r")])
def test_a_bare_line_end_stays_bare(name: str, end: bytes) -> None:
    body = body_of(name).replace(b"\r\n", b"")
    assert body.count(end) == 1
    assert body.count(b"\r") + body.count(b"\n") == 1


def needs(letter: Letter) -> tuple[bool, bool]:
    return letter.needs_8bit, letter.needs_smtputf8


@pytest.mark.parametrize("name", SAMPLES)
def test_only_three_samples_need_more_than_seven_bits(name: str) -> None:
    wanted = {"8bit": (True, False), "binary": (True, False), "smtputf8": (True, True)}
    assert needs(sample(name, ENVELOPE)) == wanted.get(name, (False, False))


def test_the_binary_sample_has_every_octet_that_a_line_may_have() -> None:
    line = body_of("binary").split(b"\r\n")[1]
    assert sorted(line) == [octet for octet in range(1, 256) if octet not in b"\r\n"]


def test_an_unknown_sample_is_refused_with_the_names_of_those_there_are() -> None:
    with pytest.raises(UsageError, match="eicar, gtube"):
        sample("none", ENVELOPE)
