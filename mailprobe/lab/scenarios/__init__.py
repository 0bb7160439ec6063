"""The catalogue: what the lab's servers do wrong, one scenario a name. Each is healthy but for one change."""

from __future__ import annotations

import msgspec

from mailprobe.lab.scenario import Scenario
from mailprobe.lab.scenarios import certificate, connection, dns, flow, imap, pop3, smtp, starttls, tls
from mailprobe.model.finding import Verdict

GOOD = Scenario(
    name="good", check="mx-usable", verdict=Verdict.OK, wrong="nothing: everything is as it should be", layer="dns"
)

_LAYERS = (
    ("dns", dns.SCENARIOS),
    ("connection", connection.SCENARIOS),
    ("smtp", smtp.SCENARIOS),
    ("pop3", pop3.SCENARIOS),
    ("imap", imap.SCENARIOS),
    ("starttls", starttls.SCENARIOS),
    ("tls", tls.SCENARIOS),
    ("certificate", certificate.SCENARIOS),
    ("flow", flow.SCENARIOS),
)

SCENARIOS = (
    GOOD,
    *(msgspec.structs.replace(entry, layer=layer) for layer, entries in _LAYERS for entry in entries),
)
