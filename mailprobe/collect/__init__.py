"""ASK: drives protocols over a Network and writes evidence."""
