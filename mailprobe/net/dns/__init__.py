"""Asking the DNS: what to send next (`lookup`), how it looks on the wire (`wire`), and two ways to send it.

`blocking` needs nothing but sockets and is what a command of a few questions starts with; `concurrent` runs
on the event loop and also speaks TLS and HTTPS.
"""
