"""A post office as its clients see it: what goes in comes out, whatever happens in between."""

from __future__ import annotations

import email
import imaplib
import os
import poplib
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from io import BufferedRWPair
from pathlib import Path

import pytest

from mailprobe.lab.post.control import Order
from mailprobe.lab.post.journal import trace
from mailprobe.lab.post.spool import Spool, Spooled, new_queue_id
from mailprobe.lab.post.waiting import read_rows
from mailprobe.lab.world import Lab
from mailprobe.model.errors import UsageError
from mailprobe.model.road import Part, Step, What
from mailprobe.protocols.mailstore import Envelope
from tests.lab.post.sites import (
    ALICE,
    BOB,
    CAROL,
    RECEIVER,
    SENDER,
    TIMEOUT_S,
    address_of,
    arrived,
    connected,
    events,
    files_in,
    happened,
    letter,
    relay,
    report_in,
    stored,
    submit,
)


@pytest.fixture
def lab() -> Iterator[Lab]:
    complaints: list[str] = []
    with Lab(complain=complaints.append) as running:
        yield running
    assert complaints == []


# -- the road ---------------------------------------------------------------------------------------------------


def fetch_by_imap(lab: Lab, user: str) -> bytes:
    host = f"mx.{RECEIVER}"

    class Client(imaplib.IMAP4_SSL):
        def _create_socket(self, timeout: float | None) -> socket.socket:
            raw = socket.create_connection(lab.route(address_of(lab, host), 993), TIMEOUT_S)
            return trusting.wrap_socket(raw, server_hostname=host)

    trusting = ssl.create_default_context(cafile=str(lab.ca_file))
    with Client(host, 993) as client:
        client.login(user, "secret")
        client.select()
        _, found = client.fetch("1", "(BODY[])")
        assert isinstance(found[0], tuple)
        return found[0][1]


def fetch_by_pop3(lab: Lab, user: str) -> bytes:
    host = f"mx.{RECEIVER}"

    class Client(poplib.POP3):
        def _create_socket(self, timeout: float) -> socket.socket:
            return socket.create_connection(lab.route(address_of(lab, host), 110), TIMEOUT_S)

    with closing(Client(host, 110, timeout=TIMEOUT_S)) as client:
        client.stls(ssl.create_default_context(cafile=str(lab.ca_file)))
        client.user(user)
        client.pass_("secret")
        lines = client.retr(1)[1]
        client.quit()
    return b"\r\n".join(lines) + b"\r\n"


@pytest.mark.parametrize("fetch", [fetch_by_imap, fetch_by_pop3])
def test_a_letter_goes_all_eight_steps_in_their_order(lab: Lab, fetch: object) -> None:
    submit(lab, BOB)
    lab.rest()
    assert callable(fetch)
    assert arrived(fetch(lab, "bob")) == letter()
    lab.rest()
    steps = [(event.site, event.step, event.what) for event in events(lab)]
    assert steps == [
        (SENDER, Step.HANDED_OVER, What.HANDED_OVER),
        (SENDER, Step.SPOOLED, What.SPOOLED),
        (SENDER, Step.EXPANDED, What.EXPANDED),
        (SENDER, Step.TAKEN, What.TAKEN),
        (RECEIVER, Step.SENT, What.RECEIVED),
        (RECEIVER, Step.SPOOLED, What.SPOOLED),
        (RECEIVER, Step.TARGETED, What.TARGETED),
        (SENDER, Step.SENT, What.SENT),
        (RECEIVER, Step.STORED, What.STORED),
        (RECEIVER, Step.READ, What.READ),
    ] or steps[8][1:] == (Step.SENT, What.SENT)  # the reply and the delivery cross


def test_every_hop_puts_its_fields_in_front_and_nothing_else(lab: Lab) -> None:
    submit(lab, BOB)
    lab.rest()
    (data,) = stored(lab, BOB)
    read = email.message_from_bytes(data)
    assert read["Return-Path"] == f"<{ALICE}>"
    assert read["Delivered-To"] == BOB
    second, first = read.get_all("Received") or []
    assert f"by mx.{RECEIVER} (mailprobe lab) with ESMTPS" in " ".join(second.split())
    assert f"by mx.{SENDER} (mailprobe lab) with ESMTPSA" in " ".join(first.split())
    assert f"for <{BOB}>" in second
    assert arrived(data) == letter()


