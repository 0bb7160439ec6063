"""Dialogues: secrets masked, groups in one write, letters of any size, and what is said unasked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from mailprobe.collect.dialogue import Dialogue, Stopped
from mailprobe.collect.survey import Door
from mailprobe.model.evidence import Kind, Stage
from mailprobe.net.limits import SESSION_OCTETS_LIMIT, Deadline, Limits
from mailprobe.net.network import Network
from mailprobe.protocols.client import Client
from mailprobe.protocols.imap.client import ImapClient
from mailprobe.protocols.imap.responses import Exists
from mailprobe.protocols.pop3.client import Pop3Client
from mailprobe.protocols.smtp.client import SmtpClient
from tests.collect.servers import HASTY, PATIENT, on_network
from tests.scripted import Peer, Script

Result = TypeVar("Result")
Act = Callable[[Dialogue], Awaitable[Result]]


def talking(act: Act[Result], script: Script, client: Client, limits: Limits = PATIENT) -> tuple[Result, bytes]:
    """Connect, be greeted, and act; give the result and what the server heard."""

    async def run(network: Network, door: Door) -> Result:
        dialogue = Dialogue(network, client, Deadline(limits.target_s), "me.test")
        try:
            await dialogue.connect(door.address, door.port.number)
            await dialogue.greeting()
            return await act(dialogue)
        finally:
            dialogue.close()

    result, heard = on_network(run, script, limits=limits)
    return result, heard[0]


def test_what_is_shown_of_a_command_may_differ_from_what_is_sent() -> None:
    def serve(peer: Peer) -> None:
        peer.send(b"220 a\r\n")
        peer.answer(auth=b"235 in\r\n")

    async def act(dialogue: Dialogue) -> list[str]:
        await dialogue.ask(Stage.LOGIN, b"AUTH PLAIN c2VjcmV0\r\n", shown="AUTH PLAIN [masked]")
        assert dialogue.our_name == "me.test"
        return [exchange.sent for exchange in dialogue.exchanges]

    shown, heard = talking(act, serve, SmtpClient())
    assert shown == ["", "AUTH PLAIN [masked]"]
    assert heard == b"AUTH PLAIN c2VjcmV0\r\n"


def test_a_group_is_written_at_once_and_each_reply_kept_with_its_command() -> None:
    first: list[bytes] = []

    def serve(peer: Peer) -> None:
        peer.send(b"220 a\r\n")
        first.append(peer.exactly(len(b"MAIL\r\nRCPT\r\nDATA\r\n")))  # before any reply
        peer.send(b"250 one\r\n550 two\r\n354 three\r\n250 four\r\n")

    async def act(dialogue: Dialogue) -> list[tuple[Stage, str, str]]:
        group = [(Stage.MAIL, b"MAIL\r\n", "MAIL"), (Stage.RCPT, b"RCPT\r\n", "RCPT"), (Stage.DATA, b"DATA\r\n", "")]
        await dialogue.send_group(group)
        for _ in range(4):
            await dialogue.listen(Stage.MESSAGE)
        return [(each.stage, each.sent, each.reply.lines[0]) for each in dialogue.exchanges[1:]]

    told, _ = talking(act, serve, SmtpClient())
    assert told == [
        (Stage.MAIL, "MAIL", "250 one"),
        (Stage.RCPT, "RCPT", "550 two"),
        (Stage.DATA, "", "354 three"),
        (Stage.MESSAGE, "", "250 four"),  # one more than was asked for, as over LMTP
    ]


def test_an_empty_group_is_nothing() -> None:
    async def act(dialogue: Dialogue) -> int:
        await dialogue.send_group([])
        return len(dialogue.exchanges)

    assert talking(act, lambda peer: peer.send(b"220 a\r\n"), SmtpClient()) == (1, b"")


LETTER = b"a line of a letter, and some more of it\r\n" * 100_000


def test_a_letter_larger_than_a_session_is_read_once_it_is_allowed() -> None:
    assert len(LETTER) > SESSION_OCTETS_LIMIT

    def serve(peer: Peer) -> None:
        peer.send(b"+OK hi\r\n")
        peer.answer(retr=b"+OK\r\n" + LETTER + b".\r\n")

    client = Pop3Client()

    async def act(dialogue: Dialogue) -> bytes:
        dialogue.allow(len(LETTER))
        await dialogue.ask(Stage.FETCH, client.retr(1), patient=True)
        assert sum(len(line) for line in dialogue.exchanges[-1].reply.lines) < 1_000
        return client.take_body()

    assert talking(act, serve, client)[0] == LETTER

    async def unasked(dialogue: Dialogue) -> None:
        with pytest.raises(Stopped) as caught:
            await dialogue.ask(Stage.FETCH, client.retr(1), patient=True)
        assert caught.value.trouble.kind is Kind.LIMIT
        assert not dialogue.in_step

    talking(unasked, serve, client)


def test_a_patient_wait_lasts_for_as_long_as_something_comes() -> None:
    lines = 8

    def serve(peer: Peer) -> None:
        peer.send(b"+OK hi\r\n")
        peer.line()
        peer.send(b"+OK\r\n")
        for _ in range(lines):
            assert peer.overhear(0.1) == b""  # a third of what we wait for each time, twice that in all
            peer.send(b"line\r\n")
        peer.send(b".\r\n")

    client = Pop3Client()

    async def act(dialogue: Dialogue) -> bytes:
        await dialogue.ask(Stage.FETCH, client.retr(1), patient=True)
        return client.take_body()

    assert talking(act, serve, client, HASTY)[0] == b"line\r\n" * lines


def test_silence_is_told_from_half_a_reply() -> None:
    def serve(reply: bytes) -> Script:
        def script(peer: Peer) -> None:
            peer.send(b"220 a\r\n")
            peer.line()
            peer.send(reply)

        return script

    async def act(dialogue: Dialogue) -> str:
        with pytest.raises(Stopped) as caught:
            await dialogue.ask(Stage.PROBE, b"NOOP\r\n")
        return caught.value.trouble.detail

    assert talking(act, serve(b""), SmtpClient(), HASTY)[0].startswith("silence after our limit of 0.3 s")
    for half in (b"250-a\r\n", b"25"):
        assert talking(act, serve(half), SmtpClient(), HASTY)[0].startswith("the reply was not complete")


# -- what is said unasked --------------------------------------------------------------------------------------


def idling(*after: bytes) -> Script:
    def serve(peer: Peer) -> None:
        peer.send(b"* OK hi\r\n")
        peer.line()
        peer.send(b"+ idling\r\n")
        for octets in after:
            peer.send(octets)

    return serve


def overhearing(client: ImapClient, limit_s: float = 5.0) -> Act[bool]:
    async def act(dialogue: Dialogue) -> bool:
        await dialogue.ask(Stage.WAIT, client.idle())
        return await dialogue.overhear(Stage.WAIT, limit_s)

    return act


@pytest.mark.parametrize("after", [(b"* 3 EXISTS\r\n",), (b"* 3 EX", b"ISTS\r\n")])
def test_what_is_said_unasked_is_heard(after: tuple[bytes, ...]) -> None:
    client = ImapClient()
    assert talking(overhearing(client), idling(*after), client)[0]
    assert client.take_responses()[-1] == Exists(3)


def test_silence_is_no_trouble_when_nothing_was_asked() -> None:
    client = ImapClient()
    assert not talking(overhearing(client, 0.05), idling(), client)[0]


@pytest.mark.parametrize(
    ("after", "kind"),
    [(b"* BYE going\r\n", Kind.CLOSED), (b"nonsense\r\n", Kind.GARBAGE), (b"* X {9999999}\r\n", Kind.LIMIT)],
)
def test_the_end_of_a_conversation_may_come_unasked(after: bytes, kind: Kind) -> None:
    client = ImapClient()
    with pytest.raises(Stopped) as caught:
        talking(overhearing(client), idling(after), client)
    assert (caught.value.trouble.stage, caught.value.trouble.kind) == (Stage.WAIT, kind)
