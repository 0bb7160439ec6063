"""What an SMTP server can say wrong of itself."""

from __future__ import annotations

from mailprobe.lab.plan import Rule, edit
from mailprobe.lab.scenario import Change, Scenario
from mailprobe.model.finding import Verdict

_ALL = (25, 587, 465)
_SUBMISSION = (587, 465)
_KEYWORDS = ("PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES", "CHUNKING")
_LISTED = tuple("SIZE 10485760" if word == "SIZE" else word for word in _KEYWORDS)


def _scenario(
    ports: tuple[int, ...], name: str, check: str, wrong: str, verdict: Verdict = Verdict.FAIL, **config: object
) -> Scenario:
    """Describe a server that is configured otherwise."""
    changes = (Change(ports=ports, config=config),)
    return Scenario(name=name, check=check, verdict=verdict, wrong=wrong, where=ports, changes=changes)


def _without(*words: str) -> tuple[str, ...]:
    return tuple(word for word in _KEYWORDS if word not in words)


HELLO = (
    _scenario((25,), "helo-only", "ehlo-accepted", "the server knows HELO only", extended=False),
    _scenario((25,), "ehlo-nameless", "ehlo-name", "the EHLO reply does not name the server", ehlo_text=""),
    _scenario(
        (25,),
        "ehlo-keyword-malformed",
        "ehlo-keywords",
        "the EHLO reply lists a keyword with characters that no keyword has",
        keywords=(*_KEYWORDS, "X_SPAM!FILTER"),
    ),
    _scenario(
        (25,),
        "ehlo-size-no-number",
        "ehlo-keywords",
        "the SIZE in the EHLO reply is no number",
        keywords=tuple("SIZE 10MB" if word == "SIZE" else word for word in _KEYWORDS),
    ),
    Scenario(
        name="ehlo-lower-case",
        check="ehlo-keywords",
        verdict=Verdict.OK,
        wrong="the keywords in the EHLO reply are in lower case",
        where=_ALL,
        changes=(Change(ports=_ALL, rules=(Rule("ehlo", edit(bytes.lower)),)),),
    ),
)

EXTENSIONS = (
    _scenario(
        (25,),
        "smtputf8-without-8bitmime",
        "smtp-extension-pairs",
        "SMTPUTF8 is offered without 8BITMIME",
        keywords=_without("8BITMIME"),
    ),
    _scenario(
        (25,),
        "binarymime-without-chunking",
        "smtp-extension-pairs",
        "BINARYMIME is offered without CHUNKING",
        keywords=(*_without("CHUNKING"), "BINARYMIME"),
    ),
    _scenario((25,), "size-tiny", "smtp-size-useful", "messages of 1000 octets at most are taken", size_limit=1000),
    _scenario((25,), "size-unlimited", "smtp-size-useful", "SIZE 0: no limit is told", Verdict.OK, size_limit=0),
    _scenario(
        (25,),
        "basic-extensions-missing",
        "smtp-basic-extensions",
        "PIPELINING and ENHANCEDSTATUSCODES are not offered",
        keywords=_without("PIPELINING", "ENHANCEDSTATUSCODES"),
    ),
)

AUTH = (
    _scenario(
        (25,),
        "relay-auth-offered",
        "relay-auth-offered",
        "port 25 offers AUTH",
        auth_inside_tls=("PLAIN", "LOGIN"),
    ),
    _scenario(
        _SUBMISSION,
        "submission-auth-missing",
        "submission-auth-offered",
        "the ports for submission offer no AUTH inside TLS",
        auth_inside_tls=(),
    ),
    _scenario(
        _SUBMISSION,
        "auth-without-mechanisms",
        "auth-usable",
        "AUTH is offered without a mechanism",
        keywords_after=(*_LISTED, "AUTH"),
    ),
    _scenario(
        _SUBMISSION,
        "auth-equals-form",
        "auth-usable",
        "AUTH is offered in a form that was never a standard",
        keywords_after=(*_LISTED, "AUTH=PLAIN LOGIN"),
    ),
    _scenario(
        _SUBMISSION,
        "auth-digest-md5",
        "auth-digest-md5",
        "CRAM-MD5 and DIGEST-MD5 are offered beside PLAIN",
        auth_inside_tls=("PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5"),
    ),
    _scenario(
        (587,),
        "auth-before-tls",
        "auth-before-tls",
        "port 587 offers AUTH PLAIN and LOGIN in clear",
        auth_before_tls=("PLAIN", "LOGIN"),
    ),
)

SCENARIOS = HELLO + EXTENSIONS + AUTH
