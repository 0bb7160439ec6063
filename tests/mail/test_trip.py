"""A trip over real sockets: what is found, what is deleted and what is not, at once and by turns."""

from __future__ import annotations

import asyncio
import imaplib
import ssl
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mailprobe.cli.trip_lab import LabLull
from mailprobe.collect.lookups import host as look_up
from mailprobe.lab.post.control import Order
from mailprobe.lab.world import Lab
from mailprobe.mail.login import Login
from mailprobe.mail.routes import Exchangers, Server
from mailprobe.mail.sending import Options
from mailprobe.mail.trip import Plan, trip, trip_by_turns
from mailprobe.mail.trip_desk import Desk
from mailprobe.mail.trip_letter import write_letter
from mailprobe.mail.trip_state import SentLetter, change_state, read_state
from mailprobe.model.conversation import Security
from mailprobe.model.errors import UsageError
from mailprobe.model.evidence import Kind, Stage
from mailprobe.model.ports import Service
from mailprobe.model.sending import Outcome
from mailprobe.model.trip import State, Thresholds, Trip
from mailprobe.net.labs import inside
from mailprobe.net.limits import Limits
from mailprobe.net.network import Network, Reach
from mailprobe.protocols.sasl import Credentials
from tests.scripted import Peer, Scripted, refusing

SENDER, RECIPIENT = "alice@sender.lab.test", "bob@receiver.lab.test"
QUICK = Thresholds(warn_s=95.0, crit_s=300.0, wait_s=600.0)
HASTY = Limits(connect_s=2.0, greeting_s=2.0, reply_s=2.0, handshake_s=2.0)


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as running:
        yield running


def login(user: str, password: str = "secret") -> Login:
    return Login(credentials=Credentials(user, password))


def desk(user: str, host: str = "receiver.lab.test", service: Service = Service.IMAPS, **changes: Any) -> Desk:
    port = {Service.IMAPS: 993, Service.POP3S: 995, Service.IMAP: 143, Service.POP3: 110}[service]
    security = Security.TLS if service.implicit_tls else Security.STARTTLS
    made = Desk(host=host, port=port, service=service, security=security, login=login(user))
    return msgspec.structs.replace(made, **changes)


def plan(**changes: Any) -> Plan:
    made = Plan(
        sender=SENDER,
        recipient=RECIPIENT,
        route=Server("sender.lab.test", 587, Security.STARTTLS),
        options=Options(login=login("alice")),
        desk=desk("bob"),
        sender_desk=desk("alice", "sender.lab.test"),
        thresholds=QUICK,
    )
    return msgspec.structs.replace(made, **changes)


def made(lab: Lab, wanted: Plan, *, skips: bool = True) -> Trip:
    network = Network(inside(Reach(limits=HASTY), lab))
    return asyncio.run(trip(network, wanted, LabLull(lab) if skips else None))


def turn(lab: Lab, wanted: Plan, state: Path, lost_after_s: float = 3600.0) -> tuple[Trip, ...]:
    network = Network(inside(Reach(limits=HASTY), lab))
    found = asyncio.run(trip_by_turns(network, wanted, state, lost_after_s, LabLull(lab)))
    lab.rest()
    return found


class Mailbox:
    """A mailbox as imaplib sees it."""

    def __init__(self, lab: Lab, user: str, host: str = "receiver.lab.test") -> None:
        network = Network(inside(Reach(), lab))
        found = asyncio.run(look_up(network, host))
        context = ssl.create_default_context(cafile=str(lab.ca_file))
        context.check_hostname = False
        where, port = lab.route(found.addresses[0].address, 993)
        self._client = imaplib.IMAP4_SSL(where, port, ssl_context=context, timeout=10)
        self._client.login(user, "secret")

    def append(self, octets: bytes, folder: str = "INBOX") -> None:
        status, said = self._client.append(folder, "", "", octets)
        assert status == "OK", said

    def letters(self, folder: str = "INBOX") -> list[bytes]:
        status, said = self._client.select(folder)
        assert status == "OK", said
        found = self._client.search(None, "ALL")[1][0].split()
        return [self._fetch(number) for number in found]

    def _fetch(self, number: str) -> bytes:
        told = self._client.fetch(number, "(BODY.PEEK[])")[1][0]
        assert isinstance(told, tuple)
        return bytes(told[1])

    def close(self) -> None:
        self._client.logout()