def test_received_names_no_recipient_where_there_are_several(lab: Lab) -> None:
    submit(lab, BOB, CAROL)
    lab.rest()
    assert all(b"for <" not in data for data in stored(lab, BOB))


@pytest.mark.parametrize(
    "body",
    [
        b".\r\n..\r\n.leading dots\r\n",
        b"x" * 998 + b"\r\n",
        b"y" * 70_000 + b"\r\n",
        b"bare\nline\nfeeds\n.\nand more\r\n",
        "Grüße, 你好\r\n".encode(),
        bytes(range(1, 10)) + bytes(range(11, 13)) + bytes(range(14, 256)) + b"\r\n",
        b"z" * 76 + b"\r\n" + b"0123456789" * 300_000 + b"\r\n",
    ],
    ids=["dots", "998", "long", "bare-lf", "8-bit", "octets", "3-mb"],
)
def test_the_text_arrives_octet_for_octet(lab: Lab, body: bytes) -> None:
    with connected(lab, f"mx.{RECEIVER}", 25) as client:
        client.mail("eve@far.test")
        client.rcpt(BOB)
        data = letter(body=body)
        client.putcmd(f"BDAT {len(data)} LAST")
        client.send(data)
        assert client.getreply()[0] == 250
    lab.rest()
    (found,) = stored(lab, BOB)
    assert arrived(found) == data


def test_addresses_in_utf8_go_through(lab: Lab) -> None:
    submit(lab, f"jürgen+bob@{RECEIVER}", BOB, options=["SMTPUTF8"], data=letter(fields="Subject: ü\r\n".encode()))
    lab.rest()
    assert len(stored(lab, BOB)) == 1
    assert What.BOUNCED in happened(lab)


def test_a_submitted_letter_gets_what_it_lacks(lab: Lab) -> None:
    submit(lab, BOB, data=b"Subject: bare\r\nBcc: dave@receiver.lab.test\r\n\r\nHi\r\n")
    lab.rest()
    read = email.message_from_bytes(stored(lab, BOB)[0])
    assert read["From"] == f"<{ALICE}>"
    assert read["Date"]
    assert read["Message-ID"].endswith(f"@mx.{SENDER}>")
    assert read["Bcc"] == "dave@receiver.lab.test"


def test_a_letter_without_a_header_keeps_its_text(lab: Lab) -> None:
    relay(lab, BOB, data=b"no header at all\r\n")
    lab.rest()
    assert email.message_from_bytes(stored(lab, BOB)[0]).get_payload() == "no header at all\r\n"


# -- aliases ----------------------------------------------------------------------------------------------------


def test_an_alias_leads_to_every_mailbox_once(lab: Lab) -> None:
    submit(lab, f"team@{RECEIVER}", BOB)
    lab.rest()
    assert len(stored(lab, BOB)) == len(stored(lab, CAROL)) == 1
    assert What.DUPLICATE in happened(lab)


def test_tags_and_case_and_the_postmaster_lead_to_mailboxes(lab: Lab) -> None:
    relay(lab, f"BOB+tag@{RECEIVER}", f"Postmaster@{RECEIVER}", f"carol@mx.{RECEIVER}")
    lab.rest()
    assert len(stored(lab, BOB)) == 1
    assert len(stored(lab, CAROL)) == 1


def test_a_letter_to_the_same_site_is_not_sent_anywhere(lab: Lab) -> None:
    submit(lab, f"amir@{SENDER}")
    lab.rest()
    assert len(stored(lab, f"amir@{SENDER}")) == 1
    assert What.SENT not in happened(lab)


# -- reports ----------------------------------------------------------------------------------------------------


def test_the_sender_hears_of_an_unknown_recipient_and_the_others_get_the_letter(lab: Lab) -> None:
    submit(lab, BOB, f"ghost@{RECEIVER}", asked=())
    lab.rest()
    assert len(stored(lab, BOB)) == 1
    (data,) = stored(lab, ALICE)
    report = report_in(data)
    assert report["letter"]["Return-Path"] == "<>"
    assert report["letter"]["Auto-Submitted"] == "auto-replied"
    assert report["recipient"]["Final-Recipient"] == f"rfc822; ghost@{RECEIVER}"
    assert (report["recipient"]["Action"], report["recipient"]["Status"]) == ("failed", "5.1.1")
    assert report["recipient"]["Remote-MTA"] == f"dns; mx.{RECEIVER}"


