"""The tests' name server: NSD with the zones, Unbound in front of it."""

from __future__ import annotations

from pathlib import Path

from tests.peers import zones
from tests.peers.servers.nsd import Nsd
from tests.peers.servers.process import on_free_ports
from tests.peers.servers.unbound import Unbound


class NameServer:
    """A running NSD and a running Unbound that asks it.

    *authoritative* and *resolver* are ``address:port``, for UDP and TCP alike.

    ==================  ==========================================================================
    example.test        MX 10 mail.example.test; mail.example.test A 127.0.0.25, PTR back
    nullmx.test         MX 0 . (RFC 7505)
    cnamemx.test        MX 10 alias.cnamemx.test, which is a CNAME for mail.example.test
    danglingmx.test     MX 10 nowhere.danglingmx.test, which does not exist
    nomx.test           no MX, A 127.0.0.25
    nomail.test         neither MX nor address
    www.alias.test      a CNAME for example.test
    threemx.test        MX 10 mail.example.test, 20 second.threemx.test, 20 third.threemx.test
    many.test           60 TXT and 40 MX records: truncated over UDP (TXT beyond 4096 octets)
    secure.test         signed; MX 10 mail.example.test; Unbound trusts its key: AD
    bogus.test          signed, the MX changed afterwards: SERVFAIL, with CD an answer
    absent.test         NXDOMAIN, as everything else below test.
    anything elsewhere  REFUSED from NSD, SERVFAIL from Unbound; no packet leaves the machine
    ==================  ==========================================================================
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._tries = 0
        signed = {"secure.test": zones.signed_zone("secure.test")}
        signed["bogus.test"] = zones.signed_zone("bogus.test", bogus=True)
        self._zones = zones.plain_zones() | {name: zone.text for name, zone in signed.items()}
        self._anchors = [zone.anchor for zone in signed.values()]
        self.nsd = on_free_ports(self._new_nsd)
        try:
            self.unbound = on_free_ports(self._new_unbound)
        except BaseException:
            self.nsd.stop()
            raise

    @property
    def authoritative(self) -> str:
        """Where NSD answers."""
        return self.nsd.endpoint

    @property
    def resolver(self) -> str:
        """Where Unbound answers."""
        return self.unbound.endpoint

    def stop(self) -> None:
        """End both."""
        self.unbound.stop()
        self.nsd.stop()

    def _new_nsd(self) -> Nsd:
        self._tries += 1
        return Nsd(self._directory / f"nsd-{self._tries}", self._zones)

    def _new_unbound(self) -> Unbound:
        self._tries += 1
        authority = self.nsd.endpoint.replace(":", "@")
        return Unbound(self._directory / f"unbound-{self._tries}", authority, self._zones, self._anchors)
