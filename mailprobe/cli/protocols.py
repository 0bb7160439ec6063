"""`mailprobe protocols`: SMTP, POP3, POP3S and IMAP side by side, asserted or proven."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from mailprobe.cli.asking import reaching_options
from mailprobe.cli.logins import LAB_PASSWORD, lab_password, login_options, take_login
from mailprobe.cli.options import format_option, open_network, put, style, width
from mailprobe.cli.status import FAILED, UNDECIDED
from mailprobe.mail.login import Login
from mailprobe.model.errors import UsageError
from mailprobe.model.names import domain_name
from mailprobe.model.proof import ROWS, Proof
from mailprobe.protocols.sasl import Credentials

_LAB_HOST, _LAB_READER, _LAB_SENDER = "receiver.lab.test", "bob", "carol"


@click.command()
@click.argument("host", metavar="[HOST]", required=False)
@click.option("--prove", is_flag=True, help="Perform each line of the table with two devices, and show the dialogue.")
@click.option(
    "--address", metavar="ADDRESS", help="Address of the mailbox; default the login, at HOST without a domain."
)
@click.option("--sender-address", metavar="ADDRESS", help="Address of the sender; default made in the same way.")
@login_options(whose="to the mailbox")
@login_options("sender", whose="to send")
@format_option("table", "json")
@reaching_options
def protocols(
    host: str | None,
    prove: bool,
    address: str | None,
    sender_address: str | None,
    form: str,
    lab: bool,
    **options: Any,
) -> int:
    """Show what SMTP, POP3, POP3S and IMAP are for, and how they differ; --prove shows it on a server.

    To prove it, letters of its own are sent, read on two devices, flagged and deleted; no other letter is touched.
    That takes HOST with two logins: --login for the mailbox, --sender-login for whoever sends (the same without it),
    or --lab. Passwords are in MAILPROBE_PASSWORD and MAILPROBE_SENDER_PASSWORD, or in --password-file and
    --sender-password-file. Exit status: 0 all proven, 1 an answer does not hold there, 3 one could not be decided.
    """
    known = lab_password(lab)
    reader, sender = take_login(options, known=known), take_login(options, "sender", known)
    if not prove:
        if host is not None or reader is not None:
            raise UsageError("the table needs no server; add --prove to show it on one")
        put(_table(form))
        return 0
    if lab:
        host, reader, sender = host or _LAB_HOST, reader or _known(_LAB_READER), sender or _known(_LAB_SENDER)
    if host is None or reader is None:
        raise UsageError("where, and with whom? Give HOST and --login USER, or --lab")
    from mailprobe.cli import meanwhile
    from mailprobe.mail.proving import Setting
    from mailprobe.mail.proving import prove as prove_on

    name = domain_name(host)
    setting = Setting(
        host=name,
        reader=reader,
        sender=sender or reader,
        address=address or _address(reader, name),
        sender_address=sender_address or address or _address(sender or reader, name),
    )
    with open_network(lab=lab, **options) as network:
        found = meanwhile.ask(network, prove_on(network, setting), ("mailprobe.output.proof",))
    put(_proofs(found, form))
    return _status(found)


def _known(user: str) -> Login:
    return Login(credentials=Credentials(user, LAB_PASSWORD))


def _address(login: Login, host: str) -> str:
    user = login.credentials.user
    return user if "@" in user else f"{user}@{host}"


def _table(form: str) -> str:
    if form == "json":
        from mailprobe.output.json_output import rows

        return rows(ROWS)
    from mailprobe.output.proof import comparison

    return comparison(width())


def _proofs(found: Sequence[Proof], form: str) -> str:
    if form == "json":
        from mailprobe.output.json_output import rows

        return rows(found)
    from mailprobe.output.proof import proofs

    return proofs(found, style(), width())


def _status(found: Sequence[Proof]) -> int:
    verdicts = {proof.holds for proof in found}
    return FAILED if False in verdicts else UNDECIDED if None in verdicts else 0
