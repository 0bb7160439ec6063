"""mailprobe says whether a domain's mail works, proves it, and says how to fix it."""

__version__ = "0.1.0"
