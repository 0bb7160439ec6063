"""The text form of an alias table: aliases(5), and the right-hand side of it, which a ``.forward`` file holds.

A line ``name: value, value`` is continued by lines that begin with white space; a line whose first character is ``#``
is a comment, wherever it stands. Names are ``user``, ``user@domain``, ``@domain`` (the catch-all) and ``owner-name``,
quoted where they hold anything special. Values are addresses, ``\\user`` (the mailbox, whatever the aliases say),
``:include:/path`` and ``/dev/null``. Commands and other files are refused: a lab runs nothing that a letter asks for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from mailprobe.lab.post.addresses import folded, shown, split, unquoted
from mailprobe.model.errors import UsageError

TEXT_OCTETS = 8 << 20
LINE_CHARACTERS = 256 << 10  # of a line with all that continues it
VALUES = 10_000
ERRORS_LISTED = 50
LOCAL_PART_LIMIT = 64  # RFC 5321 §4.5.3.1.1
DOMAIN_LIMIT = 255
NOWHERE = "/dev/null"
INCLUDE = ":include:"
_WIDTH = 78
_DOMAIN = re.compile(r"[^\x00-\x20\x7f@\"(),:;<>\\]+")
_LOCAL = re.compile(r'"(?:[^"\\]|\\.)+"|[^\x00-\x20\x7f"(),:;<>@\[\\\]]+')
_NAMED = re.compile(r'((?:"(?:[^"\\]|\\.)*"|[^":])*):(.*)')
_NAMED_ADDRESS = re.compile(r"[^<>]*<([^<>]+)>")
_ITEM = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^",])*')


class AliasError(UsageError):
    """An alias table, or a part of it, cannot be used; *errors* are all that was found, each with its line."""

    def __init__(self, errors: Sequence[str]) -> None:
        listed = list(errors[:ERRORS_LISTED])
        if len(errors) > ERRORS_LISTED:
            listed.append(f"and {len(errors) - ERRORS_LISTED} more")
        super().__init__("\n".join(listed))
        self.errors = tuple(errors)


class Alias(msgspec.Struct, frozen=True):
    """One alias: its folded name, and where it leads, in order."""

    name: str
    values: tuple[str, ...]


def parse_aliases(text: str | bytes) -> list[Alias]:
    """Read a whole table, in its order.

    Raises:
        AliasError: anything in it cannot be used; all of it is listed, by line.
    """
    found: dict[str, tuple[int, Alias]] = {}
    errors: list[str] = []
    for number, line in _logical_lines(_lines(text, errors), errors):
        try:
            alias = _parse_line(line)
            if alias.name in found:
                raise ValueError(f"{shown(alias.name)} stands on line {found[alias.name][0]} already")
            found[alias.name] = (number, alias)
        except ValueError as error:
            errors.append(f"line {number}: {error}")
    if errors:
        raise AliasError(sorted(errors, key=_line_number))
    return [alias for _, alias in found.values()]


def _line_number(error: str) -> int:
    return int(error.removeprefix("line ").partition(":")[0])


def parse_values(text: str | bytes) -> tuple[str, ...]:
    """Read what a ``.forward`` file or an included one holds: values divided by commas or line ends.

    Raises:
        AliasError: anything in it cannot be used; all of it is listed, by line.
    """
    values: list[str] = []
    errors: list[str] = []
    for number, line in _lines(text, errors):
        if line.lstrip().startswith("#"):
            continue
        try:
            values += _values(line)
            if len(values) > VALUES:
                raise ValueError(f"more than {VALUES} values")
        except ValueError as error:
            errors.append(f"line {number}: {error}")
    if errors:
        raise AliasError(errors)
    return tuple(dict.fromkeys(values))


def checked_alias(name: str, values: Iterable[str]) -> Alias:
    """Make an alias from its parts.

    Raises:
        AliasError: the name or a value cannot be used.
    """
    try:
        return Alias(_name(name), _some(tuple(_value(value) for value in values)))
    except ValueError as error:
        raise AliasError([str(error)]) from None


def alias_name(text: str) -> str:
    """Give the folded name of an alias.

    Raises:
        AliasError: it is no name.
    """
    try:
        return _name(text)
    except ValueError as error:
        raise AliasError([str(error)]) from None


def format_aliases(aliases: Iterable[Alias]) -> str:
    """Write a table as `parse_aliases` reads it, one alias a line, long ones with one value a line."""
    return "".join(_format(alias.name, [_written(value) for value in alias.values]) for alias in aliases)


def _format(name: str, values: Sequence[str]) -> str:
    line = f"{name}: {', '.join(values)}"
    return f"{line}\n" if len(line) <= _WIDTH else f"{name}: " + ",\n    ".join(values) + "\n"


def _written(value: str) -> str:
    """Put quotes around a path that would fall apart without them."""
    return f'"{value}"' if value.startswith((INCLUDE, "/")) and re.search(r"[\s,]", value) else value


def _lines(text: str | bytes, errors: list[str]) -> Iterator[tuple[int, str]]:
    """Give the lines with their numbers; those that are no text are errors."""
    octets = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    if len(octets) > TEXT_OCTETS:
        errors.append(f"line 1: the text has {len(octets)} octets; {TEXT_OCTETS} is the most")
        return
    for number, line in enumerate(octets.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        try:
            yield number, _text_of(line)
        except ValueError as error:
            errors.append(f"line {number}: {error}")


def _text_of(line: bytes) -> str:
    if len(line) > LINE_CHARACTERS:
        raise ValueError(f"longer than {LINE_CHARACTERS} octets")
    try:
        text = line.removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("no valid UTF-8") from None
    if not text.replace("\t", " ").isprintable():
        raise ValueError("a control character")
    return text


def _logical_lines(lines: Iterable[tuple[int, str]], errors: list[str]) -> Iterator[tuple[int, str]]:
    """Put lines and what continues them together; the number is that of the first."""
    begun, parts, length = 0, list[str](), 0
    for number, line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not line[0].isspace():
            if begun:
                yield begun, " ".join(parts)
            begun, parts, length = number, [], 0
        elif not begun:
            errors.append(f"line {number}: continues nothing, as it begins with white space")
            continue
        length += len(line)
        if length <= LINE_CHARACTERS:
            parts.append(line.strip())
        elif length - len(line) <= LINE_CHARACTERS:
            errors.append(f"line {number}: the alias that begins on line {begun} is too long")
    if begun:
        yield begun, " ".join(parts)


def _parse_line(line: str) -> Alias:
    match = _NAMED.match(line)
    if match is None:
        raise ValueError("'name: value, value' expected")
    return Alias(_name(match[1]), _some(tuple(_values(match[2]))))


def _some(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values:
        raise ValueError(f"the alias leads nowhere; to throw its mail away, write {NOWHERE}")
    if len(values) > VALUES:
        raise ValueError(f"more than {VALUES} values")
    return tuple(dict.fromkeys(values))


def _name(text: str) -> str:
    name = text.strip()
    if not name.startswith("@"):
        return folded(_address(name))
    _check_domain(name[1:])
    return folded(name)


def _values(text: str) -> list[str]:
    return [_value(item) for item in _divided(text) if item]


def _divided(text: str) -> Iterator[str]:
    """Divide at the commas that do not stand in quotes."""
    start = 0
    while (match := _ITEM.match(text, start)) and match.end() < len(text):
        if text[match.end()] != ",":
            raise ValueError("a quote without its end")
        yield match[0].strip()
        start = match.end() + 1
    yield text[start:].strip()


def _value(item: str) -> str:
    bare = unquoted(item)
    if bare.startswith("|"):
        raise ValueError(f"{shown(item)} is a command, and a lab runs none: a letter must not start programs")
    if bare.startswith("/"):
        if bare != NOWHERE:
            raise ValueError(f"{shown(item)} is a file; mail goes into mailboxes, or to {NOWHERE}")
        return bare
    if bare.startswith(":"):
        if not bare.startswith(INCLUDE) or not bare.removeprefix(INCLUDE).strip():
            raise ValueError(f"{shown(item)}: only {INCLUDE}/path may begin with a colon")
        return INCLUDE + bare.removeprefix(INCLUDE).strip()
    if item.startswith("@"):
        _check_domain(item[1:])
        return item
    if item.startswith("\\"):
        return f"\\{_address(item[1:])}"
    match = _NAMED_ADDRESS.fullmatch(item)
    return _address(match[1] if match else item)


def _address(text: str) -> str:
    local, domain = split(text)
    if not _LOCAL.fullmatch(local):
        raise ValueError(f"{shown(text)!r} is no address")
    if len(local.encode()) > LOCAL_PART_LIMIT:
        raise ValueError(f"the local part of {shown(text)!r} is longer than {LOCAL_PART_LIMIT} octets")
    if domain or "@" in text[len(local) :]:
        _check_domain(domain)
    return text


def _check_domain(domain: str) -> None:
    if not _DOMAIN.fullmatch(domain) or ".." in domain or domain.startswith("."):
        raise ValueError(f"{shown(domain)!r} is no domain")
    if len(domain.encode()) > DOMAIN_LIMIT:
        raise ValueError(f"the domain {shown(domain)!r} is longer than {DOMAIN_LIMIT} octets")
