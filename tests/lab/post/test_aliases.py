"""The alias table and its text form."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailprobe.lab.post.aliases import Aliases, read_forward
from mailprobe.lab.post.aliases_text import (
    Alias,
    AliasError,
    checked_alias,
    format_aliases,
    parse_aliases,
    parse_values,
)
from mailprobe.lab.post.database import DamagedDatabaseError, DatabaseError


def parsed(text: str | bytes) -> dict[str, tuple[str, ...]]:
    return {alias.name: alias.values for alias in parse_aliases(text)}


def errors(text: str | bytes) -> tuple[str, ...]:
    with pytest.raises(AliasError) as caught:
        parse_aliases(text)
    assert all(error.isprintable() for error in caught.value.errors)
    return caught.value.errors


# The text form


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("", {}),
        ("# nothing\n\n   \n\t# indented\n", {}),
        ("a: b\n", {"a": ("b",)}),
        ("a:b", {"a": ("b",)}),
        ("a : b , c\n", {"a": ("b", "c")}),
        ("a: b,c,d@c.test\n", {"a": ("b", "c", "d@c.test")}),
        ("a: b,\n  c,\n\td\n", {"a": ("b", "c", "d")}),
        ("a:\n  b\n", {"a": ("b",)}),
        ("a: b,\n# a comment does not end a line\n\n  c\n", {"a": ("b", "c")}),
        ("a: b,, c,\n", {"a": ("b", "c")}),
        ("a: b, b, c\n", {"a": ("b", "c")}),
        ("a: b\r\nc: d\r\n", {"a": ("b",), "c": ("d",)}),
        ("\ufeffa: b\n", {"a": ("b",)}),
        ("Team: Bob\n", {"team": ("Bob",)}),
        ('"a b": c\n', {'"a b"': ("c",)}),
        ('"ab": c\n', {"ab": ("c",)}),
        ('"a:b,c": d\n', {'"a:b,c"': ("d",)}),
        ('"a\\"b": c\n', {'"a\\"b"': ("c",)}),
        ('a: "b, c"@c.test, d\n', {"a": ('"b, c"@c.test', "d")}),
        ("a: Bob Builder <bob@c.test>, carol\n", {"a": ("bob@c.test", "carol")}),
        ('a: "Builder, Bob" <bob@c.test>\n', {"a": ("bob@c.test",)}),
        ("sales@V.test: bob\n@v.test: carol\n", {"sales@v.test": ("bob",), "@v.test": ("carol",)}),
        ("@v.test: @c.test\n", {"@v.test": ("@c.test",)}),
        ("bob: \\bob, carol\n", {"bob": ("\\bob", "carol")}),
        ("trash: /dev/null\n", {"trash": ("/dev/null",)}),
        ('trash: "/dev/null"\n', {"trash": ("/dev/null",)}),
        ("l: :include:/lists/l\n", {"l": (":include:/lists/l",)}),
        ('l: ":include:my lists, all", bob\n', {"l": (":include:my lists, all", "bob")}),
        ("über: bücher@b.test\n", {"über": ("bücher@b.test",)}),
        ("x@Bücher.test: bob\n", {"x@xn--bcher-kva.test": ("bob",)}),
        ("a+b: c+d\nowner-a: e\n", {"a+b": ("c+d",), "owner-a": ("e",)}),
        ("a: b@[127.0.0.1]\n", {"a": ("b@[127.0.0.1]",)}),
    ],
)
def test_text_is_read_as_aliases_5_says(text: str, table: dict[str, tuple[str, ...]]) -> None:
    assert parsed(text) == table
    assert parsed(text.encode()) == table


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: |/bin/sh\n", "line 1: |/bin/sh is a command, and a lab runs none: a letter must not start programs"),
        ('\n\na: "|/bin/sh -c x, y"\n', 'line 3: "|/bin/sh -c x, y" is a command, and a lab runs none: '),
        ("a: b,\n  |sh\n", "line 1: |sh is a command"),
        ("a: /tmp/x\n", "line 1: /tmp/x is a file; mail goes into mailboxes, or to /dev/null"),
        ("a: /dev/null/../x\n", "line 1: /dev/null/../x is a file"),
        ("a: :fail: go away\n", "line 1: :fail: go away: only :include:/path may begin with a colon"),
        ("a: :include:\n", "line 1: :include:: only :include:/path may begin with a colon"),
        ("a\n", "line 1: 'name: value, value' expected"),
        ("a b\n", "line 1: 'name: value, value' expected"),
        ('"a: b\n', "line 1: 'name: value, value' expected"),
        (": b\n", "line 1: '' is no address"),
        ("a:\n", "line 1: the alias leads nowhere; to throw its mail away, write /dev/null"),
        ("a: ,,\n", "line 1: the alias leads nowhere"),
        ('a: "b\n', "line 1: a quote without its end"),
        ("a b: c\n", "line 1: 'a b' is no address"),
        ("a: b c\n", "line 1: 'b c' is no address"),
        ("a: b@\n", "line 1: '' is no domain"),
        ("a: @\n", "line 1: '' is no domain"),
        ("@: b\n", "line 1: '' is no domain"),
        ("a: b@c@d\n", "line 1: 'b@c@d' is no address"),
        ("a: b@c..d\n", "line 1: 'c..d' is no domain"),
        ("a: b@c d\n", "line 1: 'c d' is no domain"),
        ("a: \\\n", "line 1: '' is no address"),
        ("a: <>\n", "line 1: '<>' is no address"),
        ("  b\n", "line 1: continues nothing, as it begins with white space"),
        ("a: b\nA: c\n", "line 2: a stands on line 1 already"),
        ("a: b\x1b[2J\n", "line 1: a control character"),
        ("a: b\0\n", "line 1: a control character"),
        ("a: b\rc: |x\n", "line 1: a control character"),
        ("a: b\u2028c: d\n", "line 1: a control character"),
        (b"a: b\nc: \xff\n", "line 2: no valid UTF-8"),
        ("x" * 65 + ": b\n", "line 1: the local part of 'xxx"),
        ("a: b@" + "x" * 256 + "\n", "line 1: the domain 'xxx"),
        ("a: " + "b" * 300_000 + "\n", "line 1: longer than 262144 octets"),
        ("a: b,\n" + f" {'c' * 60},\n" * 5000, "line 4230: the alias that begins on line 1 is too long"),
        ("a: " + ",".join(f"b{number}" for number in range(10_001)), "line 1: more than 10000 values"),
        (b"#" * (9 << 20), "line 1: the text has 9437184 octets; 8388608 is the most"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_line(text: str | bytes, said: str) -> None:
    (first, *_) = errors(text)
    assert first.startswith(said)


def test_every_error_is_listed_in_the_order_of_the_lines() -> None:
    text = b"a: |x\nb: c\nd\n e\nf: \xff\nb: g\nh: /etc/passwd\n"
    assert [error.partition(":")[0] for error in errors(text)] == ["line 1", "line 3", "line 5", "line 6", "line 7"]
    with pytest.raises(AliasError) as caught:
        parse_aliases("|\n" * 1000)
    assert len(caught.value.errors) == 1000
    assert str(caught.value).splitlines()[-1] == "and 950 more"


HALF_OPEN = 'a: "' + "\\" * 200_001


@pytest.mark.parametrize("text", ['"' * 200_000, "a: " + "\\" * 200_000, HALF_OPEN, "a" + " " * 200_000 + "b"])
def test_endless_lines_take_no_time(text: str) -> None:
    assert errors(text)[0].startswith("line 1: ")


def is_readable(read: Callable[[bytes], object], octets: bytes) -> bool:
    try:
        read(octets)
    except AliasError as error:
        return not all(line.startswith("line ") and line.isprintable() for line in error.errors)
    return True


@given(st.text(max_size=60) | st.text(alphabet='ab:,"\\@ \n\t#|/<>.', max_size=60))
def test_any_text_is_read_or_refused_and_what_was_read_survives_being_written(text: str) -> None:
    if is_readable(parse_aliases, text.encode()):
        aliases = parse_aliases(text)
        assert parse_aliases(format_aliases(aliases)) == aliases


@given(st.binary(max_size=60))
def test_any_octets_are_read_or_refused(octets: bytes) -> None:
    if is_readable(parse_values, octets):
        assert all(value.isprintable() for value in parse_values(octets))


def test_a_long_alias_is_written_with_one_value_a_line() -> None:
    alias = checked_alias("team", [f"somebody{number}@c.test" for number in range(5)])
    text = format_aliases([alias])
    assert text.splitlines()[:2] == ["team: somebody0@c.test,", "    somebody1@c.test,"]
    assert parse_aliases(text) == [alias]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("carol\n", ("carol",)),
        ("\\bob, carol@c.test\n# away\n\ndave\n", ("\\bob", "carol@c.test", "dave")),
        ("", ()),
        ("  bob  \r\n", ("bob",)),
    ],
)
def test_a_forward_file_holds_values_on_any_number_of_lines(text: str, values: tuple[str, ...]) -> None:
    assert parse_values(text) == values


# The table


def test_aliases_are_set_looked_up_changed_and_removed(tmp_path: Path) -> None:
    aliases = Aliases(tmp_path / "aliases.db")
    aliases.set("Team", ["bob", "carol"])
    aliases.set("@v.test", ["bob"])
    assert aliases.lookup("tEAM") == ("bob", "carol")
    assert aliases.lookup('"team"') == ("bob", "carol")
    assert aliases.lookup("@V.TEST") == ("bob",)
    assert aliases.lookup("team@b.test") is None
    aliases.set("team", ["dave"])
    assert aliases.rows() == [Alias("@v.test", ("bob",)), Alias("team", ("dave",))]
    assert aliases.remove("TEAM")
    assert not aliases.remove("team")
    assert aliases.lookup("team") is None


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("a", ["|sh"], "|sh is a command"),
        ("a", ["/etc/passwd"], "is a file"),
        ("a", [], "leads nowhere"),
        ("a\nb", ["c"], "is no address"),
        ("a", ["b\r\nc: |sh"], "is no address"),
        ("a", ["b\x1b[2J"], "is no address"),
        ("", ["b"], "is no address"),
    ],
)
def test_what_cannot_be_used_is_not_set(tmp_path: Path, name: str, values: list[str], said: str) -> None:
    aliases = Aliases(tmp_path / "aliases.db")
    with pytest.raises(AliasError) as caught:
        aliases.set(name, values)
    assert said in str(caught.value)
    assert str(caught.value).isprintable()
    assert aliases.rows() == []


def test_an_import_is_all_or_nothing_and_replaces_the_table(tmp_path: Path) -> None:
    aliases = Aliases(tmp_path / "aliases.db")
    assert aliases.import_text("a: b\nc: d\n") == 2
    with pytest.raises(AliasError):
        aliases.import_text("e: f\ng: |sh\n")
    assert [alias.name for alias in aliases.rows()] == ["a", "c"]
    assert aliases.import_text("e: f\n", replace=False) == 1
    assert [alias.name for alias in aliases.rows()] == ["a", "c", "e"]
    assert aliases.import_text(b"x: y\n") == 1
    assert [alias.name for alias in aliases.rows()] == ["x"]


def test_what_is_exported_can_be_imported(tmp_path: Path) -> None:
    aliases = Aliases(tmp_path / "aliases.db")
    text = '"a b": "c, d"@e.test\n@v.test: @w.test\nl: ":include:my list", /dev/null\nüber: \\bob\n'
    aliases.import_text(text)
    assert aliases.export_text() == text
    aliases.import_text(aliases.export_text())
    assert aliases.export_text() == text


def test_a_change_is_seen_by_others_at_once_and_after_a_restart(tmp_path: Path) -> None:
    ours, theirs = Aliases(tmp_path / "aliases.db"), Aliases(tmp_path / "aliases.db")
    theirs.set("a", ["b"])
    assert ours.lookup("a") == ("b",)
    ours.import_text("c: d")
    assert theirs.lookup("a") is None
    ours.close()
    theirs.close()
    assert Aliases(tmp_path / "aliases.db").lookup("c") == ("d",)


def test_a_name_with_any_octets_is_looked_up_and_not_found(tmp_path: Path) -> None:
    aliases = Aliases(tmp_path / "aliases.db")
    for name in ("\udcff", "\x00", "a\x00b@c", '"', "@", "", "ü@ü..ü", "\ud800"):
        assert aliases.lookup(name) is None


# Included files


@pytest.fixture
def site(tmp_path: Path) -> Path:
    directory = tmp_path / "site"
    directory.mkdir()
    (tmp_path / "secret").write_text("outside\n")
    (directory / "list").write_text("bob, carol\n# comment\ndave@c.test\n")
    return directory


def test_an_included_file_is_read_anew_at_every_lookup(site: Path) -> None:
    aliases = Aliases(site / "aliases.db")
    aliases.set("l", ["alice", ":include:list", "bob"])
    assert aliases.lookup("l") == ("alice", "bob", "carol", "dave@c.test")
    (site / "list").write_text("erin")
    assert aliases.lookup("l") == ("alice", "erin", "bob")
    assert aliases.rows() == [Alias("l", ("alice", ":include:list", "bob"))]
    aliases.set("absolute", [f":include:{site}/list"])
    assert aliases.lookup("absolute") == ("erin",)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../secret", ":include:../secret leads out of "),
        ("/etc/passwd", ":include:/etc/passwd leads out of "),
        ("link", ":include:link leads out of "),
        ("folder-link/secret", ":include:folder-link/secret leads out of "),
        ("missing", ":include:missing: No such file or directory"),
        ("folder", ":include:folder: not a plain file"),
        ("pipe", ":include:pipe: not a plain file"),
        ("circle", ":include:circle: "),
        ("command", ":include:command, line 2: |sh is a command"),
        ("nested", ":include:nested includes another file; only an alias may"),
        ("octets", ":include:octets, line 1: no valid UTF-8"),
        ("huge", ":include:huge, line 1: the text has 8388609 octets"),
        ("n" * 300, ":include:nnn"),
    ],
)
def test_an_included_file_is_below_the_sites_directory_and_holds_only_addresses(
    site: Path, name: str, said: str
) -> None:
    (site / "link").symlink_to("../secret")
    (site / "folder-link").symlink_to("..")
    (site / "folder").mkdir()
    os.mkfifo(site / "pipe")
    (site / "circle").symlink_to("circle")
    (site / "command").write_text("bob\n|sh\n")
    (site / "nested").write_text(":include:list\n")
    (site / "octets").write_bytes(b"\xff\n")
    with (site / "huge").open("wb") as huge:
        huge.truncate(1 << 40)
    aliases = Aliases(site / "aliases.db")
    aliases.set("l", [f":include:{name}"])
    with pytest.raises(AliasError) as caught:
        aliases.lookup("l")
    assert str(caught.value).startswith(said)
    assert str(caught.value).isprintable()


def test_a_forward_file_is_read_from_the_users_directory(tmp_path: Path) -> None:
    home = tmp_path / "bob"
    home.mkdir()
    assert read_forward(home) is None
    assert read_forward(tmp_path / "nobody") is None
    (home / ".forward").write_text("# away\n")
    assert read_forward(home) is None
    (home / ".forward").write_text("\\bob, carol@c.test\n")
    assert read_forward(home) == ("\\bob", "carol@c.test")


@pytest.mark.parametrize(
    ("octets", "said"),
    [
        (b"|/bin/sh", ".forward of bob, line 1: |/bin/sh is a command"),
        (b"bob\n/tmp/x", ".forward of bob, line 2: /tmp/x is a file"),
        (b"\xff", ".forward of bob, line 1: no valid UTF-8"),
        (b":include:x", ".forward of bob includes another file"),
    ],
)
def test_a_forward_file_that_cannot_be_used_is_named(tmp_path: Path, octets: bytes, said: str) -> None:
    home = tmp_path / "bob"
    home.mkdir()
    (home / ".forward").write_bytes(octets)
    with pytest.raises(AliasError) as caught:
        read_forward(home)
    assert str(caught.value).startswith(said)


def test_a_forward_file_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    home = tmp_path / "bob"
    home.mkdir()
    (home / ".forward").symlink_to("/etc/passwd")
    with pytest.raises(AliasError, match=r"\.forward of bob: "):
        read_forward(home)


# The database


def test_a_damaged_database_is_named_with_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "aliases.db"
    file.write_bytes(b"no database " * 1000)
    with pytest.raises(DamagedDatabaseError, match=r"aliases\.db is damaged \(.*\); move it away to start anew"):
        Aliases(file)


def test_a_folder_another_program_and_a_later_version_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(DatabaseError, match="cannot be opened; is it a file"):
        Aliases(tmp_path / "folder")
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE x(y)")
    other.close()
    with pytest.raises(DamagedDatabaseError, match="is another program's database"):
        Aliases(tmp_path / "other.db")
    Aliases(tmp_path / "aliases.db").close()
    with sqlite3.connect(tmp_path / "aliases.db") as later:
        later.execute("PRAGMA user_version = 99")
    later.close()
    with pytest.raises(DatabaseError, match="was made by a newer mailprobe"):
        Aliases(tmp_path / "aliases.db")
