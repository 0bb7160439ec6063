"""How a run ends when nobody reads on."""


class StdoutClosed(Exception):  # noqa: N818 - it is how a pipe ends
    """Whoever read our stdout has gone. Not an OSError, which click would take into its own hands."""
