"""The options of `mailprobe trip`, and what they mean: which way a letter goes, and where it is looked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from mailprobe.cli.logins import LAB_RECIPIENT, LAB_SENDER, read_credentials
from mailprobe.cli.options import choice, format_option
from mailprobe.mail.addresses import mailbox
from mailprobe.mail.login import Login
from mailprobe.mail.routes import Exchangers, Route, server
from mailprobe.mail.sending import Options
from mailprobe.mail.trip import Plan
from mailprobe.mail.trip_desk import Desk
from mailprobe.model.conversation import Security
from mailprobe.model.errors import UsageError
from mailprobe.model.finding import Severity
from mailprobe.model.names import host_and_port
from mailprobe.model.ports import WELL_KNOWN, Service
from mailprobe.model.trip import Access, Thresholds
from mailprobe.protocols.sasl import Credentials

Command = TypeVar("Command", bound=Callable[..., Any])

WAIT_S, WARN_S, CRIT_S, LOST_AFTER_S = 600.0, 95.0, 300.0, 3_600.0
_PORTS = {Access.IMAP: 993, Access.POP3: 995}
_SERVICES = {
    Access.IMAP: {Security.TLS: Service.IMAPS, Security.STARTTLS: Service.IMAP},
    Access.POP3: {Security.TLS: Service.POP3S, Security.STARTTLS: Service.POP3},
}


class _Span(click.ParamType[float]):
    """A span of time: ``90``, ``90s``, ``5m``, ``2h``, ``1d``."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        from mailprobe.cli.lab.orders import seconds_of

        try:
            return seconds_of(value)
        except UsageError as error:
            self.fail(str(error), param, ctx)


