"""The directories of mailboxes: Maildir++, where ``Work/old`` is ``.Work.old`` beside INBOX.

Names on disk are what IMAP says on the wire, modified UTF-7 (RFC 3501 §5.1.3) included, with every octet that could
mean something to a file system as ``%`` and two hexadecimal digits: ``a.b`` is ``.a%2Eb``. No name leads anywhere but
to a directory right below its user's.
"""

from __future__ import annotations

import re

SEPARATOR = "/"
NAME_LIMIT = 250  # octets of a directory's name; file systems take 255

_ESCAPED = re.compile(r"[^A-Za-z0-9 !#$&'()+,;=@^_`{}~-]")
_ESCAPE = re.compile(r"%([0-9A-F]{2})")


def directory_of(name: str) -> str | None:
    """Give the directory of a mailbox other than INBOX, or None when that cannot be its name."""
    levels = name.split(SEPARATOR)
    if name.upper() == "INBOX" or not all(levels) or not all(" " <= letter <= "~" for letter in name):
        return None
    directory = "".join(f".{escaped(level)}" for level in levels)
    return directory if len(directory) <= NAME_LIMIT else None


def name_of(directory: str) -> str | None:
    """Give the mailbox that has this directory, or None when none can have it."""
    if not directory.startswith("."):
        return None
    levels = directory[1:].split(".")
    name = SEPARATOR.join(_ESCAPE.sub(lambda match: chr(int(match[1], 16)), level) for level in levels)
    return name if directory_of(name) == directory else None


def user_directory(user: str) -> str:
    """Give the directory of a user: the local part, made safe; it starts with no dot."""
    kept = escaped(user).replace("%2E", ".")
    return re.sub(r"\A\.", "%2E", kept) or "%"


def escaped(text: str) -> str:
    """Replace every octet that is not plain in a file name."""
    return _ESCAPED.sub(lambda match: "".join(f"%{octet:02X}" for octet in match[0].encode("utf-8", "replace")), text)
