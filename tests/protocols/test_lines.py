"""Octets to lines: ends, quirks, limits, and any cutting of the same octets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailprobe.model.errors import RemoteProtocolError
from mailprobe.model.evidence import Kind
from mailprobe.protocols.lines import LINE_LIMIT, LineBuffer
from tests.protocols.reading import bytewise, cut

Line = tuple[str, tuple[str, ...]]


def lines(pieces: list[bytes], limit: int = LINE_LIMIT) -> tuple[list[Line], Kind | None]:
    buffer = LineBuffer(limit)
    found = []
    try:
        for piece in pieces:
            buffer.feed(piece)
            while (line := buffer.next_line()) is not None:
                found.append(line)
    except RemoteProtocolError as error:
        return found, error.kind
    return found, None


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"220 hello\r\n", [("220 hello", ())]),
        (b"\r\n", [("", ())]),
        (b"a\r\nb\r\n", [("a", ()), ("b", ())]),
        (b"a\nb\r\n", [("a", ("bare-lf",)), ("b", ())]),
        (b"\n", [("", ("bare-lf",))]),
        (b"a\rb\r\n", [("a\rb", ("bare-cr",))]),
        (b"a\r\r\n", [("a\r", ("bare-cr",))]),
        (b"a\0b\r\n", [("a\0b", ("nul",))]),
        (b"\r\0\n", [("\r\0", ("bare-lf", "bare-cr", "nul"))]),
        (b"\xe4\xff\r\n", [("\xe4\xff", ())]),
        (b"no end", []),
        (b"no end\r", []),
    ],
)
def test_lines_are_the_same_whole_and_byte_by_byte(data: bytes, expected: list[Line]) -> None:
    assert lines([data]) == (expected, None)
    assert lines(bytewise(data)) == (expected, None)


def test_a_line_of_exactly_the_limit_is_taken() -> None:
    data = b"x" * 9 + b"\r\n"
    assert lines([data], limit=10) == ([("x" * 9, ())], None)
    assert lines(bytewise(data), limit=10) == ([("x" * 9, ())], None)


def test_a_line_over_the_limit_is_refused_whether_it_ends_or_not() -> None:
    for data in (b"x" * 10 + b"\r\n", b"x" * 11, b"x" * 5_000):
        assert lines([data], limit=10) == ([], Kind.LIMIT)
        assert lines(bytewise(data), limit=10) == ([], Kind.LIMIT)


def test_lines_before_an_endless_one_are_kept() -> None:
    assert lines([b"first\r\n" + b"x" * 20], limit=10) == ([("first", ())], Kind.LIMIT)


def test_taking_octets_takes_all_of_them_or_none() -> None:
    buffer = LineBuffer()
    buffer.feed(b"ab\n")
    assert buffer.take(4) is None
    buffer.feed(b"c\r\n")
    assert buffer.take(4) == b"ab\nc"
    assert buffer.next_line() == ("", ())
    assert len(buffer) == 0


def test_taking_all_leaves_nothing_to_be_found_later() -> None:
    buffer = LineBuffer()
    buffer.feed(b"half a line")
    assert buffer.next_line() is None
    assert buffer.take_all() == b"half a line"
    buffer.feed(b"x\r\n")
    assert buffer.next_line() == ("x", ())


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=10))
def test_any_cutting_of_any_octets_gives_the_same_lines(data: bytes, places: list[int]) -> None:
    assert lines(cut(data, places), limit=40) == lines([data], limit=40)


@given(st.lists(st.binary(max_size=30).filter(lambda text: b"\n" not in text), max_size=10))
def test_no_octet_of_a_line_is_lost(texts: list[bytes]) -> None:
    found, error = lines([b"".join(text + b"\r\n" for text in texts)])
    assert error is None
    assert [text.encode("latin-1") for text, _ in found] == texts