def test_a_report_that_fails_is_told_to_the_postmaster_once(lab: Lab) -> None:
    submit(lab, f"ghost@{RECEIVER}", sender=f"nobody@{SENDER}")
    lab.rest()
    assert len(stored(lab, ALICE)) == 1  # the postmaster's mail goes there
    assert b"could not be delivered" in stored(lab, ALICE)[0]


def test_a_sender_can_ask_for_success_and_for_silence(lab: Lab) -> None:
    submit(lab, BOB, asked=["NOTIFY=SUCCESS", "ORCPT=rfc822;bob@old.test"])
    lab.rest()
    (data,) = stored(lab, ALICE)
    report = report_in(data)
    assert report["recipient"]["Action"] == "delivered"
    assert report["recipient"]["Original-Recipient"] == "rfc822; bob@old.test"
    submit(lab, f"ghost@{RECEIVER}", asked=["NOTIFY=NEVER"])
    lab.rest()
    assert len(stored(lab, ALICE)) == 1


# -- parts that are paused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "site", "last", "state"),
    [
        (Part.PICKUP, SENDER, Step.SPOOLED, "spool"),
        (Part.EXPANDER, SENDER, Step.SPOOLED, "incoming"),
        (Part.CLIENT, SENDER, Step.EXPANDED, "incoming"),
        (Part.SERVER, RECEIVER, Step.TAKEN, "deferred"),
        (Part.PICKUP, RECEIVER, Step.SENT, "spool"),
        (Part.EXPANDER, RECEIVER, Step.SENT, "incoming"),
        (Part.MAILBOX, RECEIVER, Step.TARGETED, "incoming"),
    ],
)
def test_a_letter_waits_where_a_part_is_paused_and_goes_on_after(
    lab: Lab, part: Part, site: str, last: Step, state: str
) -> None:
    lab.lab_file()
    lab.order(Order("pause", part=part, site=site))
    submit(lab, BOB)
    lab.rest()
    assert max(event.step for event in events(lab)) == last
    (row,) = read_rows(lab.mail_directory / (SENDER if part is Part.SERVER else site))
    assert row.state == state
    assert stored(lab, BOB) == []
    lab.order(Order("resume", part=part, site=site))
    if part is Part.SERVER:
        lab.order(Order("tick", seconds=300))
    lab.rest()
    assert len(stored(lab, BOB)) == 1
    assert happened(lab).count(What.STORED) == 1


def test_readers_are_told_to_come_back_while_reading_is_paused(lab: Lab) -> None:
    submit(lab, BOB)
    lab.rest()
    lab.order(Order("pause", part="reader", site=RECEIVER))
    with pytest.raises(poplib.error_proto, match="later"):
        fetch_by_pop3(lab, "bob")
    lab.order(Order("resume", part="reader", site=RECEIVER))
    assert arrived(fetch_by_pop3(lab, "bob")) == letter()


# -- ends and beginnings ----------------------------------------------------------------------------------------


def test_a_site_that_is_restarted_goes_on_and_keeps_its_pauses(lab: Lab) -> None:
    lab.order(Order("pause", part="mailbox", site=RECEIVER))
    submit(lab, BOB)
    lab.rest()
    lab.order(Order("restart", site=RECEIVER))
    lab.rest()
    assert stored(lab, BOB) == []
    lab.order(Order("resume", part="mailbox", site=RECEIVER))
    lab.rest()
    assert len(stored(lab, BOB)) == 1


def test_a_restart_ends_the_connections_of_the_site(lab: Lab) -> None:
    with connected(lab, f"mx.{RECEIVER}", 25) as held:
        lab.order(Order("restart", site=RECEIVER))
        with pytest.raises(smtplib.SMTPServerDisconnected):
            held.docmd("NOOP")


