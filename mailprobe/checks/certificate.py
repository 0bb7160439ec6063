"""The certificate itself: names, dates, key, purpose, and who gets which."""

from __future__ import annotations

from mailprobe.checks.leaf import leaf_for, leaf_of
from mailprobe.checks.registry import Scene, check, fail, not_applicable, ok, verdict
from mailprobe.checks.undecided import conversation_undecided
from mailprobe.model.errors import RecordError
from mailprobe.model.evidence import Host, Session
from mailprobe.model.finding import Judgement, Severity
from mailprobe.model.names import is_address
from mailprobe.records.certificate import BASIC_CONSTRAINTS, EXTENDED_KEY_USAGE, SAN, Certificate, names_host, read

EXPIRES_SOON_DAYS = 20.0
LIFETIME_LIMIT_DAYS = 398.5  # CA/Browser Forum Baseline Requirements §6.3.2, from 2020 on
RSA_BITS = 2_048  # RFC 9325 §4.5
EC_BITS = 224


def _days(days: float) -> str:
    """Write a span of time; less than a day counts in hours."""
    if days < 1:
        return f"{days * 24:.0f} hours"
    return f"{days:.0f} days" if round(days) != 1 else "1 day"


@check(
    id="certificate-readable",
    claim="The certificate can be read",
    severity=Severity.ERROR,
    source="RFC 5280 §4",
    advice="Have the certificate issued again, by software that writes it as RFC 5280 wants it.",
)
def certificate_readable(session: Session) -> Judgement:
    """Clients differ in what they make of a malformed certificate: some refuse it, some skip what they cannot read."""
    if session.tls is None:
        return conversation_undecided(session)
    if not session.tls.chain:
        return not_applicable("the suite is anonymous: no certificate was sent")
    try:
        leaf = read(session.tls.chain[0])
    except RecordError as error:
        return fail(str(error))
    if leaf.unreadable:
        return fail(f"these extensions cannot be read: {', '.join(leaf.unreadable)}", leaf.subject)
    # RFC 5280 §4.1.2.2: the serial number is a positive integer.
    return verdict(leaf.serial > 0, leaf.subject, f"the serial number is {leaf.serial}, not positive", leaf.subject)


@check(
    id="certificate-expired",
    claim="The certificate has not expired",
    severity=Severity.ERROR,
    source="RFC 5280 §4.1.2.5",
    advice="Renew it; if it was renewed, reload the mail services: they still hold the old one.",
)
def certificate_expired(session: Session, scene: Scene) -> Judgement:
    """Mail programs refuse it or ask the user to look away; and whoever looks away once does so again."""
    leaf = leaf_of(session)
    if isinstance(leaf, Judgement):
        return leaf
    days = leaf.days_left(scene.now)
    return verdict(
        days >= 0,
        f"until {leaf.not_after:%Y-%m-%d}",
        f"expired on {leaf.not_after:%Y-%m-%d}, {_days(-days)} ago",
        leaf.subject,
    )


@check(
    id="certificate-not-yet-valid",
    claim="The certificate is already valid",
    severity=Severity.ERROR,
    source="RFC 5280 §4.1.2.5",
    advice="Set the clock of the machine that issued it, and of the server; then issue the certificate again.",
)
def certificate_not_yet_valid(session: Session, scene: Scene) -> Judgement:
    """A certificate of the future is as bad as one of the past, and mostly a sign of a wrong clock."""
    leaf = leaf_of(session)
    if isinstance(leaf, Judgement):
        return leaf
    return verdict(
        leaf.not_before <= scene.now,
        f"since {leaf.not_before:%Y-%m-%d}",
        f"valid only from {leaf.not_before:%Y-%m-%d %H:%M} UTC",
        leaf.subject,
    )


