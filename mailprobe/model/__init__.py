"""NOUNS: what was seen (evidence), what it means (finding), ports and roles, the error tree."""
