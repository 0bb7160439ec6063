"""A visit: one conversation held as a mail program or another server holds it, with its TLS and its login.

`mailprobe.collect.survey` looks at whatever comes; a visit wants something, and goes no further where it cannot be had
safely.
"""

from __future__ import annotations

from mailprobe.collect.dialogue import Dialogue, Stopped, stop
from mailprobe.collect.manners import ImapManners, Manners, SmtpManners, kind_of, manners_for
from mailprobe.collect.survey import Door
from mailprobe.mail.login import GO_ON_SO, Login, LoginRefused, fault_of, log_in
from mailprobe.model.conversation import Conversation, LoginOutcome, Place, Security
from mailprobe.model.evidence import Capabilities, Kind, Reply, Stage, Tls, Trouble
from mailprobe.model.ports import Port, Protocol
from mailprobe.net.limits import SESSION_OCTETS_LIMIT, Deadline
from mailprobe.net.network import Network
from mailprobe.net.tls import survey_context
from mailprobe.protocols.client import Client
from mailprobe.protocols.imap.client import ImapClient, capabilities_in
from mailprobe.protocols.pop3.client import Pop3Client
from mailprobe.protocols.smtp.client import SmtpClient, ehlo_capabilities

FAREWELL_S = 2.0
_GO_ON = "and going on in clear was not asked for"