@pytest.mark.parametrize("part", ["pickup", "expander", "client"])
def test_a_lab_that_starts_again_in_its_directory_goes_on(tmp_path: Path, part: str) -> None:
    with Lab(directory=tmp_path) as lab:
        lab.order(Order("pause", part=part, site=SENDER))
        submit(lab, BOB)
        lab.rest()
    with Lab(directory=tmp_path) as lab:
        lab.order(Order("resume", part=part, site=SENDER))
        lab.rest()
        assert len(stored(lab, BOB)) == 1
        assert happened(lab).count(What.HANDED_OVER) == 1
    assert files_in(tmp_path / SENDER / "queue") == files_in(tmp_path / SENDER / "maildrop") == []


def test_two_labs_cannot_have_the_same_directory(tmp_path: Path) -> None:
    with Lab(directory=tmp_path) as first:
        submit(first, BOB)
        second = Lab(directory=tmp_path)
        with pytest.raises(UsageError, match="another lab runs"):
            second.start()


def test_a_second_lab_at_the_same_ports_hears_of_the_directory_and_not_of_the_ports(tmp_path: Path) -> None:
    with Lab(directory=tmp_path, fixed_ports=23500) as first:
        first.lab_file()
        with pytest.raises(UsageError, match="another lab runs"):
            Lab(directory=tmp_path, fixed_ports=23500).start()


def test_the_lab_file_can_be_used_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Lab(directory=Path("here")) as lab:
        file = lab.lab_file()
    assert file.ca_file == str(tmp_path / "here" / "ca.pem")
    assert file.directory == str(tmp_path / "here")


_SERVE = """
import sys
from pathlib import Path
from mailprobe.lab.world import Lab
lab = Lab(directory=Path(sys.argv[1]))
lab.start()
print(*lab.route(dict(lab.hosts())["receiver.lab.test"], 25), flush=True)
sys.stdin.read()
"""


def test_a_lab_that_is_killed_loses_nothing_that_it_accepted(tmp_path: Path) -> None:
    """Many letters are on their way when the process ends without a word, three times over."""
    accepted: set[int] = set()
    for start in (0, 1000, 2000):
        process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stdin is not None
        with process.stdout, process.stdin:
            address, port = process.stdout.readline().decode().split()
            feed((address, int(port)), accepted, start, enough=len(accepted) + 40)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
    with Lab(directory=tmp_path) as lab:
        lab.rest(60)
        found = {
            user: [email.message_from_bytes(data)["Message-ID"] for data in stored(lab, user)] for user in (BOB, CAROL)
        }
    for texts in found.values():
        assert accepted <= {int(text.strip("<>").partition("@")[0]) for text in texts}
        assert len(texts) == len(set(texts)), "a local delivery is never made twice"
    assert files_in(tmp_path / RECEIVER / "tmp") == []


