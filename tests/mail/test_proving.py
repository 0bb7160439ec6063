"""The comparison of the protocols, proven on the lab; and what is said where it cannot be."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator

import msgspec
import pytest

from mailprobe.lab.world import Lab
from mailprobe.mail.login import Login
from mailprobe.mail.proving import Setting, prove
from mailprobe.model.errors import UsageError
from mailprobe.model.proof import PROTOCOLS, ROWS, Proof
from mailprobe.net.labs import inside
from mailprobe.net.network import Network, Reach
from mailprobe.protocols.sasl import Credentials
from tests.scripted import refusing

HOST = "receiver.lab.test"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as running:
        yield running


def run(
    lab: Lab, password: str = "secret", host: str = HOST, refused: Collection[int] = ()
) -> dict[tuple[str, str], Proof]:
    nobody = refusing()

    def route(address: str, port: int) -> tuple[str, int]:
        return nobody if port in refused else lab.route(address, port)

    setting = Setting(
        host=host,
        address=f"bob@{HOST}",
        sender_address=f"carol@{HOST}",
        reader=Login(credentials=Credentials("bob", password)),
        sender=Login(credentials=Credentials("carol", "secret")),
    )
    reach = msgspec.structs.replace(inside(Reach(), lab), route=route)
    found = asyncio.run(prove(Network(reach), setting))
    return {(proof.question, proof.protocol): proof for proof in found}


def test_every_row_is_proven_for_every_protocol_with_a_dialogue(lab: Lab) -> None:
    found = run(lab)
    assert set(found) == {(row.question, protocol) for row in ROWS for protocol in PROTOCOLS}
    assert {key: proof.detail for key, proof in found.items() if not proof.holds} == {}
    shown = [proof for key, proof in found.items() if key[0] != "suited to"]
    assert all(proof.dialogue for proof in shown)


def test_what_one_pop3_device_deletes_is_gone_for_the_other(lab: Lab) -> None:
    proof = run(lab)["mail stays on the server", "POP3"]
    said = [(each.device, each.exchange.sent.split()[0]) for each in proof.dialogue]
    assert said == [("first", "DELE"), ("first", "QUIT"), ("second", "UIDL")]


def test_a_flag_set_on_one_imap_device_is_seen_on_the_other(lab: Lab) -> None:
    proof = run(lab)["sync across devices", "IMAP"]
    first, second = (next(each for each in proof.dialogue if each.device == name) for name in ("first", "second"))
    assert "+FLAGS" in first.exchange.sent
    assert any("\\Flagged" in line for line in second.exchange.reply.lines)


def test_no_letter_is_left_behind(lab: Lab) -> None:
    run(lab)
    found = run(lab)["mail stays on the server", "POP3"]
    assert found.dialogue[-1].exchange.reply.lines[0].startswith("+OK 0")


def test_no_letter_is_left_behind_by_a_proof_that_stops_midway(lab: Lab) -> None:
    stopped = run(lab, refused={110, 995})
    assert stopped["function", "POP3"].holds is None
    assert stopped["function", "IMAP"].holds
    found = run(lab)["mail stays on the server", "POP3"]
    assert found.dialogue[-1].exchange.reply.lines[0].startswith("+OK 0")


def test_a_wrong_password_leaves_undecided_what_needs_a_login(lab: Lab) -> None:
    found = run(lab, password="wrong")
    assert found["sync across devices", "IMAP"].holds is None
    assert found["suited to", "IMAP"].holds is None
    assert "password is wrong" in found["function", "POP3"].detail
    assert found["encryption", "POP3S"].holds is True
    assert found["direction", "SMTP"].holds is True


def test_a_host_that_refuses_disproves_its_ports_only(lab: Lab) -> None:
    found = run(lab, host="exchanger-refused.lab.test")
    assert found["ports", "SMTP"].holds is False
    assert found["ports", "IMAP"].holds is True


def test_a_name_without_address_is_an_error(lab: Lab) -> None:
    with pytest.raises(UsageError, match="no address"):
        run(lab, host="mx-nxdomain.lab.test")
