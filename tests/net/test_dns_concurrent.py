"""Lookups on the event loop: the lab's DNS over UDP and TCP, and servers of the test over TLS and HTTPS."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import dns.message
import dns.rrset
import pytest

from mailprobe.lab.world import Lab
from mailprobe.model.evidence import Answer, Dnssec, Status
from mailprobe.net.dns.concurrent import run
from tests.certificates import Authority, server_context
from tests.net.answers import CASES, asking, files_at_most, seen
from tests.scripted import Peer, Script, Scripted, nothing, refusing

AUTHORITY = Authority("resolver")
CONTEXT = server_context(AUTHORITY.server("127.0.0.1", "localhost"))
WRONG_NAME = server_context(AUTHORITY.server("192.0.2.1"))


@pytest.fixture(scope="module")
def ca_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(AUTHORITY.write(tmp_path_factory.mktemp("ca")))


def ask(resolver: str, ca_file: str | None = None, name: str = "a.test", total_s: float = 10.0) -> Answer:
    return asyncio.run(run(asking(name, "MX", resolver, total_s), ca_file))


@pytest.mark.parametrize(("name", "kind", "status", "dnssec", "transport", "attempts"), CASES)
def test_every_kind_of_answer_is_told_from_the_others(
    lab: Lab, name: str, kind: str, status: Status, dnssec: Dnssec, transport: str, attempts: int
) -> None:
    answer = asyncio.run(run(asking(name, kind, lab.resolver), None))
    assert seen(answer) == (status, dnssec, transport, attempts)


def test_a_resolver_that_is_not_there_is_said_to_be_unreachable() -> None:
    host, port = refusing()
    answer = ask(f"{host}:{port}")
    assert answer.status is Status.FAILED
    assert "cannot be asked: Connection refused" in answer.detail


def test_a_silent_resolver_ends_at_the_limit_of_the_whole_question() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        assert ask(f"127.0.0.1:{silent.getsockname()[1]}", total_s=0.05).status is Status.TIMEOUT


def answered(query: bytes) -> bytes:
    reply = dns.message.make_response(dns.message.from_wire(query))
    reply.answer.append(dns.rrset.from_text("a.test.", 300, "IN", "MX", "10 mx.a.test."))
    reply.flags |= dns.flags.AD
    return reply.to_wire()


def over_tls(reply: Callable[[bytes], bytes]) -> Script:
    """Serve one question as RFC 7858 has it."""

    def serve(peer: Peer) -> None:
        peer.start_tls(CONTEXT)
        wire = reply(peer.exactly(int.from_bytes(peer.exactly(2))))
        peer.send(len(wire).to_bytes(2) + wire)

    return serve


def over_https(
    status: str, reply: Callable[[bytes], bytes], headers: str = "Content-Type: application/dns-message\r\n"
) -> Script:
    """Serve one question as RFC 8484 has it."""

    def serve(peer: Peer) -> None:
        peer.start_tls(CONTEXT)
        while (line := peer.line()) != b"\r\n":
            if line.lower().startswith(b"content-length:"):
                length = int(line.split()[1])
        body = reply(peer.exactly(length))
        peer.send(f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    return serve


def ask_scripted(
    script: Script, scheme: str, ca_file: str | None, path: str = "", total_s: float = 10.0
) -> tuple[Answer, bytes]:
    with Scripted(script) as server:
        answer = ask(f"{scheme}://127.0.0.1:{server.endpoint[1]}{path}", ca_file, total_s=total_s)
    return answer, server.heard[0]


def test_a_resolver_over_tls_is_asked_and_its_word_on_dnssec_counts(ca_file: str) -> None:
    answer, _ = ask_scripted(over_tls(answered), "tls", ca_file)
    assert (answer.status, answer.transport, answer.dnssec) == (Status.ANSWERED, "tls", Dnssec.SECURE)
    assert [record.data for record in answer.matching] == ["10 mx.a.test."]
    assert answer.server.startswith("tls://127.0.0.1:")


def test_a_resolver_over_https_is_asked_by_post(ca_file: str) -> None:
    answer, heard = ask_scripted(over_https("200 OK", answered), "https", ca_file, path="/q?key=1")
    assert (answer.status, answer.transport, answer.dnssec) == (Status.ANSWERED, "https", Dnssec.SECURE)
    head = heard.lower()
    assert head.startswith(b"post /q?key=1 http/1.1\r\n")
    assert b"\r\ncontent-type: application/dns-message\r\n" in head
    assert b"\r\nhost: 127.0.0.1:" in head


def test_the_type_of_an_answer_over_https_may_be_written_otherwise(ca_file: str) -> None:
    script = over_https("200 OK", answered, "content-type: Application/DNS-message ; x=y\r\n")
    assert ask_scripted(script, "https", ca_file)[0].status is Status.ANSWERED


@pytest.mark.parametrize(("scheme", "failed"), [("", "open a socket"), ("tls://", "connect")])
def test_a_machine_without_sockets_is_a_failure_in_words(scheme: str, failed: str, ca_file: str) -> None:
    async def starved() -> Answer:
        with files_at_most(0):
            return await run(asking("a.test", "MX", f"{scheme}127.0.0.1:53"), ca_file)

    answer = asyncio.run(starved())
    assert answer.status is Status.FAILED
    assert answer.detail == f"this machine could not {failed}: Too many open files"


@pytest.mark.parametrize("scheme", ["tls", "https"])
def test_a_resolver_whose_root_is_not_trusted_is_told_nothing(scheme: str) -> None:
    answer, heard = ask_scripted(over_tls(answered), scheme, None)
    assert answer.status is Status.FAILED
    assert "certificate verify failed" in answer.detail
    assert heard == b""


@pytest.mark.parametrize("scheme", ["tls", "https"])
def test_a_resolver_with_a_certificate_for_another_name_is_told_nothing(scheme: str, ca_file: str) -> None:
    answer, heard = ask_scripted(lambda peer: peer.start_tls(WRONG_NAME), scheme, ca_file)
    assert answer.status is Status.FAILED
    assert "certificate verify failed" in answer.detail
    assert heard == b""


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (over_https("404 Not Found", answered), "HTTP status 404"),
        (over_https("302 Found", answered, "Location: https://other.test/\r\n"), "HTTP status 302"),
        (over_https("200 OK", lambda _query: b"junk"), "something else than the question"),
        (over_https("200 OK", answered, ""), "answered with no Content-Type"),
        (over_https("200 OK", answered, "Content-Type: text/html; charset=x\r\n"), "answered with text/html"),
        (over_https("200 OK", lambda _query: b"x" * 200_000), "more than 131072 octets"),
    ],
)
def test_an_https_server_that_is_no_resolver_fails_in_words(script: Script, words: str, ca_file: str) -> None:
    answer, _ = ask_scripted(script, "https", ca_file)
    assert answer.status is Status.FAILED
    assert words in answer.detail


def _no_http(peer: Peer) -> None:
    peer.start_tls(CONTEXT)
    peer.line()
    peer.send(b"220 mx.a.test ESMTP\r\n\r\n")


def _ends(peer: Peer) -> None:
    peer.start_tls(CONTEXT)
    peer.line()
    peer.finish()


@pytest.mark.parametrize(
    ("script", "scheme", "words"),
    [
        (_no_http, "https", "no HTTP response"),
        (_ends, "https", "closed"),
        (lambda peer: peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "tls", "no TLS"),
        (over_tls(lambda _query: b"junk"), "tls", "answered something else"),
        (lambda peer: peer.reset(), "tls", "reset"),
    ],
)
def test_a_server_that_speaks_otherwise_fails_in_words(script: Script, scheme: str, words: str, ca_file: str) -> None:
    answer, _ = ask_scripted(script, scheme, ca_file)
    assert answer.status is Status.FAILED
    assert words in answer.detail


@pytest.mark.parametrize("scheme", ["tls", "https"])
@pytest.mark.parametrize("script", [nothing, lambda peer: peer.start_tls(CONTEXT)])
def test_a_silent_resolver_over_tls_times_out(script: Script, scheme: str, ca_file: str) -> None:
    answer, _ = ask_scripted(script, scheme, ca_file, total_s=0.2)
    assert answer.status is Status.TIMEOUT


def test_trust_anchors_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    answer, _ = ask_scripted(nothing, "tls", str(tmp_path / "none.pem"))
    assert answer.status is Status.FAILED
    assert "none.pem" in answer.detail


def test_the_resolver_itself_may_be_given_by_a_name_of_the_system(ca_file: str) -> None:
    with Scripted(over_tls(answered)) as server:
        answer = ask(f"tls://localhost:{server.endpoint[1]}", ca_file)
    assert answer.status in {Status.ANSWERED, Status.FAILED}  # localhost may be ::1 first, where nobody listens
