"""Where letters go, through the lab's DNS and to its servers."""

from __future__ import annotations

import asyncio
import imaplib
import smtplib
import ssl
from collections.abc import Callable, Iterator

import pytest

from mailprobe.lab.world import Lab
from mailprobe.mail.login import Login
from mailprobe.mail.routes import Exchangers, Route, Server, server
from mailprobe.mail.sending import Options
from mailprobe.model.conversation import Security
from mailprobe.model.errors import UsageError
from mailprobe.model.evidence import Stage
from mailprobe.model.sending import Outcome, Sending
from mailprobe.net.labs import inside
from mailprobe.net.limits import Limits
from mailprobe.net.network import Reach
from mailprobe.protocols.sasl import Credentials
from tests.mail.letterbox import carry, letter, only


@pytest.mark.parametrize(
    ("text", "security", "route"),
    [
        ("mail.a.test", None, Server("mail.a.test", 587, Security.STARTTLS)),
        ("mail.a.test:465", None, Server("mail.a.test", 465, Security.TLS)),
        ("mail.a.test", Security.TLS, Server("mail.a.test", 465, Security.TLS)),
        ("Mail.A.test:25", None, Server("mail.a.test", 25, Security.OPPORTUNISTIC)),
        ("[2001:db8::1]:2525", Security.CLEAR, Server("2001:db8::1", 2525, Security.CLEAR)),
    ],
)
def test_a_server_has_the_port_and_the_security_that_go_together(
    text: str, security: Security | None, route: Server
) -> None:
    assert server(text, security) == route


@pytest.mark.parametrize("text", ["", "a@b.test", "a..b", "a:0", "a:x", "*.test", "."])
def test_what_is_no_server_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        server(text)


def test_lmtp_needs_a_port() -> None:
    with pytest.raises(UsageError, match="LMTP has no port of its own"):
        server("a.test", lmtp=True)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as running:
        yield running


Sender = Callable[..., Sending]


@pytest.fixture
def through(lab: Lab) -> Sender:
    def send_to(*recipients: str, route: Route | None = None, options: Options | None = None) -> Sending:
        reach = inside(Reach(ehlo_name="probe.test", limits=Limits.within(10)), lab)
        return asyncio.run(carry(reach, letter(*recipients), route or Exchangers(), options))

    return send_to


def test_recipients_go_to_the_exchangers_of_their_domains(through: Sender) -> None:
    done = through("bob@good.lab.test", "nobody@good.lab.test", "alice@mx-implicit.lab.test")
    assert [each.outcome for each in done.recipients] == [Outcome.ACCEPTED, Outcome.REFUSED, Outcome.ACCEPTED]
    assert [held.host for held in done.conversations] == ["mx.good.lab.test", "mx-implicit.lab.test"]
    assert all(held.tls is not None and held.port == 25 for held in done.conversations)


@pytest.mark.parametrize(
    ("domain", "outcome", "detail"),
    [
        ("mx-null.lab.test", Outcome.REFUSED, "5.1.10 mx-null.lab.test takes no mail: it has a null MX (RFC 7505)"),
        ("domain-missing.lab.test", Outcome.REFUSED, "5.1.2 the domain domain-missing.lab.test does not exist"),
        (
            "mx-none-no-address.lab.test",
            Outcome.REFUSED,
            "5.4.4 mx-none-no-address.lab.test has neither MX nor address",
        ),
        ("mx-target-nxdomain.lab.test", Outcome.NOT_SENT, "5.4.4 "),
        ("dns-servfail.lab.test", Outcome.NOT_SENT, "4.4.3 the MX of dns-servfail.lab.test could not be looked up"),
    ],
)
def test_a_domain_without_a_way_is_told(through: Sender, domain: str, outcome: Outcome, detail: str) -> None:
    done = through(f"bob@{domain}")
    assert only(done)[:2] == (outcome, Stage.RESOLVE)
    assert only(done)[2].startswith(detail)
    assert done.conversations == ()


def test_the_next_exchanger_is_tried_when_one_is_down(through: Sender) -> None:
    done = through("bob@flow-first-mx-dead.lab.test")
    assert only(done)[0] is Outcome.ACCEPTED
    first, second = done.conversations
    assert first.trouble is not None
    assert first.trouble.stage is Stage.CONNECT
    assert second.trouble is None


@pytest.mark.parametrize("mechanism", [None, "PLAIN", "LOGIN"])
def test_a_user_logs_in_and_hands_over(through: Sender, mechanism: str | None) -> None:
    route = server("mx.good.lab.test")
    login = Login(credentials=Credentials("alice", "secret"), mechanism=mechanism)
    done = through("bob@good.lab.test", route=route, options=Options(login=login))
    assert only(done)[0] is Outcome.ACCEPTED
    outcome = done.conversations[0].login
    assert outcome is not None
    assert outcome.succeeded
    assert outcome.mechanism == (mechanism or "PLAIN")


def test_who_does_not_log_in_is_refused_at_submission(through: Sender) -> None:
    done = through("bob@good.lab.test", route=server("mx.good.lab.test"))
    assert only(done)[:2] == (Outcome.REFUSED, Stage.MAIL)


def test_what_is_sent_is_what_smtplib_would_havecarry(lab: Lab) -> None:
    """An independent oracle: the same letter by the standard library arrives as the same octets."""
    what = letter("bob@good.lab.test", text=".\n..\nend\n")
    address, port = lab.route("127.53.1.1", 25)
    with smtplib.SMTP(address, port, local_hostname="probe.test") as client:
        client.sendmail(what.sender, list(what.recipients), what.octets)
    done = asyncio.run(carry(inside(Reach(ehlo_name="probe.test"), lab), what, Exchangers(), None))
    assert only(done)[0] is Outcome.ACCEPTED
    listed = [each for each in stored(lab) if what.message_id.encode() in each]
    assert len(listed) == 2
    bodies = {each.partition(b"Message-ID")[2] for each in listed}
    assert bodies == {what.octets.partition(b"Message-ID")[2]}


def stored(lab: Lab) -> list[bytes]:
    """Give bob's letters, read by the standard library."""
    address, port = lab.route("127.53.1.1", 993)
    context = ssl.create_default_context(cafile=str(lab.ca_file))
    context.check_hostname = False
    with imaplib.IMAP4_SSL(address, port, ssl_context=context) as client:
        client.login("bob", "secret")
        client.select()
        _, (uids,) = client.search(None, "ALL")
        found = []
        for uid in uids.split():
            _, parts = client.fetch(uid.decode(), "(BODY.PEEK[])")
            assert isinstance(parts[0], tuple)
            found.append(parts[0][1])
        return found
