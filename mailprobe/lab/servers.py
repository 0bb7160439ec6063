"""From a site's description to the server at one of its ports."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

from mailprobe.lab.certificates import Certificate, Offer
from mailprobe.lab.pki import Authority, unavailable
from mailprobe.lab.plan import Plan
from mailprobe.lab.scenario import Reach
from mailprobe.lab.sites import Place, fill
from mailprobe.model.ports import WELL_KNOWN, Protocol
from mailprobe.protocols.events import ServerCore
from mailprobe.protocols.mailstore import MailStore


class Behaviour:
    """How one port of one host behaves: a healthy server with the site's changes made to it."""

    def __init__(self, place: Place, port: int) -> None:
        self._place = place
        self._service = WELL_KNOWN[port]
        changes = [each for each in place.site.changes if each.concerns(port, place.number)]
        self._changes = changes
        self.reach = next((each.reach for each in changes if each.reach is not Reach.OPEN), Reach.OPEN)
        if unavailable(self._last("offer", Offer.MODERN)):
            self.reach = Reach.REFUSED  # better no server than one that passes for want of a cipher
        self.plan = Plan(rule for each in changes for rule in each.rules)
        self.implicit: bool = self._last("implicit", self._service.implicit_tls)

    def core(self, mail: MailStore) -> Callable[[], ServerCore]:
        """Give what makes the server side of a new conversation."""
        config = self._config()
        if self._service.protocol is Protocol.SMTP:
            from mailprobe.protocols.smtp.config import SmtpConfig
            from mailprobe.protocols.smtp.server import SmtpServer

            smtp = SmtpConfig(role=self._service.role, local_domains=self._place.names, **config)
            return lambda: SmtpServer(smtp, mail)
        if self._service.protocol is Protocol.POP3:
            from mailprobe.protocols.pop3.server import Pop3Config, Pop3Server

            pop3 = Pop3Config(**config)
            return lambda: Pop3Server(pop3, mail)
        from mailprobe.protocols.imap.config import ImapConfig
        from mailprobe.protocols.imap.server import ImapServer

        imap = ImapConfig(**config)
        return lambda: ImapServer(imap, mail)

    def context(self, authority: Authority) -> ssl.SSLContext:
        """Give the TLS context."""
        return authority.context(
            self._place.names,
            self._last("certificate", Certificate()),
            self._last("offer", Offer.MODERN),
            self._last("nameless", None),
            needs_name=any(change.needs_name for change in self._changes),
        )

    def _config(self) -> dict[str, Any]:
        config: dict[str, object] = {"hostname": self._place.host}
        for change in self._changes:
            config.update(change.config)
        return {name: self._filled(value) for name, value in config.items()}

    def _filled(self, value: object) -> object:
        return fill(value, self._place.site.domain, ()) if isinstance(value, str) else value

    def _last(self, field: str, otherwise: Any) -> Any:
        found = (getattr(change, field) for change in reversed(self._changes))
        return next((value for value in found if value is not None), otherwise)
