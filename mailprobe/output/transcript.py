"""The conversations word by word: ``<-`` the server in clear, ``<~`` inside TLS, ``->`` and ``~>`` our side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mailprobe.model.evidence import Exchange, Session, Stage
from mailprobe.model.view import SessionView
from mailprobe.output.style import PLAIN, Style
from mailprobe.output.words import clean, in_trouble, milliseconds


def transcript(views: Sequence[SessionView], style: Style = PLAIN) -> str:
    """Write every conversation that came about, each under the port it was held with."""
    return "\n".join(_conversation(view.session, style) for view in views if view.session.exchanges)


def _conversation(session: Session, style: Style) -> str:
    where = clean(f"{session.host} [{session.address}]:{session.port}")
    lines = [style.strong(where), *_opening(session), *_lines(session, style)]
    if session.trouble is not None:
        lines.append(style.warn(f"  ***  {in_trouble(session.trouble)}"))
    return "\n".join(lines) + "\n"


def _opening(session: Session) -> Iterator[str]:
    spent = session.timings.get(Stage.CONNECT.value)
    if spent is not None:
        yield f"  ===  connected in {milliseconds(spent)}"


def _lines(session: Session, style: Style) -> Iterator[str]:
    secure = False
    for exchange in session.exchanges:
        if exchange.secure and not secure:
            secure = True
            yield _handshake(session)
        if exchange.sent:
            yield from (f"  {'~>' if secure else '->'}   {clean(line)}" for line in exchange.sent.splitlines())
        yield from _received(exchange, style)
    if session.tls is not None and not secure:
        yield _handshake(session)


def _handshake(session: Session) -> str:
    spent = session.timings.get(Stage.HANDSHAKE.value, 0.0)
    tls = session.tls
    chosen = f"{tls.version}, {tls.cipher}" if tls is not None else "failed"
    return f"  ===  TLS handshake: {chosen}, {milliseconds(spent)}"


def _received(exchange: Exchange, style: Style) -> Iterator[str]:
    sign = "<~" if exchange.secure else "<-"
    last = len(exchange.reply.lines) - 1
    for number, line in enumerate(exchange.reply.lines):
        timing = f"  {style.dim(f'({milliseconds(exchange.ms)})')}" if number == last else ""
        yield f"  {sign}   {clean(line)}{timing}"
