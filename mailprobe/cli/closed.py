"""How a run ends when nothing more can be written."""


class StdoutClosed(Exception):  # noqa: N818 - it is how a pipe ends
    """Whoever read our stdout has gone, or the disk is full; the text is the system's word for it.

    Not an OSError, which click would take into its own hands.
    """
