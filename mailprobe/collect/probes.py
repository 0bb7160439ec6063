"""Facts that need a connection of their own: injected commands, a handshake without SNI, old TLS versions."""

from __future__ import annotations

from mailprobe.collect.dialogue import Dialogue, Stopped, stop
from mailprobe.collect.manners import ImapManners, Manners, manners_for
from mailprobe.collect.survey import Door
from mailprobe.model.evidence import Injection, Kind, Legacy, Reply, Stage, Tls, Trouble
from mailprobe.model.ports import Protocol, Role
from mailprobe.net.limits import Deadline
from mailprobe.net.network import Network
from mailprobe.net.tls import legacy_context, survey_context
from mailprobe.protocols.smtp.client import SmtpClient, reply_text

# Unknown to every server, so no server takes it with a 2xx. With which code it is refused differs: replies are counted.
_UNKNOWN_COMMAND = b"XMAILPROBE\r\n"
_FOREIGN_TAG = "x1"
_NEW_SESSION = ("helo", "ehlo", "hello")
_STILL_OPEN = ("nested", "already", "in progress", "sender")  # what servers say to a second MAIL
_SAID_NO = {Kind.TLS_ALERT, Kind.CLOSED, Kind.RESET}


class Second:
    """What a second connection to a STARTTLS port learnt."""

    def __init__(self) -> None:
        self.injection: Injection | None = None
        self.nameless: Tls | None = None
        self.nameless_trouble: Trouble | None = None
        self.turned_away = False  # before anything was learnt: worth another try when the first is done
        self.refused_in_transaction = False  # STARTTLS: worth another try without a transaction


async def probe_starttls(network: Network, door: Door, deadline: Deadline, *, transaction: bool = True) -> Second:
    """Put a command behind STARTTLS in the same write (CVE-2011-0411 and its kind) and see whether it is run.

    The handshake sends no SNI, which shows the certificate that clients without SNI get. On port 25 a *transaction*
    is begun before TLS, to see whether it is still there afterwards.
    """
    second = Second()
    manners = ImapManners((_FOREIGN_TAG,)) if door.port.service.protocol is Protocol.IMAP else None
    manners_used: Manners = manners or manners_for(door.port.service)
    dialogue = Dialogue(network, manners_used.client, deadline)
    try:
        await dialogue.connect(door.address, door.port.number)
        greeting = await dialogue.greeting()
        manners_used.welcome(greeting)
        if greeting.status == "PREAUTH":  # STARTTLS is not allowed any more (RFC 9051 §6.2.1)
            dialogue.farewell(manners_used.goodbye())
        else:
            relay = door.port.service.role is Role.RELAY
            await _inject(dialogue, manners_used, second, transaction=transaction and relay)
    except Stopped as stopped:
        _note_end(second, stopped.trouble)
        dialogue.part(stopped.trouble, manners_used.goodbye())
    finally:
        dialogue.close()
    return second


async def _inject(dialogue: Dialogue, manners: Manners, second: Second, *, transaction: bool) -> None:
    go_ahead: Reply
    begun = False
    if isinstance(manners.client, SmtpClient):
        capabilities = await manners.capabilities(dialogue, Stage.PROBE)
        if capabilities is None or not capabilities.has("STARTTLS"):
            dialogue.farewell(manners.goodbye())
            return
        if transaction:
            go_ahead, begun = await _begin_transaction(dialogue, manners, capabilities.has("PIPELINING"))
        else:
            go_ahead = await dialogue.ask(Stage.PROBE, manners.starttls() + _UNKNOWN_COMMAND)
    elif isinstance(manners, ImapManners):
        if manners.starttls_offered(manners.told) is False:
            dialogue.farewell(manners.goodbye())
            return
        noop = f"{_FOREIGN_TAG} NOOP\r\n".encode("ascii")
        go_ahead = await dialogue.ask(Stage.PROBE, manners.starttls() + noop)
    else:
        go_ahead = await dialogue.ask(Stage.PROBE, manners.starttls() + _UNKNOWN_COMMAND)
    try:
        manners.go_ahead(go_ahead)
    except Stopped as refused:
        second.refused_in_transaction = begun
        # The same STARTTLS without anything behind it is taken, so what was behind it was noticed and refused.
        if refused.trouble.kind is Kind.REJECTED and not begun:
            second.injection = _injection(False, go_ahead.lines[-1] if go_ahead.lines else "", None)
        raise
    dialogue.take_leftover()
    second.nameless = await dialogue.secure(survey_context(), None)
    second.injection = await _look_inside(dialogue, manners, transaction=begun)


async def _begin_transaction(dialogue: Dialogue, manners: Manners, pipelining: bool) -> tuple[Reply, bool]:
    """Begin a transaction with the null sender, then STARTTLS: a careful server forgets it (RFC 3207 §4.2)."""
    client = manners.client
    assert isinstance(client, SmtpClient)
    mail = client.mail("")
    if pipelining:
        begun = await dialogue.ask(Stage.PROBE, mail + manners.starttls() + _UNKNOWN_COMMAND)
        return await dialogue.listen(Stage.PROBE), begun.status == "250"
    begun = await dialogue.ask(Stage.PROBE, mail)
    return await dialogue.ask(Stage.PROBE, manners.starttls() + _UNKNOWN_COMMAND), begun.status == "250"


