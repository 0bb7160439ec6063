"""Mail programs at work when the lab is killed: each letter and each flag is as before or as after, never between."""

from __future__ import annotations

import email
import imaplib
import poplib
import re
import shutil
import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mailprobe.lab.world import Lab
from tests.lab.post.mortal import Mortal, mortal, recovered
from tests.lab.post.sites import BOB, RECEIVER, TIMEOUT_S, address_of, letter, submit

LETTERS, APPENDED = 5, 9
FOLDERS = ("INBOX", "Archive", "Work", "Work/Old")
PASSING = {"\\Recent", "\\Deleted"}  # the one is another's for each session, the other means that EXPUNGE has not come
DEATHS = 12  # of one operation at most
_UID, _FLAGS = re.compile(rb"UID (\d+)"), re.compile(rb"FLAGS \(([^)]*)\)")

Connect = Callable[[], socket.socket]


class Imap(imaplib.IMAP4):
    def __init__(self, connect: Connect) -> None:
        self._reach = connect
        super().__init__("mx")

    def _create_socket(self, timeout: float | None) -> socket.socket:
        return self._reach()


class Pop3(poplib.POP3):
    def __init__(self, connect: Connect) -> None:
        self._reach = connect
        super().__init__("mx")

    def _create_socket(self, timeout: float) -> socket.socket:
        return self._reach()


def secure(lab: Mortal, port: int) -> Connect:
    def connect() -> socket.socket:
        raw = socket.create_connection(lab.ports[f"{RECEIVER}:{port}"], TIMEOUT_S)
        return lab.context().wrap_socket(raw, server_hostname=f"mx.{RECEIVER}")

    return connect


class Seen(msgspec.Struct, frozen=True):
    """Bob's mail: in each folder the letters by their numbers, each with its uid and its flags."""

    validity: Mapping[str, str]
    letters: Mapping[str, Mapping[int, tuple[int, frozenset[str]]]]

    def places(self, number: int) -> set[str]:
        return {folder for folder, found in self.letters.items() if number in found}

    def flags(self, folder: str, number: int) -> frozenset[str]:
        return self.letters[folder][number][1]


def look(lab: Lab) -> Seen:
    """Read everything as a mail program would, and see that every letter is whole."""
    validity: dict[str, str] = {}
    letters: dict[str, dict[int, tuple[int, frozenset[str]]]] = {}
    with Imap(lambda: socket.create_connection(lab.route(address_of(lab, f"mx.{RECEIVER}"), 143), TIMEOUT_S)) as client:
        context = ssl.create_default_context(cafile=str(lab.ca_file))
        context.check_hostname = False
        client.starttls(context)
        client.login("bob", "secret")
        for folder in FOLDERS:
            if client.select(folder, readonly=True)[0] == "OK":
                validity[folder] = client.response("UIDVALIDITY")[1][0].decode()
                letters[folder] = dict(_letters(client))
    return Seen(validity, letters)


def _letters(client: imaplib.IMAP4) -> list[tuple[int, tuple[int, frozenset[str]]]]:
    found = []
    for item in client.fetch("1:*", "(UID FLAGS BODY.PEEK[])")[1]:
        if isinstance(item, tuple):
            head, data = item
            number = int(email.message_from_bytes(data)["Message-ID"].strip("<>").partition("@")[0])
            assert data.endswith(letter(number))
            uid, flags = _UID.search(head), _FLAGS.search(head)
            assert uid is not None
            assert flags is not None
            found.append((number, (int(uid[1]), frozenset(flags[1].decode().split()) - PASSING)))
    assert len(dict(found)) == len(found), "a letter is there twice"
    return found


# -- what mail programs do -------------------------------------------------------------------------------------


def append(client: Imap) -> None:
    client.append("INBOX", r"(\Seen $Work)", "", letter(APPENDED))


def store(client: Imap) -> None:
    client.store("1:3", "+FLAGS", r"(\Seen \Flagged $Work)")


def expunge(client: Imap) -> None:
    client.expunge()


def move(client: Imap) -> None:
    client.create("Archive")
    client.uid("MOVE", "1:3", "Archive")


def rename(client: Imap) -> None:
    client.rename("Work", "Archive")


def delete(client: Imap) -> None:
    client.delete("Work/Old")


Action = Callable[[Any], object]