class Visit:
    """One conversation with one place: `begin`, perhaps `log_in`, whatever the dialogue is used for, `end`.

    *hello* is the name to introduce ourselves by, None for the network's choice; *octets_limit* what the server may
    send in all until `Dialogue.allow` says more. Every method may raise Stopped; `end` never does, and is due however
    it went.
    """

    def __init__(
        self,
        network: Network,
        place: Place,
        deadline: Deadline,
        hello: str | None = None,
        *,
        octets_limit: int = SESSION_OCTETS_LIMIT,
    ) -> None:
        self.place = place
        self._network = network
        self._deadline = deadline
        self._octets_limit = octets_limit
        self._manners: Manners = _Lmtp() if place.lmtp else manners_for(place.service)
        self.dialogue = Dialogue(network, self._manners.client, deadline, hello)
        self.greeting: Reply | None = None
        self.before_tls: Capabilities | None = None
        self.after_tls: Capabilities | None = None
        self.after_login: Capabilities | None = None
        self.leftover = b""
        self.tls: Tls | None = None
        self.login: LoginOutcome | None = None
        self.trouble: Trouble | None = None
        self._ended = False

    # -- what it is --------------------------------------------------------------------------------------------

    @property
    def client(self) -> Client:
        """The protocol's client."""
        return self.dialogue.client

    @property
    def smtp(self) -> SmtpClient:
        """The client of a visit to an SMTP or LMTP server."""
        assert isinstance(self.client, SmtpClient)
        return self.client

    @property
    def pop3(self) -> Pop3Client:
        """The client of a visit to a POP3 server."""
        assert isinstance(self.client, Pop3Client)
        return self.client

    @property
    def imap(self) -> ImapClient:
        """The client of a visit to an IMAP server."""
        assert isinstance(self.client, ImapClient)
        return self.client

    @property
    def capabilities(self) -> Capabilities | None:
        """What the server can do now, None when it does not tell. What it said in clear is forgotten inside TLS."""
        if self.login is not None and self.login.succeeded and self.after_login is not None:
            return self.after_login
        return self.after_tls if self.tls is not None else self.before_tls

    @property
    def fault(self) -> str:
        """Why the connection is not safe for a password, for people; empty when it is."""
        return "" if self.place.socket else fault_of(self.tls, self.place.host)

    # -- its course --------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Connect, be greeted, learn the capabilities, change to TLS as the place wants it, and learn them again.

        Raises:
            Stopped: with where and why; with ``starttls`` and ``tls`` nothing goes on without TLS.
        """
        try:
            await self._connect()
            if self.place.security is Security.TLS:
                await self._secure()
            self.greeting = await self.dialogue.greeting()
            self._manners.welcome(self.greeting)
            if self.tls is not None:
                self.after_tls = await self._manners.capabilities(self.dialogue, Stage.CAPABILITIES_TLS)
                return
            self.before_tls = await self._manners.capabilities(self.dialogue, Stage.CAPABILITIES)
            if self.place.security in {Security.STARTTLS, Security.OPPORTUNISTIC}:
                await self._start_tls(required=self.place.security is Security.STARTTLS)
        except Stopped as stopped:
            self.trouble = stopped.trouble
            raise
        finally:
            self._learn_literals()

    async def log_in(self, login: Login) -> LoginOutcome:
        """Log in, and learn what the server can do now.

        Raises:
            Stopped: see `mailprobe.mail.login.log_in`, and LOCAL too when the server has us logged in already where no
                password would be sent; always when octets in clear came behind the go-ahead for STARTTLS, for then
                somebody is in between.
        """
        try:
            if self.leftover:
                raise stop(Stage.LOGIN, Kind.LOCAL, f"nobody logs in here: {self._injected}")
            self.login = self._logged_in_already(login) or await log_in(
                self.dialogue, self.capabilities, login, fault=self.fault, greeting=self.greeting
            )
            self.after_login = await self._capabilities_after_login(self.login)
        except LoginRefused as refused:
            self.login, self.trouble = refused.outcome, refused.trouble
            raise
        except Stopped as stopped:
            self.trouble = stopped.trouble
            raise
        finally:
            self._learn_literals()
        return self.login

    async def end(self) -> None:
        """Say goodbye where the server can still make sense of it, wait for its answer, and close.

        POP3 deletes what is to be deleted only now (RFC 1939 §6).
        """
        if self._ended:
            return
        self._ended = True
        try:
            if self.dialogue.stream is not None and self.dialogue.in_step:
                deletes = self.place.service.protocol is Protocol.POP3
                await self.dialogue.ask(Stage.QUIT, self._manners.goodbye(), limit_s=None if deletes else FAREWELL_S)
        except Stopped as stopped:
            # That servers leave without a word is common; but deletions may be lost by it.
            if self.place.service.protocol is Protocol.POP3:
                self.trouble = self.trouble or stopped.trouble
        finally:
            self.dialogue.close()

    def record(self, trouble: Trouble | None = None) -> Conversation:
        """Write down all that was said so far; *trouble* is where it stopped, if the visit does not know."""
        place = self.place
        return Conversation(
            service="lmtp" if place.lmtp else place.service.value,
            host=place.host,
            address=place.socket or place.address,
            port=place.port,
            greeting=self.greeting,
            exchanges=tuple(self.dialogue.exchanges),
            before_tls=self.before_tls,
            after_tls=self.after_tls,
            after_login=self.after_login,
            leftover=self.leftover,
            tls=self.tls,
            login=self.login,
            timings=dict(self.dialogue.timings),
            trouble=trouble or self.trouble,
        )

    # -- its parts ---------------------------------------------------------------------------------------------

    async def _connect(self) -> None:
        if self.place.socket:
            await self.dialogue.connect_socket(self.place.socket, self._octets_limit)
        else:
            await self.dialogue.connect(self.place.address, self.place.port, self._octets_limit)

    async def _secure(self) -> None:
        place = self.place
        server_name = Door(place.host, place.address, Port(place.port, place.service)).server_name
        self.tls = await self.dialogue.secure(survey_context(), server_name)

    async def _start_tls(self, *, required: bool) -> None:
        manners = self._manners
        if self.greeting is not None and self.greeting.status == "PREAUTH":  # too late (RFC 9051 §6.2.1)
            if required:
                raise stop(Stage.STARTTLS, Kind.REJECTED, f"the server has us logged in before TLS (PREAUTH), {_GO_ON}")
            return
        offered = manners.starttls_offered(self.before_tls)
        if offered is False:
            if required:
                raise stop(Stage.STARTTLS, Kind.REJECTED, f"STARTTLS is not offered, {_GO_ON}")
            return
        try:
            manners.go_ahead(await self.dialogue.ask(Stage.STARTTLS, manners.starttls()))
        except Stopped:
            if required or not self.dialogue.in_step:
                raise
            return
        self.leftover = self.dialogue.take_leftover()
        if self.leftover and required:
            self.dialogue.in_step = False
            raise stop(Stage.STARTTLS, Kind.GARBAGE, self._injected)
        await self._secure()
        self.after_tls = await manners.capabilities(self.dialogue, Stage.CAPABILITIES_TLS)

    @property
    def _injected(self) -> str:
        count = len(self.leftover)
        return f"{count} octets in clear came behind the go-ahead for STARTTLS (response injection)"

    def _logged_in_already(self, login: Login) -> LoginOutcome | None:
        """Take PREAUTH for a login: the server would refuse another one (RFC 9051 §7.1.4).

        In clear anybody can say it, and is then told and shown what is meant for the server and its user alone.
        """
        greeting = self.greeting
        if greeting is None or greeting.status != "PREAUTH":
            return None
        if self.fault and not login.insecure:
            words = f"the server has us logged in already (PREAUTH), and {self.fault}; {GO_ON_SO}"
            raise stop(Stage.LOGIN, Kind.LOCAL, words)
        return LoginOutcome(user=login.credentials.user, mechanism="PREAUTH", succeeded=True, reply=greeting)

    async def _capabilities_after_login(self, outcome: LoginOutcome) -> Capabilities | None:
        if isinstance(self._manners, ImapManners) and outcome.reply is not None:
            self._manners.told = capabilities_in(outcome.reply)
        return await self._manners.capabilities(self.dialogue, Stage.CAPABILITIES_LOGIN)

    def _learn_literals(self) -> None:
        if isinstance(self.client, ImapClient):
            self.client.learn(self.capabilities)


class _Lmtp(SmtpManners):
    """LMTP: as SMTP, but for the first word (RFC 2033 §4.1)."""

    async def capabilities(self, dialogue: Dialogue, stage: Stage) -> Capabilities | None:
        """Say LHLO."""
        reply = await dialogue.ask(stage, self.client.lhlo(dialogue.our_name))
        if not reply.status.startswith("2"):
            raise stop(stage, kind_of(self.client, reply), reply.lines[-1])
        return ehlo_capabilities(reply)