@pytest.fixture
def bob(lab: Lab) -> Iterator[Mailbox]:
    mailbox = Mailbox(lab, "bob")
    yield mailbox
    mailbox.close()


# -- at once ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", [Service.IMAPS, Service.IMAP, Service.POP3S, Service.POP3])
def test_a_letter_arrives_unchanged_and_is_deleted_again(service: Service, lab: Lab) -> None:
    found = made(lab, plan(desk=desk("bob", service=service)))
    assert found.state is State.ARRIVED
    (copy,) = found.copies
    assert (copy.folder, copy.junk, copy.unchanged, copy.removed) == ("INBOX", False, True, True)
    assert [hop.by for hop in copy.hops] == ["mx.sender.lab.test", "mx.receiver.lab.test"]
    assert [hop.tls for hop in copy.hops] == [True, True]
    assert (copy.arrived_at is not None) == service.name.startswith("IMAP")
    assert found.look is not None
    assert found.look.trouble is None
    again = Mailbox(lab, "bob")
    assert again.letters() == []
    again.close()


def test_the_wait_ends_when_the_letter_comes_and_not_before(lab: Lab) -> None:
    found = made(lab, plan(thresholds=msgspec.structs.replace(QUICK, wait_s=20.0)), skips=False)
    assert found.state is State.ARRIVED
    assert found.waited_s < 15


def test_a_letter_that_never_comes_is_waited_for_no_longer_than_asked(lab: Lab) -> None:
    lost = plan(
        recipient="bob@flow-silent-drop.lab.test",
        desk=desk("bob", "flow-silent-drop.lab.test"),
        thresholds=msgspec.structs.replace(QUICK, wait_s=0.3),
    )
    found = made(lab, lost, skips=False)
    assert found.state is State.LOST
    assert 0.3 <= found.waited_s < 15


def test_what_is_kept_stays(lab: Lab, bob: Mailbox) -> None:
    found = made(lab, plan(keep=True))
    assert not found.copies[0].removed
    (octets,) = bob.letters()
    assert found.token.encode() in octets


def test_nothing_of_others_is_deleted(lab: Lab, bob: Mailbox) -> None:
    other = write_letter(SENDER, RECIPIENT, lab.now()).letter.octets
    quoting = b"Subject: mailprobe trip\r\nX-Mailprobe-Token: mp-none\r\n\r\nX-Mailprobe-Token: mp-none\r\n"
    plain = b"Subject: x\r\n\r\nhello\r\n"
    for octets in (other, quoting, plain):
        bob.append(octets)
    found = made(lab, plan())
    assert found.copies[0].removed
    assert bob.letters() == [other, quoting, plain]


def test_a_login_that_is_refused_is_not_tried_again(lab: Lab) -> None:
    found = made(lab, plan(desk=desk("bob", login=login("bob", "mistyped")), sender_desk=None))
    assert found.state is State.UNKNOWN
    assert found.look is not None
    assert found.look.trouble is not None
    assert (found.look.trouble.stage, found.look.trouble.kind) == (Stage.LOGIN, Kind.REJECTED)
    assert found.look.conversation is not None
    assert len([each for each in found.look.conversation.exchanges if each.stage is Stage.LOGIN]) == 1
    assert "mistyped" not in str(msgspec.to_builtins(found))


def test_no_password_is_kept_in_the_evidence(lab: Lab) -> None:
    found = made(lab, plan())
    text = str(msgspec.to_builtins(found))
    assert "secret" not in text
    assert "AHNlY3JldA" not in text.replace("=", "")


def test_a_mailbox_that_cannot_be_reached_leaves_what_was_sent_known(lab: Lab) -> None:
    reach = inside(Reach(limits=HASTY), lab)
    nobody = refusing()

    def route(address: str, port: int) -> tuple[str, int]:
        return nobody if port == 993 else lab.route(address, port)

    for host, stage in (("nowhere.lab.test", Stage.RESOLVE), ("receiver.lab.test", Stage.CONNECT)):
        network = Network(msgspec.structs.replace(reach, route=route))
        found = asyncio.run(trip(network, plan(desk=desk("bob", host)), LabLull(lab)))
        assert found.outcome is not None
        assert found.outcome.outcome is Outcome.ACCEPTED
        assert found.state is State.UNKNOWN
        assert found.look is not None
        assert found.look.trouble is not None
        assert found.look.trouble.stage is stage


