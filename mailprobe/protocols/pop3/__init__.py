"""POP3 (RFC 1939), both sides."""
