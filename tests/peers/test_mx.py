"""`mailprobe mx` against Unbound and NSD, held against what the real nslookup prints there."""

from __future__ import annotations

import json
import socket
import subprocess
from typing import Any

import pytest

from tests.installed import mailprobe
from tests.peers.availability import require_program
from tests.peers.nameserver import NameServer

LIMIT_S = 30
TRUNCATED = ";; Truncated, retrying in TCP mode.\n"


def real_nslookup(server: str, kind: str, name: str) -> str:
    address, _, port = server.partition(":")
    command = [require_program("nslookup"), f"-port={port}", f"-q={kind}", name, address]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False).stdout


def our_nslookup(server: str, kind: str, name: str) -> str:
    return mailprobe("mx", "--resolver", server, "--type", kind, "--format", "nslookup", name).stdout


@pytest.fixture(params=["resolver", "authoritative"])
def server(request: pytest.FixtureRequest, name_server: NameServer) -> str:
    """Unbound and NSD in turn."""
    return str(getattr(name_server, request.param))


@pytest.mark.parametrize(
    "name",
    [
        "example.test",
        "example.test.",
        "threemx.test",
        "nullmx.test",
        "cnamemx.test",
        "alias.cnamemx.test",
        "danglingmx.test",
        "nomx.test",
        "nomail.test",
        "www.alias.test",
        "secure.test",
        "bogus.test",
        "absent.test",
        "outside.example",
    ],
)
def test_mx_reads_as_nslookup_prints_it(server: str, name: str) -> None:
    printed = real_nslookup(server, "MX", name)
    assert printed
    assert our_nslookup(server, "MX", name) == printed


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("A", "mail.example.test"),
        ("A", "alias.cnamemx.test"),
        ("AAAA", "mail.example.test"),
        ("TXT", "example.test"),
        ("TXT", "many.test"),
        ("NS", "example.test"),
        ("SOA", "example.test"),
        ("CNAME", "www.alias.test"),
        ("CAA", "example.test"),
        ("DNSKEY", "secure.test"),
        ("SRV", "_submissions._tcp.example.test"),
        ("PTR", "25.0.0.127.in-addr.arpa"),
        ("PTR", "127.0.0.25"),
        ("PTR", "127.0.0.99"),
    ],
)
def test_other_types_read_as_nslookup_prints_them(server: str, kind: str, name: str) -> None:
    printed = real_nslookup(server, kind, name)
    assert printed
    assert our_nslookup(server, kind, name) == printed


def test_what_is_cut_at_512_octets_differs_only_in_the_note_about_it(server: str) -> None:
    # nslookup asks without EDNS and turns to TCP; mailprobe has room for these 40 records in one datagram.
    printed = real_nslookup(server, "MX", "many.test")
    assert printed.startswith(TRUNCATED)
    ours = our_nslookup(server, "MX", "many.test")
    assert ours == printed.removeprefix(TRUNCATED)
    assert ours.count("mail exchanger = ") == 40


def unused_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def test_a_server_that_is_not_there_reads_as_nslookup_prints_it() -> None:
    server = f"127.0.0.1:{unused_port()}"
    printed = real_nslookup(server, "MX", "example.test")
    assert "connection refused" in printed
    assert our_nslookup(server, "MX", "example.test") == printed


def test_several_domains_come_one_after_the_other(name_server: NameServer) -> None:
    names = ("threemx.test", "absent.test", "example.test")
    together = mailprobe("mx", "--resolver", name_server.resolver, "--format", "nslookup", *names)
    assert together.stdout == "".join(real_nslookup(name_server.resolver, "MX", name) for name in names)
    assert together.returncode == 1


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("example.test", 0, "example.test: 1 mail exchanger\n"),
        ("threemx.test", 0, "threemx.test: 3 mail exchangers\n"),
        ("many.test", 0, "many.test: 40 mail exchangers\n"),
        ("nullmx.test", 0, "null MX: the domain takes no mail, on purpose (RFC 7505)"),
        ("cnamemx.test", 0, "alias.cnamemx.test: an alias (CNAME) of mail.example.test"),
        ("nomx.test", 0, "no MX record: mail goes to the address of the domain itself"),
        ("www.alias.test", 0, "www.alias.test is an alias (CNAME) of example.test"),
        ("danglingmx.test", 1, "nowhere.danglingmx.test: dangling: the host does not exist (NXDOMAIN)"),
        ("nomail.test", 1, "no MX record and no address: mail for the domain cannot be delivered (NODATA)"),
        ("absent.test", 1, "absent.test: the name does not exist (NXDOMAIN)"),
        ("bogus.test", 3, "DNSSEC validation fails (SERVFAIL)"),
        ("outside.example", 3, "outside.example: the resolver failed to find out (SERVFAIL)"),
    ],
)
def test_the_table_says_what_came_of_it(resolver: str, name: str, status: int, said: str) -> None:
    done = mailprobe("mx", "--resolver", resolver, name)
    assert said.rstrip("\n") in " ".join(done.stdout.split())
    assert f"asked {resolver} over " in done.stdout
    assert (done.returncode, done.stderr) == (status, "")


def test_an_authoritative_server_refuses_what_is_not_its_own(name_server: NameServer) -> None:
    done = mailprobe("mx", "--resolver", name_server.authoritative, "outside.example")
    assert "outside.example: the resolver refuses to answer (REFUSED)" in done.stdout
    assert done.returncode == 3


def test_nobody_answers() -> None:
    server = f"127.0.0.1:{unused_port()}"
    done = mailprobe("mx", "--resolver", server, "example.test")
    assert "no usable answer" in done.stdout
    assert "connection refused" in " ".join(done.stdout.lower().split())
    assert (done.returncode, done.stderr) == (3, "")


def test_exchangers_come_by_preference_with_their_addresses(resolver: str) -> None:
    (row,) = rows("mx", "--resolver", resolver, "threemx.test")
    assert [(each["preference"], each["name"], each["addresses"]) for each in row["exchangers"]] == [
        (10, "mail.example.test", ["127.0.0.25"]),
        (20, "second.threemx.test", ["127.0.0.25"]),
        (20, "third.threemx.test", ["127.0.0.25"]),
    ]


def test_a_cut_answer_is_fetched_over_tcp(server: str) -> None:
    (answer,) = rows("mx", "--resolver", server, "--type", "TXT", "many.test")
    assert answer["transport"] == "tcp"
    assert len(answer["records"]) == 60


@pytest.mark.parametrize(
    ("through", "name", "dnssec"),
    [
        ("resolver", "secure.test", "secure"),
        ("resolver", "example.test", "unknown"),
        ("resolver", "bogus.test", "bogus"),
        ("resolver", "outside.example", "unknown"),
        ("authoritative", "secure.test", "unknown"),
        ("authoritative", "bogus.test", "unknown"),
    ],
)
def test_dnssec_is_what_a_trusted_resolver_says(name_server: NameServer, through: str, name: str, dnssec: str) -> None:
    server = getattr(name_server, through)
    (row,) = rows("mx", "--resolver", server, name)
    assert row["dnssec"] == dnssec
    told = " ".join(mailprobe("mx", "--resolver", server, name).stdout.split())
    assert f"DNSSEC {dnssec}" in told if dnssec != "unknown" else "DNSSEC unknown" not in told


def rows(*arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(mailprobe(*arguments, "--format", "json").stdout)
    return found
