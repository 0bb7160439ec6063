"""The reader of everyday DNS messages against dnspython, which reads them all."""

from __future__ import annotations

import contextlib
import random

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailprobe.net.dns import message, plain, wire

RECORDS = {
    "A": ["192.0.2.1", "192.0.2.255"],
    "AAAA": ["2001:db8::1", "::1", "::ffff:192.0.2.1", "2001:db8:0:1:0:0:0:1", "::"],
    "MX": ["10 mx.a.test.", "0 .", "10 MX.A.test.", "65535 b.test."],
    "CNAME": ["a.test.", "\\000\\032\\.x.test."],
    "NS": ["ns.a.test."],
    "PTR": ["host.a.test.", "a\\\\b.test.", "\\@\\$\\(.test."],
    "SOA": ["ns.a.test. hostmaster\\.x.a.test. 4294967295 1 2 3 4"],
    "TXT": ['"v=spf1 -all"', '"a" "b"', '""', '"\\"quoted\\" \\\\ \\001\\255"'],
    "SRV": ["1 2 25 a.test."],
}
NAMES = ["a.test.", "A.Test.", "mx.a.test.", "_dmarc.a.test.", ".", "*.a.test.", "ä.test."]


@st.composite
def messages(draw: st.DrawFn) -> dns.message.Message:
    kind = draw(st.sampled_from(sorted(RECORDS)))
    query = dns.message.make_query(
        draw(st.sampled_from(NAMES)), kind, use_edns=draw(st.sampled_from([-1, 0])), id=draw(st.integers(0, 65535))
    )
    reply = dns.message.make_response(query, recursion_available=draw(st.booleans()))
    if query.edns >= 0 and draw(st.booleans()):
        reply.use_edns(
            0,
            options=[
                dns.edns.EDEOption(
                    dns.edns.EDECode(draw(st.integers(0, 30))), draw(st.sampled_from([None, "why", "ü"]))
                )
            ],
        )
    reply.flags |= draw(st.sampled_from([0, dns.flags.AA, dns.flags.AD | dns.flags.CD, dns.flags.TC]))
    reply.set_rcode(dns.rcode.Rcode(draw(st.sampled_from([0, 1, 2, 3, 4, 5, 9] + ([16] if query.edns >= 0 else [])))))
    for section in (reply.answer, reply.authority, reply.additional):
        for _ in range(draw(st.integers(0, 3))):
            kind = draw(st.sampled_from(sorted(RECORDS)))
            data = draw(st.lists(st.sampled_from(RECORDS[kind]), min_size=1, max_size=3))
            ttl = draw(st.sampled_from([0, 60, 3600]))
            section.append(dns.rrset.from_text(draw(st.sampled_from(NAMES)), ttl, "IN", kind, *data))
    return reply


def both(octets: bytes) -> tuple[plain.Parts | None, plain.Parts | None]:
    ours, theirs = plain.read(octets), None
    with contextlib.suppress(ValueError):
        theirs = wire.read(octets)
    return ours, theirs


@given(messages())
def test_a_message_means_the_same_to_both_readers(reply: dns.message.Message) -> None:
    ours, theirs = both(reply.to_wire(max_size=65535))
    assert ours in (None, theirs)


@given(messages(), st.randoms(use_true_random=False))
def test_a_damaged_message_means_the_same_to_both_readers(reply: dns.message.Message, chance: random.Random) -> None:
    damaged = bytearray(reply.to_wire(max_size=65535))
    for _ in range(chance.randint(1, 3)):
        damaged[chance.randrange(len(damaged))] = chance.randrange(256)
    ours, theirs = both(bytes(damaged[: chance.choice([len(damaged), chance.randrange(len(damaged))])]))
    assert ours is None or theirs is None or ours == theirs


@given(st.binary(max_size=300))
def test_junk_is_read_or_refused_without_any_other_error(octets: bytes) -> None:
    plain.read(octets)


@pytest.mark.parametrize("kind", ["A", "AAAA", "CNAME", "MX", "NS", "PTR", "SOA", "TXT"])
def test_an_everyday_answer_needs_no_dnspython(kind: str) -> None:
    query = dns.message.make_query("a.test.", kind)
    reply = dns.message.make_response(query)
    reply.answer.append(dns.rrset.from_text("a.test.", 60, "IN", kind, RECORDS[kind][0]))
    ours, theirs = both(reply.to_wire())
    assert ours is not None
    assert ours == theirs


@pytest.mark.parametrize("edns", [True, False])
@pytest.mark.parametrize("checking_disabled", [True, False])
@pytest.mark.parametrize("name", ["a.test", "a.test.", "_dmarc.a.test", "*.a.test", "."])
def test_a_query_is_what_dnspython_writes_but_for_its_id(name: str, edns: bool, checking_disabled: bool) -> None:
    ours = plain.query(name, "MX", edns=edns, checking_disabled=checking_disabled)
    theirs = wire.query(name, "MX", edns=edns, checking_disabled=checking_disabled)
    assert ours is not None
    assert ours[2:] == theirs[2:]


@pytest.mark.parametrize(("name", "kind"), [("a.test", "SRV"), ("a b.test", "MX"), ("a" * 64 + ".test", "MX")])
def test_an_unusual_query_is_left_to_dnspython(name: str, kind: str) -> None:
    assert plain.query(name, kind, edns=True, checking_disabled=False) is None


def test_a_pointer_that_goes_round_is_refused() -> None:
    loop = bytes.fromhex("000181800001000000000000") + b"\xc0\x0c\x00\x0f\x00\x01"
    assert plain.read(loop) is None
    with pytest.raises(ValueError, match="no DNS message"):
        message.read(loop)


def test_a_reply_to_another_question_does_not_match() -> None:
    query = message.Query("a.test", "MX")
    other = bytearray(message.Query("b.test", "MX").wire)
    other[:2], other[2] = query.wire[:2], 0x81
    assert not query.matches(bytes(other))


def test_a_reply_in_another_case_matches() -> None:
    query = message.Query("a.test", "MX")
    reply = bytearray(query.wire.replace(b"test", b"TeST"))
    reply[2] |= 0x80
    assert query.matches(bytes(reply))