def test_nothing_is_looked_for_that_was_not_sent(lab: Lab) -> None:
    found = made(lab, plan(recipient="bob@receiver.lab.test", options=Options(login=login("alice", "wrong"))))
    assert found.state is State.REFUSED
    assert (found.look, found.copies, found.waited_s < 60) == (None, (), True)


def test_an_unknown_recipient_comes_back_with_the_words_of_the_server_that_refused(lab: Lab) -> None:
    found = made(lab, plan(recipient="nosuch@receiver.lab.test"))
    assert found.state is State.RETURNED
    (bounce,) = found.bounces
    assert (bounce.recipient, bounce.action, bounce.status) == ("nosuch@receiver.lab.test", "failed", "5.1.1")
    assert bounce.remote == "mx.receiver.lab.test"
    assert bounce.removed
    alice = Mailbox(lab, "alice", "sender.lab.test")
    assert alice.letters() == []
    alice.close()


def test_reports_about_other_letters_stay_and_say_nothing_of_ours(lab: Lab) -> None:
    kept = made(lab, plan(recipient="nosuch@receiver.lab.test", keep=True))
    assert kept.state is State.RETURNED
    found = made(lab, plan())
    assert (found.state, found.bounces) == (State.ARRIVED, ())
    alice = Mailbox(lab, "alice", "sender.lab.test")
    assert len(alice.letters()) == 1
    alice.close()


def test_one_who_writes_to_himself_finds_his_letter(lab: Lab) -> None:
    alone = plan(recipient=SENDER, desk=desk("alice", "sender.lab.test"))
    assert made(lab, alone).state is State.ARRIVED
    by_pop3 = desk("alice", "sender.lab.test", Service.POP3S)
    assert made(lab, msgspec.structs.replace(alone, desk=by_pop3, sender_desk=by_pop3)).state is State.ARRIVED


def test_a_letter_goes_straight_to_the_exchanger_of_the_recipient(lab: Lab) -> None:
    direct = plan(route=Exchangers(), options=Options(), sender_desk=None)
    found = made(lab, direct)
    assert found.state is State.ARRIVED
    assert [hop.by for hop in found.copies[0].hops] == ["mx.receiver.lab.test"]
    grey = plan(
        recipient="bob@flow-greylisting.lab.test",
        route=Exchangers(),
        options=Options(),
        desk=desk("bob", "flow-greylisting.lab.test"),
        sender_desk=None,
    )
    put_off = made(lab, grey)
    assert put_off.outcome is not None
    assert put_off.outcome.outcome is Outcome.DEFERRED
    assert put_off.state is State.REFUSED


def test_the_connection_is_made_anew_when_the_server_drops_it(lab: Lab) -> None:
    def drop(peer: Peer) -> None:
        peer.send(b"* OK ready\r\n")
        peer.line()
        peer.close()

    with Scripted(drop) as server:
        reach = inside(Reach(limits=HASTY), lab)

        def route(address: str, port: int) -> tuple[str, int]:
            return server.endpoint if port == 143 else lab.route(address, port)

        network = Network(msgspec.structs.replace(reach, route=route))
        wanted = plan(desk=desk("bob", service=Service.IMAP), sender_desk=None)
        found = asyncio.run(trip(network, wanted, LabLull(lab)))
    assert found.state is State.UNKNOWN
    assert found.look is not None
    assert found.look.trouble is not None
    assert found.look.trouble.kind is Kind.CLOSED
    assert len(server.heard) >= 2


@pytest.mark.parametrize(
    "pair", [("alice", RECIPIENT), (SENDER, "bob"), (SENDER, f"{RECIPIENT}\r\nRCPT TO:<x@y.test>")]
)
def test_what_is_no_address_is_never_sent(pair: tuple[str, str], lab: Lab) -> None:
    with pytest.raises(UsageError):
        made(lab, plan(sender=pair[0], recipient=pair[1]))


# -- by turns ---------------------------------------------------------------------------------------------------


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def test_each_run_finds_what_the_one_before_it_sent(lab: Lab, state: Path, bob: Mailbox) -> None:
    (first,) = turn(lab, plan(), state)
    assert (first.state, first.pending, first.look) == (State.PENDING, True, None)
    assert [letter.token for letter in read_state(state)] == [first.token]
    found, second = turn(lab, plan(), state)
    assert (found.token, found.state, found.copies[0].removed) == (first.token, State.ARRIVED, True)
    assert found.copies[0].unchanged
    assert not found.copies[0].watched
    assert found.delay_s is not None
    assert found.delay_s < 30
    assert second.state is State.PENDING
    assert [letter.token for letter in read_state(state)] == [second.token]
    lab.rest()
    (octets,) = bob.letters()
    assert second.token.encode() in octets


