"""LETTERS: the user agent: compose, submit, retrieve, round trip."""
