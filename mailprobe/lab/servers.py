"""From a site's description to the server at one of its ports."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

from mailprobe.lab.certificates import Certificate, Offer
from mailprobe.lab.pki import Authority, unavailable
from mailprobe.lab.plan import Plan
from mailprobe.lab.post.site import PostSite
from mailprobe.lab.scenario import Reach
from mailprobe.lab.sites import Place, fill
from mailprobe.model.ports import WELL_KNOWN, Protocol, Role
from mailprobe.protocols.events import ServerCore
from mailprobe.protocols.mailstore import MailStore

# The strongest first, and none that a check warns of. Those with channel binding, and EXTERNAL, need certificates that
# the lab's clients do not have.
_MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2")


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
        self.post = place.site.post
        self.domain = place.site.domain
        self.tells_news = self._service.protocol is Protocol.IMAP

    def core(self, mail: Callable[[], MailStore]) -> Callable[[], ServerCore]:
        """Give what makes the server side of a new conversation; *mail* is asked for at each."""
        config = self._config()
        if self._service.protocol is Protocol.SMTP:
            from mailprobe.protocols.smtp.config import SmtpConfig
            from mailprobe.protocols.smtp.server import SmtpServer

            domains = self._place.names
            if self.post is not None:
                domains = (self.domain, *domains, *self.post.domains, f"[{self._place.address}]")
                config = {**self._usual_at_post_offices(self.post), **config}
            smtp = SmtpConfig(role=self._service.role, local_domains=domains, **config)
            return lambda: SmtpServer(smtp, mail())
        if self._service.protocol is Protocol.POP3:
            from mailprobe.protocols.pop3.server import Pop3Config, Pop3Server

            pop3 = Pop3Config(**config)
            return lambda: Pop3Server(pop3, mail())
        from mailprobe.protocols.imap.config import ImapConfig
        from mailprobe.protocols.imap.server import ImapServer

        imap = ImapConfig(**config)
        return lambda: ImapServer(imap, mail())

    def _usual_at_post_offices(self, post: PostSite) -> dict[str, Any]:
        """Give what the SMTP servers of post offices do more than others."""
        usual: dict[str, Any] = {"size_limit": post.size_limit, "requiretls": True}
        if self._service.role is Role.SUBMISSION:
            usual["auth_inside_tls"] = _MECHANISMS
        return usual

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
