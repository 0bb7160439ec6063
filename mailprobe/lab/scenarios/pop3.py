"""What a POP3 server can do wrong."""

from __future__ import annotations

from mailprobe.lab.plan import Rule, edit
from mailprobe.lab.scenario import Change, Scenario
from mailprobe.model.finding import Verdict

_BOTH = (110, 995)


def _scenario(ports: tuple[int, ...], name: str, check: str, wrong: str, **config: object) -> Scenario:
    """Describe a server that is configured otherwise."""
    changes = (Change(ports=ports, config=config),)
    return Scenario(name=name, check=check, verdict=Verdict.FAIL, wrong=wrong, where=ports, changes=changes)


SCENARIOS = (
    _scenario(
        (110,),
        "pop3-login-before-tls",
        "pop3-login-before-tls",
        "USER and PASS work in clear",
        login_before_tls=True,
    ),
    _scenario(
        (110,),
        "pop3-sasl-before-tls",
        "pop3-login-before-tls",
        "SASL PLAIN works in clear",
        sasl_before_tls=("PLAIN",),
    ),
    _scenario(
        _BOTH,
        "pop3-login-missing",
        "login-after-tls",
        "there is no way to log in inside TLS",
        login_inside_tls=False,
        sasl_inside_tls=(),
    ),
    _scenario(_BOTH, "pop3-capa-missing", "pop3-capa", "CAPA is unknown", capa=False),
    _scenario((110,), "pop3-apop", "pop3-apop", "APOP is offered, which rests on MD5", apop=True),
    Scenario(
        name="pop3-lower-case",
        check="pop3-capa",
        verdict=Verdict.OK,
        wrong="the capabilities are in lower case",
        where=_BOTH,
        changes=(Change(ports=_BOTH, rules=(Rule("capa", edit(lambda text: b"+OK" + text[3:].lower())),)),),
    ),
)
