"""The options of `send` that say what the letter is, and the letter that they make."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from mailprobe.cli.files import TooLongError, read
from mailprobe.cli.options import choice
from mailprobe.mail.compose import Attachment, Draft, Letter, compose
from mailprobe.mail.ready import Handling, LineEnds, ready
from mailprobe.mail.samples import SAMPLES, Envelope, sample
from mailprobe.model.errors import UsageError

Command = TypeVar("Command", bound=Callable[..., Any])

_TEXT = "This is a test letter from mailprobe.\n"
_SUBJECT = "mailprobe test"
_ADDRESS = "ADDRESS"
TEXT_LIMIT = 10_000_000  # octets
LETTER_LIMIT = 100_000_000  # of a ready letter, and of all attachments together

_OPTIONS = (
    click.option("--from", "sender", metavar=_ADDRESS, help="Who writes; '<>' is the null sender."),
    click.option("--to", multiple=True, metavar=_ADDRESS, help="Recipient, a name beside the address is welcome."),
    click.option("--cc", multiple=True, metavar=_ADDRESS, help="Recipient of a copy."),
    click.option("--bcc", multiple=True, metavar=_ADDRESS, help="Recipient whom the letter does not name."),
    click.option("--reply-to", multiple=True, metavar=_ADDRESS, help="Where answers are to go."),
    click.option("--subject", metavar="TEXT", help="Subject of the letter."),
    click.option("--text", metavar="TEXT", help="The letter itself."),
    click.option("--text-file", metavar="FILE", help="File with the text in UTF-8, up to 10 MB; - is stdin."),
    click.option("--html", metavar="TEXT", help="The letter in HTML, beside the text or alone."),
    click.option("--html-file", metavar="FILE", help="File with the HTML in UTF-8, up to 10 MB; - is stdin."),
    click.option("--attach", multiple=True, metavar="FILE[:TYPE]", help="File to go with it; up to 100 MB in all."),
    click.option("--header", multiple=True, metavar="'NAME: VALUE'", help="Header field of your own."),
    click.option("--smtputf8", is_flag=True, help="Write headers in UTF-8 (RFC 6531), not encoded."),
    click.option(
        "--sample",
        type=choice(SAMPLES),
        metavar="NAME",
        help=f"Send a letter that is difficult, or is to be caught: {', '.join(SAMPLES)}.",
    ),
    click.option("--data", metavar="FILE", help="Send a letter that is ready as it is, up to 100 MB; - is stdin."),
    click.option(
        "--line-ends",
        type=choice(LineEnds),
        default=LineEnds.AUTO.value,
        help="With --data: CRLF for LF where there is nothing else (auto), everywhere, or not at all.",
    ),
    click.option("--strict", is_flag=True, help="With --data: refuse what RFC 5322 forbids."),
    click.option("--keep-bcc", is_flag=True, help="With --data: leave the Bcc field in."),
    click.option("--complete", is_flag=True, help="With --data: add From, Date and Message-ID where they miss."),
)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What the options say of the letter, under their names."""

    sender: str | None
    to: tuple[str, ...]
    cc: tuple[str, ...]
    bcc: tuple[str, ...]
    reply_to: tuple[str, ...]
    subject: str | None
    text: str | None
    text_file: str | None
    html: str | None
    html_file: str | None
    attach: tuple[str, ...]
    header: tuple[str, ...]
    smtputf8: bool
    sample: str | None
    data: str | None
    line_ends: str
    strict: bool
    keep_bcc: bool
    complete: bool

    @property
    def composing(self) -> list[str]:
        """The options given that only a letter made of parts can have."""
        given = {
            "--subject": self.subject is not None,
            "--text": self.text is not None,
            "--text-file": self.text_file is not None,
            "--html": self.html is not None,
            "--html-file": self.html_file is not None,
            "--attach": bool(self.attach),
            "--header": bool(self.header),
            "--reply-to": bool(self.reply_to),
            "--smtputf8": self.smtputf8,
        }
        return [name for name, is_given in given.items() if is_given]

    @property
    def handling(self) -> list[str]:
        """The options given that only a ready letter can have."""
        given = {
            "--line-ends": self.line_ends != LineEnds.AUTO,
            "--strict": self.strict,
            "--keep-bcc": self.keep_bcc,
            "--complete": self.complete,
        }
        return [name for name, is_given in given.items() if is_given]

    @property
    def reads_stdin(self) -> bool:
        """True when the letter, or a part of it, comes from stdin."""
        return "-" in {self.data, self.text_file, self.html_file}


