"""Colour, if the caller wants it: this room cannot know whether it writes to a terminal."""

from __future__ import annotations

from typing import Literal

import msgspec

Tone = Literal["good", "warn", "bad", "note", "dim", "strong"]


class Style(msgspec.Struct, frozen=True):
    """Paints words, or leaves them as they are when *colour* is off."""

    colour: bool = False

    def paint(self, tone: Tone, text: str) -> str:
        """Put *text* into the colour of *tone*; empty text stays empty."""
        if not self.colour or not text:
            return text
        from colorama import Fore  # imported where colour is wanted: start-up counts
        from colorama import Style as Weight

        codes = {
            "good": Fore.GREEN,
            "warn": Fore.YELLOW,
            "bad": Fore.RED,
            "note": Fore.CYAN,
            "dim": Weight.DIM,
            "strong": Weight.BRIGHT,
        }
        return f"{codes[tone]}{text}{Weight.RESET_ALL}"

    def good(self, text: str) -> str:
        """Paint what is as it should be."""
        return self.paint("good", text)

    def warn(self, text: str) -> str:
        """Paint what somebody should look at."""
        return self.paint("warn", text)

    def bad(self, text: str) -> str:
        """Paint what is wrong."""
        return self.paint("bad", text)

    def note(self, text: str) -> str:
        """Paint what is worth knowing."""
        return self.paint("note", text)

    def dim(self, text: str) -> str:
        """Paint what may be overlooked."""
        return self.paint("dim", text)

    def strong(self, text: str) -> str:
        """Paint a heading."""
        return self.paint("strong", text)


PLAIN = Style()
