"""What every proof needs: the server, letters of ours, devices, and the list of what was proven."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable

import msgspec

from mailprobe.collect.dialogue import Stopped, stop
from mailprobe.mail.compose import Draft, Letter, compose
from mailprobe.mail.login import Login
from mailprobe.mail.proving.devices import Device, Script
from mailprobe.mail.reading import holding, inbox_at
from mailprobe.mail.routes import Server
from mailprobe.mail.sending import Options, send
from mailprobe.model.conversation import Place, Security
from mailprobe.model.evidence import Kind, Stage
from mailprobe.model.ports import SEVEN_PORTS, Port, Protocol, Service
from mailprobe.model.proof import PROTOCOLS, ROWS, Proof
from mailprobe.model.sending import Outcome
from mailprobe.net.limits import Deadline
from mailprobe.net.network import Network

TOKEN_FIELD = "X-Mailprobe-Proof"
ARRIVAL_S = 30.0
FIRST, SECOND = "first", "second"
SUBMISSION = Port(587, Service.SUBMISSION)
_SECURITY = {25: Security.OPPORTUNISTIC, 587: Security.STARTTLS, 110: Security.OPPORTUNISTIC, 143: Security.STARTTLS}
_TRANSACTION = {Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.MESSAGE}

Settled = tuple[bool | None, str]
Act = Callable[[Script], Awaitable[Settled]]


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """Where to prove it, and with whom: the *reader* has a mailbox at *address*, the *sender* sends letters there."""

    host: str
    address: str
    reader: Login
    sender: Login
    sender_address: str


class Bench:
    """One run. The proofs append to *proofs*."""

    def __init__(self, network: Network, setting: Setting, address: str) -> None:
        self.network = network
        self._setting = setting
        self._address = address
        self._left: dict[str, None] = {}  # tokens of letters of ours that may still be there
        self._devices: list[Device] = []
        self.proofs: list[Proof] = []

    async def prove(self, question: str, protocol: str, act: Act) -> None:
        """Perform a proof; a conversation that stops on the way leaves it undecided."""
        script = Script()
        holds: bool | None = None
        try:
            holds, detail = await act(script)
        except Stopped as stopped:
            detail = f"{stopped.trouble.stage.value}: {stopped.trouble.detail}"
        self.proofs.append(
            Proof(
                question=question,
                protocol=protocol,
                claim=claim(question, protocol),
                holds=holds,
                detail=detail,
                dialogue=tuple(script.said),
            )
        )

    def place(self, port: Port) -> Place:
        """Give a port of the server, with the TLS that is usual there."""
        security = _SECURITY.get(port.number, Security.TLS)
        return Place(
            host=self._setting.host,
            address=self._address,
            port=port.number,
            service=port.service,
            security=security,
        )

    def deadline(self) -> Deadline:
        """Give the time that one conversation may take."""
        return Deadline(self.network.limits.target_s)

    def device(self, name: str, protocol: str, service: Service) -> Device:
        """Give a mail program of the reader, not yet connected."""
        port = next(port for port in SEVEN_PORTS if port.service is service)
        place = self.place(port)
        if service in {Service.POP3, Service.IMAP}:  # with a login TLS is a must
            place = msgspec.structs.replace(place, security=Security.STARTTLS)
        inbox = inbox_at(self.network, place, self._setting.reader, self.deadline(), poll_s=0.5)
        device = Device(name, protocol, inbox)
        self._devices.append(device)
        return device

    def letter(self) -> tuple[Letter, str]:
        """Write a letter; give it with the token in its header."""
        token = f"proof-{secrets.token_hex(8)}"
        draft = Draft(
            sender=self._setting.sender_address,
            to=(self._setting.address,),
            subject="mailprobe: a letter that proves something",
            text="This letter is deleted by whoever sent it.\r\n",
            headers=((TOKEN_FIELD, token),),
            date=self.network.now(),
        )
        self._left[token] = None
        return compose(draft), token

    async def submit(self, script: Script | None = None) -> tuple[Letter, str]:
        """Send a letter of ours; give it with its token.

        Raises:
            Stopped: it was not taken.
        """
        letter, token = self.letter()
        route = Server(self._setting.host, SUBMISSION.number, Security.STARTTLS)
        sending = await send(self.network, letter, route, Options(login=self._setting.sender))
        for conversation in sending.conversations if script is not None else ():
            transaction = [each for each in conversation.exchanges if each.stage in _TRANSACTION]
            assert script is not None
            script.add(FIRST, "SMTP", transaction)
        result = sending.recipients[0]
        if result.outcome is not Outcome.ACCEPTED:
            if result.outcome is not Outcome.UNCERTAIN:
                del self._left[token]
            raise stop(result.stage, Kind.REJECTED, f"the letter was not taken: {result.detail}")
        return letter, token

    async def arrived(self, device: Device, token: str) -> str:
        """Wait for a letter of ours, unseen by the script; give its uid.

        Raises:
            Stopped: it does not come.
        """
        ends = time.monotonic() + ARRIVAL_S
        await device.inbox.open()
        while not (uids := await device.inbox.search(TOKEN_FIELD, token)):
            left = ends - time.monotonic()
            if left <= 0:
                raise stop(Stage.WAIT, Kind.TIMEOUT, f"the letter did not arrive within {ARRIVAL_S:g} s")
            await device.inbox.wait(min(left, 2.0))
        return uids[0]

    async def find(self, device: Device, token: str) -> str:
        """Find a letter of ours that has arrived, unseen by the script; give its uid, which holds for this visit.

        Raises:
            Stopped: it is not there.
        """
        uids = await device.inbox.search(TOKEN_FIELD, token)
        known("".join(uids))
        return uids[0]

    async def delete(self, device: Device, uid: str, token: str) -> None:
        """Delete a letter of ours; one with this uid that does not have our token stays."""
        done = await device.inbox.delete({uid: holding(TOKEN_FIELD, token)})
        if uid in done.uids and device.inbox.place.service.protocol is not Protocol.POP3:
            self._left.pop(token, None)

    def gone(self, token: str) -> None:
        """Note that a letter of ours was seen to be gone."""
        self._left.pop(token, None)

    async def clear_up(self) -> None:
        """Delete the letters of ours that proofs have left behind where they stopped, as well as it can be done.

        Nobody logs in for it whom the server has not let in before.
        """
        known = [device for device in self._devices if device.inside]
        for device in sorted(known, key=lambda device: device.protocol != "IMAP")[:1] if self._left else ():
            again = self.device(device.name, device.protocol, device.inbox.place.service)
            with contextlib.suppress(Stopped):
                await self._clear(again)
            await again.inbox.end()

    async def _clear(self, device: Device) -> None:
        for token in list(self._left):
            await device.inbox.open()  # a look at the newest letters begins anew
            for uid in await device.inbox.search(TOKEN_FIELD, token):
                await self.delete(device, uid, token)


def claim(question: str, protocol: str) -> str:
    """Give the answer that the comparison has for a protocol."""
    row = next(row for row in ROWS if row.question == question)
    return dict(zip(PROTOCOLS, row.cells, strict=True))[protocol]


def known(letter: str) -> None:
    """Stop a proof whose letter never arrived."""
    if not letter:
        raise stop(Stage.WAIT, Kind.LOCAL, "there is no letter to prove it with")
