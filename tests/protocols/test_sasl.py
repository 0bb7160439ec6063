"""SASL: the vectors of the RFCs, both sides against each other, and peers that lie."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailprobe.protocols.sasl import (
    MECHANISMS,
    ChannelBinding,
    ClientExchange,
    Credentials,
    Login,
    SaslError,
    ServerExchange,
    client_exchange,
    decode_response,
    encode_challenge,
    server_exchange,
    strongest,
)
from mailprobe.protocols.sasl.exchange import Known
from mailprobe.protocols.sasl.saslprep import saslprep
from mailprobe.protocols.sasl.scram import MOST_ITERATIONS, NOTE_FEW_ITERATIONS, ScramClient, scram
from mailprobe.protocols.sasl.simple import cram

USERS = {"alice": "secret", "tim": "tanstaaftanstaaf", "user": "pencil", "jörg": "geh\u00a0heim", "a=b,c": "x"}
ALICE = Credentials("alice", password="secret", token="secret")
END_POINT = ChannelBinding("tls-server-end-point", b"\x01" * 32)
UNIQUE = ChannelBinding("tls-unique", b"\x02" * 12)


def serve(mechanism: str, *bindings: ChannelBinding, identity: str | None = "alice") -> ServerExchange:
    exchange = server_exchange(mechanism, MECHANISMS, USERS.get, bindings, identity)
    assert exchange is not None
    return exchange


def talk(client: ClientExchange, server: ServerExchange) -> Login:
    """Let both sides speak to each other; the client checks the success."""
    response = client.initial()
    login = None if response is None else server.respond(response)
    while login is None:
        login = server.respond(client.respond(server.challenge()))
    if login.allowed:
        client.finish()
    return login


# The vectors of the RFCs


SHA1_VECTOR = (  # RFC 5802 §5
    "SCRAM-SHA-1",
    "fyko+d2lbbFgONRv9qkxdawL",
    b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
    b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
    b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
    b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
)
SHA256_VECTOR = (  # RFC 7677 §3
    "SCRAM-SHA-256",
    "rOprNGfwEbeRWgbNEkqO",
    b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
    b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
    b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
)
VECTORS = pytest.mark.parametrize("vector", [SHA1_VECTOR, SHA256_VECTOR], ids=["sha-1", "sha-256"])
Vector = tuple[str, str, bytes, bytes, bytes, bytes]


def vector_client(vector: Vector) -> ScramClient:
    return ScramClient(vector[0], Credentials("user", password="pencil"), None, nonce=vector[1])


@VECTORS
def test_scram_client_says_what_the_rfc_shows(vector: Vector) -> None:
    _, _, first, challenge, final, verdict = vector
    client = vector_client(vector)
    assert client.initial() == first
    assert client.respond(challenge) == final
    assert client.respond(verdict) == b""
    client.finish()
    assert client.notes == ()


@VECTORS
def test_scram_server_says_what_the_rfc_shows(vector: Vector) -> None:
    mechanism, nonce, first, challenge, final, verdict = vector
    salt = base64.b64decode(challenge.split(b",s=")[1].split(b",")[0])
    rest = challenge[2:].split(b",")[0].decode().removeprefix(nonce)
    server = ServerExchange(scram(mechanism, Known(USERS.get), nonce=rest, salt=salt))
    assert server.challenge() == b""
    assert server.respond(first) is None
    assert server.challenge() == challenge
    assert server.respond(final) is None
    assert server.challenge() == verdict
    assert server.respond(b"") == Login("user", allowed=True)


def test_cram_md5_is_what_the_rfc_shows() -> None:  # RFC 2195 §2
    challenge = b"<1896.697170952@postoffice.reston.mci.net>"
    client = client_exchange("CRAM-MD5", Credentials("tim", password="tanstaaftanstaaf"))
    server = ServerExchange(cram(Known(USERS.get), challenge))
    assert client.initial() is None
    response = client.respond(server.challenge())
    assert response == b"tim b913a602c7eda7a495b4e6e7334d3890"
    assert server.respond(response) == Login("tim", allowed=True)


def test_plain_is_what_the_rfc_shows() -> None:  # RFC 4616 §4
    client = client_exchange("PLAIN", Credentials("tim", password="tanstaaftanstaaf", acting_for="kurt"))
    assert client.initial() == b"kurt\0tim\0tanstaaftanstaaf"


def test_oauthbearer_is_what_the_rfc_shows() -> None:  # RFC 7628 §4.1, without host and port
    token = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="
    client = client_exchange("OAUTHBEARER", Credentials("user@example.com", token=token))
    assert client.initial() == b"n,a=user@example.com,\x01auth=Bearer " + token.encode() + b"\x01\x01"
    assert client.respond(b'{"status":"invalid_token","scope":"example_scope"}') == b"\x01"
    assert client.complaint == "status invalid_token, scope example_scope"


def test_xoauth2_is_what_google_shows() -> None:
    client = client_exchange("xoauth2", Credentials("someuser@example.com", token="ya29.vF9dft4"))
    assert client.initial() == b"user=someuser@example.com\x01auth=Bearer ya29.vF9dft4\x01\x01"
    assert client.respond(b'{"status":"401","schemes":"bearer"}') == b""
    assert client.complaint == "status 401, schemes bearer"


# Both sides


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_both_sides_of_every_mechanism_understand_each_other(mechanism: str) -> None:
    bound = mechanism.endswith("-PLUS")
    login = talk(
        client_exchange(mechanism, ALICE, END_POINT if bound else None), serve(mechanism, *((END_POINT,) * bound))
    )
    assert login == Login("alice", allowed=True)


@pytest.mark.parametrize("mechanism", [name for name in MECHANISMS if name != "EXTERNAL"])
@pytest.mark.parametrize("user", ["alice", "nobody", "a=b,c"])
def test_a_wrong_secret_or_user_is_refused(mechanism: str, user: str) -> None:
    bound = mechanism.endswith("-PLUS")
    client = client_exchange(mechanism, Credentials(user, password="wrong", token="wrong"), UNIQUE if bound else None)
    assert talk(client, serve(mechanism, *((END_POINT, UNIQUE) * bound))) == Login(user, allowed=False)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1", "SCRAM-SHA-256"])
@pytest.mark.parametrize("user", ["jörg", "jo\u0308rg", "a=b,c"])
def test_scram_prepares_and_escapes_names(mechanism: str, user: str) -> None:
    password = USERS["a=b,c" if "=" in user else "jörg"]
    login = talk(client_exchange(mechanism, Credentials(user, password=password)), serve(mechanism))
    assert login.allowed


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "OAUTHBEARER"])
def test_an_initial_response_that_cannot_go_with_the_command_answers_the_first_challenge(mechanism: str) -> None:
    client, server = client_exchange(mechanism, ALICE), serve(mechanism)
    login = None
    while login is None:
        login = server.respond(client.respond(server.challenge()))
    client.finish()
    assert login.allowed


def test_external_lets_in_whom_the_transport_has_proven() -> None:
    nobody = Credentials("")
    assert talk(client_exchange("EXTERNAL", nobody), serve("EXTERNAL")) == Login("alice", allowed=True)
    assert talk(client_exchange("EXTERNAL", Credentials("", acting_for="alice")), serve("EXTERNAL")).allowed
    assert not talk(client_exchange("EXTERNAL", Credentials("", acting_for="tim")), serve("EXTERNAL")).allowed
    assert not talk(client_exchange("EXTERNAL", nobody), serve("EXTERNAL", identity=None)).allowed
    assert not talk(client_exchange("EXTERNAL", nobody), serve("EXTERNAL", identity="stranger")).allowed


def test_a_server_carries_out_what_it_offers_and_knows() -> None:
    assert server_exchange("PLAIN", ("LOGIN",), USERS.get) is None
    assert server_exchange("DIGEST-MD5", ("DIGEST-MD5",), USERS.get) is None


# Channel binding


def test_binding_to_another_connection_is_refused() -> None:
    other = ChannelBinding("tls-server-end-point", b"\x09" * 32)
    with pytest.raises(SaslError, match="channel binding"):
        talk(client_exchange("SCRAM-SHA-256-PLUS", ALICE, other), serve("SCRAM-SHA-256-PLUS", END_POINT))


def test_plus_taken_out_of_the_list_on_the_way_is_noticed() -> None:
    with pytest.raises(SaslError, match="taken out"):
        talk(client_exchange("SCRAM-SHA-256", ALICE, END_POINT), serve("SCRAM-SHA-256", END_POINT))
    assert talk(client_exchange("SCRAM-SHA-256", ALICE), serve("SCRAM-SHA-256", END_POINT)).allowed
    server = server_exchange("SCRAM-SHA-256", ("SCRAM-SHA-256",), USERS.get, (END_POINT,))
    assert server is not None
    assert talk(client_exchange("SCRAM-SHA-256", ALICE, END_POINT), server).allowed


@pytest.mark.parametrize(
    ("mechanism", "first"),
    [
        ("SCRAM-SHA-256", b"p=tls-unique,,n=alice,r=abc"),
        ("SCRAM-SHA-256-PLUS", b"n,,n=alice,r=abc"),
        ("SCRAM-SHA-256-PLUS", b"y,,n=alice,r=abc"),
        ("SCRAM-SHA-256-PLUS", b"p=tls-exporter,,n=alice,r=abc"),
    ],
)
def test_a_flag_that_does_not_fit_the_mechanism_is_refused(mechanism: str, first: bytes) -> None:
    with pytest.raises(SaslError):
        serve(mechanism, END_POINT).respond(first)


def test_plus_without_tls_is_our_own_mistake() -> None:
    with pytest.raises(SaslError, match="needs TLS"):
        client_exchange("SCRAM-SHA-1-PLUS", ALICE)


# Servers that lie


@pytest.mark.parametrize(
    ("challenge", "complaint"),
    [
        (b"r=evil,s=QSXCR+Q6sek8bf92,i=4096", "does not begin with ours"),
        (b"r=fyko+d2lbbFgONRv9qkxdawL,s=QSXCR+Q6sek8bf92,i=4096", "does not begin with ours"),
        (b"r=fyko+d2lbbFgONRv9qkxdawL\xff,s=QSXCR+Q6sek8bf92,i=4096", "does not begin with ours"),
        (b"r=fyko+d2lbbFgONRv9qkxdawLx,s=QSXCR+Q6sek8bf92,i=%d" % (MOST_ITERATIONS + 1), "iterations"),
        (b"r=fyko+d2lbbFgONRv9qkxdawLx,s=QSXCR+Q6sek8bf92,i=99999999999999", "no number"),
        (b"r=fyko+d2lbbFgONRv9qkxdawLx,s=QSXCR+Q6sek8bf92,i=0", "no number"),
        (b"r=fyko+d2lbbFgONRv9qkxdawLx,s=QSXCR+Q6sek8bf92,i=-1", "no number"),
        (b"r=fyko+d2lbbFgONRv9qkxdawLx,s=!!,i=4096", "not base64"),
        (b"r=fyko+d2lbbFgONRv9qkxdawLx,s=,i=4096", "not base64"),
        (b"m=ext,r=fyko+d2lbbFgONRv9qkxdawLx,s=QSXCR+Q6sek8bf92,i=4096", "expected"),
        (b"r=fyko+d2lbbFgONRv9qkxdawLx", "expected"),
        (b"", "expected"),
    ],
)
def test_scram_client_shows_nothing_to_a_server_that_lies(challenge: bytes, complaint: str) -> None:
    client = vector_client(SHA1_VECTOR)
    client.initial()
    with pytest.raises(SaslError, match=complaint):
        client.respond(challenge)


@VECTORS
@pytest.mark.parametrize("verdict", [b"v=AAAA", b"v=", b"", b"x", b"v=smF9pqV8S7suAoZWja4dJRkFsKQ="])
def test_a_server_that_does_not_know_the_password_is_found_out(vector: Vector, verdict: bytes) -> None:
    client = vector_client(vector)
    client.initial()
    client.respond(vector[3])
    with pytest.raises(SaslError):
        client.respond(verdict)


@VECTORS
def test_success_without_the_servers_proof_is_none(vector: Vector) -> None:
    client = vector_client(vector)
    client.initial()
    with pytest.raises(SaslError, match="has not proven"):
        client.finish()
    client.respond(vector[3])
    with pytest.raises(SaslError, match="has not proven"):
        client.finish()


@VECTORS
def test_the_proof_may_come_with_success(vector: Vector) -> None:
    client = vector_client(vector)
    client.initial()
    client.respond(vector[3])
    client.finish(vector[5])


def test_the_servers_error_is_told_without_control_characters() -> None:
    client = vector_client(SHA1_VECTOR)
    client.initial()
    client.respond(SHA1_VECTOR[3])
    with pytest.raises(SaslError, match=r"invalid-proof\?\[31m"):
        client.respond(b"e=invalid-proof\x1b[31m,x=y")


def test_few_iterations_are_taken_and_noted() -> None:
    client = ScramClient("SCRAM-SHA-256", ALICE, None)
    server = ServerExchange(scram("SCRAM-SHA-256", Known(USERS.get), iterations=10))
    assert talk(client, server).allowed
    assert client.notes == (NOTE_FEW_ITERATIONS,)


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2", "OAUTHBEARER", "EXTERNAL"])
def test_a_server_that_never_stops_asking_gets_no_answer(mechanism: str) -> None:
    client = client_exchange(mechanism, ALICE)
    for _ in range({"PLAIN": 1, "EXTERNAL": 1, "CRAM-MD5": 1}.get(mechanism, 2)):
        client.respond(b"more")
    with pytest.raises(SaslError, match="once more"):
        client.respond(b"more")


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        (b"", "no reason given"),
        (b"[1]", "[1]"),
        (b"\x1b[2J\xff", "?[2J"),
        (b"[" * 5000, "["),
        (b'{"a":{}}', "no reason"),
    ],
)
def test_what_a_server_says_of_a_token_becomes_one_printable_line(problem: bytes, told: str) -> None:
    client = client_exchange("OAUTHBEARER", ALICE)
    client.initial()
    client.respond(problem)
    assert client.complaint.startswith(told)
    assert client.complaint.isprintable()
    with pytest.raises(SaslError, match="has refused"):
        client.finish()


# Clients that lie


def test_a_proof_cannot_be_used_again() -> None:
    server = serve("SCRAM-SHA-1")
    server.respond(SHA1_VECTOR[2])
    with pytest.raises(SaslError, match="nonce"):
        server.respond(SHA1_VECTOR[4])


@pytest.mark.parametrize(
    ("mechanism", "response"),
    [
        ("PLAIN", b""),
        ("PLAIN", b"alice\0secret"),
        ("PLAIN", b"\0\0secret"),
        ("PLAIN", b"bob\0alice\0secret"),
        ("CRAM-MD5", b"alice"),
        ("CRAM-MD5", b""),
        ("SCRAM-SHA-1", b""),
        ("SCRAM-SHA-1", b"n,,"),
        ("SCRAM-SHA-1", b"x,,n=alice,r=abc"),
        ("SCRAM-SHA-1", b"n,b,n=alice,r=abc"),
        ("SCRAM-SHA-1", b"n,a=bob,n=alice,r=abc"),
        ("SCRAM-SHA-1", b"n,,n=,r=abc"),
        ("SCRAM-SHA-1", b"n,,n=al=ce,r=abc"),
        ("SCRAM-SHA-1", b"n,,n=alice,r="),
        ("SCRAM-SHA-1", b"n,,m=x,n=alice,r=abc"),
        ("XOAUTH2", b""),
        ("XOAUTH2", b"user=alice\x01auth=Basic secret\x01\x01"),
        ("XOAUTH2", b"user=alice\x01\x01"),
        ("OAUTHBEARER", b"n,a=alice,\x01auth=Bearer secret"),
        ("OAUTHBEARER", b"n,,\x01auth=Bearer secret\x01\x01"),
        ("OAUTHBEARER", b"p=x,a=alice,\x01auth=Bearer secret\x01\x01"),
    ],
)
def test_malformed_responses_are_refused(mechanism: str, response: bytes) -> None:
    with pytest.raises(SaslError):
        serve(mechanism).respond(response)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(MECHANISMS), st.lists(st.binary(max_size=60) | st.sampled_from([b"n,,n=alice,r=abc", b"alice"])))
def test_any_octets_end_in_a_sasl_error_or_no_login(mechanism: str, responses: list[bytes]) -> None:
    server = serve(mechanism, END_POINT, identity=None)
    with contextlib.suppress(SaslError):
        for response in responses:
            login = server.respond(response)
            if login is not None:
                assert not login.allowed
                break
            server.challenge()


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([name for name in MECHANISMS if "PLUS" not in name]), st.lists(st.binary(max_size=60), max_size=4)
)
def test_no_challenge_breaks_a_client(mechanism: str, challenges: list[bytes]) -> None:
    client = client_exchange(mechanism, ALICE)
    with contextlib.suppress(SaslError):
        for challenge in challenges:
            client.respond(challenge)
        client.finish()


# What we are asked to send


@pytest.mark.parametrize("mechanism", [name for name in MECHANISMS if name != "EXTERNAL"])
def test_credentials_of_the_wrong_kind_are_refused(mechanism: str) -> None:
    with pytest.raises(SaslError, match="needs a"):
        client_exchange(mechanism, Credentials("alice"), END_POINT)


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("evil", ["a\0b", "a\udce4b"])
def test_what_cannot_be_sent_is_refused(mechanism: str, evil: str) -> None:
    with pytest.raises(SaslError):
        client_exchange(mechanism, Credentials(evil, password=evil, token=evil, acting_for=evil), END_POINT)


def test_a_token_cannot_smuggle_a_second_field() -> None:
    for mechanism in ("XOAUTH2", "OAUTHBEARER"):
        with pytest.raises(SaslError, match="control character"):
            client_exchange(mechanism, Credentials("alice", token="x\x01user=bob"))


@pytest.mark.parametrize("mechanism", ["LOGIN", "CRAM-MD5"])
def test_who_cannot_act_for_another_says_so(mechanism: str) -> None:
    with pytest.raises(SaslError, match="act for bob"):
        client_exchange(mechanism, Credentials("alice", password="secret", acting_for="bob"))


def test_an_unknown_mechanism_is_refused() -> None:
    with pytest.raises(SaslError, match="'DIGEST-MD5' is not known"):
        client_exchange("DIGEST-MD5", ALICE)


# Choosing


EVERYTHING = tuple(name.lower() for name in MECHANISMS)
PASSWORD, TOKEN, NEITHER = Credentials("a", password="p"), Credentials("a", token="t"), Credentials("a")


@pytest.mark.parametrize(
    ("credentials", "secure", "binding", "order"),
    [
        (
            PASSWORD,
            True,
            END_POINT,
            ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN"],
        ),
        (PASSWORD, True, None, ["SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN"]),
        (PASSWORD, False, None, ["SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5"]),
        (TOKEN, True, END_POINT, ["OAUTHBEARER", "XOAUTH2"]),
        (TOKEN, False, None, []),
        (NEITHER, False, None, ["EXTERNAL"]),
        (Credentials("a", password="p", acting_for="b"), True, None, ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"]),
    ],
)
def test_the_strongest_mechanism_comes_first(
    credentials: Credentials, secure: bool, binding: ChannelBinding | None, order: list[str]
) -> None:
    offered, found = set(EVERYTHING), []
    while (name := strongest(offered, credentials, secure=secure, binding=binding)) is not None:
        found.append(name)
        offered.discard(name.lower())
    assert found == order


# Preparing, encoding


@pytest.mark.parametrize(
    ("given_text", "prepared"),
    [  # RFC 4013 §3
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b", "a b"),
        ("\u0627\u0628", "\u0627\u0628"),
        ("\U0001f600", "\U0001f600"),
    ],
)
def test_saslprep_is_what_the_rfc_shows(given_text: str, prepared: str) -> None:
    assert saslprep(given_text) == prepared


@pytest.mark.parametrize("text", ["\u0007", "\u0627\u0031", "\u00ad", "", "a\u0627", "\ud800", "\u202e", "\ue000"])
def test_saslprep_refuses_what_the_rfc_prohibits(text: str) -> None:
    with pytest.raises(SaslError):
        saslprep(text)


@pytest.mark.parametrize("line", [b"!!", b"YQ", b"Y Q==", b"YQ==x", "ä".encode()])
def test_what_is_not_base64_is_refused(line: bytes) -> None:
    with pytest.raises(SaslError, match="not base64"):
        decode_response(line)


def test_base64_of_nothing_is_empty_or_an_equals_sign() -> None:
    assert decode_response(b"=") == decode_response(b"") == encode_challenge(b"") == b""


def test_scram_agrees_with_a_second_implementation() -> None:
    """RFC 5802 §3, written down once more from the formulas."""
    hash_: Callable[[bytes], bytes] = lambda data: hashlib.sha256(data).digest()  # noqa: E731
    client = ScramClient("SCRAM-SHA-256-PLUS", Credentials("alice", password="secret"), UNIQUE, nonce="abc")
    assert client.initial() == b"p=tls-unique,,n=alice,r=abc"
    first = b"r=abcdef,s=c2FsdA==,i=4096"
    without = b"c=" + base64.b64encode(b"p=tls-unique,," + UNIQUE.data) + b",r=abcdef"
    salted = hashlib.pbkdf2_hmac("sha256", b"secret", b"salt", 4096)
    key = hmac.digest(salted, b"Client Key", "sha256")
    signature = hmac.digest(hash_(key), b"n=alice,r=abc," + first + b"," + without, "sha256")
    proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
    assert client.respond(first) == without + b",p=" + base64.b64encode(proof)
