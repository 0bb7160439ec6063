"""Many letters: how many came of it, how fast, and what ends a load before its last letter."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import islice

import pytest

from mailprobe.collect.dialogue import Stopped
from mailprobe.mail.bulk import Load, Opener, copies, send_many
from mailprobe.mail.courier import Courier
from mailprobe.model.bulk import BulkSummary
from mailprobe.model.evidence import Kind
from mailprobe.net.limits import Deadline, Limits
from mailprobe.net.network import Network, Reach
from mailprobe.protocols.smtp.transaction import Parcel
from tests.mail.sink import EHLO, GREETING, HASTY, OK, PLAIN_EHLO, letter, on_network, parcel, sink
from tests.peers.availability import require_program
from tests.peers.servers.process import free_port
from tests.scripted import Peer, Script, refusing

DATA = b"From: a@a.test\r\nMessage-ID: <abc@a.test>\r\nSubject: x\r\n\r\nMessage-ID: <not@this.one>\r\n"
HURRIED = Limits(farewell_s=0.2)


def opener(network: Network, address: str = "192.0.2.1", port: int = 25) -> Opener:
    async def open_one() -> Courier:
        return await Courier.open(network, address, port, host="", starttls="never", deadline=Deadline(10.0))

    return open_one


def sent(
    parcels: Iterator[Parcel], load: Load, *scripts: Script, limits: Limits = HURRIED
) -> tuple[BulkSummary, list[bytes]]:
    async def act(network: Network) -> BulkSummary:
        return await send_many(parcels, [opener(network)], load)

    return on_network(act, *scripts, limits=limits)


def ids(heard: list[bytes]) -> list[bytes]:
    return re.findall(rb"Message-ID: <(abc[^@]*)@a.test>", b"".join(heard))


# -- letters -----------------------------------------------------------------------------------------------------


def test_copies_differ_in_their_message_id_alone() -> None:
    first, second = copies(parcel("b@b.test", "c@c.test", data=DATA), 2)
    assert first.data == DATA.replace(b"<abc@", b"<abc.1@")
    assert second.data == DATA.replace(b"<abc@", b"<abc.2@")
    assert first.recipients == second.recipients
    assert first.sender == "a@a.test"


@pytest.mark.parametrize(
    ("field", "copied"),
    [
        (b"message-id:<abc@a.test>", b"message-id:<abc.1@a.test>"),
        (b"Message-ID:\r\n <abc@a.test>", b"Message-ID:\r\n <abc.1@a.test>"),
        (b"Message-ID: <abc>", b"Message-ID: <abc.1>"),
        (b"Message-ID: none", b"Message-ID: none"),
        (b"X-Message-ID: <abc@a.test>", b"X-Message-ID: <abc@a.test>"),
    ],
)
def test_a_message_id_is_found_however_it_is_written(field: bytes, copied: bytes) -> None:
    (only,) = copies(parcel(data=b"To: b@b.test\r\n" + field + b"\r\n\r\nbody\r\n"), 1)
    assert only.data == b"To: b@b.test\r\n" + copied + b"\r\n\r\nbody\r\n"


@pytest.mark.parametrize("data", [b"", b"Message-ID: <abc@a.test>\r\n", b"\r\nMessage-ID: <abc@a.test>\r\n"])
def test_a_letter_of_any_form_is_copied(data: bytes) -> None:
    assert len(list(copies(parcel(data=data), 3))) == 3


# -- outcomes in figures -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ehlo", [EHLO, PLAIN_EHLO])
@pytest.mark.parametrize("connections", [1, 3])
def test_every_letter_is_sent_once(ehlo: bytes, connections: int) -> None:
    summary, heard = sent(copies(parcel(data=DATA), 30), Load(connections=connections), sink(ehlo))
    assert sorted(ids(heard)) == sorted(b"abc.%d" % number for number in range(1, 31))
    assert (summary.letters, summary.accepted, summary.connections) == (30, 30, connections)
    assert summary.refused == summary.deferred == summary.uncertain == summary.not_sent == 0
    assert summary.octets == sum(len(each.data) for each in copies(parcel(data=DATA), 30))
    assert summary.replies == {"250": 30}
    assert summary.stopped == ""
    assert summary.trouble is None
    assert summary.per_second == pytest.approx(30 / summary.seconds, rel=0.01)
    times = summary.latencies
    assert times.p50_ms is not None
    assert times.p95_ms is not None
    assert times.p99_ms is not None
    assert times.max_ms is not None
    assert 0 < times.p50_ms <= times.p95_ms <= times.p99_ms <= times.max_ms <= summary.seconds * 1000


def test_recipients_are_counted_by_outcome_and_replies_by_code() -> None:
    summary, _ = sent(iter([parcel("b@b.test", "c@c.test", "d@d.test")] * 3), Load(), three_recipients)
    assert (summary.letters, summary.accepted, summary.refused, summary.deferred) == (3, 3, 3, 3)
    assert summary.replies == {"250": 3, "550 5.1.1": 3, "450 4.2.0": 3}


def three_recipients(peer: Peer) -> None:
    """Refuse the first recipient of each letter, defer the second and take the third."""
    peer.send(GREETING)
    replies = iter([b"550 5.1.1 unknown\r\n", b"450 4.2.0 greylisted\r\n", OK] * 100)
    while line := peer.line():
        word = line[:4].upper()
        if word == b"EHLO":
            peer.send(EHLO)
        elif word == b"RCPT":
            peer.send(next(replies))
        elif word == b"DATA":
            peer.send(b"354 go\r\n")
            letter(peer)
            peer.send(OK)
        else:
            peer.send(OK)


def test_a_letter_that_cannot_be_sent_is_counted_and_holds_up_nobody() -> None:
    summary, _ = sent(iter([parcel("b\n@b.test"), parcel(), parcel("b\n@b.test")]), Load(), sink())
    assert (summary.accepted, summary.not_sent) == (1, 2)
    assert summary.replies == {"250": 1, "no reply": 2}


def test_no_letters_are_a_load_too() -> None:
    summary, _ = sent(iter(()), Load(), sink())
    assert (summary.letters, summary.per_second, summary.latencies.p50_ms) == (0, 0.0, None)
    assert summary.stopped == ""


# -- bounds ------------------------------------------------------------------------------------------------------


def test_a_rate_is_kept_to() -> None:
    summary, _ = sent(iter([parcel()] * 21), Load(connections=2, rate=100.0), sink())
    assert summary.letters == 21
    assert summary.seconds >= 0.2


def test_letters_come_evenly_spread() -> None:
    moments: list[float] = []

    def serve(peer: Peer) -> None:
        peer.send(GREETING)
        while line := peer.line():
            if line.startswith(b"MAIL"):
                moments.append(time.monotonic())
            if line.startswith(b"DATA"):
                peer.send(b"354 go\r\n")
                letter(peer)
            peer.send(EHLO if line.startswith(b"EHLO") else OK)

    sent(iter([parcel()] * 10), Load(connections=3, rate=50.0), serve)
    gaps = sorted(later - earlier for earlier, later in zip(sorted(moments), sorted(moments)[1:], strict=False))
    assert gaps[len(gaps) // 2] == pytest.approx(0.02, abs=0.015)


def test_a_load_ends_with_its_time_and_sees_through_what_is_under_way() -> None:
    def endless() -> Iterator[Parcel]:
        while True:
            yield parcel()

    summary, heard = sent(endless(), Load(connections=2, seconds=0.2), sink())
    assert summary.stopped == "0.2 s were over"
    assert summary.letters == summary.accepted == b"".join(heard).count(b"MAIL")
    assert summary.uncertain == summary.not_sent == 0


def test_a_slow_rate_does_not_outlast_the_time() -> None:
    summary, _ = sent(iter([parcel()] * 5), Load(connections=2, rate=0.01, seconds=0.1), sink())
    assert (summary.letters, summary.stopped) == (1, "0.1 s were over")
    assert summary.seconds < 5


def test_failures_end_a_load() -> None:
    script = sink(PLAIN_EHLO, rcpt=b"550 5.1.1 unknown\r\n")
    summary, _ = sent(iter([parcel()] * 100), Load(failures=5), script)
    assert summary.refused == 5
    assert summary.stopped == "5 recipients failed"


# -- connections that end ----------------------------------------------------------------------------------------


def takes(count: int, end: Callable[[Peer], None]) -> Script:
    """Take some letters and then end the connection at the next MAIL."""

    def serve(peer: Peer) -> None:
        peer.send(GREETING)
        peer.line()
        peer.send(EHLO)
        for _ in range(count):
            if peer.line().startswith(b"QUIT"):
                return
            assert [peer.line()[:4] for _ in range(2)] == [b"RCPT", b"DATA"]
            peer.send(OK + OK + b"354 go\r\n")
            letter(peer)
            peer.send(OK)
        if not peer.line().startswith(b"QUIT"):
            end(peer)

    return serve


def test_a_server_that_takes_a_few_letters_and_goes_is_visited_again() -> None:
    summary, heard = sent(copies(parcel(data=DATA), 10), Load(), takes(3, Peer.finish))
    assert (summary.letters, summary.not_sent, summary.uncertain) == (10, 0, 0)
    assert len(heard) == 4
    assert sorted(ids(heard)) == sorted(b"abc.%d" % number for number in range(1, 11))


def test_421_between_letters_is_an_answer_and_the_rest_goes_over_another_connection() -> None:
    def busy(peer: Peer) -> None:
        peer.send(b"421 4.7.0 enough\r\n")

    summary, _ = sent(iter([parcel()] * 8), Load(), takes(3, busy))
    assert (summary.letters, summary.deferred) == (6, 2)
    assert summary.replies == {"250": 6, "421 4.7.0": 2}


def test_a_server_that_always_goes_without_a_word_is_left() -> None:
    summary, heard = sent(iter([parcel()] * 8), Load(), takes(0, Peer.finish))
    assert (summary.letters, summary.not_sent, summary.stopped) == (0, 1, "no connection was left")
    assert summary.trouble is not None
    assert summary.trouble.kind is Kind.CLOSED
    assert len(heard) == 3


def test_silence_leaves_letters_uncertain_and_ends() -> None:
    def serve(peer: Peer) -> None:
        peer.send(GREETING)
        peer.answer(ehlo=EHLO)
        peer.send(OK + OK + b"354 go\r\n")

    summary, _ = sent(iter([parcel()] * 2), Load(), serve, limits=HASTY)
    assert summary.uncertain == 2
    assert summary.replies == {"no reply": 2}


def test_nobody_there_is_told() -> None:
    async def act(_: Network) -> BulkSummary:
        return await send_many(iter([parcel()]), [opener(Network(Reach()), *refusing())], Load(connections=2))

    summary, _ = on_network(act, sink())
    assert summary.letters == summary.connections == 0
    assert summary.stopped == "no connection was left"
    assert summary.trouble is not None
    assert summary.trouble.kind is Kind.REFUSED


def test_where_one_place_is_closed_the_next_is_taken() -> None:
    async def act(network: Network) -> BulkSummary:
        openers = [opener(Network(Reach()), *refusing()), opener(network)]
        return await send_many(iter([parcel()] * 4), openers, Load(connections=2))

    summary, _ = on_network(act, sink())
    assert (summary.letters, summary.connections, summary.stopped) == (4, 2, "")


# -- a real server -----------------------------------------------------------------------------------------------


@pytest.mark.peers
def test_postfix_s_sink_takes_thousands() -> None:
    program = require_program("smtp-sink")
    port = free_port("127.0.0.1")
    with subprocess.Popen((program, "-u", "nobody", f"127.0.0.1:{port}", "100")) as server:
        try:

            async def act(_: Network) -> BulkSummary:
                network = Network(Reach(connections_per_port=4))
                for _attempt in range(200):
                    try:
                        await (await opener(network, "127.0.0.1", port)()).quit()
                        break
                    except Stopped:
                        time.sleep(0.01)
                return await send_many(
                    islice(copies(parcel(data=DATA), 3_000), 2_000),
                    [opener(network, "127.0.0.1", port)],
                    Load(connections=4),
                )

            summary, _ = on_network(act, sink())
        finally:
            server.terminate()
    assert (summary.letters, summary.connections, summary.stopped) == (2_000, 4, "")
