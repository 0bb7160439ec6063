"""The doorbell of a lab: who rings gets an answer, whatever was said."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailprobe.lab.post.control import Order, ring, runs_in
from mailprobe.lab.world import Lab
from mailprobe.model.errors import UsageError
from tests.lab.post.sites import RECEIVER, SENDER


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    with Lab(directory=tmp_path) as lab:
        lab.lab_file()
        yield tmp_path


def say(directory: Path, octets: bytes) -> list[dict[str, object]]:
    """Say something at the doorbell and give what is answered until it hangs up."""
    with socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(10)
        channel.connect(str(directory / "control.sock"))
        channel.sendall(octets)
        channel.shutdown(socket.SHUT_WR)
        with channel.makefile("rb") as answers:
            return [json.loads(line) for line in answers]


def test_status_tells_of_every_office(directory: Path) -> None:
    answer = ring(directory, Order("status"))
    assert answer["ok"] is True
    assert set(answer["sites"]) == {SENDER, RECEIVER}
    assert answer["sites"][SENDER]["paused"] == []
    assert answer["sites"][SENDER]["counts"]["deferred"] == 0


def test_pauses_are_for_one_site_or_for_all(directory: Path) -> None:
    ring(directory, Order("pause", part="client", site=SENDER))
    ring(directory, Order("pause", part="pickup"))
    sites = ring(directory, Order("resume", part="pickup", site=SENDER))["sites"]
    assert (sites[SENDER]["paused"], sites[RECEIVER]["paused"]) == (["client"], ["pickup"])


def test_the_clock_moves_for_everybody(directory: Path) -> None:
    before = ring(directory, Order("status"))["now"]
    after = ring(directory, Order("tick", seconds=3_600))["now"]
    assert str(after) > str(before)
    assert float((directory / "clock").read_text()) == 3_600


def test_several_orders_may_come_over_one_connection(directory: Path) -> None:
    answers = say(directory, b'{"do": "status"}\n{"do": "look"}\n{"do": "flush", "site": "sender.lab.test"}\n')
    assert [answer["ok"] for answer in answers] == [True] * 3


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"", "no order"),
        (b"pause", "no order"),
        (b"\xff\xfe", "no order"),
        (b"[" * 30_000, "no order"),
        (b'{"do": "explode"}', "no order"),
        (b'{"do": "pause", "extra": 1}', "no order"),
        (b'{"do": "pause"}', "no part ''"),
        (b'{"do": "pause", "part": "engine"}', "no part 'engine'"),
        (b'{"do": "restart"}', "no site None"),
        (b'{"do": "restart", "site": "../.."}', "no site '../..'"),
        (b'{"do": "tick"}', "cannot be moved"),
        (b'{"do": "tick", "seconds": -5}', "cannot be moved"),
        (b'{"do": "tick", "seconds": 1e300}', "cannot be moved"),
    ],
)
def test_what_is_no_order_is_answered_and_the_next_is_obeyed(directory: Path, line: bytes, words: str) -> None:
    first, second = say(directory, line + b'\n{"do": "status"}\n')
    assert words in str(first["error"])
    assert second["ok"] is True


def test_a_line_without_end_is_hung_up_on(directory: Path) -> None:
    with contextlib.suppress(ConnectionError):
        assert say(directory, b"x" * 1_000_000) == []
    assert runs_in(directory)


def test_nobody_else_may_enter(directory: Path) -> None:
    assert (directory / "control.sock").stat().st_mode & 0o077 == 0


def test_a_lab_that_does_not_run_is_told_in_one_line(tmp_path: Path) -> None:
    assert not runs_in(tmp_path)
    with pytest.raises(UsageError, match="no lab runs in"):
        ring(tmp_path, Order("status"))
    with pytest.raises(UsageError, match="no lab runs in"):
        ring(tmp_path / "nowhere", Order("status"))
    (tmp_path / "control.sock").write_bytes(b"")
    with pytest.raises(UsageError, match="no lab runs in"):
        ring(tmp_path, Order("status"))


def test_the_socket_of_a_dead_lab_is_replaced_and_taken_away_at_the_end(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(tmp_path / "control.sock"))
    with Lab(directory=tmp_path) as lab:
        lab.lab_file()
        assert runs_in(tmp_path)
    assert not (tmp_path / "control.sock").exists()


def test_a_directory_may_lie_deeper_than_a_socket_address_is_long(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    with Lab(directory=deep) as lab:
        lab.lab_file()
        assert ring(deep, Order("status"))["ok"] is True
