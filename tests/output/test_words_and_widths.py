from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailprobe.model.evidence import Dnssec, Kind, Stage, Status
from mailprobe.model.finding import Cause
from mailprobe.output.style import PLAIN, Style
from mailprobe.output.tables import table
from mailprobe.output.widths import paragraph, plain, shorten, width_of, wrap
from mailprobe.output.words import because, clean, days, in_trouble, milliseconds, not_answered, plural, remedy
from tests.output.samples import HOSTILE, answer, assert_harmless, trouble


@pytest.mark.parametrize(
    ("wire", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("a\r\nb\x00", "a\\x0d\\x0ab\\x00"),
        ("\x9b31m", "\\x9b31m"),
        ("stra\xc3\x9fe", "straße"),
        ("latin \xe9", "latin é"),
        ("RFC 1 §2 and \xc3\xa9", "RFC 1 §2 and é"),
        ("\xe2\x80\xae", "\\u202e"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\xc2\x9b", "\\x9b"),
        ("\xf3\xa0\x80\x81", "\\U000e0001"),
        ("\xed\xa0\x80", "í\\xa0\\x80"),
        ("\ud800", "\\ud800"),
    ],
)
def test_clean_shows_what_a_terminal_would_act_on(wire: str, shown: str) -> None:
    assert clean(wire) == shown


@given(st.text())
def test_clean_leaves_nothing_unprintable(text: str) -> None:
    assert clean(text).isprintable() or clean(text) == ""


def test_counts_and_times_read_well() -> None:
    assert [plural(0, "error"), plural(1, "error"), plural(2, "reply", "replies")] == [
        "0 errors",
        "1 error",
        "2 replies",
    ]
    assert [milliseconds(ms) for ms in (0.42, 12.3, 999.7, 1250)] == ["0.4 ms", "12 ms", "1.00 s", "1.25 s"]
    assert [days(89), days(1), days(0), days(-3)] == ["89 days left", "1 day left", "0 days left", "3 days ago"]


def test_every_negative_answer_reads_differently() -> None:
    texts = [not_answered(answer("a.test", "MX", status=status, attempts=3, detail="x")) for status in Status]
    assert texts[0] == ""
    assert len(set(texts)) == len(Status)
    bogus = answer("a.test", "MX", status=Status.SERVFAIL, dnssec=Dnssec.BOGUS)
    assert "DNSSEC" in not_answered(bogus)


def test_every_trouble_and_cause_has_words() -> None:
    texts = {in_trouble(trouble(stage, kind)) for stage in Stage for kind in Kind}
    assert len(texts) == len(Stage) * len(Kind)
    assert len({because(cause) for cause in Cause}) == len({remedy(cause) for cause in Cause}) == len(Cause)
    assert in_trouble(trouble(Stage.CONNECT, Kind.REFUSED, HOSTILE)).isprintable()


@pytest.mark.parametrize(
    ("stage", "kind", "detail", "said"),
    [
        (
            Stage.HANDSHAKE,
            Kind.RESET,
            "the server reset the connection during the handshake",
            "the server reset the connection during the handshake",
        ),
        (
            Stage.GREETING,
            Kind.CLOSED,
            "the server closed the connection",
            "the server closed the connection while waiting for the greeting",
        ),
        (Stage.CONNECT, Kind.TIMEOUT, "no connection within 8.0 s", "no connection within 8.0 s"),
        (
            Stage.GREETING,
            Kind.TIMEOUT,
            "silence after our limit of 5 s",
            "silence after our limit of 5 s while waiting for the greeting",
        ),
        (
            Stage.CONNECT,
            Kind.UNREACHABLE,
            "unreachable from here: No route to host",
            "unreachable from here while connecting: No route to host",
        ),
        (
            Stage.CONNECT,
            Kind.LOCAL,
            "this machine could not connect: Permission denied",
            "this machine could not connect: Permission denied",
        ),
        (
            Stage.HANDSHAKE,
            Kind.TLS_ALERT,
            "the server sent the TLS alert 'protocol version'",
            "the server sent the TLS alert 'protocol version' in the TLS handshake",
        ),
        (Stage.GREETING, Kind.REJECTED, "554 no", "the server refused while waiting for the greeting: 554 no"),
    ],
)
def test_a_trouble_is_told_once(stage: Stage, kind: Kind, detail: str, said: str) -> None:
    assert in_trouble(trouble(stage, kind, detail)) == said


def test_style_paints_only_when_told_to() -> None:
    assert PLAIN.bad("no") == "no"
    painted = Style(colour=True).bad("no")
    assert painted == "\x1b[31mno\x1b[0m"
    assert plain(painted) == "no"
    assert Style(colour=True).bad("") == ""


def test_shorten_cuts_by_columns_and_ends_colours() -> None:
    assert shorten("abcdef", 4) == "abc…"
    assert shorten("漢字漢字", 5) == "漢字…"
    painted = Style(colour=True).bad("abcdef")
    assert shorten(painted, 4) == "\x1b[31mabc…\x1b[0m"


@given(st.text(), st.integers(min_value=2, max_value=40))
def test_wrap_never_exceeds_the_width(text: str, width: int) -> None:
    assert all(width_of(line) <= width for line in wrap(clean(text), width))


def test_paragraph_indents_what_follows() -> None:
    assert paragraph("one two three four five six", 24, "a: ", "   ") == "a: one two three four\n   five six"


def test_table_leaves_numbers_as_they_are() -> None:
    assert table(("n", "x"), [("25", "1e5"), ("007", "1.50")], right=(0,)) == "\n".join(
        ["  n  x", "---  ----", " 25  1e5", "007  1.50"]
    )


def test_table_of_nothing_is_nothing() -> None:
    assert table(("a",), []) == ""


@given(
    st.lists(st.tuples(*[st.text(max_size=60)] * 3), min_size=1, max_size=4),
    st.integers(min_value=30, max_value=100),
    st.booleans(),
)
def test_table_fits_and_stays_aligned(rows: list[tuple[str, ...]], width: int, colour: bool) -> None:
    style = Style(colour=colour)
    cells = [("a", *(style.bad(clean(cell)) for cell in row), "z") for row in rows]
    lines = [plain(line) for line in table(("h", "one", "two", "three", "end"), cells, width=width).split("\n")]
    assert max(map(width_of, lines)) <= width
    end = width_of(lines[0]) - len("end")
    assert lines[1].endswith("  ---")
    assert all(width_of(line) == end + 1 and line.endswith("z") for line in lines[2:])


def test_table_wraps_where_told_to() -> None:
    drawn = table(("a", "b"), [("x", "one two three four")], width=14, wraps=(1,))
    assert drawn == "a  b\n-  -----------\nx  one two\n   three four"


def test_table_keeps_alignment_beside_wide_characters() -> None:
    lines = table(("name", "x"), [("漢字", "1"), ("ab", "2")]).split("\n")
    assert [width_of(line) for line in lines] == [7, 7, 7, 7]


def test_hostile_text_is_harmless() -> None:
    assert_harmless(clean(HOSTILE))