@check(
    id="certificate-expires-soon",
    claim="The certificate is renewed in time",
    severity=Severity.WARNING,
    source="practice: renew when a third of the lifetime is left",
    advice="See why automatic renewal did not run, and that it reloads the mail services afterwards.",
)
def certificate_expires_soon(session: Session, scene: Scene) -> Judgement:
    """Renewal should have happened by now; something is stuck."""
    leaf = leaf_of(session)
    if isinstance(leaf, Judgement):
        return leaf
    days = leaf.days_left(scene.now)
    if days < 0:
        return not_applicable("it has expired")
    limit = min(EXPIRES_SOON_DAYS, leaf.lifetime_days() / 3)
    return verdict(
        days >= limit, f"{_days(days)} left", f"only {_days(days)} left of {leaf.lifetime_days():.0f}", leaf.subject
    )


@check(
    id="certificate-lifetime",
    claim="The certificate lives no longer than public ones may",
    severity=Severity.INFO,
    source="CA/Browser Forum Baseline Requirements §6.3.2",
    advice="Issue certificates for a year at most, and renew them by a program.",
)
def certificate_lifetime(session: Session) -> Judgement:
    """Some clients refuse long-lived certificates; and what is renewed by hand every ten years is forgotten."""
    leaf = leaf_of(session)
    if isinstance(leaf, Judgement):
        return leaf
    days = leaf.lifetime_days()
    return verdict(days <= LIFETIME_LIMIT_DAYS, f"{days:.0f} days", f"valid for {days:.0f} days", leaf.subject)


def _named(session: Session, *, relay: bool) -> Judgement:
    leaf = leaf_for(session, relay=relay)
    if isinstance(leaf, Judgement):
        return leaf
    if SAN in leaf.unreadable or not leaf.has_san:
        return not_applicable("it has no alternative name at all, or none that can be read")
    names = ", ".join((*leaf.names, *leaf.addresses)[:6]) or "nobody"
    if is_address(session.host) and not leaf.addresses:
        return not_applicable(f"an address was asked for; the certificate is for {names}")
    return verdict(
        names_host(leaf, session.host), f"names {session.host}", f"it is for {names}, not for {session.host}", names
    )


_NAME_ADVICE = "Get a certificate that names this host, or use the name that is in the certificate."


@check(
    id="certificate-name",
    claim="The certificate names the host",
    severity=Severity.ERROR,
    source="RFC 9525 §6; RFC 8314 §3; RFC 7817 §3",
    advice=_NAME_ADVICE,
)
def certificate_name(session: Session) -> Judgement:
    """Mail programs compare the name they were configured with; with another name they warn or refuse."""
    return _named(session, relay=False)


@check(
    id="relay-certificate-name",
    claim="The certificate on port 25 names the exchanger",
    severity=Severity.WARNING,
    source="RFC 8461 §4.1; RFC 7672 §3.2.3",
    advice=_NAME_ADVICE,
)
def relay_certificate_name(session: Session) -> Judgement:
    """Most servers do not look, those that follow MTA-STS do, and then deliver nothing."""
    return _named(session, relay=True)


@check(
    id="certificate-san",
    claim="The name stands in the subject alternative name",
    severity=Severity.ERROR,
    source="RFC 9525 §6.1 and §7.1",
    advice="Issue the certificate again with a subjectAltName of type DNS.",
)
def certificate_san(session: Session) -> Judgement:
    """Clients stopped reading the common name years ago; a certificate with nothing else matches no host."""
    leaf = leaf_of(session)
    if isinstance(leaf, Judgement):
        return leaf
    if SAN in leaf.unreadable:
        return not_applicable("the alternative names cannot be read")
    found = ", ".join((*leaf.names, *leaf.addresses)[:6])
    return verdict(leaf.has_san, found, f"there is only the common name {leaf.common_name!r}", leaf.subject)


