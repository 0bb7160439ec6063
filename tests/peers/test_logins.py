"""Every way that a real Dovecot lets in, by itself and through Postfix: with the right secret and with a wrong one."""

from __future__ import annotations

import asyncio
import base64

import pytest

from mailprobe.mail.login import Login, LoginRefused
from mailprobe.mail.visit import Visit
from mailprobe.model.conversation import Conversation, Place, Security
from mailprobe.model.evidence import Kind
from mailprobe.model.ports import WELL_KNOWN
from mailprobe.net.limits import Deadline
from mailprobe.net.network import Network, Reach
from mailprobe.protocols.sasl import Credentials
from tests.peers.mailhost import ACCESS_PORTS, MailHost, MailHostFactory
from tests.peers.servers.dovecot import GHOST, ODD_PASSWORD, ODD_USER, bearer_token

LIMIT_S = 25.0
PORTS = (587, 465, *ACCESS_PORTS)
TLS_PORTS = (465, 995, 993)
PASSWORD_MECHANISMS = ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256")
TOKEN_MECHANISMS = ("XOAUTH2", "OAUTHBEARER")
OWN_MECHANISMS = ((110, "USER"), (995, "USER"), (110, "APOP"), (995, "APOP"))
WAYS = [*((port, mechanism) for port in PORTS for mechanism in PASSWORD_MECHANISMS), *OWN_MECHANISMS]
TOKEN_WAYS = [(port, mechanism) for port in PORTS for mechanism in TOKEN_MECHANISMS]


@pytest.fixture(scope="module")
def host(mail_host: MailHostFactory) -> MailHost:
    return mail_host(every_mechanism=True)


def visited(host: MailHost, port: int, credentials: Credentials, mechanism: str | None) -> Conversation:
    """Log in, or try to, and give the conversation."""

    def route(address: str, usual: int) -> tuple[str, int]:
        return address, host.ports[usual]

    place = Place(
        host=host.name,
        address=host.address,
        port=port,
        service=WELL_KNOWN[port],
        security=Security.TLS if port in TLS_PORTS else Security.STARTTLS,
    )

    async def run() -> Visit:
        visit = Visit(Network(Reach(ca_file=host.ca_file, route=route)), place, Deadline(LIMIT_S))
        try:
            await visit.begin()
            await visit.log_in(Login(credentials=credentials, mechanism=mechanism))
        except LoginRefused:
            pass  # it is written down
        finally:
            await visit.end()
        return visit

    return asyncio.run(run()).record()


def let_in(told: Conversation) -> str:
    """Give the mechanism by which it went well; the goodbye was answered, so both sides had stayed in step."""
    assert told.trouble is None
    assert told.login is not None
    assert told.login.succeeded
    assert told.exchanges[-1].reply.lines != ()
    return told.login.mechanism


def sent_away(told: Conversation) -> None:
    """See that the server said no, and goodbye after it."""
    assert told.trouble is not None
    assert told.trouble.kind is Kind.REJECTED, told.trouble
    assert told.login is not None
    assert not told.login.succeeded
    assert told.exchanges[-1].reply.status in {"221", "+OK", "OK"}, told.exchanges[-1]


@pytest.mark.parametrize(("port", "mechanism"), WAYS)
def test_the_right_password_lets_in(host: MailHost, port: int, mechanism: str) -> None:
    assert let_in(visited(host, port, Credentials("lina", host.password), mechanism)) == mechanism


@pytest.mark.parametrize(("port", "mechanism"), WAYS)
def test_a_wrong_password_does_not(host: MailHost, port: int, mechanism: str) -> None:
    sent_away(visited(host, port, Credentials("lina", host.password + "x"), mechanism))


@pytest.mark.parametrize(("port", "mechanism"), [way for way in WAYS if way[1] != "APOP"])
def test_a_password_of_quotes_blanks_braces_and_umlauts_lets_in(host: MailHost, port: int, mechanism: str) -> None:
    assert let_in(visited(host, port, Credentials(ODD_USER, ODD_PASSWORD), mechanism)) == mechanism


@pytest.mark.parametrize(("port", "mechanism"), TOKEN_WAYS)
def test_a_token_lets_in(host: MailHost, port: int, mechanism: str) -> None:
    credentials = Credentials("lina", token=bearer_token("lina"))
    assert let_in(visited(host, port, credentials, mechanism)) == mechanism


@pytest.mark.parametrize(("port", "mechanism"), TOKEN_WAYS)
def test_a_token_that_has_expired_does_not(host: MailHost, port: int, mechanism: str) -> None:
    told = visited(host, port, Credentials("lina", token=bearer_token("lina", valid_s=-60)), mechanism)
    sent_away(told)
    assert told.trouble is not None
    assert "status " in told.trouble.detail  # what the challenge said


def test_a_token_for_somebody_else_does_not(host: MailHost) -> None:
    sent_away(visited(host, 993, Credentials("lina", token=bearer_token("mara")), "OAUTHBEARER"))


@pytest.mark.parametrize("port", PORTS)
def test_the_best_way_is_taken_where_none_is_named(host: MailHost, port: int) -> None:
    assert let_in(visited(host, port, Credentials("lina", host.password), None)) == "SCRAM-SHA-256"
    assert let_in(visited(host, port, Credentials("lina", token=bearer_token("lina")), None)) in TOKEN_MECHANISMS


@pytest.mark.parametrize("port", PORTS)
def test_who_is_unknown_is_sent_away(host: MailHost, port: int) -> None:
    sent_away(visited(host, port, Credentials(GHOST, host.password), None))


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize("mechanism", [*PASSWORD_MECHANISMS, *TOKEN_MECHANISMS])
def test_no_secret_stands_in_what_is_written_down(host: MailHost, port: int, mechanism: str) -> None:
    secret = bearer_token("lina") if mechanism in TOKEN_MECHANISMS else host.password
    credentials = Credentials("lina", token=secret) if mechanism in TOKEN_MECHANISMS else Credentials("lina", secret)
    told = visited(host, port, credentials, mechanism)
    assert let_in(told) == mechanism
    for each in (secret.encode(), f"\0lina\0{secret}".encode(), f"lina\0{secret}".encode()):
        assert each.decode() not in str(told)
        assert base64.b64encode(each).decode().rstrip("=") not in str(told)


@pytest.mark.parametrize("port", PORTS)
def test_what_is_written_down_is_of_no_use_for_guessing_the_password(host: MailHost, port: int) -> None:
    told = visited(host, port, Credentials("lina", host.password), "SCRAM-SHA-256")
    assert let_in(told) == "SCRAM-SHA-256"
    challenges = [each.reply.lines for each in told.exchanges if each.reply.status in {"334", "+"}]
    assert len(challenges) >= 2
    assert {line.partition(" ")[2] for lines in challenges for line in lines} <= {"", "[masked]"}