def _once(_context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> str | None:
    """Refuse an option that is given twice, of which the first would count for nothing."""
    if len(values) > 1:
        raise UsageError(f"--{option.name} is given {len(values)} times; once is all it can be")
    return values[0] if values else None


_WAY_OPTIONS = (
    click.option("--submit", metavar="HOST[:PORT]", help="Hand it over here; default: the domain of FROM, at 587."),
    click.option("--mx", "to_mx", is_flag=True, help="Hand it to the mail exchangers of TO, without login."),
    click.option("--imap", metavar="HOST[:PORT]", help="Read TO's mail here; default: the domain of TO, at 993."),
    click.option("--pop3", metavar="HOST[:PORT]", help="Read TO's mail here by POP3, at 995."),
    click.option("--submit-security", type=choice(Security), help="TLS to --submit; default: by port."),
    click.option("--read-security", type=choice(Security), help="TLS to mailboxes; default: by port."),
    click.option("--from-imap", metavar="HOST[:PORT]", help="Look for bounces in FROM's mail here."),
    click.option("--from-pop3", metavar="HOST[:PORT]", help="Look for bounces in FROM's mail here, by POP3."),
)
_LOGIN_OPTIONS = (
    click.option(
        "--from-login",
        "--from-user",
        "from_user",
        metavar="USER",
        help="Who logs in to send, by MAILPROBE_FROM_PASSWORD; default: FROM.",
    ),
    click.option(
        "--from-password-file",
        type=click.Path(path_type=Path, allow_dash=True),
        metavar="FILE",
        help="Its first line is the password, not MAILPROBE_FROM_PASSWORD; - is stdin.",
    ),
    click.option(
        "--to-login",
        "--to-user",
        "to_user",
        metavar="USER",
        help="Who logs in to read, by MAILPROBE_TO_PASSWORD; default: TO.",
    ),
    click.option(
        "--to-password-file",
        type=click.Path(path_type=Path, allow_dash=True),
        metavar="FILE",
        help="Its first line is the password, not MAILPROBE_TO_PASSWORD; - is stdin.",
    ),
    click.option("--insecure-login", is_flag=True, help="Log in even in clear, and to whoever answers."),
)
_WAIT_OPTIONS = (
    click.option("--wait", type=_Span(), default=WAIT_S, metavar="TIME", help="Longest wait for it (10m)."),
    click.option("--warn", type=_Span(), default=WARN_S, metavar="TIME", help="Slow is what takes longer (95s)."),
    click.option("--crit", type=_Span(), default=CRIT_S, metavar="TIME", help="Late is what takes longer (5m)."),
    click.option(
        "--state",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Do not wait: look for what earlier runs sent, as FILE says, and send a letter for the next run.",
    ),
    click.option(
        "--lost-after",
        type=_Span(),
        default=None,
        metavar="TIME",
        help="With --state: lost after so long (default 1h).",
    ),
    click.option("--keep", is_flag=True, help="Leave the letter where it arrived; it is deleted otherwise."),
    click.option(
        "--pause",
        metavar="PART[@SITE]",
        multiple=True,
        callback=_once,
        help="With --lab: show the letter waiting there, then go on.",
    ),
)
_TELLING_OPTIONS = (
    format_option("table", "json", "jsonl", "nagios", "prometheus", "junit", "github"),
    click.option(
        "--fail-on",
        type=choice(Severity),
        default=Severity.ERROR.value,
        help="Lowest severity that makes the exit status 1 (default error).",
    ),
    click.option("--explain", is_flag=True, help="Add the rule and its source to every finding."),
    click.option("--undecided-ok", is_flag=True, help="Exit with 0 instead of 3 when something could not be decided."),
    click.option("-v", "--verbose", is_flag=True, help="Show what passed, and the conversations, secrets masked."),
)


def trip_options(command: Command) -> Command:
    """Add the options that say how to send, where to look, how long, and how to tell of it."""
    for option in reversed((*_WAY_OPTIONS, *_LOGIN_OPTIONS, *_WAIT_OPTIONS, *_TELLING_OPTIONS)):
        command = option(command)
    return command


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What the options say beside the network, under their names."""

    submit: str | None
    submit_security: str | None
    read_security: str | None
    to_mx: bool
    imap: str | None
    pop3: str | None
    from_imap: str | None
    from_pop3: str | None
    from_user: str | None
    from_password_file: Path | None
    to_user: str | None
    to_password_file: Path | None
    insecure_login: bool
    wait: float
    warn: float
    crit: float
    state: Path | None
    lost_after: float | None
    keep: bool
    pause: str | None
    form: str
    fail_on: str
    explain: bool
    undecided_ok: bool
    verbose: bool


def read_pair(sender: str | None, recipient: str | None, *, in_lab: bool) -> tuple[str, str]:
    """Read the two addresses; in the lab there are two that need not be given.

    Raises:
        UsageError: one is missing, or no address.
    """
    if sender is None and in_lab:
        return LAB_SENDER, LAB_RECIPIENT
    if sender is None or recipient is None:
        raise UsageError(
            "two addresses are needed, FROM and TO: mailprobe trip a@a.test b@b.test; or --lab, which has its own"
        )
    return mailbox(sender, "FROM").address, mailbox(recipient, "TO").address


def check_wanted(wanted: Wanted, *, lab: bool) -> None:
    """Find out what cannot be before anything is sent.

    Raises:
        UsageError: options that exclude each other, or that need another one.
    """
    if wanted.submit is not None and wanted.to_mx:
        raise UsageError("--submit and --mx exclude each other")
    for one, other in (("imap", "pop3"), ("from_imap", "from_pop3")):
        if getattr(wanted, one) is not None and getattr(wanted, other) is not None:
            raise UsageError(f"--{one} and --{other} exclude each other".replace("_", "-"))
    if wanted.lost_after is not None and wanted.state is None:
        raise UsageError("--lost-after is about what earlier runs sent: it needs --state FILE")
    if wanted.state is not None and lab:
        raise UsageError(
            f"--state {wanted.state} is for later runs, and the lab of --lab ends with this one: start one with "
            "`mailprobe lab up --directory DIR`, and set MAILPROBE_LAB as it says"
        )
    if wanted.pause is not None and not (lab and wanted.state is None):
        raise UsageError("--pause stops a part of the lab in this process: it needs --lab, and no --state")
    if wanted.warn > wanted.crit:
        raise UsageError(f"--warn {wanted.warn:g} and --crit {wanted.crit:g}: what is late must be slow first")


def make_plan(sender: str, recipient: str, wanted: Wanted, *, known: str | None) -> Plan:
    """Say which way the letter goes and where it is looked for; *known* is the password that everybody in a lab has.

    Raises:
        UsageError: a host, a port or a file that cannot be, or no password to be had.
    """
    reader = _login(wanted.to_user or _user(recipient, known), wanted.to_password_file, "to", known, wanted)
    writer = _writer(sender, wanted, known)
    return Plan(
        sender=sender,
        recipient=recipient,
        route=_route(sender, wanted),
        options=Options(login=None if wanted.to_mx else writer),
        desk=_desk(wanted.imap, wanted.pop3, _domain(recipient), reader, wanted),
        sender_desk=_sender_desk(sender, recipient, wanted, writer),
        thresholds=Thresholds(warn_s=wanted.warn, crit_s=wanted.crit, wait_s=wanted.wait),
        keep=wanted.keep,
    )


def _domain(address: str) -> str:
    return address.rpartition("@")[2].strip("[]").removeprefix("IPv6:")


def _user(address: str, known: str | None) -> str:
    """Give the name to log in with: the lab knows its users by what stands before the @."""
    return address if known is None else address.rpartition("@")[0]


def _route(sender: str, wanted: Wanted) -> Route:
    security = Security(wanted.submit_security) if wanted.submit_security is not None else None
    if wanted.to_mx:
        return Exchangers(security) if security is not None else Exchangers()
    return server(wanted.submit or _domain(sender), security)


def _writer(sender: str, wanted: Wanted, known: str | None) -> Login | None:
    """Give the sender's login, None where nothing needs it: mail exchangers want none."""
    given = wanted.from_user or wanted.from_password_file or wanted.from_imap or wanted.from_pop3
    if wanted.to_mx and not given and known is None and "MAILPROBE_FROM_PASSWORD" not in os.environ:
        return None
    return _login(wanted.from_user or _user(sender, known), wanted.from_password_file, "from", known, wanted)


def _sender_desk(sender: str, recipient: str, wanted: Wanted, writer: Login | None) -> Desk | None:
    """Give where bounces are looked for: where the user says; else at the recipient's server if both have one domain;
    else at the sender's domain, unless letters are handed over elsewhere.
    """
    if writer is None:
        return None
    if wanted.from_imap is not None or wanted.from_pop3 is not None:
        return _desk(wanted.from_imap, wanted.from_pop3, _domain(sender), writer, wanted)
    if _domain(sender) == _domain(recipient):
        return _desk(wanted.imap, wanted.pop3, _domain(sender), writer, wanted)
    return _desk(None, None, _domain(sender), writer, wanted) if wanted.submit is None else None


def _desk(imap: str | None, pop3: str | None, domain: str, login: Login, wanted: Wanted) -> Desk:
    access = Access.POP3 if pop3 is not None else Access.IMAP
    name, port = host_and_port(pop3 or imap or domain)
    number = port or _PORTS[access]
    usual = WELL_KNOWN.get(number, _SERVICES[access][Security.STARTTLS])
    if usual not in _SERVICES[access].values():
        raise UsageError(f"port {number} is for {usual.value}, not for {access.value}")
    security = Security.TLS if usual.implicit_tls else Security.STARTTLS
    if wanted.read_security is not None:
        security = Security(wanted.read_security)
    service = _SERVICES[access][Security.TLS if security is Security.TLS else Security.STARTTLS]
    return Desk(host=name, port=number, service=service, security=security, login=login)


def _login(user: str, file: Path | None, prefix: str, known: str | None, wanted: Wanted) -> Login:
    """Make a login; the password of a lab is known unless another one is given."""
    given = file is not None or f"MAILPROBE_{prefix.upper()}_PASSWORD" in os.environ
    credentials = (
        Credentials(user, known)
        if known is not None and not given
        else read_credentials(user, password_file=file, prefix=prefix)
    )
    return Login(credentials=credentials, insecure=wanted.insecure_login)
