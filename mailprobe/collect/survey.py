"""Gets to know one port: greeting, capabilities, STARTTLS, handshake, capabilities again, goodbye."""

from __future__ import annotations

import re
import time

import msgspec

from mailprobe.collect.dialogue import Dialogue, Stopped
from mailprobe.collect.manners import Manners, manners_for
from mailprobe.model.evidence import (
    Capabilities,
    Injection,
    Kind,
    Legacy,
    Reply,
    Session,
    Stage,
    Tls,
    Trouble,
)
from mailprobe.model.names import is_address
from mailprobe.model.ports import Port, Protocol, Service
from mailprobe.net.limits import Deadline
from mailprobe.net.network import Network
from mailprobe.net.tls import survey_context
from mailprobe.protocols.recognise import recognise

_SERVED_BY = {"smtp": Service.SMTP, "pop3": Service.POP3, "imap": Service.IMAP, "lmtp": Service.SMTP}
_HOST_NAME = re.compile(r"(?=.{1,253}$)([A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}", re.ASCII)
_UNKNOWN_GREETING_S = 6.0  # a port of no known service is given less time to speak first


class Door(msgspec.Struct, frozen=True):
    """One port of one address of one host."""

    host: str
    address: str
    port: Port

    @property
    def server_name(self) -> str | None:
        """The SNI to send: the host asked for, never an address (RFC 6066 §3) and never what is no host name.

        The DNS allows any octet in a name, and a zone can point its MX at such names; TLS does not.
        """
        return self.host if _HOST_NAME.fullmatch(self.host) and not is_address(self.host) else None


class Notes(msgspec.Struct):
    """What a survey has learnt so far."""

    speaks: str | None = None
    answered_in_clear: bool = False
    greeting: Reply | None = None
    before_tls: Capabilities | None = None
    after_tls: Capabilities | None = None
    offers_starttls: bool | None = None
    leftover: bytes = b""
    tls: Tls | None = None
    trouble: Trouble | None = None
    injection: Injection | None = None
    nameless: Tls | None = None
    nameless_trouble: Trouble | None = None
    legacy: Legacy | None = None
    dialogues: list[Dialogue] = []


async def survey(network: Network, door: Door, deadline: Deadline) -> Notes:
    """Learn what one port speaks and how; never raises for anything a server does."""
    notes = Notes()
    started = time.perf_counter()
    service = door.port.service
    await _converse(network, door, service, deadline, notes)
    if service.implicit_tls and notes.speaks in _SERVED_BY and notes.tls is None:
        await _again_in_clear(network, door, deadline, notes)
    elif not service.implicit_tls and _silent(notes):
        await _try_tls(network, door, deadline, notes)
    notes.dialogues[0].timings["total"] = round((time.perf_counter() - started) * 1000, 3)
    return notes


def session(door: Door, notes: Notes) -> Session:
    """Write down what was learnt."""
    dialogue = notes.dialogues[-1]
    timings = {**notes.dialogues[-1].timings, "total": notes.dialogues[0].timings["total"]}
    return Session(
        host=door.host,
        address=door.address,
        port=door.port.number,
        service=door.port.service.value,
        speaks=notes.speaks,
        answered_in_clear=notes.answered_in_clear,
        greeting=notes.greeting,
        exchanges=tuple(dialogue.exchanges),
        before_tls=notes.before_tls,
        after_tls=notes.after_tls,
        offers_starttls=notes.offers_starttls,
        leftover=notes.leftover,
        tls=notes.tls,
        injection=notes.injection,
        nameless=notes.nameless,
        nameless_trouble=notes.nameless_trouble,
        legacy=notes.legacy,
        timings=timings,
        trouble=notes.trouble,
    )


async def _converse(network: Network, door: Door, service: Service, deadline: Deadline, notes: Notes) -> None:
    manners = manners_for(service)
    dialogue = Dialogue(network, manners.client, deadline)
    notes.dialogues.append(dialogue)
    try:
        await dialogue.connect(door.address, door.port.number)
        if service.implicit_tls:
            notes.tls = await dialogue.secure(survey_context(), door.server_name)
        if service.protocol is Protocol.UNKNOWN:
            octets = await dialogue.first_words(_UNKNOWN_GREETING_S)
            notes.speaks = recognise(octets)
            if notes.speaks not in _SERVED_BY:
                lines = tuple(octets.decode("latin-1").splitlines())
                notes.greeting = Reply(status="", lines=lines, quirks=())
                return
            manners = manners_for(_SERVED_BY[notes.speaks])
            dialogue.hand_over(manners.client, octets)
        await _get_to_know(dialogue, manners, service, door, notes)
        dialogue.farewell(manners.goodbye())
    except Stopped as stopped:
        notes.trouble = stopped.trouble
        notes.speaks = notes.speaks or recognise(dialogue.first_octets)
        dialogue.part(stopped.trouble, manners.goodbye())
    finally:
        dialogue.close()


async def _get_to_know(dialogue: Dialogue, manners: Manners, service: Service, door: Door, notes: Notes) -> None:
    notes.greeting = await dialogue.greeting()
    notes.speaks = recognise(dialogue.first_octets)
    manners.welcome(notes.greeting)
    if service.implicit_tls:
        notes.after_tls = await manners.capabilities(dialogue, Stage.CAPABILITIES_TLS)
        return
    notes.before_tls = await manners.capabilities(dialogue, Stage.CAPABILITIES)
    notes.offers_starttls = manners.starttls_offered(notes.before_tls)
    if notes.offers_starttls is False or notes.greeting.status == "PREAUTH":
        return
    reply = await dialogue.ask(Stage.STARTTLS, manners.starttls())
    if notes.offers_starttls is None and reply.status in {"-ERR", "BAD", "NO"}:
        notes.offers_starttls = False  # not listed and not taken
        return
    manners.go_ahead(reply)
    notes.offers_starttls = True
    notes.leftover = dialogue.take_leftover()
    notes.tls = await dialogue.secure(survey_context(), door.server_name)
    notes.after_tls = await manners.capabilities(dialogue, Stage.CAPABILITIES_TLS)


async def _again_in_clear(network: Network, door: Door, deadline: Deadline, notes: Notes) -> None:
    """A port for implicit TLS greeted in clear: see what it offers when spoken to that way."""
    notes.answered_in_clear = True
    service = _SERVED_BY[notes.speaks or "smtp"]
    refused = notes.trouble
    notes.trouble = None
    await _converse(network, door, service, deadline, notes)
    notes.trouble = notes.trouble or refused


async def _try_tls(network: Network, door: Door, deadline: Deadline, notes: Notes) -> None:
    """A port that says nothing in clear may wait for a TLS hello."""
    dialogue = Dialogue(network, manners_for(Service.SMTP).client, deadline)
    try:
        await dialogue.connect(door.address, door.port.number)
        notes.tls = await dialogue.secure(survey_context(), door.server_name)
        notes.speaks = "tls"
    except Stopped:
        notes.speaks = recognise(dialogue.first_octets)
    finally:
        dialogue.close()


def _silent(notes: Notes) -> bool:
    trouble = notes.trouble
    return (
        trouble is not None
        and notes.speaks is None
        and trouble.stage is Stage.GREETING
        and trouble.kind is Kind.TIMEOUT
    )
