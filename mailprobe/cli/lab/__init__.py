"""`mailprobe lab`: the loopback lab, in the foreground, for one command, or as a catalogue, and the mail in it."""

from __future__ import annotations

import difflib
import importlib

import click

# name -> module, the line that `mailprobe lab --help` shows
_COMMANDS = {
    "list": ("catalogue:list_", "List the scenarios and what each does wrong."),
    "up": ("running:up", "Run the lab in the foreground, for other programs."),
    "run": ("running:run", "Give a command the lab."),
    "trace": ("road:trace", "Show the road of a letter, step by step."),
    "queue": ("road:queue", "Show what waits in the spools and queues."),
    "mailbox": ("road:mailbox", "Show what a mailbox holds, or one letter of it."),
    "aliases": ("aliases:aliases", "Show or change the alias table of a site."),
    "pause": ("orders:pause", "Stop a part of the post offices."),
    "resume": ("orders:resume", "Let a part of the post offices go on."),
    "restart": ("orders:restart", "Close a site's post office, and open it again."),
    "tick": ("orders:tick", "Move the lab's clock forward."),
    "flush": ("orders:flush", "Try everything in the queues again now."),
}


class _LabCommands(click.Group):
    """A group that imports only the command that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click passes it
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(f"mailprobe.cli.lab.{module}"), name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in _COMMANDS and not name.startswith("-"):
            near = difflib.get_close_matches(name, _COMMANDS, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise click.UsageError(f"there is no command {name!r}{hint}; the commands are {', '.join(_COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _COMMANDS.items()])


@click.group(cls=_LabCommands)
def lab() -> None:
    """Run a small Internet on loopback whose servers misbehave by name.

    `good.lab.test` is healthy. Every other name of `mailprobe lab list` does one thing otherwise. All users have
    the password `secret`; `alice` and `bob` have mailboxes. Any command takes --lab to use a lab of its own.

    `sender.lab.test` (alice, amir) and `receiver.lab.test` (bob, carol, dave) are whole mail systems: spool, alias
    expander, queue, MTA client and server, mailboxes. The commands from `trace` on are about them; they find the lab
    by MAILPROBE_LAB or --directory.
    """
