"""Small hand-made evidence, healthy unless told otherwise, and the words in which cases are written."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from mailprobe.checks import CHECKS
from mailprobe.checks.registry import Scene, Subject
from mailprobe.model.evidence import (
    Address,
    Answer,
    Capabilities,
    Capability,
    Dnssec,
    Domain,
    Exchange,
    Host,
    Injection,
    Kind,
    Record,
    Reply,
    Session,
    Settings,
    Stage,
    Status,
    Target,
    Tls,
    Trouble,
    Trust,
)
from mailprobe.model.finding import Cause, Judgement, Verdict
from mailprobe.model.ports import WELL_KNOWN, Protocol, Role, Service
from tests.certificates import Authority

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
DOMAIN, HOST, ADDRESS = "a.test", "mx.a.test", "192.88.99.25"
AUTHORITY = Authority(at=NOW)
CERTIFICATE = AUTHORITY.server(HOST)
TRUSTED = Trust(trusted=True, code=0, reason="ok", depth=0, store="system")

PORTS = tuple(WELL_KNOWN)
CLEAR_PORTS = (25, 587, 110, 143)
TLS_PORTS = (465, 995, 993)
USER_PORTS = tuple(port for port in PORTS if port != 25)


# -- DNS --------------------------------------------------------------------------------------------------------


def answer(name: str, kind: str, *data: str, status: Status | None = None, **changes: Any) -> Answer:
    """An answer; a datum such as ``CNAME b.test.`` in capitals is a record of that type."""
    records = []
    for each in data:
        word, _, rest = each.partition(" ")
        own, text = (word, rest) if word == "CNAME" else (kind, each)
        records.append(Record(name=f"{name}.", type=own, ttl=3600, data=text))
    found = Status.ANSWERED if any(record.type == kind for record in records) else Status.NODATA
    made = Answer(
        name=name,
        type=kind,
        status=status or found,
        rcode="NOERROR",
        flags=("qr", "rd", "ra"),
        records=tuple(records),
        authority=(),
        extended_errors=(),
        dnssec=Dnssec.UNKNOWN,
        server="192.0.2.53:53",
        transport="udp",
        attempts=1,
        ms=1.0,
        detail="",
    )
    return msgspec.structs.replace(made, **changes)


def failed(name: str, kind: str, status: Status = Status.SERVFAIL, **changes: Any) -> Answer:
    return answer(name, kind, status=status, rcode=status.name, **changes)


def bare_host(name: str = HOST, *addresses: str, answers: tuple[Answer, ...] | None = None) -> Host:
    """A host whose ports were not asked."""
    if answers is None:
        four = [each for each in addresses if ":" not in each]
        six = [each for each in addresses if ":" in each]
        answers = (answer(name, "A", *four), answer(name, "AAAA", *six))
    bare = tuple(Address(address=each, reverse=None, forward=(), sessions=()) for each in addresses)
    return Host(name=name, answers=answers, addresses=bare, greeted_as=())


def domain(
    *mx: str, hosts: tuple[Host, ...] | None = None, implicit: tuple[Answer, ...] = (), **changes: Any
) -> Target:
    """A domain with these MX records; without *hosts* every target has one public address."""
    made = answer(DOMAIN, "MX", *mx, **changes)
    if hosts is None:
        names = [each.split()[1].removesuffix(".") for each in mx if not each.startswith("CNAME")]
        hosts = tuple(bare_host(name, ADDRESS) for name in names if name)
    return Target(asked=DOMAIN, domain=Domain(name=DOMAIN, mx=made, implicit=implicit), hosts=hosts, trouble=None)


def host_target(*hosts: Host, asked: str = HOST) -> Target:
    return Target(asked=asked, domain=None, hosts=hosts, trouble=None)


# -- conversations ----------------------------------------------------------------------------------------------


def reply(*lines: str, status: str | None = None, quirks: tuple[str, ...] = ()) -> Reply:
    """A reply; its status is read from the last line unless given."""
    if status is None:
        last = lines[-1] if lines else ""
        words = last.split()
        status = last[:3] if last[:3].isdigit() else words[1 if last[:1] in "*m" and len(words) > 1 else 0]
    return Reply(status=status, lines=lines, quirks=quirks)


def caps(source: str, *items: str) -> Capabilities:
    """Capabilities from text such as ``AUTH PLAIN LOGIN``."""
    split = [item.split() for item in items]
    return Capabilities(
        source=source,
        items=tuple(Capability(keyword=words[0], parameters=tuple(words[1:])) for words in split),
    )


def trouble(stage: Stage, kind: Kind, detail: str = "what happened") -> Trouble:
    return Trouble(stage=stage, kind=kind, detail=detail)


def tls(*chain: bytes, trust: Trust | None = TRUSTED, server_name: str | None = HOST, **changes: Any) -> Tls:
    made = Tls(
        version="TLSv1.3",
        cipher="TLS_AES_256_GCM_SHA384",
        bits=256,
        server_name=server_name,
        chain=chain or CERTIFICATE.chain,
        trust=trust,
    )
    return msgspec.structs.replace(made, **changes)


def distrust(code: int, depth: int = 0) -> Trust:
    return Trust(trusted=False, code=code, reason=f"error {code}", depth=depth, store="system")


def exchange(
    sent: str, *lines: str, stage: Stage = Stage.CAPABILITIES, secure: bool = False, **reply_changes: Any
) -> Exchange:
    return Exchange(stage=stage, secure=secure, sent=sent, reply=reply(*lines, **reply_changes), ms=1.0)


_GREETING = {
    Protocol.SMTP: "220 mx.a.test ESMTP",
    Protocol.POP3: "+OK ready",
    Protocol.IMAP: "* OK ready",
    Protocol.UNKNOWN: "hello",
}
_BASIC = ("PIPELINING", "SIZE 10240000", "8BITMIME", "ENHANCEDSTATUSCODES")
_ASK = {Protocol.SMTP: "EHLO [192.0.2.1]", Protocol.POP3: "CAPA", Protocol.IMAP: "m1 CAPABILITY"}


def _listed(service: Service, *, inside: bool) -> tuple[str, ...]:
    """What a healthy server lists."""
    if service.protocol is Protocol.SMTP:
        login = ("AUTH PLAIN LOGIN",) if inside and service.role is Role.SUBMISSION else ()
        return (*_BASIC, *login) if inside else (*_BASIC, "STARTTLS")
    if service.protocol is Protocol.POP3:
        return ("UIDL", "USER", "SASL PLAIN") if inside else ("UIDL", "STLS")
    return ("IMAP4REV1", "AUTH PLAIN") if inside else ("IMAP4REV1", "STARTTLS", "LOGINDISABLED")


def _asked(service: Service, listed: tuple[str, ...], *, inside: bool) -> Exchange:
    stage = Stage.CAPABILITIES_TLS if inside else Stage.CAPABILITIES
    sent = _ASK[service.protocol]
    if service.protocol is Protocol.SMTP:
        lines = (f"250-{HOST}", *(f"250-{item}" for item in listed[:-1]), f"250 {listed[-1]}")
        return exchange(sent, *lines, stage=stage, secure=inside)
    if service.protocol is Protocol.POP3:
        return exchange(sent, "+OK list", *listed, stage=stage, secure=inside, status="+OK")
    return exchange(sent, f"* CAPABILITY {' '.join(listed)}", "m1 OK done", stage=stage, secure=inside, status="OK")


def session(port: int = 25, **changes: Any) -> Session:
    """A healthy session with one of the seven ports, then changed."""
    service = WELL_KNOWN[port]
    implicit = service.implicit_tls
    source = "ehlo" if service.protocol is Protocol.SMTP else "asked"
    inside, clear = _listed(service, inside=True), _listed(service, inside=False)
    exchanges = [
        exchange("", _GREETING[service.protocol], stage=Stage.GREETING, secure=implicit),
        *([] if implicit else [_asked(service, clear, inside=False)]),
        _asked(service, inside, inside=True),
    ]
    made = Session(
        host=HOST,
        address=ADDRESS,
        port=port,
        service=service.value,
        speaks=service.protocol.value,
        answered_in_clear=False,
        greeting=exchanges[0].reply,
        exchanges=tuple(exchanges),
        before_tls=None if implicit else caps(source, *clear),
        after_tls=caps(source, *inside),
        offers_starttls=None if implicit else True,
        leftover=b"",
        tls=tls(),
        injection=None if implicit else Injection(executed=False, reply="221 bye", kept_state=None, trouble=None),
        nameless=tls(server_name=None),
        nameless_trouble=None,
        legacy=None,
        timings={"connect": 1.0, "greeting": 20.0, "total": 100.0},
        trouble=None,
    )
    return msgspec.structs.replace(made, **changes)


def stopped(port: int, stage: Stage, kind: Kind, detail: str = "what happened", **changes: Any) -> Session:
    """A session that ended before anything was learnt but what *changes* say."""
    nothing: dict[str, Any] = {
        "speaks": None,
        "greeting": None,
        "exchanges": (),
        "before_tls": None,
        "after_tls": None,
        "offers_starttls": None,
        "tls": None,
        "injection": None,
        "nameless": None,
        "timings": {},
        "trouble": trouble(stage, kind, detail),
    }
    return session(port, **{**nothing, **changes})


def refused(port: int = 25) -> Session:
    return stopped(port, Stage.CONNECT, Kind.REFUSED, "connection refused")


def silent(port: int = 25) -> Session:
    stage = Stage.HANDSHAKE if WELL_KNOWN[port].implicit_tls else Stage.GREETING
    return stopped(port, stage, Kind.TIMEOUT, "silence after our limit of 22 s")


def busy(port: int = 25) -> Session:
    """Greeted with a request to come back later, inside TLS where that comes first."""
    words = {
        Protocol.SMTP: "421 too many connections",
        Protocol.POP3: "-ERR [SYS/TEMP] later",
        Protocol.IMAP: "* BYE [UNAVAILABLE] later",
    }[WELL_KNOWN[port].protocol]
    greeting = reply(words)
    return stopped(
        port,
        Stage.GREETING,
        Kind.TEMPORARY,
        words,
        speaks=WELL_KNOWN[port].protocol.value,
        greeting=greeting,
        exchanges=(exchange("", words, stage=Stage.GREETING),),
        timings={"greeting": 20.0},
    )


def listing(port: int, *items: str, inside: bool = True, **changes: Any) -> Session:
    """A session that lists these capabilities, inside TLS or before it."""
    source = "ehlo" if WELL_KNOWN[port].protocol is Protocol.SMTP else "asked"
    listed: dict[str, Any] = {"after_tls" if inside else "before_tls": caps(source, *items)}
    return session(port, **{**listed, **changes})


def host(*sessions: Session, **changes: Any) -> Host:
    """A host with these sessions, gathered by address."""
    addresses = dict.fromkeys(each.address for each in sessions)
    made = Host(
        name=HOST,
        answers=(answer(HOST, "A", *[each for each in addresses if ":" not in each]),),
        addresses=tuple(
            Address(
                address=each, reverse=None, forward=(), sessions=tuple(one for one in sessions if one.address == each)
            )
            for each in addresses
        ),
        greeted_as=(),
    )
    return msgspec.structs.replace(made, **changes)


def scene(target: Target | None = None, of: Host | None = None, internal: tuple[str, ...] = ()) -> Scene:
    settings = Settings(
        resolver="system", ehlo_name="probe.test", internal_networks=internal, ports=PORTS, thorough=False
    )
    return Scene(NOW, settings, target or domain(f"10 {HOST}."), of, None)


HEALTHY_SCENE = scene()


# -- cases ------------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """One check, one piece of evidence, and what must come of it; *culprit* None is not looked at."""

    check: str
    subject: Subject
    verdict: Verdict
    culprit: str | None = None
    cause: Cause | None = None
    words: str = ""
    scene: Scene = HEALTHY_SCENE

    def judged(self) -> Judgement:
        check = CHECKS[self.check]
        assert isinstance(self.subject, check.subject)
        return check(self.subject, self.scene)

    def hold(self) -> None:
        """Fail unless the check says what the case says."""
        judgement = self.judged()
        assert judgement.verdict is self.verdict, judgement
        assert judgement.cause is self.cause, judgement
        assert self.words in judgement.detail
        assert judgement.detail
        if self.culprit is not None:
            assert judgement.culprit == self.culprit


def passes(check: str, subject: Subject, words: str = "", scene: Scene = HEALTHY_SCENE) -> Case:
    return Case(check, subject, Verdict.OK, words=words, scene=scene)


def fails(check: str, subject: Subject, culprit: str | None, words: str = "", scene: Scene = HEALTHY_SCENE) -> Case:
    return Case(check, subject, Verdict.FAIL, culprit, words=words, scene=scene)


def undecided(check: str, subject: Subject, cause: Cause, words: str = "", scene: Scene = HEALTHY_SCENE) -> Case:
    return Case(check, subject, Verdict.UNKNOWN, cause=cause, words=words, scene=scene)


def aside(check: str, subject: Subject, words: str = "", scene: Scene = HEALTHY_SCENE) -> Case:
    return Case(check, subject, Verdict.NOT_APPLICABLE, words=words, scene=scene)


def names(cases: list[Case]) -> list[str]:
    """Give the names under which a parametrised test shows its cases."""
    return [f"{case.check}-{case.verdict.value}-{index}" for index, case in enumerate(cases)]
