"""Ports and the services expected there."""

from __future__ import annotations

import pytest

from mailprobe.model.errors import UsageError
from mailprobe.model.ports import SEVEN_PORTS, Port, Protocol, Role, Service, parse_ports, port_number


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("25", [(25, Service.SMTP)]),
        ("25,587 , 465", [(25, Service.SMTP), (587, Service.SUBMISSION), (465, Service.SUBMISSIONS)]),
        ("2525:smtp", [(2525, Service.SMTP)]),
        ("2525:SMTPS", [(2525, Service.SUBMISSIONS)]),
        ("2525: imaps", [(2525, Service.IMAPS)]),
        ("4190", [(4190, Service.UNKNOWN)]),
        ("25:unknown", [(25, Service.UNKNOWN)]),
        ("25,25,", [(25, Service.SMTP)]),
        ("465:msa", [(465, Service.SUBMISSION)]),
    ],
)
def test_ports_are_read(text: str, ports: list[tuple[int, Service]]) -> None:
    assert parse_ports(text) == tuple(Port(number, service) for number, service in ports)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "names no port"),
        (",", "names no port"),
        ("0", "from 1 to 65535"),
        ("65536", "from 1 to 65535"),
        ("abc", "from 1 to 65535"),
        ("25;26", "from 1 to 65535"),
        ("-25", "list the ports one by one"),
        ("٢٥", "from 1 to 65535"),
        ("9" * 5_000, "from 1 to 65535"),
        ("25:gopher", "unknown service 'gopher'; known are smtp"),
    ],
)
def test_what_is_no_port_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_ports(text)


def test_a_port_number_may_have_spaces_and_zeros() -> None:
    assert port_number(" 0025 ") == 25


def test_the_seven_ports_have_their_roles() -> None:
    table = {port.number: (port.service.protocol, port.service.role, port.service.implicit_tls) for port in SEVEN_PORTS}
    assert table == {
        25: (Protocol.SMTP, Role.RELAY, False),
        587: (Protocol.SMTP, Role.SUBMISSION, False),
        465: (Protocol.SMTP, Role.SUBMISSION, True),
        110: (Protocol.POP3, Role.ACCESS, False),
        995: (Protocol.POP3, Role.ACCESS, True),
        143: (Protocol.IMAP, Role.ACCESS, False),
        993: (Protocol.IMAP, Role.ACCESS, True),
    }
    assert [str(port) for port in SEVEN_PORTS] == [str(number) for number in table]


@pytest.mark.parametrize("service", Service)
def test_every_service_has_its_facts(service: Service) -> None:
    assert isinstance(service.protocol, Protocol)
    assert isinstance(service.role, Role)
    assert isinstance(service.implicit_tls, bool)
