"""The mail store as the servers of a site see it: its mailboxes, and its rules for who is let in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mailprobe.lab.post.mailboxes import Mailboxes
from mailprobe.lab.post.policy import Policy
from mailprobe.protocols.mailstore import Envelope, Verdict


class Counter(Mailboxes):
    """The mailboxes of a site behind its policy; see `Mailboxes` for everything else."""

    def __init__(self, policy: Policy, directory: Path, *arguments: Any, **options: Any) -> None:
        super().__init__(directory, *arguments, **options)
        self._policy = policy

    def refuse_sender(self, envelope: Envelope) -> Verdict | None:
        """Say why mail of this sender is not taken now, or None."""
        return self._policy.refuse_sender(envelope)

    def refuse_recipient(self, envelope: Envelope, recipient: str) -> Verdict | None:
        """Say why a recipient of ours is not taken, or None."""
        return self._policy.refuse_recipient(envelope, recipient)
