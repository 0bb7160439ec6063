"""The smallest click program with seven commands: what `mailprobe --help` is measured against."""

from __future__ import annotations

import sys

import click


@click.group()
def cli() -> None:
    """Do nothing in seven ways."""


def _command(name: str) -> click.Command:
    @cli.command(name, help=f"Do nothing, the {name} way.")
    @click.argument("what")
    def nothing(what: str) -> None:
        click.echo(what)

    return nothing


for _name in ("one", "two", "three", "four", "five", "six", "seven"):
    _command(_name)

if __name__ == "__main__":
    sys.exit(cli())