@pytest.fixture(scope="module")
def mailbox(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Seen]:
    """Make a lab's directory in which bob has letters in three folders."""
    directory = tmp_path_factory.mktemp("mailbox") / "lab"
    with recovered(directory) as lab:
        for number in range(1, LETTERS + 1):
            submit(lab, BOB, data=letter(number))
        lab.rest(TIMEOUT_S)
    with mortal(directory) as running, Imap(secure(running, 993)) as client:
        client.login("bob", "secret")
        client.create("Work")
        client.create("Work/Old")
        client.append("Work", r"(\Seen)", "", letter(LETTERS + 1))
        client.append("Work/Old", "($Old)", "", letter(LETTERS + 2))
    with recovered(directory) as lab:
        return directory, look(lab)


def perform(action: Action, directory: Path, point: int) -> tuple[bool, int, str]:
    """Do it in a lab that dies at a point of it; tell whether it was said to be done, and how many points it has."""
    lab = Mortal(directory)
    client = Pop3(secure(lab, 995)) if action is quit_with_deletions else Imap(secure(lab, 993))
    _enter(client)
    assert lab.ask(f"arm {point}") == "armed"
    done, passed = False, 0
    with suppress(OSError, imaplib.IMAP4.error, poplib.error_proto):
        action(client)
        done = True
        passed = sum((lab.ask("points") or {}).values())
    with suppress(OSError):
        client.shutdown() if isinstance(client, Imap) else client.close()
    return done, passed, lab.end()


def _enter(client: Imap | Pop3) -> None:
    if isinstance(client, Imap):
        client.login("bob", "secret")
        client.select("INBOX")
        client.store("2:4", "+FLAGS", r"(\Deleted)")
        return
    client.user("bob")
    client.pass_("secret")
    for number in (1, 2, 4):
        client.dele(number)


def quit_with_deletions(client: Pop3) -> None:
    client.quit()


ACTIONS: tuple[Action, ...] = (append, store, expunge, move, rename, delete, quit_with_deletions)


@pytest.mark.parametrize("action", ACTIONS)
def test_what_a_mail_program_changes_is_as_before_or_as_after(
    action: Action, mailbox: tuple[Path, Seen], tmp_path: Path
) -> None:
    prepared, before = mailbox
    shutil.copytree(prepared, tmp_path / "whole")
    done, points, _ = perform(action, tmp_path / "whole", 0)
    assert done
    with recovered(tmp_path / "whole") as lab:
        after = look(lab)
    assert after.letters != before.letters
    for death in sorted({1 + number * points // DEATHS for number in range(DEATHS)}):
        shutil.copytree(prepared, tmp_path / str(death))
        done, _, where = perform(action, tmp_path / str(death), death)
        with recovered(tmp_path / str(death)) as lab:
            now = look(lab)
        print(f"{action.__name__} killed before {where or 'nothing'}, point {death} of {points}; told done: {done}")
        compare(before, now, after, done)
        assert left_over(tmp_path / str(death)) == []


def compare(before: Seen, now: Seen, after: Seen, done: bool) -> None:
    if done:
        assert now.letters.keys() == after.letters.keys()
    for number in range(1, APPENDED + 1):
        was, will, there = before.places(number), after.places(number), now.places(number)
        assert there in ({frozenset(will)} if done else {frozenset(each) for each in (was, will, was | will)})
        for folder in there:
            allowed = [seen.flags(folder, number) for seen in (before, after) if folder in seen.places(number)]
            flags = now.flags(folder, number)
            if done:
                assert flags == allowed[-1]
            else:  # a letter may be there without its keywords, which follow it: nobody was told that it is
                assert _system(frozenset.intersection(*allowed)) <= flags <= frozenset.union(*allowed)
            _same_uid(before, now, folder, number)


def _system(flags: frozenset[str]) -> frozenset[str]:
    return frozenset(flag for flag in flags if flag.startswith("\\"))


def _same_uid(before: Seen, now: Seen, folder: str, number: int) -> None:
    """See that no uid changed its meaning."""
    if folder in before.validity and before.validity[folder] == now.validity[folder]:
        for known, (uid, _) in before.letters[folder].items():
            if uid == now.letters[folder][number][0]:
                assert known == number


def left_over(directory: Path) -> list[str]:
    mail = directory / RECEIVER / "mail"
    return [
        str(file.relative_to(mail))
        for file in [*mail.glob("*/tmp/*"), *mail.glob("*/.*/tmp/*"), *mail.glob("*/deleted-*")]
    ]
