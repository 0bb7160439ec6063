"""The commands on mailboxes as a whole: LIST, LSUB, STATUS, CREATE, DELETE, RENAME, SUBSCRIBE, APPEND."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from mailprobe.protocols.imap.grammar import FLAGS_PER_LETTER, BadCommandError, Words, mailbox_word
from mailprobe.protocols.imap.letters import Outcome, Refusal
from mailprobe.protocols.imap.searching import parse_date_time
from mailprobe.protocols.mailstore import Mailbox, MailboxFullError, MailStore, StoreError

SUBSCRIPTIONS_LIMIT = 200
WILDCARDS_LIMIT = 10  # each may try every place in a name

_STATUS_ITEMS = ("MESSAGES", "RECENT", "UIDNEXT", "UIDVALIDITY", "UNSEEN")


def list_mailboxes(store: MailStore, user: str, words: Words, subscribed: bool) -> Outcome:
    """Carry out LIST or LSUB."""
    reference = words.pattern().decode("latin-1")
    words.space()
    pattern = words.pattern().decode("latin-1")
    words.end()
    word = b"LSUB" if subscribed else b"LIST"
    if not pattern and not subscribed:
        return Outcome([b'* LIST (\\Noselect) "/" ""\r\n'], b"LIST completed")
    names = tuple(sorted(store.subscriptions(user))) if subscribed else store.names(user)
    attributes = {name: () if subscribed else store.attributes(user, name) for name in names}
    if pattern.endswith("%"):
        attributes |= dict.fromkeys(_levels(names), ("\\Noselect",))  # RFC 3501 §6.3.8
    fits = _matcher(reference + pattern)
    lines = [_list_line(word, name, said) for name, said in attributes.items() if fits.match(name)]
    return Outcome(lines, word + b" completed")


def _levels(names: tuple[str, ...]) -> list[str]:
    """Give the levels of the hierarchy that are no mailboxes themselves."""
    found = {name[:at] for name in names for at, letter in enumerate(name) if letter == "/" and at}
    return sorted(found - set(names))


def _list_line(word: bytes, name: str, attributes: tuple[str, ...]) -> bytes:
    return b'* %b (%b) "/" %b\r\n' % (word, " ".join(attributes).encode(), mailbox_word(name))


def _matcher(pattern: str) -> re.Pattern[str]:
    """Make ``*`` match anything and ``%`` anything but the separator (RFC 3501 §6.3.8)."""
    pattern = re.sub(r"[*%]*\*[*%]*", "*", re.sub(r"%+", "%", pattern))
    if sum(pattern.count(wildcard) for wildcard in "*%") > WILDCARDS_LIMIT:
        raise BadCommandError("too many wildcards")
    wild = {"*": ".*", "%": "[^/]*"}
    expression = "".join(wild.get(letter) or re.escape(letter) for letter in pattern)
    flags = re.IGNORECASE if pattern.upper() == "INBOX" else 0
    return re.compile(expression + r"\Z", flags)


def status(store: MailStore, user: str, words: Words) -> Outcome:
    """Carry out STATUS."""
    name = words.mailbox()
    words.space()
    words.literally(b"(")
    items = [words.word()]
    while not words.skip(b")"):
        words.space()
        items.append(words.word())
    words.end()
    if not set(items) <= set(_STATUS_ITEMS):
        raise BadCommandError("no such STATUS item")
    mailbox = _existing(store, user, name)
    values = b" ".join(b"%b %d" % (item.encode(), _status_value(mailbox, item)) for item in dict.fromkeys(items))
    return Outcome([b"* STATUS " + mailbox_word(name) + b" (" + values + b")\r\n"], b"STATUS completed")


def _status_value(mailbox: Mailbox, item: str) -> int:
    match item:
        case "MESSAGES":
            return len(mailbox.uids())
        case "UIDNEXT":
            return mailbox.uid_next
        case "UIDVALIDITY":
            return mailbox.uid_validity
        case "UNSEEN":
            return len(unseen(mailbox))
    return 0  # RECENT


def unseen(mailbox: Mailbox) -> list[int]:
    """Give the numbers of the letters without the Seen flag."""
    letters = (mailbox.get(uid) for uid in mailbox.uids())
    return [n for n, letter in enumerate(letters, 1) if letter is not None and "\\Seen" not in letter.flags]


def create(store: MailStore, user: str, words: Words) -> Outcome:
    """Carry out CREATE."""
    name = _new_name(words)
    words.end()
    try:
        if not store.create(user, name):
            raise Refusal("[ALREADYEXISTS] mailbox exists")
    except MailboxFullError:
        raise Refusal("[LIMIT] too many mailboxes") from None
    except StoreError as error:
        raise Refusal(f"[CANNOT] {error}") from None
    return Outcome([], b"CREATE completed")


def _new_name(words: Words) -> str:
    name = words.mailbox().rstrip("/")
    if not name or any(wildcard in name for wildcard in "*%"):
        raise Refusal("[CANNOT] no name for a mailbox")
    return name


def delete(store: MailStore, user: str, words: Words) -> Outcome:
    """Carry out DELETE."""
    name = words.mailbox()
    words.end()
    if not store.delete(user, name):
        raise Refusal("[NONEXISTENT] no such mailbox, or INBOX")
    return Outcome([], b"DELETE completed")


def rename(store: MailStore, user: str, words: Words) -> Outcome:
    """Carry out RENAME."""
    name = words.mailbox()
    words.space()
    to = _new_name(words)
    words.end()
    try:
        if not store.rename(user, name, to):
            raise Refusal("[CANNOT] no such mailbox, or the new name is taken")
    except StoreError as error:
        raise Refusal(f"[CANNOT] {error}") from None
    return Outcome([], b"RENAME completed")


def subscribe(store: MailStore, user: str, words: Words, wanted: bool) -> Outcome:
    """Carry out SUBSCRIBE or UNSUBSCRIBE."""
    name = words.mailbox()
    words.end()
    subscriptions = store.subscriptions(user)
    if not wanted:
        subscriptions.discard(name)
        return Outcome([], b"UNSUBSCRIBE completed")
    _existing(store, user, name)
    if len(subscriptions) >= SUBSCRIPTIONS_LIMIT:
        raise Refusal("[LIMIT] too many subscriptions")
    subscriptions.add("INBOX" if name.upper() == "INBOX" else name)
    return Outcome([], b"SUBSCRIBE completed")


def append(store: MailStore, user: str, words: Words) -> Outcome:
    """Carry out APPEND."""
    name = words.mailbox()
    words.space()
    flags: tuple[str, ...] = ()
    if words.peek() == b"(":
        flags = words.flags()
        words.space()
    received = None
    if words.peek() == b'"':
        received = parse_date_time(words)
        words.space()
    data = words.string()
    words.end()
    mailbox = store.mailbox(user, name)
    if mailbox is None:
        raise Refusal("[TRYCREATE] no such mailbox")
    if len(flags) > FLAGS_PER_LETTER:
        raise Refusal("[LIMIT] too many flags")
    try:
        uid = mailbox.append(data, flags, received)
    except MailboxFullError:
        raise Refusal("[OVERQUOTA] mailbox full") from None
    return Outcome([], b"[APPENDUID %d %d] APPEND completed" % (mailbox.uid_validity, uid))


def _existing(store: MailStore, user: str, name: str) -> Mailbox:
    mailbox = store.mailbox(user, name)
    if mailbox is None:
        raise Refusal("[NONEXISTENT] no such mailbox")
    return mailbox


COMMANDS: dict[str, Callable[[MailStore, str, Words], Outcome]] = {
    "LIST": partial(list_mailboxes, subscribed=False),
    "LSUB": partial(list_mailboxes, subscribed=True),
    "STATUS": status,
    "CREATE": create,
    "DELETE": delete,
    "RENAME": rename,
    "SUBSCRIBE": partial(subscribe, wanted=True),
    "UNSUBSCRIBE": partial(subscribe, wanted=False),
    "APPEND": append,
}
