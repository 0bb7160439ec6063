"""The DNS responder, asked by dnspython and by nslookup."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator

import dns.edns
import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from mailprobe.lab.dns_responder import DnsResponder
from mailprobe.lab.dns_zones import ALIAS_LIMIT, Fault, Zones, reverse_name


def zones() -> Zones:
    made = Zones()
    made.add_zone("lab.test", nameserver="ns.lab.test")
    made.add_address("ns.lab.test", "127.53.0.53")
    made.add("a.lab.test", "MX", "20 mx2.a.lab.test.", "10 mx1.a.lab.test.")
    made.add_address("mx1.a.lab.test", "127.53.0.1")
    made.add("mx1.a.lab.test", "AAAA", "fd53::1")
    made.add("alias.lab.test", "CNAME", "alias2.lab.test.")
    made.add("alias2.lab.test", "CNAME", "a.lab.test.")
    made.add("dangling.lab.test", "CNAME", "missing.lab.test.")
    made.add("loop.lab.test", "CNAME", "loop.lab.test.")
    made.add("text.lab.test", "TXT", *(f'"{number} {"x" * 200}"' for number in range(20)))
    for fault in Fault:
        made.add(f"{fault.value}.lab.test", "MX", "10 mx1.a.lab.test.")
        made.set_fault(f"{fault.value}.lab.test", fault)
    made.add("part.lab.test", "MX", "10 mx1.a.lab.test.")
    made.set_fault("part.lab.test", Fault.SERVFAIL, "A")
    return made


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, int]]:
    loop = asyncio.new_event_loop()
    responder = DnsResponder(zones())
    address = loop.run_until_complete(responder.start("127.0.0.1"))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def end() -> None:
        responder.close()
        for _ in range(5):  # transports close in later rounds of the loop
            await asyncio.sleep(0)

    yield address
    asyncio.run_coroutine_threadsafe(end(), loop).result(5)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def ask(name: str, kind: str, **options: object) -> dns.message.Message:
    query = dns.message.make_query(name, kind, **options)  # type: ignore[arg-type]
    return read(DnsResponder(zones()).respond(query.to_wire(), tcp=False).messages[-1])


def read(wire: bytes) -> dns.message.Message:
    return dns.message.from_wire(wire)


def test_mx_answer_has_every_record_and_the_flags_of_a_resolver(server: tuple[str, int]) -> None:
    query = dns.message.make_query("A.lab.TEST", "MX")
    reply = dns.query.udp(query, server[0], port=server[1], timeout=5)
    assert sorted(rdata.to_text().lower() for rdata in reply.answer[0]) == [
        "10 mx1.a.lab.test.",
        "20 mx2.a.lab.test.",
    ]
    assert dns.flags.to_text(reply.flags) == "QR RD RA"
    assert reply.question[0].name.to_text() == "A.lab.TEST."


def test_second_answer_carries_the_second_question(server: tuple[str, int]) -> None:
    for name in ("a.LAB.test", "a.lab.TEST"):
        reply = dns.query.udp(dns.message.make_query(name, "MX"), server[0], port=server[1], timeout=5)
        assert reply.question[0].name.to_text() == name + "."
        assert reply.answer[0].name == reply.question[0].name


def test_rd_is_copied() -> None:
    assert not ask("a.lab.test", "MX", flags=0).flags & dns.flags.RD
    assert ask("a.lab.test", "MX").flags & dns.flags.RD


@pytest.mark.parametrize(
    ("name", "rcode"), [("missing.lab.test", "NXDOMAIN"), ("a.lab.test", "NOERROR"), ("lab.test", "NOERROR")]
)
def test_negative_answer_carries_the_soa(name: str, rcode: str) -> None:
    reply = ask(name, "AAAA")
    assert dns.rcode.to_text(reply.rcode()) == rcode
    assert not reply.answer
    assert reply.authority[0].to_text().startswith("lab.test. 300 IN SOA ns.lab.test.")


def test_name_above_an_existing_one_exists() -> None:
    made = Zones()
    made.add("a.b.c.test", "A", "127.0.0.1")
    assert made.lookup("b.c.test", "A").rcode == "NOERROR"
    assert made.lookup("d.c.test", "A").rcode == "NXDOMAIN"


def test_names_outside_the_lab_do_not_exist() -> None:
    reply = ask("example.com", "A")
    assert reply.rcode() == dns.rcode.NXDOMAIN
    assert reply.authority[0].name.to_text() == "."


def test_alias_chain_is_followed_to_its_end() -> None:
    reply = ask("alias.lab.test", "MX")
    assert [rrset.name.to_text() for rrset in reply.answer] == [
        "alias.lab.test.",
        "alias2.lab.test.",
        "a.lab.test.",
    ]


def test_alias_itself_can_be_asked_for() -> None:
    assert [rrset.name.to_text() for rrset in ask("alias.lab.test", "CNAME").answer] == ["alias.lab.test."]


def test_dangling_alias_is_nxdomain_with_the_alias() -> None:
    reply = ask("dangling.lab.test", "A")
    assert reply.rcode() == dns.rcode.NXDOMAIN
    assert len(reply.answer) == 1


def test_alias_loop_and_overlong_chain_are_servfail() -> None:
    assert ask("loop.lab.test", "A").rcode() == dns.rcode.SERVFAIL
    made = Zones()
    for number in range(ALIAS_LIMIT + 1):
        made.add(f"c{number}.test", "CNAME", f"c{number + 1}.test.")
    assert made.lookup("c0.test", "A").rcode == "SERVFAIL"
    assert made.lookup("c2.test", "A").rcode == "NXDOMAIN"


def test_reverse_names() -> None:
    assert ask("1.0.53.127.in-addr.arpa", "PTR").answer[0][0].to_text() == "mx1.a.lab.test."
    assert reverse_name("fd53::1").endswith(".3.5.d.f.ip6.arpa")


def test_big_answer_is_truncated_on_udp_and_whole_on_tcp(server: tuple[str, int]) -> None:
    query = dns.message.make_query("text.lab.test", "TXT")
    reply = dns.query.udp(query, server[0], port=server[1], timeout=5)
    assert reply.flags & dns.flags.TC
    assert len(reply.to_wire()) <= 512
    reply = dns.query.tcp(query, server[0], port=server[1], timeout=5)
    assert len(reply.answer[0]) == 20


def test_two_tcp_questions_in_one_segment_get_two_answers(server: tuple[str, int]) -> None:
    wires = [dns.message.make_query("a.lab.test", kind).to_wire() for kind in ("MX", "A")]
    with socket.create_connection(server, timeout=5) as connection:
        connection.sendall(b"".join(len(wire).to_bytes(2, "big") + wire for wire in wires))
        for wire in wires:
            reply, _ = dns.query.receive_tcp(connection)
            assert reply.id == int.from_bytes(wire[:2], "big")


def test_edns_is_answered_with_edns_and_without_without() -> None:
    assert ask("a.lab.test", "MX", use_edns=0).edns == 0
    assert ask("a.lab.test", "MX").edns == -1


def test_other_classes_are_refused() -> None:
    assert ask("version.bind", "TXT", rdclass="CH").rcode() == dns.rcode.REFUSED


@pytest.mark.parametrize(
    "junk",
    [b"", b"\0" * 12, b"\xff" * 40, b"\0\1\1\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1\0", b"\0\1\x81\0" + b"\0" * 20],
)
def test_what_is_no_query_gets_no_answer(junk: bytes) -> None:
    assert DnsResponder(zones()).respond(junk, tcp=False).messages == ()


@pytest.mark.parametrize(("fault", "rcode"), [("servfail", "SERVFAIL"), ("refused", "REFUSED"), ("bogus", "SERVFAIL")])
def test_rcode_faults(fault: str, rcode: str) -> None:
    assert dns.rcode.to_text(ask(f"{fault}.lab.test", "MX").rcode()) == rcode


def test_fault_of_one_type_spares_the_others() -> None:
    assert ask("part.lab.test", "MX").rcode() == dns.rcode.NOERROR
    assert ask("part.lab.test", "A").rcode() == dns.rcode.SERVFAIL


def test_bogus_says_why_and_yields_to_checking_disabled() -> None:
    reply = ask("bogus.lab.test", "MX", use_edns=0)
    assert isinstance(reply.options[0], dns.edns.EDEOption)
    assert reply.options[0].code == dns.edns.EDECode.DNSSEC_BOGUS
    assert ask("bogus.lab.test", "MX", flags=dns.flags.RD | dns.flags.CD).answer


def test_silence() -> None:
    query = dns.message.make_query("silent.lab.test", "MX").to_wire()
    assert DnsResponder(zones()).respond(query, tcp=False).messages == ()
    assert DnsResponder(zones()).respond(query, tcp=True).messages == ()


def test_every_other_packet_is_dropped_beginning_with_the_first() -> None:
    responder = DnsResponder(zones())
    query = dns.message.make_query("drop-first.lab.test", "MX").to_wire()
    assert [len(responder.respond(query, tcp=False).messages) for _ in range(4)] == [0, 1, 0, 1]
    assert len(responder.respond(query, tcp=True).messages) == 1


def test_truncation_leads_to_tcp(server: tuple[str, int]) -> None:
    query = dns.message.make_query("truncated.lab.test", "MX")
    reply, used_tcp = dns.query.udp_with_fallback(query, server[0], port=server[1], timeout=5)
    assert used_tcp
    assert reply.answer


def test_truncation_can_lead_nowhere(server: tuple[str, int]) -> None:
    query = dns.message.make_query("truncated-tcp-reset.lab.test", "MX")
    assert dns.query.udp(query, server[0], port=server[1], timeout=5).flags & dns.flags.TC
    with pytest.raises(ConnectionResetError):
        dns.query.tcp(query, server[0], port=server[1], timeout=5)


@pytest.mark.parametrize("fault", [Fault.WRONG_ID, Fault.WRONG_QUESTION])
def test_forgery_comes_before_the_answer(fault: Fault, server: tuple[str, int]) -> None:
    query = dns.message.make_query(f"{fault.value}.lab.test", "MX")
    first, second = DnsResponder(zones()).respond(query.to_wire(), tcp=False).messages
    assert read(first).rcode() == dns.rcode.NXDOMAIN
    assert not query.is_response(read(first))
    assert query.is_response(read(second))
    reply = dns.query.udp(query, server[0], port=server[1], timeout=5, ignore_unexpected=True, ignore_errors=True)
    assert reply.answer


def test_edns_formerr_spares_plain_queries() -> None:
    assert ask("edns-formerr.lab.test", "MX", use_edns=0).rcode() == dns.rcode.FORMERR
    assert ask("edns-formerr.lab.test", "MX").answer


def test_garbage_cannot_be_read() -> None:
    query = dns.message.make_query("garbage.lab.test", "MX").to_wire()
    (wire,) = DnsResponder(zones()).respond(query, tcp=False).messages
    with pytest.raises(dns.exception.DNSException):
        read(wire)


def test_flight_delay_holds_each_answer_back() -> None:
    async def measured() -> float:
        loop = asyncio.get_running_loop()
        sent, start = asyncio.Event(), loop.time()
        DnsResponder(zones(), flight_delay_s=0.05).later(sent.set)
        assert not sent.is_set()
        await sent.wait()
        return loop.time() - start

    assert asyncio.run(measured()) >= 0.045


@pytest.mark.skipif(shutil.which("nslookup") is None, reason="nslookup is not installed")
def test_nslookup_prints_the_exchangers(server: tuple[str, int]) -> None:
    command = ["nslookup", f"-port={server[1]}", "-q=MX", "a.lab.test", server[0]]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    assert re.findall(r"mail exchanger = (.*)", shown) == ["20 mx2.a.lab.test.", "10 mx1.a.lab.test."]
    assert "can't find" not in shown
