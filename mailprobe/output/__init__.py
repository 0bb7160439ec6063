"""SAY: evidence and findings as text, one file per format.

Every function here is pure: it is given all that it needs, colour and width included, and returns text. It
never prints, never opens a file and never reads a clock.
"""
