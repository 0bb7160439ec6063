"""MISBEHAVE: the loopback internet, its servers and their scenarios."""
