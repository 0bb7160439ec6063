"""TEXT: text -> meaning, one file per standard."""
