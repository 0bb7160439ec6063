"""Options for logging in, shared by every command that can; passwords and tokens are never on the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from mailprobe.cli.files import read_line
from mailprobe.mail.login import Login
from mailprobe.model.errors import UsageError
from mailprobe.protocols.sasl import MECHANISMS, Credentials

Command = TypeVar("Command", bound=Callable[..., Any])
LAB_SENDER, LAB_RECIPIENT, LAB_PASSWORD = "alice@sender.lab.test", "bob@receiver.lab.test", "secret"
OWN_COMMANDS = ("USER", "APOP")  # of POP3; IMAP's LOGIN has the name of a SASL mechanism
_TOKEN_MECHANISMS = ("XOAUTH2", "OAUTHBEARER")
_SECRET_LIMIT = 65_536


def login_options(prefix: str = "", whose: str = "") -> Callable[[Command], Command]:
    """Add ``--login`` and what belongs to it; with *prefix* ``to`` it is ``--to-login`` and so on.

    *whose* goes into the help where there are several: ``to the sender's server``.
    """
    dash, variable = _names(prefix)
    of = f" {whose}" if whose else ""
    options = (
        click.option(
            f"--{dash}login", metavar="USER", help=f"Log in{of} as USER; the password is in {variable}PASSWORD."
        ),
        click.option(
            f"--{dash}password-file",
            type=click.Path(path_type=Path, allow_dash=True),
            metavar="FILE",
            help=f"Its first line is the password{of}, not {variable}PASSWORD; - is stdin.",
        ),
        click.option(
            f"--{dash}token-file",
            type=click.Path(path_type=Path, allow_dash=True),
            metavar="FILE",
            help=f"Its first line is an OAuth token{of}, not {variable}TOKEN; - is stdin.",
        ),
        click.option(f"--{dash}auth", metavar="MECHANISM", help="Log in by this mechanism, not by the best one."),
        click.option(
            f"--{dash}insecure-login",
            is_flag=True,
            help="Log in even in clear, or to a server that nobody vouches for.",
        ),
    )

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def lab_password(lab: bool) -> str | None:
    """Give the password that everybody has in the lab, where the command asks one; else None."""
    return LAB_PASSWORD if lab or os.environ.get("MAILPROBE_LAB") else None


def take_login(options: dict[str, Any], prefix: str = "", known: str | None = None) -> Login | None:
    """Take the options of `login_options` out of a command's, and make the login of them; None without ``--login``.

    *known* is the password that serves where the user gives none, as in the lab.

    Raises:
        UsageError: no such mechanism, or no password is to be had.
    """
    name = f"{prefix}_" if prefix else ""
    user, password_file, token_file, auth, insecure = (
        options.pop(f"{name}{word}") for word in ("login", "password_file", "token_file", "auth", "insecure_login")
    )
    if user is None:
        if password_file or token_file or auth or insecure:
            raise UsageError(f"who logs in? Give --{_names(prefix)[0]}login USER")
        return None
    mechanism = _mechanism(auth)
    if known is not None and not (password_file or token_file) and not _given(prefix):
        credentials = Credentials(user, known, token=known if mechanism in _TOKEN_MECHANISMS else None)
    else:
        credentials = read_credentials(
            user, password_file=password_file, token_file=token_file, mechanism=mechanism, prefix=prefix
        )
    return Login(credentials=credentials, mechanism=mechanism, insecure=insecure)


def read_credentials(
    user: str,
    *,
    password_file: Path | None = None,
    token_file: Path | None = None,
    mechanism: str | None = None,
    prefix: str = "",
) -> Credentials:
    """Find the password or token: in the file given, in the environment, or by asking the person at the terminal.

    Raises:
        UsageError: the user name is none, the file cannot be read, or there is nobody to ask.
    """
    dash, variable = _names(prefix)
    if not user or not user.isprintable():
        raise UsageError(f"--{dash}login {user!r} is no user name")
    if mechanism == "EXTERNAL":
        return Credentials(user)
    token = _read(token_file, f"--{dash}token-file") if token_file else os.environ.get(f"{variable}TOKEN")
    if token and (token_file or mechanism is None or mechanism in _TOKEN_MECHANISMS):
        return Credentials(user, token=token)
    if mechanism in _TOKEN_MECHANISMS:
        raise UsageError(f"{mechanism} needs a token: put it into {variable}TOKEN, or give --{dash}token-file")
    password = _read(password_file, f"--{dash}password-file") if password_file else _from_environment(variable)
    if password is None:
        password = _ask(user, dash, variable)
    return Credentials(user, password)


def _given(prefix: str) -> bool:
    """Tell whether the environment holds a secret for this login."""
    variable = _names(prefix)[1]
    return any(name in os.environ for name in (f"{variable}PASSWORD", f"{variable}TOKEN", "MAILPROBE_PASSWORD"))


def _names(prefix: str) -> tuple[str, str]:
    """Give how the options begin, and the environment variables."""
    return (f"{prefix}-", f"MAILPROBE_{prefix.upper()}_") if prefix else ("", "MAILPROBE_")


def _mechanism(auth: str | None) -> str | None:
    if auth is None:
        return None
    known = (*MECHANISMS, *OWN_COMMANDS)
    if auth.upper() not in known:
        raise UsageError(f"--auth {auth!r}: known are {', '.join(known)}")
    return auth.upper()


def _from_environment(variable: str) -> str | None:
    found = os.environ.get(f"{variable}PASSWORD")
    return found if found is not None else os.environ.get("MAILPROBE_PASSWORD")


def _read(path: Path, option: str) -> str:
    try:
        line = read_line(str(path), option, _SECRET_LIMIT).decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{option} {path}: it is not UTF-8 text") from None
    if not line:
        raise UsageError(f"{option} {path}: its first line is empty")
    return line


def _ask(user: str, dash: str, variable: str) -> str:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"no password for {user}: put it into {variable}PASSWORD, or give --{dash}password-file")
    password: str = click.prompt(f"Password for {user}", hide_input=True, err=True)
    return password
