"""The conversations word by word: ``<-`` the server in clear, ``<~`` inside TLS, ``->`` and ``~>`` our side.

``<!`` marks what the server sent in clear where only the handshake may follow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mailprobe.model.conversation import Conversation
from mailprobe.model.evidence import Exchange, Session, Stage
from mailprobe.model.view import SessionView, reachability
from mailprobe.output.style import PLAIN, Style
from mailprobe.output.words import clean, in_trouble, milliseconds


def transcript(views: Sequence[SessionView], style: Style = PLAIN) -> str:
    """Write every conversation that came about, each under the port it was held with."""
    return "\n".join(conversation(view.session, style) for view in views if _came_about(view.session))


def _came_about(session: Session) -> bool:
    return bool(session.exchanges) or (session.trouble is not None and reachability(session) == "open")


def conversation(held: Session | Conversation, style: Style = PLAIN) -> str:
    """Write one conversation, word by word."""
    opening, told = list(_opening(held)), list(_lines(held, style))
    trouble = [style.warn(f"  ***  {in_trouble(held.trouble)}")] if held.trouble is not None else []
    # A port that said nothing in clear was spoken to in TLS after that.
    waited = isinstance(held, Session) and held.speaks == "tls" and held.tls is not None
    last = [*trouble, *told] if waited else [*told, *trouble]
    return "\n".join([style.strong(place(held)), *opening, *last]) + "\n"


def place(held: Session | Conversation) -> str:
    """Name whom it is held with: host, address or path of a unix socket, and port."""
    if not held.port:
        return clean(f"{held.host} {held.address}")
    return clean(f"{held.host} [{held.address}]:{held.port}")


def _opening(held: Session | Conversation) -> Iterator[str]:
    spent = held.timings.get(Stage.CONNECT.value)
    if spent is not None:
        yield f"  ===  connected in {milliseconds(spent)}"


def _lines(held: Session | Conversation, style: Style) -> Iterator[str]:
    secure = False
    for exchange in held.exchanges:
        if exchange.secure and not secure:
            secure = True
            yield from _to_tls(held, style)
        if exchange.sent:
            yield from (f"  {'~>' if secure else '->'}   {clean(line)}" for line in exchange.sent.splitlines())
        yield from _received(exchange, style)
    if not secure:
        yield from _to_tls(held, style)


def _to_tls(held: Session | Conversation, style: Style) -> Iterator[str]:
    for octets in held.leftover.splitlines():
        yield style.bad(f"  <!   {clean(octets.decode('latin-1'))}  (in clear behind the go-ahead)")
    if held.tls is not None:
        spent = held.timings.get(Stage.HANDSHAKE.value)
        timing = f", {milliseconds(spent)}" if spent is not None else ""
        yield clean(f"  ===  TLS handshake: {held.tls.version}, {held.tls.cipher}{timing}")


def _received(exchange: Exchange, style: Style) -> Iterator[str]:
    sign = "<~" if exchange.secure else "<-"
    last = len(exchange.reply.lines) - 1
    for number, line in enumerate(exchange.reply.lines):
        timing = f"  {style.dim(f'({milliseconds(exchange.ms)})')}" if number == last else ""
        yield f"  {sign}   {clean(line)}{timing}"
