"""The scenarios of the lab's DNS that each way of asking must read alike."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mailprobe.model.evidence import Answer, Dnssec, Status
from mailprobe.net.dns.lookup import Lookup, lookup
from mailprobe.net.dns.question import Question
from mailprobe.net.dns.servers import parse_resolver

TRY_S = 0.3

# (name, type) and the status, the DNSSEC status, the transport and the packets that come of it
CASES = [
    pytest.param("good.lab.test", "MX", Status.ANSWERED, Dnssec.UNKNOWN, "udp", 1, id="answered"),
    pytest.param("good.lab.test", "SRV", Status.NODATA, Dnssec.UNKNOWN, "udp", 1, id="nodata"),
    pytest.param("nobody.lab.test", "MX", Status.NXDOMAIN, Dnssec.UNKNOWN, "udp", 1, id="nxdomain"),
    pytest.param("dns-servfail.lab.test", "MX", Status.SERVFAIL, Dnssec.UNKNOWN, "udp", 2, id="servfail"),
    pytest.param("dns-refused.lab.test", "MX", Status.REFUSED, Dnssec.UNKNOWN, "udp", 1, id="refused"),
    pytest.param("dns-timeout.lab.test", "MX", Status.TIMEOUT, Dnssec.UNKNOWN, "udp", 3, id="timeout"),
    pytest.param("dns-garbage.lab.test", "MX", Status.TIMEOUT, Dnssec.UNKNOWN, "udp", 3, id="garbage"),
    pytest.param("dns-bogus.lab.test", "MX", Status.SERVFAIL, Dnssec.BOGUS, "udp", 2, id="bogus"),
    pytest.param("dns-first-packet-lost.lab.test", "MX", Status.ANSWERED, Dnssec.UNKNOWN, "udp", 2, id="lost"),
    pytest.param("dns-wrong-id.lab.test", "MX", Status.ANSWERED, Dnssec.UNKNOWN, "udp", 1, id="wrong-id"),
    pytest.param("dns-wrong-question.lab.test", "MX", Status.ANSWERED, Dnssec.UNKNOWN, "udp", 1, id="wrong-question"),
    pytest.param("dns-truncated.lab.test", "MX", Status.ANSWERED, Dnssec.UNKNOWN, "tcp", 2, id="truncated"),
    pytest.param("dns-edns-formerr.lab.test", "MX", Status.ANSWERED, Dnssec.UNKNOWN, "udp", 2, id="no-edns"),
    pytest.param("dns-truncated-tcp-reset.lab.test", "MX", Status.FAILED, Dnssec.UNKNOWN, "tcp", 2, id="tcp-reset"),
]


def asking(name: str, kind: str, resolver: str, total_s: float = 10.0, try_s: float = TRY_S) -> Lookup:
    return lookup(Question(name, kind), parse_resolver(resolver), try_s=try_s, total_s=total_s)


def seen(answer: Answer) -> tuple[Status, Dnssec, str, int]:
    """Give what the cases above expect; the lab's resolver is on loopback, so its AD flag may count."""
    return answer.status, answer.dnssec, answer.transport, answer.attempts


@contextmanager
def files_at_most(more: int) -> Iterator[None]:
    """Let this process open no more than so many files and sockets besides those it has."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = [os.dup(0) for _ in range(more + 1)]  # the limit is a number, and those in use have gaps between them
    for number in free:
        os.close(number)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[-1], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
