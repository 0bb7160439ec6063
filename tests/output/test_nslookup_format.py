"""The nslookup format, held against nslookup itself where it is installed."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from mailprobe.model.evidence import Answer, Record, Status
from mailprobe.output.nslookup import nslookup
from tests.output.samples import answer

SOA = "ns1.test. host\\.master.test. 1 7200 3600 604800 300"
KEY = "257 3 8 AwEAAagAIKlVZrpC6Ia7gEzahOR+9W29euxhJhVVLOyQbSEW0O8gcCjFFVQUTf6v58fLjwBd0YI0EzrAcQqBGCzh/RStIoO8g0Nf"
RECORDS = {
    "A": ("192.0.2.1", "192.0.2.2"),
    "AAAA": ("2001:db8::1",),
    "CNAME": ("other.test.",),
    "TXT": ('"v=spf1 -all"', '"a" "b\\"c\\195\\169"'),
    "NS": ("ns1.test.",),
    "SOA": (SOA,),
    "PTR": ("host.test.",),
    "SRV": ("0 5 993 mail.test.",),
    "CAA": ('0 issue "ca.test"',),
    "TLSA": ("3 1 1 " + "ab" * 32,),
    "DS": ("1 8 2 " + "cd" * 32,),
    "SSHFP": ("1 1 " + "ab" * 20,),
    "DNSKEY": (KEY,),
    "HINFO": ('"x" "y"',),
    "NAPTR": ('1 2 "u" "v" "" x.test.',),
    "DNAME": ("x.test.",),
    "URI": ('10 1 "https://x.test/"',),
    "SPF": ('"v=spf1 -all"',),
}
# (owner, type, data...) of the answer section, then rcode, authoritative, and the authority section.
Zone = tuple[list[tuple[str, ...]], int, bool, list[tuple[str, ...]]]
NEGATIVE: list[tuple[str, ...]] = [("test.", "SOA", SOA)]
ZONES: dict[str, Zone] = {
    "two.test": ([("two.test.", "MX", "20 b.test.", "10 mail.test.")], 0, False, []),
    "aa.test": ([("aa.test.", "MX", "10 mail.test.")], 0, True, []),
    "alias.test": ([("alias.test.", "CNAME", "two.test."), ("two.test.", "MX", "10 mail.test.")], 0, False, []),
    "deadalias.test": ([("deadalias.test.", "CNAME", "nx.test.")], 3, False, NEGATIVE),
    "emptyalias.test": ([("emptyalias.test.", "CNAME", "nodata.test.")], 0, False, NEGATIVE),
    "nodata.test": ([], 0, False, NEGATIVE),
    "bare.test": ([], 0, False, []),
    "nx.test": ([], 3, False, NEGATIVE),
    "servfail.test": ([], 2, False, []),
    "refused.test": ([], 5, False, []),
    "notimp.test": ([], 4, False, []),
    "null.test": ([("null.test.", "MX", "0 .")], 0, False, []),
    "referral.test": ([("referral.test.", "MX", "10 mail.test.")], 0, False, [("test.", "NS", "ns1.test.")]),
    "escaped.test": ([("escaped.test.", "MX", r"10 ma\.il.te\032st.")], 0, False, []),
    "mixed.test": (
        [
            ("mixed.test.", "MX", "10 mail.test."),
            ("x.test.", "A", "192.0.2.1"),
            ("mixed.test.", "MX", "20 b.test."),
        ],
        0,
        False,
        [],
    ),
}


def reply_to(question: dns.message.Message) -> dns.message.Message:
    name = question.question[0].name.to_text(omit_final_dot=True)
    type_name = dns.rdatatype.to_text(question.question[0].rdtype)
    many: Zone = ([(f"{name}.", type_name, *RECORDS.get(type_name, ()))], 0, False, [])
    answers, rcode, authoritative, authority = ZONES.get(name, many)
    reply = dns.message.make_response(question)
    reply.flags |= dns.flags.RA | (dns.flags.AA if authoritative else 0)
    reply.set_rcode(dns.rcode.Rcode(rcode))
    for section, records in ((reply.answer, answers), (reply.authority, authority)):
        section.extend(dns.rrset.from_text(owner, 300, "IN", kind, *data) for owner, kind, *data in records)
    return reply


def evidence_of(reply: dns.message.Message, server: str) -> Answer:
    question = reply.question[0]
    name = question.name.to_text(omit_final_dot=True)
    rcode = dns.rcode.to_text(reply.rcode())
    negative = {"NXDOMAIN": Status.NXDOMAIN, "SERVFAIL": Status.SERVFAIL, "REFUSED": Status.REFUSED}
    return answer(
        name,
        dns.rdatatype.to_text(question.rdtype),
        status=negative.get(rcode, Status.FAILED if reply.rcode() else Status.NODATA),
        rcode=rcode,
        flags=tuple(dns.flags.to_text(reply.flags).lower().split()),
        records=records_of(reply.answer),
        authority=records_of(reply.authority),
        server=server,
    )


def records_of(section: list[dns.rrset.RRset]) -> tuple[Record, ...]:
    return tuple(
        Record(name=rrset.name.to_text(), type=dns.rdatatype.to_text(rrset.rdtype), ttl=rrset.ttl, data=rdata.to_text())
        for rrset in section
        for rdata in rrset
    )


class Responder:
    """Answers over UDP on loopback until it is closed; names that begin with "silent" get nothing."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            wire, client = self._socket.recvfrom(4096)
            if not wire:
                return
            question = dns.message.from_wire(wire)
            if not question.question[0].name.to_text().startswith("silent"):
                self._socket.sendto(reply_to(question).to_wire(want_shuffle=False), client)

    def close(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as farewell:
            farewell.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()


@pytest.fixture(scope="module")
def responder() -> Iterator[Responder]:
    if shutil.which("nslookup") is None:
        pytest.skip("nslookup is not installed (Debian: bind9-dnsutils)")
    made = Responder()
    yield made
    made.close()


def real_nslookup(port: int, name: str, type_name: str, *options: str) -> str:
    command = ["nslookup", f"-port={port}", f"-q={type_name}", *options, name, "127.0.0.1"]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout


def asked(responder: Responder, name: str, type_name: str) -> Answer:
    question = dns.message.make_query(name, type_name)
    return evidence_of(reply_to(question), f"127.0.0.1:{responder.port}")


@pytest.mark.parametrize("name", ZONES)
@pytest.mark.parametrize("type_name", ["MX", "A"])
def test_mx_reads_as_nslookup_prints_it(responder: Responder, name: str, type_name: str) -> None:
    assert nslookup([asked(responder, name, type_name)]) == real_nslookup(responder.port, name, type_name)


@pytest.mark.parametrize("type_name", RECORDS)
def test_other_types_read_as_nslookup_prints_them(responder: Responder, type_name: str) -> None:
    ours = nslookup([asked(responder, "many.test", type_name)])
    assert ours == real_nslookup(responder.port, "many.test", type_name)


@pytest.mark.parametrize("typed", ["nodata.test.", "nx.test.", "nodata.test"])
def test_the_name_is_repeated_as_typed(responder: Responder, typed: str) -> None:
    assert nslookup([asked(responder, typed, "MX")], [typed]) == real_nslookup(responder.port, typed, "MX")


def test_silence_reads_as_nslookup_prints_it(responder: Responder) -> None:
    silent = answer("silent.test", "MX", status=Status.TIMEOUT, rcode="", server=f"127.0.0.1:{responder.port}")
    assert nslookup([silent]) == real_nslookup(responder.port, "silent.test", "MX", "-timeout=1", "-retry=1")


def test_a_refused_connection_reads_as_nslookup_prints_it(responder: Responder) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    failed = answer(
        "a.test",
        "MX",
        status=Status.FAILED,
        rcode="",
        server=f"127.0.0.1:{port}",
        attempts=3,
        detail="Connection refused",
    )
    assert nslookup([failed]) == real_nslookup(port, "a.test", "MX")


@pytest.mark.parametrize(
    ("server", "lines"),
    [
        ("192.0.2.53", "Server:\t\t192.0.2.53\nAddress:\t192.0.2.53#53\n"),
        ("[2001:db8::53]:5353", "Server:\t\t2001:db8::53\nAddress:\t2001:db8::53#5353\n"),
        ("2001:db8::53", "Server:\t\t2001:db8::53\nAddress:\t2001:db8::53#53\n"),
        ("tls://dns.test", "Server:\t\tdns.test\nAddress:\tdns.test#853\n"),
        ("https://dns.test:443/dns-query", "Server:\t\tdns.test\nAddress:\tdns.test#443\n"),
    ],
)
def test_the_server_is_named_as_nslookup_names_it(server: str, lines: str) -> None:
    assert nslookup([answer("a.test", "MX", "10 mail.test.", server=server)]).startswith(lines)
