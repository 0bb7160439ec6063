"""`mailprobe send`: write a letter, hand it over, and say what became of each recipient."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from mailprobe.cli import meanwhile
from mailprobe.cli.closed import StdoutClosed
from mailprobe.cli.letters import Wanted, letter_options, make_letter, take_wanted
from mailprobe.cli.logins import LAB_RECIPIENT, LAB_SENDER, lab_password, read_credentials
from mailprobe.cli.options import (
    choice,
    format_option,
    network_options,
    open_network,
    put,
    say,
    session_options,
    style,
    width,
)
from mailprobe.cli.status import FAILED, UNDECIDED, worst
from mailprobe.mail.compose import Letter
from mailprobe.mail.extensions import Wishes, notify
from mailprobe.mail.login import Login
from mailprobe.mail.routes import Exchangers, Route, Server, Socket, server
from mailprobe.mail.sending import PHASES, STOPPED_AS_ASKED, Options
from mailprobe.mail.sending import send as send_letter
from mailprobe.model.conversation import Security
from mailprobe.model.errors import UsageError
from mailprobe.model.sending import Outcome, RecipientOutcome, Sending
from mailprobe.net.network import Network
from mailprobe.protocols.sasl import MECHANISMS, Credentials

if TYPE_CHECKING:
    from mailprobe.model.bulk import BulkSummary

Command = TypeVar("Command", bound=Callable[..., Any])

LAB_SERVER = "sender.lab.test"
_BEFORE_LOGIN = {"connect", "greeting", "ehlo", "starttls", "tls"}
CONNECTIONS_LIMIT = 100
COUNT_LIMIT = 10_000_000
_BEARER = {"XOAUTH2", "OAUTHBEARER"}
_SECRETS = {"MAILPROBE_PASSWORD", "MAILPROBE_TOKEN"}
_AFTERWARDS = ("mailprobe.records.certificate", "mailprobe.output.sending", "tabulate")

_ROUTE_OPTIONS = (
    click.option("--server", "to_server", metavar="HOST[:PORT]", help="Hand it to this server, at 587 by default."),
    click.option("--mx", "to_mx", is_flag=True, help="Hand it to the mail exchangers of each recipient's domain."),
    click.option("--lmtp", "to_lmtp", metavar="HOST:PORT|PATH", help="Deliver by LMTP, to a port or a unix socket."),
    click.option("--socket", "to_socket", metavar="PATH", help="Speak SMTP through a unix socket."),
    click.option(
        "--security",
        type=choice(Security),
        help="TLS by STARTTLS (default), from the start (465), where offered (--mx), or never.",
    ),
)
_LOGIN_OPTIONS = (
    click.option(
        "--login", "--user", "user", metavar="USER", help="Log in as USER; the password is in MAILPROBE_PASSWORD."
    ),
    click.option("--auth", metavar="MECHANISM", help="Log in by it, not by the best; as the sender without --login."),
    click.option(
        "--password-file",
        type=click.Path(path_type=Path, allow_dash=True),
        metavar="FILE",
        help="Its first line is the password, not MAILPROBE_PASSWORD; - is stdin.",
    ),
    click.option(
        "--token-file",
        type=click.Path(path_type=Path, allow_dash=True),
        metavar="FILE",
        help="Its first line is an OAuth token, not MAILPROBE_TOKEN; - is stdin.",
    ),
    click.option("--insecure-login", is_flag=True, help="Log in even in clear, and to whoever answers."),
)
_WISH_OPTIONS = (
    click.option("--notify", metavar="WHEN", help="Ask for reports: NEVER, or some of SUCCESS,FAILURE,DELAY."),
    click.option("--ret", metavar="WHAT", help="Reports shall return the letter FULL, or its headers: HDRS."),
    click.option("--envid", metavar="ID", help="Name for this envelope, which reports repeat."),
    click.option("--requiretls", is_flag=True, help="Only over TLS, all the way (RFC 8689)."),
    click.option("--chunking", is_flag=True, help="Send the letter by BDAT (RFC 3030), not by DATA."),
    click.option("--no-pipelining", is_flag=True, help="Wait for every reply, even where that is not needed."),
    click.option("--send-anyway", is_flag=True, help="Send what is beyond ASCII even where nobody offers to take it."),
    click.option("--dkim-key", type=click.Path(path_type=Path), metavar="FILE", help="Sign with this key (PEM)."),
    click.option("--dkim-selector", metavar="NAME", help="Selector under which the public key is published."),
    click.option("--dkim-domain", metavar="DOMAIN", help="Who signs; by default the domain of From."),
    click.option("--dkim-header", multiple=True, metavar="NAME", help="Field to sign, in place of the usual ones."),
)
_COURSE_OPTIONS = (
    click.option("--stop-after", type=choice(PHASES), help="Go no further than this, and send nothing."),
    click.option("--print", "print_only", is_flag=True, help="Write the letter to stdout and send nothing."),
    click.option("--count", type=int, metavar="N", help="Send it N times, over kept connections, and sum up."),
    click.option("--rate", type=float, metavar="R", help="With --count: R letters a second, all in all."),
    click.option("--connections", type=int, metavar="C", help="With --count: C connections at once (default 1)."),
    click.option("-v", "--verbose", is_flag=True, help="Show the conversations word by word, secrets masked."),
)


def _options(command: Command) -> Command:
    for option in reversed((*_ROUTE_OPTIONS, *_LOGIN_OPTIONS, *_WISH_OPTIONS, *_COURSE_OPTIONS)):
        command = option(command)
    return command


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """What the options say beside the letter and the network, under their names."""

    to_server: str | None
    to_mx: bool
    to_lmtp: str | None
    to_socket: str | None
    security: str | None
    auth: str | None
    user: str | None
    password_file: Path | None
    token_file: Path | None
    insecure_login: bool
    notify: str | None
    ret: str | None
    envid: str | None
    requiretls: bool
    chunking: bool
    no_pipelining: bool
    send_anyway: bool
    dkim_key: Path | None
    dkim_selector: str | None
    dkim_domain: str | None
    dkim_header: tuple[str, ...]
    stop_after: str | None
    print_only: bool
    count: int | None
    rate: float | None
    connections: int | None
    verbose: bool


@click.command()
@letter_options
@_options
@format_option("table", "json", "jsonl")
@network_options
@session_options
def send(form: str, **given: Any) -> int:
    """Write a letter, hand it over, and say what became of each recipient.

    \b
    mailprobe send --from a@a.test --to b@b.test --server smtp.a.test --login a
    mailprobe send --from a@a.test --to b@b.test --mx --sample eicar -v
    mailprobe send --lab --to bob@receiver.lab.test --attach scan.pdf

    Passwords come from MAILPROBE_PASSWORD, a file or a prompt, and go out only over TLS that can be trusted. With
    --lab alice@sender.lab.test writes, and her server takes it. Exit status: 0 all accepted (or stopped where asked),
    1 one refused or it cannot be sent so, 3 deferred, uncertain or no server to be had.
    """
    wanted = take_wanted(given)
    course = Course(**{name: given.pop(name) for name in Course.__struct_fields__})
    known = lab_password(given["lab"])
    if known is not None:
        wanted, course = _in_lab(wanted, course)
    _check(course)
    if wanted.reads_stdin and "-" in {str(course.password_file), str(course.token_file)}:
        raise UsageError("stdin can be the letter or the secret, not both")
    with open_network(**given) as network:
        letter = _signed(make_letter(wanted, network.now()), course)
        for note in letter.notes:
            say(f"mailprobe: {note}")
        if course.print_only:
            _print(letter)
            return 0
        route = _route(course)
        options = _how(course, letter, known)
        if course.count is not None:
            return _send_many(network, letter, route, options, course, form)
        sent = meanwhile.ask(network, _send(network, letter, route, options), _AFTERWARDS if form == "table" else ())
    _show(sent, form, verbose=course.verbose)
    return worst(_status(each, course.stop_after) for each in sent.recipients)


async def _send(network: Network, letter: Letter, route: Route, options: Options) -> Sending:
    try:
        return await send_letter(network, letter, route, options)
    finally:
        await network.parted()


# -- what the options mean -------------------------------------------------------------------------------------


def _in_lab(wanted: Wanted, course: Course) -> tuple[Wanted, Course]:
    """Fill in, in the lab, who writes to whom and by which server."""
    routed = course.to_server or course.to_mx or course.to_lmtp or course.to_socket
    if wanted.data is None and wanted.sender is None:
        wanted = msgspec.structs.replace(wanted, sender=LAB_SENDER)
    if wanted.data is None and not (*wanted.to, *wanted.cc, *wanted.bcc):
        wanted = msgspec.structs.replace(wanted, to=(LAB_RECIPIENT,))
    if not routed:
        logs_in = course.auth is not None or course.stop_after not in _BEFORE_LOGIN
        user = course.user or (LAB_SENDER.partition("@")[0] if logs_in else None)
        course = msgspec.structs.replace(course, to_server=LAB_SERVER, user=user)
    return wanted, course


def _check(course: Course) -> None:
    if course.dkim_key is None and (course.dkim_selector or course.dkim_domain or course.dkim_header):
        raise UsageError("a DKIM signature needs a key: --dkim-key FILE")
    if course.dkim_key is not None and course.dkim_selector is None:
        raise UsageError("a DKIM signature needs the name under which its key is published: --dkim-selector NAME")
    if course.count is None and (course.rate is not None or course.connections is not None):
        raise UsageError("--rate and --connections are about many letters: say how many with --count")
    if course.count is not None and not 1 <= course.count <= COUNT_LIMIT:
        raise UsageError(f"--count {course.count}: a number from 1 to {COUNT_LIMIT} is needed")
    if course.connections is not None and not 1 <= course.connections <= CONNECTIONS_LIMIT:
        raise UsageError(f"--connections {course.connections}: a number from 1 to {CONNECTIONS_LIMIT} is needed")
    if course.rate is not None and not 0 < course.rate <= 1_000_000:
        raise UsageError(f"--rate {course.rate:g}: letters a second, more than 0, are needed")
    login = course.auth or course.user
    if course.stop_after == "auth" and not login:
        raise UsageError("--stop-after auth needs a login: name who logs in with --login")
    if login and course.stop_after in _BEFORE_LOGIN:
        raise UsageError(f"--stop-after {course.stop_after} comes before the login: leave out --auth and --login")


def _route(course: Course) -> Route:
    given = {
        "--server": course.to_server is not None,
        "--mx": course.to_mx,
        "--lmtp": course.to_lmtp is not None,
        "--socket": course.to_socket is not None,
    }
    chosen = [name for name, is_given in given.items() if is_given]
    if len(chosen) != 1:
        raise UsageError(
            f"{' and '.join(chosen)} exclude each other"
            if chosen
            else "where to: --server HOST of your provider, --mx for the recipient's own servers, --lmtp or --socket"
        )
    security = Security(course.security) if course.security is not None else None
    route = _chosen(course, security)
    in_clear = isinstance(route, Socket) or (
        isinstance(route, Server | Exchangers) and route.security is Security.CLEAR
    )
    if course.stop_after == "starttls" and (in_clear or security is Security.TLS):
        raise UsageError("--stop-after starttls: there is no STARTTLS on this way")
    if course.stop_after == "tls" and in_clear:
        raise UsageError("--stop-after tls: there is no TLS on this way")
    return route


def _chosen(course: Course, security: Security | None) -> Route:
    if course.to_mx:
        if security is Security.TLS:
            raise UsageError("--mx goes to port 25, where TLS comes by STARTTLS: --security starttls")
        return Exchangers(security or Security.OPPORTUNISTIC)
    path = course.to_socket if course.to_socket is not None else course.to_lmtp or ""
    if course.to_socket is not None or "/" in path:
        if security not in {None, Security.CLEAR}:
            raise UsageError("through a unix socket nobody listens in: leave out --security")
        return Socket(path, lmtp=course.to_lmtp is not None)
    return server(course.to_server or path, security, lmtp=course.to_lmtp is not None)


def _how(course: Course, letter: Letter, known: str | None) -> Options:
    return Options(
        login=_login(course, letter, known),
        wishes=Wishes(
            notify=notify(course.notify, course.ret, course.envid),
            requiretls=course.requiretls,
            chunking=course.chunking,
            anyway=course.send_anyway,
        ),
        pipelining=not course.no_pipelining,
        stop_after=course.stop_after,
    )


def _signed(letter: Letter, course: Course) -> Letter:
    if course.dkim_key is None or course.dkim_selector is None:
        return letter
    from mailprobe.mail.signing import sign, signer

    return sign(letter, signer(course.dkim_key, course.dkim_selector, course.dkim_domain, course.dkim_header))


# -- login -----------------------------------------------------------------------------------------------------


def _login(course: Course, letter: Letter, known: str | None) -> Login | None:
    if course.auth is None and course.user is None:
        if course.password_file or course.token_file or course.insecure_login:
            raise UsageError("a password is of no use without a name: say who logs in with --login")
        return None
    mechanism = course.auth.upper() if course.auth is not None else None
    if mechanism is not None and mechanism not in MECHANISMS:
        raise UsageError(f"--auth {course.auth!r}: known are {', '.join(MECHANISMS)}")
    user = course.user if course.user is not None else letter.sender
    return Login(
        credentials=_credentials(course, user, mechanism, known),
        mechanism=mechanism,
        insecure=course.insecure_login,
    )


def _credentials(course: Course, user: str, mechanism: str | None, known: str | None) -> Credentials:
    """Find the password or token; *known* is that of the lab, which serves where the user gives none."""
    files = course.password_file or course.token_file
    if known is None or files or not _SECRETS.isdisjoint(os.environ):
        return read_credentials(
            user, password_file=course.password_file, token_file=course.token_file, mechanism=mechanism
        )
    return Credentials(user, known, token=known if mechanism in _BEARER else None)


# -- many ------------------------------------------------------------------------------------------------------


def _send_many(network: Network, letter: Letter, route: Route, options: Options, course: Course, form: str) -> int:
    from mailprobe.mail.bulk import Load
    from mailprobe.mail.loading import send_copies

    connections = course.connections or 1
    wide = Network(msgspec.structs.replace(network.reach, connections_per_port=max(2, connections)))
    load = Load(connections=connections, rate=course.rate)
    summary = meanwhile.ask(wide, send_copies(wide, letter, route, options, course.count or 1, load), ())
    from mailprobe.output import jsonl
    from mailprobe.output import sending as output

    if form == "table":
        put(output.load(summary, style(), width()))
    else:
        put(output.document(summary) if form == "json" else jsonl.rows([summary]))
    return _status_of_load(summary)


def _status_of_load(summary: BulkSummary) -> int:
    if summary.refused:
        return FAILED
    return UNDECIDED if summary.deferred or summary.uncertain or summary.not_sent or not summary.accepted else 0


# -- showing ---------------------------------------------------------------------------------------------------


def _print(letter: Letter) -> None:
    """Write the letter to stdout to the octet; to a terminal without what that would act on."""
    if sys.stdout.isatty():
        from mailprobe.output.words import clean

        put("\n".join(clean(line) for line in letter.octets.decode("latin-1").replace("\r\n", "\n").split("\n")))
        return
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(letter.octets)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise StdoutClosed(error.strerror) from None


def _show(sent: Sending, form: str, *, verbose: bool) -> None:
    from mailprobe.output import sending as output

    if form == "table":
        put(output.sending(sent, style(), width()))
        if verbose:
            put("\n" + output.transcript(sent, style()))
    elif form == "json":
        put(output.document(sent))
    else:
        from mailprobe.output import jsonl

        put(jsonl.rows(output.rows(sent)))


def _status(outcome: RecipientOutcome, stop_after: str | None) -> int:
    match outcome.outcome:
        case Outcome.ACCEPTED:
            return 0
        case Outcome.REFUSED:
            return FAILED
        case Outcome.NOT_SENT:
            if stop_after is not None and outcome.detail.endswith(STOPPED_AS_ASKED):
                return 0
            return FAILED if outcome.detail.startswith("5.") else UNDECIDED
    return UNDECIDED
