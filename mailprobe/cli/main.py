"""Where the command begins and ends: every way out has an exit status and at most one line on stderr.

0 all well · 1 a finding at or above --fail-on · 2 wrong usage · 3 could not be decided · 129, 130, 143 ended by
SIGHUP, SIGINT, SIGTERM · 141 stdout could not be written. With ``--format nagios`` the Nagios plugin statuses instead.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys

from mailprobe.cli import endings

USAGE = 2
SIGNALLED = 128  # and the signal's number
STDOUT_LOST = 141  # 128 + SIGPIPE


def main() -> None:
    """Run the command line and exit."""
    if sys.stderr is None:  # closed before we were started
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123 - for the whole run, and pathlib takes time
    if sys.stdout is None:
        sys.exit(_say("stdout is closed: there is nowhere to write to", STDOUT_LOST))
    endings.take_orderly_way_out()
    try:
        status = _run()
        sys.stdout.flush()
    except KeyboardInterrupt:
        status = _ended(endings.met() or signal.SIGINT)
    except OSError as error:  # from that last flush: _run lets no other one through
        status = _stdout_lost(error.strerror)
    gc.freeze()  # spares the interpreter its last collections, a tenth of the time that `--help` takes
    sys.exit(status)


def _ended(number: int) -> int:
    text = "interrupted" if number == signal.SIGINT else f"ended by {endings.name_of(number)}"
    return _say(text, SIGNALLED + number)


def _stdout_lost(reason: str | None) -> int:
    # Python would complain once more when it flushes stdout at its end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return _say(f"stdout could not be written to the end: {reason}", STDOUT_LOST)


def _run() -> int:
    import click

    from mailprobe.cli.closed import StdoutClosed
    from mailprobe.cli.commands import cli

    try:
        result = cli.main(prog_name="mailprobe", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.Abort:
        raise KeyboardInterrupt from None
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()  # the whole help: whoever types no command wants to see it
        return USAGE
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        where = context.command_path if context is not None else "mailprobe"
        text = error.format_message().rstrip(".")
        return _say(f"{text}{' See' if text.endswith('?') else '; see'} `{where} --help`", USAGE)
    except StdoutClosed as error:
        return _stdout_lost(str(error))
    except Exception as error:
        if endings.met() is not None:  # whatever the breaking off has led to
            raise KeyboardInterrupt from None
        # Imported here, because `--help` has no use for the model; who raised a UsageError has imported it.
        from mailprobe.model.errors import UsageError

        if not isinstance(error, UsageError):
            raise
        return _say(str(error), USAGE)


def _say(text: str, status: int) -> int:
    # What the user typed comes back in many of these lines; what a terminal would act on does not.
    safe = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
    with contextlib.suppress(OSError):  # nobody is left to be told
        print(f"mailprobe: {safe}", file=sys.stderr)
    return status