async def _look_inside(dialogue: Dialogue, manners: Manners, *, transaction: bool) -> Injection:
    """See what answers first inside TLS: our next command, or the one injected before it."""
    client = manners.client
    if isinstance(manners, ImapManners):
        reply = await dialogue.ask(Stage.PROBE, manners.goodbye())
        mine = [line for line in reply.lines if line.startswith(f"{_FOREIGN_TAG} ")]
        return _injection(bool(mine), mine[0] if mine else reply.lines[-1], None)
    if isinstance(client, SmtpClient) and transaction:
        return await _count_replies(dialogue, client)
    reply = await dialogue.ask(Stage.PROBE, manners.goodbye())
    _stay(reply)
    if reply.status in {"221", "+OK"}:
        return _injection(False, reply.lines[0], None)
    return await _confirmed(dialogue, reply)


async def _count_replies(dialogue: Dialogue, client: SmtpClient) -> Injection:
    """Send MAIL, then QUIT: one reply too many is the one to the injected command."""
    first = await dialogue.ask(Stage.PROBE, client.mail(""))
    _stay(first)
    if first.status.startswith("2"):  # to MAIL: no server takes the injected command
        dialogue.farewell(client.quit())
        return _injection(False, first.lines[0], False)
    try:
        second = await dialogue.ask(Stage.PROBE, client.quit())
    except Stopped as stopped:
        if stopped.trouble.kind not in {Kind.CLOSED, Kind.RESET}:
            raise
        return _injection(False, first.lines[0], _kept_state(first))  # it parts without a word: one reply in all
    if second.status == "221":
        return _injection(False, first.lines[0], _kept_state(first))
    return _injection(True, first.lines[0], _kept_state(second))


def _stay(reply: Reply) -> None:
    """Stop at a 421, which may come at any time and is no answer to anything (RFC 5321 §3.8)."""
    if reply.status == "421":
        raise stop(Stage.PROBE, Kind.TEMPORARY, reply.lines[-1])


async def _confirmed(dialogue: Dialogue, first: Reply) -> Injection:
    """A refusal came first: when a second reply follows, the first was for the injected command."""
    try:
        await dialogue.listen(Stage.PROBE)
    except Stopped:
        return Injection(executed=None, reply=first.lines[0], kept_state=None, trouble=None)
    return _injection(True, first.lines[0], None)


def _kept_state(reply: Reply) -> bool | None:
    """Read the reply to a second MAIL: taken, or refused because the first one is still open.

    503 is also what servers say that want EHLO first (RFC 5321 §4.2.3), so the words decide.
    """
    if reply.status.startswith("2"):
        return False
    text = reply_text(reply.lines[-1]).lower()
    if reply.status != "503":
        return None
    if any(word in text for word in _NEW_SESSION):
        return False
    return True if any(word in text for word in _STILL_OPEN) else None


def _injection(executed: bool, line: str, kept_state: bool | None) -> Injection:
    return Injection(executed=executed, reply=line[:500], kept_state=kept_state, trouble=None)


def _note_end(second: Second, trouble: Trouble) -> None:
    """Write down how far the second connection came."""
    if second.injection is not None:
        return
    if trouble.stage is Stage.HANDSHAKE and trouble.kind is not Kind.TIMEOUT:
        # The octets behind STARTTLS broke the handshake: they were not run as a command. That this was for
        # want of SNI is told apart by a handshake of its own.
        second.injection = _injection(False, trouble.detail, None)
        return
    second.turned_away = trouble.stage in {Stage.CONNECT, Stage.GREETING}
    second.injection = Injection(executed=None, reply="", kept_state=None, trouble=trouble)


async def probe_nameless(network: Network, door: Door, deadline: Deadline) -> tuple[Tls | None, Trouble | None]:
    """Do a handshake without SNI, as old servers and clients do, and part at once."""
    manners = manners_for(door.port.service)
    dialogue = Dialogue(network, manners.client, deadline)
    try:
        await _reach_tls(dialogue, manners, door)
        tls = await dialogue.secure(survey_context(), None)
        if door.port.service.implicit_tls:
            await dialogue.greeting()
        dialogue.farewell(manners.goodbye())
        return tls, None
    except Stopped as stopped:
        dialogue.part(stopped.trouble, manners.goodbye())
        return None, stopped.trouble
    finally:
        dialogue.close()


async def probe_legacy(network: Network, door: Door, deadline: Deadline) -> Legacy:
    """Offer TLS 1.1 at most and see whether the server takes it (RFC 8996 says it must not)."""
    manners = manners_for(door.port.service)
    dialogue = Dialogue(network, manners.client, deadline)
    try:
        await _reach_tls(dialogue, manners, door)
        tls = await dialogue.secure(legacy_context(), door.server_name)
        if door.port.service.implicit_tls:
            await dialogue.greeting()
        dialogue.farewell(manners.goodbye())
        return Legacy(version=tls.version, refused=False, trouble=None)
    except Stopped as stopped:
        trouble = stopped.trouble
        dialogue.part(trouble, manners.goodbye())
        refused = trouble.stage is Stage.HANDSHAKE and trouble.kind in _SAID_NO
        return Legacy(version=None, refused=refused, trouble=trouble)
    finally:
        dialogue.close()


async def _reach_tls(dialogue: Dialogue, manners: Manners, door: Door) -> None:
    await dialogue.connect(door.address, door.port.number)
    if door.port.service.implicit_tls:
        return
    manners.welcome(await dialogue.greeting())
    if door.port.service.protocol is Protocol.SMTP:
        await manners.capabilities(dialogue, Stage.PROBE)
    manners.go_ahead(await dialogue.ask(Stage.PROBE, manners.starttls()))
    dialogue.take_leftover()
