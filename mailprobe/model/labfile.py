"""The lab file: how a program reaches a lab that runs elsewhere."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mailprobe.model.errors import UsageError
from mailprobe.model.files import read_whole, write_whole

_OCTETS_LIMIT = 16_000_000


class LabFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a running lab listens.

    *resolver* is ``address:port``; *ca_file* a PEM file with the lab's root; *ports* maps ``address:port`` as the
    lab's DNS and the mail protocols name it to the ``address:port`` that really listens. *directory* holds the post
    offices, *control* is the path of the doorbell socket, and *clock* the file with the seconds by which the
    lab's clock is ahead; each is empty when there is none.
    """

    resolver: str
    ca_file: str
    internal_networks: tuple[str, ...]
    ports: dict[str, str]
    directory: str = ""
    control: str = ""
    clock: str = ""

    def write(self, path: Path) -> None:
        """Write the file whole or not at all."""
        write_whole(path, msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")


def read_lab_file(path: Path) -> LabFile:
    """Read a lab file.

    Raises:
        UsageError: it cannot be read, or is no lab file.
    """
    try:
        return msgspec.json.decode(read_whole(path, _OCTETS_LIMIT), type=LabFile)
    except OSError as error:
        raise UsageError(f"lab file {path}: {error.strerror}; is the lab running?") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"lab file {path}: {error}") from None
