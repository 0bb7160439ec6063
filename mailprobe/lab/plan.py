"""What a lab server does wrong: rules that rewrite what a healthy core wants to do.

A core's events become actions, one group for each reply. The group goes through every rule of the plan whose tag
fits, and what is left of it is what the driver does. Nothing is random: a rule applies always, or to the n-th
group that fits it. A server with an empty plan is healthy.

Beside the tags of ``Send`` there are two of the driver's own: ``connect``, before anything is said (its group is
empty, or holds the ``StartTls`` of a port for implicit TLS), and ``secured``, right after a handshake.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import msgspec

from mailprobe.protocols import events
from mailprobe.protocols.events import Send as Send

FLOOD_LIMIT = 64 << 20

End = Literal["fin", "rst", "no-close-notify"]


class Raw(msgspec.Struct, frozen=True):
    """Write octets in clear, even inside TLS."""

    data: bytes


class Drip(msgspec.Struct, frozen=True):
    """Write *data* in pieces of *chunk* octets with *gap_s* seconds between them."""

    data: bytes
    chunk: int = 1
    gap_s: float = 0.1


class Flood(msgspec.Struct, frozen=True):
    """Write *data* over and over, as fast as the client takes it, up to *limit* octets."""

    data: bytes
    limit: int = FLOOD_LIMIT


class Pause(msgspec.Struct, frozen=True):
    """Do nothing for a while; what the client sends meanwhile is read later."""

    seconds: float


class AnswerNext(msgspec.Struct, frozen=True):
    """Wait for the client to send anything, swallow it, and write *data* in clear."""

    data: bytes


class StartTls(msgspec.Struct, frozen=True):
    """Switch to TLS now.

    *keep_buffer* feeds what came in clear before the ClientHello to the core after the handshake: the defect
    that makes command injection possible. *before* is written in clear, in one write with what was sent last:
    response injection. *after* is written in clear when the ClientHello has come, ahead of the answer to it.
    """

    keep_buffer: bool = False
    before: bytes = b""
    after: bytes = b""


class Close(msgspec.Struct, frozen=True):
    """End the connection: in good order, with a TCP RST, or without the close_notify that TLS wants."""

    how: End = "fin"


class Hang(msgspec.Struct, frozen=True):
    """Say and read nothing any more, and keep the connection open."""


Action = Send | Raw | Drip | Flood | Pause | AnswerNext | StartTls | Close | Hang
Rewrite = Callable[[list[Action]], list[Action]]


class Rule(msgspec.Struct, frozen=True):
    """Rewrite the groups with tag *when*: all, those in clear or inside TLS (*secure*), or the *nth* that fits.

    Groups are counted from 1 over all connections of the plan, or for each connection anew.
    """

    when: str
    do: Rewrite
    secure: bool | None = None
    nth: int | None = None
    each_connection: bool = False


class Plan:
    """Rules in the order in which they apply, and how often each has fitted so far."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self._rules = tuple(rules)
        self._counts = [0] * len(self._rules)

    def begin(self) -> Script:
        """Give what one new connection needs of the plan."""
        return Script(self._rules, self._counts)


class Script:
    """The plan as one connection follows it."""

    def __init__(self, rules: Sequence[Rule], shared: list[int]) -> None:
        self._rules = rules
        self._shared = shared
        self._own = [0] * len(rules)

    def apply(self, tag: str, actions: list[Action], secure: bool = False) -> list[Action]:
        """Give what is to be done instead of *actions*."""
        for index, rule in enumerate(self._rules):
            if rule.when != tag or rule.secure not in (None, secure):
                continue
            counts = self._own if rule.each_connection else self._shared
            counts[index] += 1
            if rule.nth in (None, counts[index]):
                actions = rule.do(actions)
        return actions


def groups(happened: Iterable[events.Event]) -> list[tuple[str, list[Action]]]:
    """Make actions of events: a group for each reply, with its tag and what follows from it."""
    found: list[tuple[str, list[Action]]] = []
    for event in happened:
        if isinstance(event, Send):
            found.append((event.tag, [event]))
            continue
        if not found:
            found.append(("", []))
        assert not isinstance(event, events.Accept), "no rule rewrites what becomes of a message"
        found[-1][1].append(StartTls() if isinstance(event, events.StartTls) else Close())
    return found


# Ways to rewrite, for the scenarios


def instead(*actions: Action) -> Rewrite:
    """Do these actions and nothing of what the server wanted."""
    return lambda _wanted: list(actions)


def before(*actions: Action) -> Rewrite:
    """Do these actions first."""
    return lambda wanted: [*actions, *wanted]


def after(*actions: Action) -> Rewrite:
    """Do these actions last."""
    return lambda wanted: [*wanted, *actions]


def say(data: bytes) -> Rewrite:
    """Say *data* instead, and do nothing that would have followed, such as TLS or the end."""
    return instead(Send(data, "said"))


def edit(change: Callable[[bytes], bytes]) -> Rewrite:
    """Change the octets of what is said, and nothing else."""

    def rewrite(wanted: list[Action]) -> list[Action]:
        return [Send(change(action.data), action.tag) if isinstance(action, Send) else action for action in wanted]

    return rewrite


def starting_tls(how: StartTls) -> Rewrite:
    """Switch to TLS in another way."""
    return lambda wanted: [how if isinstance(action, StartTls) else action for action in wanted]


def dripping(chunk: int, gap_s: float) -> Rewrite:
    """Say everything in small pieces."""

    def rewrite(wanted: list[Action]) -> list[Action]:
        return [Drip(action.data, chunk, gap_s) if isinstance(action, Send) else action for action in wanted]

    return rewrite
