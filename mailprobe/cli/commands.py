"""The list of commands. Each lives in a module of its own, imported when it is called."""

from __future__ import annotations

import importlib

import click

from mailprobe import __version__

# name -> (module and function, the line that `mailprobe --help` shows)
_COMMANDS = {
    "mx": ("mailprobe.cli.mx:mx", "Look up where mail for a domain goes, and what is wrong with the answer."),
    "ports": ("mailprobe.cli.ports:ports", "Show the seven mail ports of a host: open, TLS, certificate."),
    "check": ("mailprobe.cli.check:check", "Ask everything, judge it, say what to fix."),
    "collect": ("mailprobe.cli.evidence:collect", "Write down the evidence as JSON, without judging it."),
    "judge": ("mailprobe.cli.evidence:judge", "Judge evidence collected earlier."),
    "smtp": ("mailprobe.cli.conversations:smtp", "Hold one SMTP conversation, step by step."),
    "pop3": ("mailprobe.cli.conversations:pop3", "Hold one POP3 conversation; list and fetch letters."),
    "imap": ("mailprobe.cli.conversations:imap", "Hold one IMAP conversation; list and fetch letters."),
    "send": ("mailprobe.cli.send:send", "Write a letter and send it, or many."),
    "trip": ("mailprobe.cli.trip:trip", "Send a letter and wait until it arrives, hop by hop."),
    "protocols": ("mailprobe.cli.protocols:protocols", "Compare SMTP, POP3, POP3S and IMAP, and prove it."),
    "explain": ("mailprobe.cli.explain:explain", "Explain a check: why it matters and what to do."),
    "lab": ("mailprobe.cli.lab:lab", "Run the loopback lab: servers that misbehave by name."),
}


class _Commands(click.Group):
    """A group that knows its commands by name and imports only the one that is called."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Let ``--lab`` stand before the command as well: it is about all of them."""
        if len(args) > 1 and args[0] == "--lab":
            args = [args[1], "--lab", *args[2:]]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click passes it
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in _COMMANDS and not name.startswith("-"):
            known = ", ".join(_COMMANDS)
            raise click.UsageError(f"there is no command {name!r}; the commands are {known}", ctx)
        return super().resolve_command(ctx, args)


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="mailprobe")
def cli() -> None:
    """Say whether a domain's mail works, prove it, and say how to fix it.

    \b
    mailprobe mx example.com            where does mail go?
    mailprobe ports mail.example.com    which ports are open, with which TLS?
    mailprobe check example.com         what is wrong, and what do I fix?
    mailprobe check --lab good.lab.test what does it say without any network?

    Exit status: 0 all well, 1 a finding, 2 wrong usage, 3 could not be decided.
    """
