"""The conversations word by word: ``<-`` the server in clear, ``<~`` inside TLS, ``->`` and ``~>`` our side.

``<!`` marks what the server sent in clear where only the handshake may follow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mailprobe.model.evidence import Exchange, Session, Stage
from mailprobe.model.view import SessionView, reachability
from mailprobe.output.style import PLAIN, Style
from mailprobe.output.words import clean, in_trouble, milliseconds


def transcript(views: Sequence[SessionView], style: Style = PLAIN) -> str:
    """Write every conversation that came about, each under the port it was held with."""
    return "\n".join(_conversation(view.session, style) for view in views if _came_about(view.session))


def _came_about(session: Session) -> bool:
    return bool(session.exchanges) or (session.trouble is not None and reachability(session) == "open")


def _conversation(session: Session, style: Style) -> str:
    where = clean(f"{session.host} [{session.address}]:{session.port}")
    opening, told = list(_opening(session)), list(_lines(session, style))
    trouble = [style.warn(f"  ***  {in_trouble(session.trouble)}")] if session.trouble is not None else []
    # A port that said nothing in clear was spoken to in TLS after that.
    last = [*trouble, *told] if session.speaks == "tls" and session.tls is not None else [*told, *trouble]
    return "\n".join([style.strong(where), *opening, *last]) + "\n"


def _opening(session: Session) -> Iterator[str]:
    spent = session.timings.get(Stage.CONNECT.value)
    if spent is not None:
        yield f"  ===  connected in {milliseconds(spent)}"


def _lines(session: Session, style: Style) -> Iterator[str]:
    secure = False
    for exchange in session.exchanges:
        if exchange.secure and not secure:
            secure = True
            yield from _to_tls(session, style)
        if exchange.sent:
            yield from (f"  {'~>' if secure else '->'}   {clean(line)}" for line in exchange.sent.splitlines())
        yield from _received(exchange, style)
    if not secure:
        yield from _to_tls(session, style)


def _to_tls(session: Session, style: Style) -> Iterator[str]:
    for octets in session.leftover.splitlines():
        yield style.bad(f"  <!   {clean(octets.decode('latin-1'))}  (in clear behind the go-ahead)")
    if session.tls is not None:
        spent = session.timings.get(Stage.HANDSHAKE.value)
        timing = f", {milliseconds(spent)}" if spent is not None else ""
        yield clean(f"  ===  TLS handshake: {session.tls.version}, {session.tls.cipher}{timing}")


def _received(exchange: Exchange, style: Style) -> Iterator[str]:
    sign = "<~" if exchange.secure else "<-"
    last = len(exchange.reply.lines) - 1
    for number, line in enumerate(exchange.reply.lines):
        timing = f"  {style.dim(f'({milliseconds(exchange.ms)})')}" if number == last else ""
        yield f"  {sign}   {clean(line)}{timing}"