def feed(endpoint: tuple[str, int], accepted: set[int], start: int, enough: int) -> None:
    """Hand letters over by two connections, so that some are still on their way when enough are accepted."""

    def work(first: int) -> None:
        with socket.create_connection(endpoint, TIMEOUT_S) as raw, raw.makefile("rwb") as channel:
            channel.readline()
            say(channel, b"HELO client.test\r\n")
            for number in range(first, first + 400, 2):
                if len(accepted) >= enough:
                    return
                say(channel, b"MAIL FROM:<eve@far.test>\r\n")
                say(channel, b"RCPT TO:<bob@receiver.lab.test>\r\n")
                say(channel, b"RCPT TO:<carol@receiver.lab.test>\r\n")
                say(channel, b"DATA\r\n")
                if say(channel, letter(number) + b".\r\n").startswith(b"250"):
                    accepted.add(number)

    threads = [threading.Thread(target=work, args=(start + each,)) for each in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def say(channel: BufferedRWPair, line: bytes) -> bytes:
    channel.write(line)
    channel.flush()
    return channel.readline()


# -- files that others touch ------------------------------------------------------------------------------------


def put_into_spool(directory: Path, *recipients: str) -> str:
    found = Spooled(
        queue_id=new_queue_id(),
        envelope=Envelope(
            sender=ALICE, recipients=recipients, client_name="localhost", server_name=SENDER, protocol="local"
        ),
        data=letter(),
        origin="submission",
        arrived=datetime.now(UTC),
    )
    Spool(directory).write(found)
    return found.queue_id


def test_a_letter_that_another_process_puts_into_the_spool_is_picked_up(lab: Lab) -> None:
    lab.lab_file()
    put_into_spool(lab.mail_directory / SENDER, BOB)
    lab.order(Order("look"))
    lab.rest()
    assert len(stored(lab, BOB)) == 1


def test_what_is_no_letter_is_put_aside_and_told_of(tmp_path: Path) -> None:
    complaints: list[str] = []
    with Lab(directory=tmp_path, complain=complaints.append) as lab:
        lab.lab_file()
        (tmp_path / SENDER / "maildrop" / "ABCDEF").write_bytes(b"garbage")
        lab.order(Order("look"))
        submit(lab, BOB)
        lab.rest()
        assert len(stored(lab, BOB)) == 1
    assert files_in(tmp_path / SENDER / "corrupt") == ["ABCDEF", "ABCDEF.why"]
    assert len(complaints) == 1
    assert complaints[0].startswith(f"{SENDER}: ABCDEF is no letter")


def test_a_damaged_queue_is_made_anew_from_the_letters(tmp_path: Path) -> None:
    with Lab(directory=tmp_path) as lab:
        lab.order(Order("pause", part="client", site=SENDER))
        submit(lab, BOB)
        lab.rest()
    for file in (tmp_path / SENDER).glob("queue.db*"):
        file.write_bytes(b"this is no database " * 400)
    complaints: list[str] = []
    with Lab(directory=tmp_path, complain=complaints.append) as lab:
        lab.rest()
        assert len(stored(lab, BOB)) == 1
    assert len(complaints) == 1
    assert "queue.db was damaged" in complaints[0]


def test_a_damaged_alias_table_closes_the_office_and_nothing_else(tmp_path: Path) -> None:
    with Lab(directory=tmp_path) as lab:
        submit(lab, BOB)
        lab.rest()
    for file in (tmp_path / RECEIVER).glob("aliases.db*"):
        file.write_bytes(b"this is no database " * 400)
    complaints: list[str] = []
    with Lab(directory=tmp_path, complain=complaints.append) as lab:
        submit(lab, BOB)
        lab.rest()
        assert happened(lab)[-1] is What.DEFERRED
        assert len(stored(lab, BOB)) == 1
    assert complaints
    assert all("aliases.db" in text for text in complaints)


def test_a_spool_that_cannot_be_written_puts_clients_off(tmp_path: Path) -> None:
    complaints: list[str] = []
    with Lab(directory=tmp_path, complain=complaints.append) as lab:
        lab.lab_file()
        (tmp_path / RECEIVER / "tmp").rmdir()
        with connected(lab, f"mx.{RECEIVER}", 25) as client:
            client.mail("eve@far.test")
            client.rcpt(BOB)
            assert client.data(letter())[0] == 451
        (tmp_path / RECEIVER / "tmp").mkdir()
        relay(lab, BOB)
        lab.rest()
        assert len(stored(lab, BOB)) == 1
    assert len(complaints) == 1


def test_a_letter_that_could_not_be_picked_up_is_tried_again_without_being_told_to(tmp_path: Path) -> None:
    complaints: list[str] = []
    with Lab(directory=tmp_path, complain=complaints.append) as lab:
        lab.lab_file()
        (tmp_path / RECEIVER / "queue").rmdir()
        relay(lab, BOB)
        lab.rest()
        assert files_in(tmp_path / RECEIVER / "maildrop") != []
        (tmp_path / RECEIVER / "queue").mkdir()
        until = time.monotonic() + 20
        while not stored(lab, BOB) and time.monotonic() < until:
            lab.order(Order("status"))
        assert len(stored(lab, BOB)) == 1
    assert complaints


def test_the_trace_can_be_read_when_the_lab_is_gone(tmp_path: Path) -> None:
    with Lab(directory=tmp_path) as lab:
        submit(lab, BOB)
        lab.rest()
    assert What.STORED in [event.what for event in trace(tmp_path, "<1@test>")]


def test_a_lab_that_nobody_asks_for_mail_writes_nothing(tmp_path: Path) -> None:
    with Lab(directory=tmp_path) as lab:
        address_of(lab, RECEIVER)
        with connected(lab, "mx.good.lab.test", 25):
            pass
        assert files_in(tmp_path) == []
