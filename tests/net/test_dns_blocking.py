"""Lookups on blocking sockets, against the lab's DNS."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import dns.flags
import dns.message
import pytest

from mailprobe.lab.world import Lab
from mailprobe.model.evidence import Dnssec, Status
from mailprobe.net.dns.blocking import WINDOW, run
from mailprobe.net.dns.lookup import Failed, Lookup, Reply, Send
from mailprobe.net.dns.servers import Server
from tests.net.answers import CASES, asking, files_at_most, seen
from tests.scripted import Peer, Script, Scripted, nothing, refusing


@pytest.mark.parametrize(("name", "kind", "status", "dnssec", "transport", "attempts"), CASES)
def test_every_kind_of_answer_is_told_from_the_others(
    lab: Lab, name: str, kind: str, status: Status, dnssec: Dnssec, transport: str, attempts: int
) -> None:
    (answer,) = run([asking(name, kind, lab.resolver)])
    assert seen(answer) == (status, dnssec, transport, attempts)
    assert answer.server == lab.resolver
    assert answer.ms > 0


def test_many_questions_are_asked_side_by_side_and_answered_in_order(lab: Lab) -> None:
    names = ["dns-first-packet-lost.lab.test", *["good.lab.test", "dns-truncated.lab.test", "nobody.lab.test"] * 5]
    answers = run([asking(name, "MX", lab.resolver) for name in names])
    assert [answer.name for answer in answers] == names
    assert {answer.status for answer in answers} == {Status.ANSWERED, Status.NXDOMAIN}


def test_nothing_asked_is_nothing_answered() -> None:
    assert run([]) == []


def test_more_questions_than_this_machine_has_sockets_are_asked_by_and_by(lab: Lab) -> None:
    with files_at_most(WINDOW + 5):
        answers = run([asking("good.lab.test", "MX", lab.resolver, try_s=5.0) for _ in range(3 * WINDOW)])
    assert {answer.status for answer in answers} == {Status.ANSWERED}


@pytest.mark.parametrize("name", ["good.lab.test", "dns-truncated.lab.test"])
def test_a_machine_without_sockets_is_a_failure_in_words(lab: Lab, name: str) -> None:
    with files_at_most(0):
        (answer,) = run([asking(name, "MX", lab.resolver)])
    assert answer.status is Status.FAILED
    assert answer.detail == "this machine could not open a socket: Too many open files"


def test_a_question_that_waits_over_tcp_keeps_no_other_waiting() -> None:
    connected, answered = threading.Event(), threading.Event()

    def over_tcp(peer: Peer) -> None:
        query = dns.message.from_wire(peer.exactly(int.from_bytes(peer.exactly(2))))
        connected.set()
        assert answered.wait(5.0)
        wire = dns.message.make_response(query, recursion_available=True).to_wire()
        peer.send(len(wire).to_bytes(2) + wire)

    def over_udp(channel: socket.socket) -> None:
        for first in (True, False):
            wire, client = channel.recvfrom(512)
            reply = dns.message.make_response(dns.message.from_wire(wire), recursion_available=True)
            reply.flags |= dns.flags.TC if first else 0
            assert first or connected.wait(5.0)
            channel.sendto(reply.to_wire(), client)

    def noted(lookup: Lookup) -> Lookup:
        answer = yield from lookup
        answered.set()
        return answer

    with Scripted(over_tcp) as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        host, port = server.endpoint
        channel.bind((host, port))
        thread = threading.Thread(target=over_udp, args=(channel,), daemon=True)
        thread.start()
        lookups = [asking(name, "MX", f"{host}:{port}", total_s=4.0, try_s=4.0) for name in ("cut.test", "a.test")]
        cut, whole = run([lookups[0], noted(lookups[1])])
        thread.join()
    assert (cut.status, cut.transport, cut.attempts) == (Status.NODATA, "tcp", 2)
    assert (whole.status, whole.transport, whole.attempts) == (Status.NODATA, "udp", 1)


def test_a_resolver_that_is_not_there_is_said_to_be_unreachable() -> None:
    host, port = refusing()
    (answer,) = run([asking("a.test", "MX", f"{host}:{port}")])
    assert answer.status is Status.FAILED
    assert "cannot be asked: Connection refused" in answer.detail


def test_a_resolver_without_a_route_is_said_to_be_unreachable() -> None:
    (answer,) = run([asking("a.test", "MX", "[ff0e::1]:53", total_s=0.3)])
    assert answer.status in {Status.FAILED, Status.TIMEOUT}


def test_a_silent_resolver_ends_at_the_limit_of_the_whole_question() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        (answer,) = run([asking("a.test", "MX", f"127.0.0.1:{silent.getsockname()[1]}", total_s=0.05)])
    assert answer.status is Status.TIMEOUT


@pytest.fixture
def spammed() -> Iterator[str]:
    """A resolver that answers every question with octets of somebody else."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.bind(("127.0.0.1", 0))
        channel.settimeout(5.0)

        def serve() -> None:
            for _ in range(3):
                _, client = channel.recvfrom(512)
                for junk in (b"", b"x", b"\0" * 12, b"\xff" * 600):
                    channel.sendto(junk, client)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{channel.getsockname()[1]}"
        thread.join()


def test_stray_packets_are_not_taken_for_an_answer(spammed: str) -> None:
    (answer,) = run([asking("a.test", "MX", spammed, try_s=0.03)])
    assert (answer.status, answer.attempts) == (Status.TIMEOUT, 3)


def over(script: Script, wait_s: float = 5.0) -> Reply:
    """Give what comes of one message over TCP."""
    got: list[Reply] = []

    def once(send: Send) -> Lookup:
        got.append((yield send))
        return (yield from asking("localhost", "A", "127.0.0.1", total_s=0.0))

    with Scripted(script) as server:
        host, port = server.endpoint
        run([once(Send(Server("udp", host, port), "tcp", b"question", wait_s, lambda wire: wire == b"answer"))])
    return got[0]


def test_a_message_over_tcp_is_framed_however_it_is_cut() -> None:
    def serve(peer: Peer) -> None:
        assert peer.exactly(10) == b"\x00\x08question"
        for octet in b"\x00\x06answer, and more":
            peer.send(bytes([octet]))

    assert over(serve) == b"answer"


@pytest.mark.parametrize(
    ("script", "timeout", "words"),
    [
        (lambda peer: (peer.exactly(10), peer.finish()), False, "closed the connection"),
        (lambda peer: (peer.exactly(10), peer.send(b"\x00"), peer.finish()), False, "closed the connection"),
        (lambda peer: (peer.exactly(10), peer.reset()), False, "reset"),
        (lambda peer: peer.send(b"\x00\x00"), False, "answered something else"),
        (lambda peer: peer.send(b"\x00\x05wrong"), False, "answered something else"),
        (nothing, True, "no answer"),
        (lambda peer: peer.send(b"\x00\x09half"), True, "no answer"),
    ],
)
def test_tcp_fails_in_words(script: Script, timeout: bool, words: str) -> None:
    reply = over(script, wait_s=0.05 if timeout else 5.0)
    assert isinstance(reply, Failed)
    assert (reply.timeout, words in reply.detail) == (timeout, True), reply