@check(
    id="certificate-key",
    claim="The key is long enough",
    severity=Severity.ERROR,
    source="RFC 9325 §4.5",
    advice="Make a new key: EC P-256, or RSA with 2048 bits or more.",
)
def certificate_key(session: Session) -> Judgement:
    """Shorter keys are refused by current software and can be broken by those who try."""
    leaf = leaf_of(session)
    if isinstance(leaf, Judgement):
        return leaf
    seen = f"{leaf.key} {leaf.key_bits or ''}".strip()
    least = {"RSA": RSA_BITS, "DSA": RSA_BITS, "EC": EC_BITS}.get(leaf.key, 0)
    return verdict(leaf.key_bits >= least, seen, f"{seen} is too short; {least} is the least", seen)


@check(
    id="certificate-purpose",
    claim="The certificate is meant for servers",
    severity=Severity.ERROR,
    source="RFC 5280 §4.2.1.9 and §4.2.1.12",
    advice="Issue it as a server certificate: serverAuth in the extended key usage, and no authority of its own.",
)
def certificate_purpose(session: Session) -> Judgement:
    """Clients refuse a certificate that is for something else, and one that could issue others is a danger."""
    leaf = leaf_of(session)
    if isinstance(leaf, Judgement):
        return leaf
    if not leaf.for_servers:
        return fail(f"the extended key usage allows {', '.join(leaf.purposes or ())}, not serverAuth", leaf.subject)
    if leaf.is_ca and not leaf.self_issued:
        return fail("the server uses an authority's certificate as its own", leaf.subject)
    if {BASIC_CONSTRAINTS, EXTENDED_KEY_USAGE} & {*leaf.unreadable}:
        return not_applicable("what it is for cannot be read")
    return ok("for servers")


@check(
    id="certificate-without-sni",
    claim="Clients without SNI get the same certificate",
    severity=Severity.WARNING,
    source="RFC 6066 §3; RFC 7672 §8.1; practice",
    advice="Make this host's certificate the default of the service.",
)
def certificate_without_sni(session: Session) -> Judgement:
    """Many mail servers send no server name when they connect; they get the default certificate, or none."""
    if session.tls is None:
        return conversation_undecided(session)
    if session.tls.server_name is None or not session.tls.chain:
        return not_applicable("no server name was sent in the first place")
    if session.nameless is None:
        trouble = session.nameless_trouble
        if trouble is None or trouble.stage.value != "handshake":
            return not_applicable("not asked, or the second connection was not let in")
        return fail(f"without a server name the handshake fails: {trouble.detail}")
    if not session.nameless.chain:
        return fail("without a server name no certificate is sent")
    leaf = leaf_of(session)
    if isinstance(leaf, Judgement):
        return leaf
    try:
        other = read(session.nameless.chain[0])
    except RecordError as error:
        return fail(f"without a server name: {error}")
    same = leaf.sha256 == other.sha256
    named = names_host(other, session.host)  # a second certificate for the same host, RSA beside EC, is no fault
    return verdict(
        same or named, "the same", f"without a server name the certificate is {other.subject}", other.subject
    )


@check(
    id="certificate-same-everywhere",
    claim="All ports and addresses of the host serve the same certificate",
    severity=Severity.WARNING,
    source="practice",
    advice="Reload the services that still hold the old certificate, and let renewal reload all of them.",
)
def certificate_same_everywhere(host: Host) -> Judgement:
    """Different certificates on one host mostly mean that one service was not reloaded after renewal."""
    served: dict[str, list[str]] = {}
    subjects: dict[str, Certificate] = {}
    for address in host.addresses:
        for session in address.sessions:
            if session.tls is None or not session.tls.chain:
                continue
            try:
                certificate = read(session.tls.chain[0])
            except RecordError:
                continue
            served.setdefault(certificate.sha256, []).append(f"{address.address}:{session.port}")
            subjects[certificate.sha256] = certificate
    if not served:
        return not_applicable("no certificate was seen")
    if len(served) == 1:
        return ok(f"one certificate on {sum(map(len, served.values()))} ports")
    groups = (
        f"{', '.join(where)} until {subjects[key].not_after:%Y-%m-%d} (SHA-256 {key[:8]}…)"
        for key, where in served.items()
    )
    return fail(f"{len(served)} certificates: {'; '.join(groups)}", min(served.values(), key=len)[0])
