"""How one question is asked: every decision of `lookup`, with hand-made replies and no socket."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from mailprobe.model.errors import UsageError
from mailprobe.model.evidence import Answer, Dnssec, Status
from mailprobe.net.dns.lookup import Failed, Reply, Send, lookup
from mailprobe.net.dns.question import Question
from mailprobe.net.dns.servers import Server

FIRST = Server("udp", "192.0.2.53", 53)
SECOND = Server("udp", "198.51.100.53", 53)
LOCAL = Server("udp", "127.0.0.1", 53)
SILENCE = Failed(timeout=True, detail="no answer")
UNREACHABLE = Failed(timeout=False, detail="cannot be asked: no route")
Make = Callable[[Send], Reply]


def says(
    rcode: dns.rcode.Rcode = dns.rcode.NOERROR,
    *data: str,
    flags: int = 0,
    question: bool = True,
    authority: str = "",
    recurses: bool = True,
) -> Make:
    """Answer with records in presentation form: ``MX 10 b.test.``, or ``b.test. MX 10 c.test.``."""

    def make(send: Send) -> Reply:
        reply = dns.message.make_response(dns.message.from_wire(send.wire), recursion_available=recurses)
        reply.set_rcode(rcode)
        reply.flags |= flags
        reply.answer = [rrset(each) for each in data]
        reply.authority = [rrset(authority)] if authority else []
        if not question:
            reply.question.clear()
        wire = reply.to_wire()
        assert send.accepts(wire)
        return wire

    return make


def rrset(line: str) -> dns.rrset.RRset:
    owner, line = line.split(" ", 1) if line.partition(" ")[0].endswith(".") else ("a.test.", line)
    kind, text = line.split(" ", 1)
    return dns.rrset.from_text(owner, 300, "IN", kind, text)


ANSWER = says(dns.rcode.NOERROR, "MX 10 mx.a.test.")
SOA = "test. SOA ns.test. root.test. 1 2 3 4 5"
NS = "test. NS ns.test."
SERVFAIL = says(dns.rcode.SERVFAIL)
REFUSED = says(dns.rcode.REFUSED)
FORMERR = says(dns.rcode.FORMERR)
CUT = says(dns.rcode.NOERROR, flags=dns.flags.TC)


def conversation(
    replies: Sequence[Make | Failed], servers: tuple[Server, ...] = (FIRST,), total_s: float = 60.0
) -> tuple[Answer, list[Send]]:
    """Drive a lookup by the replies given; all of them must be used and no more be wanted."""
    course = lookup(Question("a.test", "MX"), servers, try_s=1.0, total_s=total_s)
    sent = [next(course)]
    for index, reply in enumerate(replies):
        try:
            sent.append(course.send(reply if isinstance(reply, Failed) else reply(sent[-1])))
        except StopIteration as stop:
            assert index == len(replies) - 1, "it stopped before all replies were used"
            answer = stop.value
            assert isinstance(answer, Answer)
            return answer, sent
    raise AssertionError("it wants more replies")


def query(send: Send) -> dns.message.Message:
    return dns.message.from_wire(send.wire)


def hosts(sent: list[Send]) -> list[str]:
    return [send.server.host for send in sent]


def test_an_answer_stands_at_once() -> None:
    answer, sent = conversation([ANSWER])
    assert (answer.status, answer.rcode, answer.attempts) == (Status.ANSWERED, "NOERROR", 1)
    assert [record.data for record in answer.matching] == ["10 mx.a.test."]
    assert (answer.server, answer.transport, answer.detail) == ("192.0.2.53:53", "udp", "")
    assert (sent[0].transport, sent[0].wait_s) == ("udp", 1.0)


def test_a_question_asks_for_recursion_and_edns_but_never_for_less_checking() -> None:
    message = query(conversation([ANSWER])[1][0])
    assert message.edns == 0
    assert message.payload == 1232
    assert message.flags & dns.flags.RD
    assert message.flags & dns.flags.AD
    assert not message.flags & dns.flags.CD


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (says(), Status.NODATA),
        (says(dns.rcode.NXDOMAIN), Status.NXDOMAIN),
        (says(dns.rcode.NOERROR, "CNAME b.test."), Status.NODATA),  # through a forwarder that strips the SOA
        (says(dns.rcode.NOERROR, "CNAME b.test.", authority=SOA, recurses=False), Status.NODATA),
        (says(authority=SOA, recurses=False), Status.NODATA),
        (says(flags=dns.flags.AA, recurses=False), Status.NODATA),
        (says(dns.rcode.NXDOMAIN, "CNAME b.test.", recurses=False), Status.NXDOMAIN),
    ],
)
def test_a_denial_stands_at_once(reply: Make, status: Status) -> None:
    answer, _ = conversation([reply], (FIRST, SECOND))
    assert (answer.status, answer.attempts) == (status, 1)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (says(authority=NS), "a referral"),
        (says(authority=NS, recurses=False), "a referral"),
        (says(authority=NS, flags=dns.flags.AA, recurses=False), "a referral"),
        (says(recurses=False), "a referral"),
        (says(dns.rcode.NOERROR, "b.test. MX 10 mx.b.test.", recurses=False), "a referral"),
        (says(dns.rcode.NOERROR, "CNAME b.test.", authority=NS), "did not follow it"),
        (says(dns.rcode.NOERROR, "CNAME b.test.", flags=dns.flags.AA, recurses=False), "did not follow it"),
        (says(dns.rcode.NOERROR, "CNAME a.test."), "does not end"),
        (says(dns.rcode.NOERROR, "CNAME B.test.", "b.test. CNAME A.test.", authority=SOA), "does not end"),
        (says(dns.rcode.NOERROR, "CNAME 0.test.", *(f"{n}.test. CNAME {n + 1}.test." for n in range(30))), "not end"),
    ],
)
def test_what_neither_answers_nor_denies_is_a_failure_and_the_next_server_is_asked(reply: Make, words: str) -> None:
    answer, _ = conversation([reply])
    assert (answer.status, answer.rcode) == (Status.FAILED, "NOERROR")
    assert words in answer.detail
    answer, sent = conversation([reply, ANSWER], (FIRST, SECOND))
    assert (answer.status, hosts(sent)) == (Status.ANSWERED, [FIRST.host, SECOND.host])


def test_only_what_the_question_leads_to_belongs_to_the_answer() -> None:
    foreign = ("victim.test. MX 1 evil.test.", "c.test. CNAME victim.test.")
    led_on = ("b.TEST. MX 10 mx.b.test.", "A.test. CNAME B.test.")
    answer, _ = conversation([says(dns.rcode.NOERROR, foreign[0], *led_on, foreign[1])])
    assert answer.status is Status.ANSWERED
    owners = [(record.name.lower(), record.type) for record in answer.records]
    assert owners == [("b.test.", "MX"), ("a.test.", "CNAME")]


def test_records_of_another_name_are_no_answer() -> None:
    answer, _ = conversation([says(dns.rcode.NOERROR, "victim.test. MX 1 evil.test.")])
    assert (answer.status, answer.records) == (Status.NODATA, ())


def test_a_lost_packet_is_sent_again() -> None:
    answer, sent = conversation([SILENCE, ANSWER])
    assert (answer.status, answer.attempts, len(sent)) == (Status.ANSWERED, 2, 2)


def test_silence_is_asked_three_times_and_ends_as_timeout() -> None:
    answer, sent = conversation([SILENCE] * 3)
    assert (answer.status, answer.attempts, len(sent)) == (Status.TIMEOUT, 3, 3)
    assert answer.detail == "no answer"


def test_servers_are_asked_in_turn() -> None:
    answer, sent = conversation([SILENCE, SILENCE, SILENCE, ANSWER], (FIRST, SECOND))
    assert hosts(sent) == [FIRST.host, SECOND.host, FIRST.host, SECOND.host]
    assert answer.server == str(SECOND)


@pytest.mark.parametrize("reply", [SERVFAIL, REFUSED, UNREACHABLE])
def test_a_server_that_fails_is_not_asked_again(reply: Make | Failed) -> None:
    answer, sent = conversation([reply, SILENCE, ANSWER], (FIRST, SECOND))
    assert hosts(sent) == [FIRST.host, SECOND.host, SECOND.host]
    assert answer.status is Status.ANSWERED


@pytest.mark.parametrize(
    ("replies", "status"),
    [
        ([SILENCE, REFUSED, SILENCE, SILENCE], Status.REFUSED),
        ([UNREACHABLE, SILENCE, SILENCE, SILENCE], Status.FAILED),
        ([UNREACHABLE, REFUSED], Status.REFUSED),
        ([REFUSED, SERVFAIL, SERVFAIL], Status.SERVFAIL),
        ([SERVFAIL, REFUSED, SERVFAIL], Status.SERVFAIL),
        ([says(dns.rcode.NOTAUTH), SILENCE, SILENCE, SILENCE], Status.FAILED),
    ],
)
def test_of_several_failures_the_one_that_says_most_wins(replies: list[Make | Failed], status: Status) -> None:
    answer, sent = conversation(replies, (FIRST, SECOND))
    assert answer.status is status
    assert answer.attempts == len(sent)


def test_an_unreachable_resolver_is_named() -> None:
    answer, _ = conversation([UNREACHABLE])
    assert (answer.status, answer.detail, answer.rcode) == (Status.FAILED, "cannot be asked: no route", "")


def test_servfail_with_an_answer_behind_it_is_bogus() -> None:
    answer, sent = conversation([SERVFAIL, ANSWER])
    assert (answer.status, answer.dnssec, answer.attempts) == (Status.SERVFAIL, Dnssec.BOGUS, 2)
    assert answer.records == ()
    assert query(sent[1]).flags & dns.flags.CD


@pytest.mark.parametrize("denial", [says(), says(dns.rcode.NXDOMAIN)])
def test_servfail_with_a_denial_behind_it_is_bogus_as_well(denial: Make) -> None:
    assert conversation([SERVFAIL, denial])[0].dnssec is Dnssec.BOGUS


@pytest.mark.parametrize("second", [SERVFAIL, SILENCE, UNREACHABLE, REFUSED])
def test_servfail_that_stays_is_just_servfail(second: Make | Failed) -> None:
    answer, _ = conversation([SERVFAIL, second])
    assert (answer.status, answer.dnssec) == (Status.SERVFAIL, Dnssec.UNKNOWN)


def test_the_server_that_said_servfail_is_the_one_asked_again() -> None:
    _, sent = conversation([REFUSED, SERVFAIL, SERVFAIL], (FIRST, SECOND))
    assert hosts(sent) == [FIRST.host, SECOND.host, SECOND.host]


def test_a_cut_answer_is_fetched_over_tcp() -> None:
    answer, sent = conversation([CUT, ANSWER])
    assert [send.transport for send in sent] == ["udp", "tcp"]
    assert sent[0].wire == sent[1].wire
    assert (answer.status, answer.transport, answer.attempts) == (Status.ANSWERED, "tcp", 2)


@pytest.mark.parametrize(
    ("failure", "words"), [(UNREACHABLE, "TCP failed: cannot be asked: no route"), (SILENCE, "TCP failed: timed out")]
)
def test_a_cut_answer_without_tcp_is_failed_and_never_taken_for_whole(failure: Failed, words: str) -> None:
    answer, _ = conversation([CUT, failure])
    assert (answer.status, answer.records) == (Status.FAILED, ())
    assert words in answer.detail


@pytest.mark.parametrize("refusal", [FORMERR, says(dns.rcode.NOTIMP), says(dns.rcode.FORMERR, question=False)])
def test_a_resolver_that_takes_no_edns_is_asked_without(refusal: Make) -> None:
    answer, sent = conversation([refusal, ANSWER])
    assert [query(send).edns for send in sent] == [0, -1]
    assert (answer.status, answer.detail) == (Status.ANSWERED, "the resolver takes no EDNS")


def test_a_cut_answer_without_edns_is_fetched_without_edns() -> None:
    answer, sent = conversation([FORMERR, CUT, ANSWER])
    assert query(sent[2]).edns == -1
    assert (sent[2].transport, answer.transport) == ("tcp", "tcp")


def test_formerr_without_edns_is_a_failure_that_names_itself() -> None:
    answer, _ = conversation([FORMERR, FORMERR])
    assert (answer.status, answer.rcode, answer.detail) == (Status.FAILED, "FORMERR", "the resolver answered FORMERR")


def test_the_authenticated_flag_counts_only_over_a_path_that_nobody_can_forge() -> None:
    secure = says(dns.rcode.NOERROR, "MX 10 mx.a.test.", flags=dns.flags.AD)
    assert conversation([secure], (LOCAL,))[0].dnssec is Dnssec.SECURE
    assert conversation([secure], (Server("tls", "dns.test", 853),))[0].dnssec is Dnssec.SECURE
    assert conversation([secure], (FIRST,))[0].dnssec is Dnssec.UNKNOWN


def test_a_resolver_over_tls_is_never_asked_over_anything_else() -> None:
    tls = Server("tls", "dns.test", 853)
    _, sent = conversation([SILENCE, CUT], (tls,))
    assert {send.transport for send in sent} == {"tls"}
    assert sent[0].wait_s > 1.0


def test_when_the_time_is_over_nobody_is_asked_any_more() -> None:
    answer, sent = conversation([SILENCE], (FIRST, SECOND), total_s=0.0)
    assert (answer.status, len(sent), sent[0].wait_s) == (Status.TIMEOUT, 1, 0.0)


def test_when_the_time_is_over_servfail_is_not_looked_into() -> None:
    answer, _ = conversation([SERVFAIL], total_s=0.0)
    assert (answer.status, answer.dnssec) == (Status.SERVFAIL, Dnssec.UNKNOWN)


def test_only_the_reply_to_this_very_question_is_accepted() -> None:
    _, (sent,) = conversation([ANSWER])
    asked = query(sent)
    reply = dns.message.make_response(asked)
    assert sent.accepts(reply.to_wire())
    other = dns.message.make_response(dns.message.make_query("b.test.", "MX", id=asked.id))
    assert not sent.accepts(other.to_wire())
    reply.id ^= 1
    assert not sent.accepts(reply.to_wire())
    assert not sent.accepts(sent.wire)
    for junk in (b"", b"x" * 11, sent.wire[:2] + b"\xff" * 40, sent.wire[:2] + b"\x80"):
        assert not sent.accepts(junk)


@pytest.mark.parametrize(
    ("question", "words"),
    [
        (Question("a.test", "NONSENSE"), "no DNS record type"),
        (Question("a" * 64, "MX"), "cannot be asked"),
        (Question("a..test", "MX"), "cannot be asked"),
        (Question(".".join(["a" * 60] * 5), "MX"), "cannot be asked"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_sent(question: Question, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        next(lookup(question, (FIRST,), try_s=1.0, total_s=1.0))
