"""A dialogue that goes as far as somebody wants to see, and no further."""

from __future__ import annotations

from collections.abc import Collection

from mailprobe.collect.dialogue import Dialogue
from mailprobe.model.evidence import Reply, Stage, Tls
from mailprobe.net import tls
from mailprobe.net.limits import SESSION_OCTETS_LIMIT, Deadline
from mailprobe.net.network import Network
from mailprobe.protocols.client import Client


class Halted(Exception):  # noqa: N818 - it is how a conversation ends, not an error
    """The conversation has come as far as it was to go."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.value)
        self.stage = stage


class HaltingDialogue(Dialogue):
    """Once one of *stages* went well, whatever is to be done next raises Halted instead; only QUIT is still said.

    *reached* is that stage, None before.
    """

    def __init__(self, network: Network, client: Client, deadline: Deadline, stages: Collection[Stage]) -> None:
        super().__init__(network, client, deadline)
        self._stages = stages
        self.reached: Stage | None = None

    async def connect(self, address: str, port: int, octets_limit: int = SESSION_OCTETS_LIMIT) -> None:
        """See `Dialogue.connect`."""
        await super().connect(address, port, octets_limit)
        self._went_well(Stage.CONNECT)

    async def connect_socket(self, path: str, octets_limit: int = SESSION_OCTETS_LIMIT) -> None:
        """See `Dialogue.connect_socket`."""
        await super().connect_socket(path, octets_limit)
        self._went_well(Stage.CONNECT)

    async def greeting(self, limit_s: float | None = None) -> Reply:
        """See `Dialogue.greeting`."""
        self._halt()
        return self._judged(Stage.GREETING, await super().greeting(limit_s))

    async def ask(
        self,
        stage: Stage,
        command: bytes,
        *,
        shown: str | None = None,
        limit_s: float | None = None,
        patient: bool = False,
    ) -> Reply:
        """See `Dialogue.ask`."""
        if stage is not Stage.QUIT:
            self._halt()
        reply = await super().ask(stage, command, shown=shown, limit_s=limit_s, patient=patient)
        return self._judged(stage, reply)

    async def secure(self, context: tls.Context, server_name: str | None) -> Tls:
        """See `Dialogue.secure`."""
        self._halt()
        found = await super().secure(context, server_name)
        self._went_well(Stage.HANDSHAKE)
        return found

    def _judged(self, stage: Stage, reply: Reply) -> Reply:
        if reply.status.startswith("2"):
            self._went_well(stage)
        return reply

    def _went_well(self, stage: Stage) -> None:
        if stage in self._stages:
            self.reached = stage

    def _halt(self) -> None:
        if self.reached is not None:
            raise Halted(self.reached)
