"""One letter many times over: the route and the options of `send` as a load for `mailprobe.mail.bulk`."""

from __future__ import annotations

from mailprobe.collect.dialogue import Stopped
from mailprobe.mail.bulk import Load, Opener, copies, send_many
from mailprobe.mail.compose import Letter
from mailprobe.mail.courier import Courier
from mailprobe.mail.extensions import Unmet, parcel
from mailprobe.mail.login import Login
from mailprobe.mail.routes import Route, legs
from mailprobe.mail.sending import Options
from mailprobe.model.bulk import BulkSummary
from mailprobe.model.conversation import Place
from mailprobe.model.errors import UsageError
from mailprobe.net.limits import Deadline
from mailprobe.net.network import Network
from mailprobe.protocols.smtp.transaction import Parcel


async def send_copies(
    network: Network, letter: Letter, route: Route, options: Options, count: int, load: Load
) -> BulkSummary:
    """Send a letter *count* times, each with a Message-ID of its own.

    Raises:
        UsageError: the recipients go more than one way, or nowhere; an option is not for loads; no server can be had,
            or it does not offer what the letter needs.
    """
    if options.stop_after is not None or options.wishes.chunking:
        raise UsageError("--count sends letters whole and by DATA: leave out --stop-after and --chunking")
    found = await legs(network, route, letter.recipients)
    if len(found) != 1:
        raise UsageError("--count sends to recipients of one domain, or by one --server")
    (leg,) = found
    if not leg.places:
        raise UsageError(f"there is nowhere to send to: {leg.detail}")
    made = await _parcel(network, letter, leg.places, options)
    openers = [_opener(network, place, options.login) for place in leg.places]
    return await send_many(copies(made, count), openers, load)


async def _parcel(network: Network, letter: Letter, places: tuple[Place, ...], options: Options) -> Parcel:
    """Ask the first server that answers what it offers, and put the letter in its envelope for it."""
    trouble = ""
    for place in places:
        try:
            courier = await _opener(network, place, options.login)()
        except Stopped as stopped:
            trouble = stopped.trouble.detail
            continue
        await courier.quit()
        made = parcel(letter, letter.recipients, options.wishes, courier.capabilities)
        if isinstance(made, Unmet):
            raise UsageError(f"the letter cannot be sent: {made.detail}")
        return made
    raise UsageError(f"no server can be had: {trouble}")


def _opener(network: Network, place: Place, login: Login | None) -> Opener:
    return lambda: Courier.visit(network, place, deadline=Deadline(network.limits.target_s), login=login)
