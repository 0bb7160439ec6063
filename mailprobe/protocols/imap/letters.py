"""The commands on the letters of a selected mailbox: FETCH, STORE, SEARCH, COPY, MOVE, EXPUNGE.

Each takes the words of its command and gives the untagged responses and the text of the final OK. Numbers of
letters may not change while FETCH, STORE or SEARCH run (RFC 3501 §7.4.1), so the server tells news after the
others only.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import msgspec

from mailprobe.protocols.imap.fetching import Answerer, Item, parse_items
from mailprobe.protocols.imap.grammar import FLAGS_PER_LETTER, BadCommandError, Words
from mailprobe.protocols.imap.searching import CHARSETS, BadCharsetError, Hit, parse_search
from mailprobe.protocols.imap.selected import Place, Selected, uid_set
from mailprobe.protocols.mailstore import (
    Letter,
    LetterGoneError,
    Mailbox,
    MailboxFullError,
    MailStore,
    StoreError,
)

RESPONSE_LIMIT = 48 << 20  # a client may ask for every message many times in one command


class Refusal(Exception):  # noqa: N818 - the client made no error, it gets a NO
    """The command is understood and cannot be done; *str* is what follows NO."""


class Outcome(msgspec.Struct, frozen=True):
    """Untagged responses, and what follows the tagged OK."""

    untagged: list[bytes]
    text: bytes


def fetch(selected: Selected, words: Words, by_uid: bool) -> Outcome:
    """Carry out FETCH."""
    sequence = words.sequence()
    words.space()
    items = parse_items(words)
    words.end()
    if by_uid and not any(item.name == "UID" for item in items):
        items = (Item("UID"), *items)
    lines, size = [], 0
    for place in selected.pick(sequence, by_uid):
        try:
            line = _fetch_one(selected, place, items)
        except LetterGoneError:  # news will say so
            continue
        size += len(line)
        if size > RESPONSE_LIMIT:
            raise Refusal("[LIMIT] too much at once, ask for fewer messages")
        lines.append(line)
    return Outcome(lines, b"FETCH completed")


def _fetch_one(selected: Selected, place: Place, items: tuple[Item, ...]) -> bytes:
    letter = place.letter
    if not selected.read_only and "\\Seen" not in letter.flags and not all(item.peek for item in items):
        selected.mailbox.set_flags(letter.uid, letter.flags | {"\\Seen"})
        letter = selected.mailbox.get(letter.uid) or letter
        if not any(item.name == "FLAGS" for item in items):
            items = (*items, Item("FLAGS"))
    answerer = Answerer(letter)
    answers = b" ".join(answerer.answer(item) for item in items)
    if any(item.name == "FLAGS" for item in items):
        selected.told(letter.uid, letter.flags)
    if any(item.takes_text for item in items):
        selected.take(letter.uid)
    return b"* %d FETCH (" % place.number + answers + b")\r\n"


def store(selected: Selected, words: Words, by_uid: bool) -> Outcome:
    """Carry out STORE."""
    sequence = words.sequence()
    words.space()
    word = words.word()
    words.space()
    flags = frozenset(words.flags())
    words.end()
    if word.removesuffix(".SILENT") not in ("FLAGS", "+FLAGS", "-FLAGS"):
        raise BadCommandError("FLAGS, +FLAGS or -FLAGS expected")
    _demand_writable(selected)
    lines = []
    for place in selected.pick(sequence, by_uid):
        old, uid = place.letter.flags, place.letter.uid
        new = _changed(old, flags, word)
        if len(new) > FLAGS_PER_LETTER:
            raise Refusal("[LIMIT] too many flags")
        selected.mailbox.set_flags(uid, new)
        letter = selected.mailbox.get(uid)
        if letter is None:
            continue
        if not word.endswith(".SILENT"):
            lines.append(_fetch_one(selected, Place(place.number, letter), _flag_items(by_uid)))
        elif _changed(selected.known_flags(uid), flags, word) == letter.flags:  # others have changed nothing beside it
            selected.told(uid, letter.flags)
    return Outcome(lines, b"STORE completed")


def _changed(old: frozenset[str], flags: frozenset[str], word: str) -> frozenset[str]:
    return old | flags if word[0] == "+" else old - flags if word[0] == "-" else flags


def _flag_items(by_uid: bool) -> tuple[Item, ...]:
    return (Item("UID"), Item("FLAGS")) if by_uid else (Item("FLAGS"),)


def search(selected: Selected, words: Words, by_uid: bool) -> Outcome:
    """Carry out SEARCH."""
    try:
        test = parse_search(words)
    except BadCharsetError:
        known = " ".join(charset.decode() for charset in CHARSETS)
        raise Refusal(f"[BADCHARSET ({known})] charset not supported") from None
    found = []
    for place in selected.places():
        with suppress(LetterGoneError):
            if test(Hit(place.number, place.letter, selected.count, selected.highest_uid)):
                found.append(place.letter.uid if by_uid else place.number)
    numbers = b"".join(b" %d" % number for number in found)
    return Outcome([b"* SEARCH" + numbers + b"\r\n"], b"SEARCH completed")


def copy(store: MailStore, user: str, selected: Selected, words: Words, by_uid: bool, move: bool) -> Outcome:
    """Carry out COPY (RFC 3501 §6.4.7) or MOVE (RFC 6851): all letters or none."""
    sequence = words.sequence()
    words.space()
    name = words.mailbox()
    words.end()
    target = store.mailbox(user, name)
    if target is None:
        raise Refusal("[TRYCREATE] no such mailbox")
    if move:
        _demand_writable(selected)
    copied = _copy_all(target, [place.letter for place in selected.pick(sequence, by_uid)])
    if not copied:
        return Outcome([], b"nothing to copy")
    code = b"[COPYUID %d %b %b]" % (target.uid_validity, uid_set(list(copied)), uid_set(list(copied.values())))
    if not move:
        return Outcome([], code + b" COPY completed")  # the code: RFC 4315 §3
    selected.mailbox.remove(list(copied))
    return Outcome([b"* OK " + code + b" moved\r\n"], b"MOVE completed")


def _copy_all(target: Mailbox, originals: list[Letter]) -> dict[int, int]:
    """Copy letters, passing over those that have gone; give the old and the new uids."""
    copied: dict[int, int] = {}
    try:
        for letter in originals:
            with suppress(LetterGoneError):
                copied[letter.uid] = target.append(letter.data, letter.flags, letter.received)
    except (MailboxFullError, StoreError) as error:
        target.remove(list(copied.values()))
        if isinstance(error, MailboxFullError):
            raise Refusal("[OVERQUOTA] mailbox full") from None
        raise
    return copied


def expunge(selected: Selected, words: Words, by_uid: bool) -> Outcome:
    """Carry out EXPUNGE, or UID EXPUNGE (RFC 4315 §2.1)."""
    places = selected.pick(words.sequence(), by_uid=True) if by_uid else selected.places()
    words.end()
    _demand_writable(selected)
    remove_deleted(selected, places)
    return Outcome([], b"EXPUNGE completed")


def remove_deleted(selected: Selected, places: list[Place]) -> None:
    """Remove those of the letters that are marked as deleted."""
    uids = [place.letter.uid for place in places if "\\Deleted" in place.letter.flags]
    if uids:
        selected.mailbox.remove(uids)


def _demand_writable(selected: Selected) -> None:
    if selected.read_only:
        raise Refusal("[READ-ONLY] mailbox is selected read-only")


COMMANDS: dict[str, Callable[[Selected, Words, bool], Outcome]] = {
    "FETCH": fetch,
    "STORE": store,
    "SEARCH": search,
    "EXPUNGE": expunge,
}