def letter_options(command: Command) -> Command:
    """Add the options that say what the letter is."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def take_wanted(options: dict[str, Any]) -> Wanted:
    """Take the options of the letter out of all that were given."""
    return Wanted(**{name: options.pop(name) for name in Wanted.__struct_fields__})


def make_letter(wanted: Wanted, date: datetime) -> Letter:
    """Make the letter.

    Raises:
        UsageError: options that exclude each other, a file that cannot be read, or what the letter cannot be made of.
    """
    _check(wanted)
    if wanted.data is not None:
        return _ready(wanted, date)
    if wanted.sender is None:
        raise UsageError("nobody writes: name the sender with --from")
    if not (*wanted.to, *wanted.cc, *wanted.bcc):
        raise UsageError("nobody to send it to: name a recipient with --to")
    if wanted.sample is not None:
        envelope = Envelope(sender=wanted.sender, to=wanted.to, cc=wanted.cc, bcc=wanted.bcc, date=date)
        return sample(wanted.sample, envelope)
    return _composed(wanted, wanted.sender, date)


def _check(wanted: Wanted) -> None:
    if wanted.data is not None and wanted.sample is not None:
        raise UsageError("--data and --sample exclude each other: each is a whole letter")
    if (wanted.data is not None or wanted.sample is not None) and (given := wanted.composing):
        whole = "--data" if wanted.data is not None else "--sample"
        raise UsageError(f"{whole} is a whole letter: leave out {', '.join(given)}")
    if wanted.data is None and (given := wanted.handling):
        raise UsageError(f"{', '.join(given)}: only a ready letter is handled so, see --data")
    for one, other in (("text", "text_file"), ("html", "html_file")):
        if getattr(wanted, one) is not None and getattr(wanted, other) is not None:
            raise UsageError(f"--{one} and --{other.replace('_', '-')} exclude each other")
    if wanted.text_file == "-" and wanted.html_file == "-":
        raise UsageError("stdin can be the text or the HTML, not both")


def _ready(wanted: Wanted, date: datetime) -> Letter:
    handling = Handling(
        line_ends=LineEnds(wanted.line_ends),
        strict=wanted.strict,
        keep_bcc=wanted.keep_bcc,
        complete=wanted.complete,
    )
    octets = read(wanted.data or "", "--data", LETTER_LIMIT, pipes=True)
    recipients = (*wanted.to, *wanted.cc, *wanted.bcc)
    return ready(octets, sender=wanted.sender, recipients=recipients, date=date, handling=handling)


def _composed(wanted: Wanted, sender: str, date: datetime) -> Letter:
    text, html = _text(wanted.text, wanted.text_file, "--text"), _text(wanted.html, wanted.html_file, "--html")
    subject = next((value for name, value in map(_header, wanted.header) if name.lower() == "subject"), None)
    return compose(
        Draft(
            sender=sender,
            to=wanted.to,
            cc=wanted.cc,
            bcc=wanted.bcc,
            reply_to=wanted.reply_to,
            subject=wanted.subject if wanted.subject is not None else subject or _SUBJECT,
            text=_TEXT if text is None and html is None else text,
            html=html,
            attachments=tuple(_attachments(wanted.attach)),
            headers=tuple(map(_header, wanted.header)),
            date=date,
            smtputf8=wanted.smtputf8,
        )
    )


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise UsageError(f"--header {text[:60]!r} has no colon; write for example 'X-Test: yes'")
    return name, value.strip(" \t")


def _attachments(texts: tuple[str, ...]) -> Iterator[Attachment]:
    """Read each as far as all of them together stay within the limit."""
    room = LETTER_LIMIT
    for text in texts:
        made = _attachment(text, room)
        room -= len(made.octets)
        yield made


def _attachment(text: str, room: int) -> Attachment:
    """Read ``FILE`` or ``FILE:TYPE``; a file whose own name has a colon is found first."""
    path, kind = text, ""
    if not Path(text).is_file() and ":" in text:
        path, _, kind = text.rpartition(":")
    try:
        octets = read(path, "--attach", room)
    except TooLongError:
        raise UsageError(f"--attach {path}: more than 100 MB of attachments, which is the limit") from None
    name = os.fsencode(Path(path).name).decode("utf-8", "replace")
    return Attachment("" if path == "-" else name, kind or _type_of(name), octets)


def _type_of(name: str) -> str:
    import mimetypes

    if name.lower().endswith(".eml"):
        return "message/rfc822"
    kind, encoding = mimetypes.guess_type(name)
    return kind if kind is not None and encoding is None else "application/octet-stream"


def _text(given: str | None, file: str | None, option: str) -> str | None:
    if file is None:
        return given
    try:
        return read(file, f"{option}-file", TEXT_LIMIT, pipes=True).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{option}-file {file}: no text in UTF-8: {error.reason} at octet {error.start}") from None
