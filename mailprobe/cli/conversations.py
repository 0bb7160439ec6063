"""`mailprobe smtp`, `pop3` and `imap`: one conversation, told step by step, stopped where the user says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from mailprobe.cli import meanwhile
from mailprobe.cli.asking import reaching_options
from mailprobe.cli.files import write
from mailprobe.cli.logins import lab_password, login_options, take_login
from mailprobe.cli.options import choice, format_option, open_network, put, say, style, width
from mailprobe.cli.status import FAILED, UNDECIDED, worst
from mailprobe.collect import lookups
from mailprobe.mail.conversing import LOGIN, STOPS, Wish, hold
from mailprobe.model.conversation import Place, Security
from mailprobe.model.errors import LocalProtocolError, UsageError
from mailprobe.model.evidence import Host, Kind, Stage, Status, Trouble
from mailprobe.model.held import Held
from mailprobe.model.names import host_and_port
from mailprobe.model.ports import WELL_KNOWN, Protocol, Service
from mailprobe.net.network import Network

Command = TypeVar("Command", bound=Callable[..., Any])

_UNDECIDED = {Kind.TIMEOUT, Kind.TEMPORARY, Kind.UNREACHABLE, Kind.LOCAL, Kind.CLOSED, Kind.RESET}
_ADDRESSES_LIMIT = 8
_CLEAR_PORT = {Protocol.SMTP: 25, Protocol.POP3: 110, Protocol.IMAP: 143}
_TLS_PORT = {Protocol.SMTP: 465, Protocol.POP3: 995, Protocol.IMAP: 993}
_SUBMISSION = 587
_SERVICES = {
    (Protocol.SMTP, False): Service.SMTP,
    (Protocol.SMTP, True): Service.SUBMISSIONS,
    (Protocol.POP3, False): Service.POP3,
    (Protocol.POP3, True): Service.POP3S,
    (Protocol.IMAP, False): Service.IMAP,
    (Protocol.IMAP, True): Service.IMAPS,
}


class Target(msgspec.Struct, frozen=True):
    """Whom to talk to, as the user gave it; with a *socket* there is no host to look up."""

    name: str
    port: int
    service: Service
    security: Security
    socket: str = ""
    lmtp: bool = False


def _conversation_options(command: Command) -> Command:
    command = reaching_options(command)
    stops = (*STOPS, LOGIN)
    for option in reversed(
        (
            click.argument("host", metavar="HOST[:PORT]"),
            click.option(
                "--security",
                type=choice(Security),
                help="TLS from the start, by STARTTLS or not at all, by STARTTLS where offered, or never. "
                "Default: what the port is for.",
            ),
            login_options(),
            click.option("--quit-after", type=choice(stops), help="Say goodbye after this stage."),
            format_option("table", "json"),
            click.option("-v", "--verbose", is_flag=True, help="Show the conversation word by word."),
        )
    ):
        command = option(command)
    return command


def _mailbox_options(command: Command) -> Command:
    for option in reversed(
        (
            click.option("--list", "lists", is_flag=True, help="List the letters, and over IMAP the folders."),
            click.option(
                "--save",
                type=click.Path(path_type=Path),
                metavar="FILE",
                help="Write the letter that was fetched to FILE.",
            ),
        )
    ):
        command = option(command)
    return command


@click.command()
@click.option("--helo", metavar="NAME", help="Name to introduce ourselves by; the same as --ehlo.")
@click.option("--lmtp", is_flag=True, help="Speak LMTP (RFC 2033); HOST may be the path of a unix socket.")
@click.option("--vrfy", "verify", multiple=True, metavar="NAME", help="Ask whether this user is known.")
@click.option("--expn", "expand", multiple=True, metavar="NAME", help="Ask who is on this mailing list.")
@click.option("--mail-from", "sender", metavar="ADDRESS", help="Begin a transaction as this sender; send nothing.")
@click.option("--rcpt", "recipients", multiple=True, metavar="ADDRESS", help="Ask whether this recipient is taken.")
@_conversation_options
def smtp(
    host: str,
    security: str | None,
    quit_after: str | None,
    form: str,
    verbose: bool,
    helo: str | None,
    lmtp: bool,
    verify: tuple[str, ...],
    expand: tuple[str, ...],
    sender: str | None,
    recipients: tuple[str, ...],
    **options: Any,
) -> int:
    """Hold one SMTP conversation with HOST, and tell what each step took and met.

    The port is 25, with --login 587, with --security tls 465. No letter is sent; --vrfy, --expn, --mail-from and
    --rcpt ask about addresses. Exit status: 0 it went as asked, 1 refused, 3 it could not be decided.
    """
    login = take_login(options, known=lab_password(options["lab"]))
    wish = Wish(
        login=login,
        hello=helo,
        stop_after=quit_after,
        verify=verify,
        expand=expand,
        sender=sender,
        recipients=recipients,
    )
    if helo is not None:
        options["ehlo"] = helo  # checked as that is
    target = _target(host, Protocol.SMTP, security, submission=login is not None, lmtp=lmtp)
    return _run(target, wish, form, verbose=verbose, save=None, options=options)


@click.command()
@_mailbox_options
@click.option("--fetch", metavar="N|UID", help="Fetch the letter with this number or unique id.")
@_conversation_options
def pop3(
    host: str,
    security: str | None,
    quit_after: str | None,
    form: str,
    verbose: bool,
    lists: bool,
    fetch: str | None,
    save: Path | None,
    **options: Any,
) -> int:
    """Hold one POP3 conversation with HOST, and tell what each step took and met.

    The port is 110, with --security tls 995. Nothing is deleted. The password is in MAILPROBE_PASSWORD, in
    --password-file, or asked for. Exit status: 0 it went as asked, 1 refused, 3 it could not be decided.
    """
    login = take_login(options, known=lab_password(options["lab"]))
    wish = Wish(login=login, stop_after=quit_after, lists=lists, fetch=fetch)
    _check_reading(wish, save)
    return _run(_target(host, Protocol.POP3, security), wish, form, verbose=verbose, save=save, options=options)


@click.command()
@_mailbox_options
@click.option("--fetch", metavar="UID", type=click.IntRange(1, 2**32 - 1), help="Fetch the letter with this uid.")
@click.option("--folder", default="INBOX", metavar="NAME", help="The folder to look into (default INBOX).")
@_conversation_options
def imap(
    host: str,
    security: str | None,
    quit_after: str | None,
    form: str,
    verbose: bool,
    lists: bool,
    fetch: int | None,
    folder: str,
    save: Path | None,
    **options: Any,
) -> int:
    """Hold one IMAP conversation with HOST, and tell what each step took and met.

    The port is 143, with --security tls 993. Nothing is changed, not even marked as seen. The password is in
    MAILPROBE_PASSWORD, in --password-file, or asked for. Exit status: 0 it went as asked, 1 refused, 3 it could not
    be decided.
    """
    login = take_login(options, known=lab_password(options["lab"]))
    wish = Wish(
        login=login, stop_after=quit_after, lists=lists, fetch=None if fetch is None else str(fetch), folder=folder
    )
    _check_reading(wish, save)
    return _run(_target(host, Protocol.IMAP, security), wish, form, verbose=verbose, save=save, options=options)


def _check_reading(wish: Wish, save: Path | None) -> None:
    if wish.login is None and (wish.lists or wish.fetch is not None or wish.folder != "INBOX"):
        raise UsageError("letters are seen by whoever logs in: give --login USER as well")
    if not wish.folder.isprintable() or not wish.folder:
        raise UsageError(f"--folder {wish.folder!r} is no name of a folder")
    if save is not None and wish.fetch is None:
        raise UsageError("--save writes the letter that --fetch fetches; give that as well")


def _target(
    text: str, protocol: Protocol, security: str | None, *, submission: bool = False, lmtp: bool = False
) -> Target:
    wanted = Security(security) if security is not None else None
    if text.startswith("/"):
        return Target("localhost", 0, _SERVICES[protocol, False], wanted or Security.CLEAR, text, lmtp)
    name, number = host_and_port(text)
    if number is None and lmtp:
        raise UsageError(f"LMTP has no port of its own; write {name}:24, or the path of a unix socket")
    if number is None:
        ports = _TLS_PORT if wanted is Security.TLS else _CLEAR_PORT
        number = _SUBMISSION if submission and wanted is not Security.TLS else ports[protocol]
    usual = WELL_KNOWN.get(number, Service.UNKNOWN)
    if wanted is None:
        opportunistic = Security.STARTTLS if usual is Service.SUBMISSION else Security.OPPORTUNISTIC
        wanted = Security.TLS if usual.implicit_tls else opportunistic
    service = usual if usual.protocol is protocol else _SERVICES[protocol, wanted is Security.TLS]
    return Target(name, number, service, wanted, "", lmtp)


# -- the conversation ------------------------------------------------------------------------------------------


def _run(target: Target, wish: Wish, form: str, *, verbose: bool, save: Path | None, options: dict[str, Any]) -> int:
    with open_network(**options) as network:
        try:
            network.trust.load()  # before the clock runs: the times told are the server's
            found = meanwhile.ask(network, _hold(network, target, wish), ())
        except LocalProtocolError as error:
            raise UsageError(str(error)) from None
        if isinstance(found, Host):
            say(f"mailprobe: {target.name}: {_no_address(found)}")
            known = any(answer.status in {Status.NXDOMAIN, Status.NODATA} for answer in found.answers)
            return FAILED if known else UNDECIDED
        _show(network, found, form, verbose=verbose, letter=save is None)
    if save is not None and found.letter is not None:
        write(save, "--save", found.letter)
    return _told(found, wish)


async def _hold(network: Network, target: Target, wish: Wish) -> Held | Host:
    """Hold it; give the host when it has no address."""
    found = await lookups.host(network, target.name) if not target.socket else None
    if found is not None and not found.addresses:
        return found
    addresses = [each.address for each in found.addresses[:_ADDRESSES_LIMIT]] if found is not None else [""]
    places = [
        Place(
            host=target.name,
            address=address,
            port=target.port,
            service=target.service,
            security=target.security,
            lmtp=target.lmtp,
            socket=target.socket,
        )
        for address in addresses
    ]
    held = await hold(network, places, wish)
    await network.parted()
    return held


def _no_address(host: Host) -> str:
    from mailprobe.output.words import not_answered

    failed = [answer for answer in host.answers if answer.status is not Status.ANSWERED]
    if not failed or len(failed) < len(host.answers):
        return "no address of the family asked for (-4, -6)"
    return f"no address to ask; {not_answered(failed[0])}"


def _show(network: Network, held: Held, form: str, *, verbose: bool, letter: bool) -> None:
    from mailprobe.cli.views import certificate_of
    from mailprobe.mail.login import fault_of
    from mailprobe.output.conversation import HeldView, conversation_table, document, letter_text

    told = held.conversation
    unsafe = fault_of(told.tls, told.host) if told.tls is not None else ""
    view = HeldView(held=held, certificate=certificate_of(told, network.now()), unsafe=unsafe)
    if form == "json":
        put(document(view))
        return
    put(conversation_table(view, style(), width()))
    if verbose:
        from mailprobe.output.transcript import conversation

        put("\n" + conversation(told, style()))
    if letter and held.letter is not None:
        put("\n" + letter_text(held.letter))


def _told(held: Held, wish: Wish) -> int:
    """Say on stderr what did not go as asked, and give the exit status."""
    told = held.conversation
    statuses = [0]
    if told.trouble is not None:
        from mailprobe.output.words import in_trouble

        say(f"mailprobe: {told.host}: {in_trouble(told.trouble)}")
        statuses.append(_status(told.trouble))
    elif wish.stop_after is not None and not held.stopped:
        say(f"mailprobe: {told.host}: the conversation never came to {wish.stop_after}")
        statuses.append(FAILED)
    for each in held.answers:
        if not each.reply.status.startswith("2"):
            statuses.append(UNDECIDED if each.reply.status.startswith("4") else FAILED)
    return worst(statuses)


def _status(trouble: Trouble) -> int:
    if trouble.stage is Stage.LOGIN and trouble.kind is Kind.LOCAL:  # the password was kept back
        return FAILED
    return UNDECIDED if trouble.kind in _UNDECIDED else FAILED