def test_the_delay_is_that_of_the_letter_and_not_of_the_next_run(lab: Lab, state: Path) -> None:
    turn(lab, plan(), state)
    lab.rest()
    advance(lab, 1000.0)
    found, _ = turn(lab, plan(), state)
    assert found.waited_s >= 1000
    assert found.delay_s is not None
    assert found.delay_s < 30


def advance(lab: Lab, seconds: float) -> None:
    lab.order(Order("tick", seconds=seconds))


def test_what_is_not_found_is_pending_then_lost_then_forgotten(lab: Lab, state: Path) -> None:
    dropped = plan(
        recipient="bob@flow-silent-drop.lab.test", desk=desk("bob", "flow-silent-drop.lab.test"), sender_desk=None
    )
    (first,) = turn(lab, dropped, state, 100.0)
    states: list[State] = []
    for _ in range(3):
        advance(lab, 60.0)
        found = [each for each in turn(lab, dropped, state, 100.0) if each.token == first.token]
        states += [each.state for each in found]
    assert states == [State.PENDING, State.LOST, State.LOST]
    assert first.token in {letter.token for letter in read_state(state)}
    advance(lab, 60.0)
    turn(lab, dropped, state, 100.0)
    assert first.token not in {letter.token for letter in read_state(state)}


def test_a_letter_that_came_back_is_told_of_once(lab: Lab, state: Path) -> None:
    wrong = plan(recipient="nosuch@receiver.lab.test")
    (first,) = turn(lab, wrong, state)
    found, _ = turn(lab, wrong, state)
    assert (found.token, found.state) == (first.token, State.RETURNED)
    assert first.token not in {letter.token for letter in read_state(state)}


def test_a_letter_that_is_refused_is_not_waited_for(lab: Lab, state: Path) -> None:
    (only,) = turn(lab, plan(options=Options(login=login("alice", "wrong"))), state)
    assert only.state is State.REFUSED
    assert read_state(state) == ()


def test_letters_of_other_pairs_in_the_same_file_are_left_alone(lab: Lab, state: Path) -> None:
    change_state(state, note=[noted("mp-other", lab.now(), recipient="carol@receiver.lab.test")])
    (first,) = turn(lab, plan(), state)
    assert [letter.token for letter in read_state(state)] == ["mp-other", first.token]


def noted(token: str, at: datetime, **changes: Any) -> SentLetter:
    letter = SentLetter(
        token=token,
        message_id=f"<{token}@sender.lab.test>",
        sender=SENDER,
        recipient=RECIPIENT,
        sent_at=at,
        body=b"x\r\n",
        sending=None,
    )
    return msgspec.structs.replace(letter, **changes)


def test_a_letter_whose_run_was_killed_is_looked_for_all_the_same(lab: Lab, state: Path, bob: Mailbox) -> None:
    written = write_letter(SENDER, RECIPIENT, lab.now())
    bob.append(written.letter.octets)
    letter = noted(written.token, lab.now() - timedelta(minutes=5), body=written.body)
    change_state(state, note=[letter, noted("mp-never-sent", lab.now() - timedelta(hours=1, minutes=1))])
    found, missing, _ = turn(lab, plan(), state)
    assert (found.state, found.copies[0].unchanged) == (State.ARRIVED, True)
    assert (missing.state, missing.sending) == (State.UNKNOWN, None)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"schema": 9}'])
def test_a_damaged_file_sends_nothing_and_stays_as_it_is(text: bytes, lab: Lab, state: Path, bob: Mailbox) -> None:
    state.write_bytes(text)
    with pytest.raises(UsageError, match="state file"):
        turn(lab, plan(), state)
    assert state.read_bytes() == text
    lab.rest()
    assert bob.letters() == []


def test_a_folder_that_is_not_there_sends_nothing(lab: Lab, tmp_path: Path, bob: Mailbox) -> None:
    with pytest.raises(UsageError, match=r"state file .*No such file"):
        turn(lab, plan(), tmp_path / "nowhere" / "state.json")
    lab.rest()
    assert bob.letters() == []
