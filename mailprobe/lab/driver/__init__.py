"""The one way in which lab servers reach a socket.

asyncio gives the octets, ``ssl.MemoryBIO`` the TLS, and nothing else touches either: so the driver alone
decides what becomes of octets that come between the go-ahead for TLS and the ClientHello, and can write in clear
into a handshake, leave out the close_notify or end with an RST.

Actions wait in one queue. What arrives is read only when the queue is empty, and the socket is not read at all
while INBOX_LIMIT octets wait or the client does not take what was written: a client can slow down only itself.
While others decide on a message nothing is read, either; their verdict may come at once or in a week.
"""

from __future__ import annotations

from mailprobe.lab.driver.listener import Decide, Done, Listener, Subscribe, serve

__all__ = ["Decide", "Done", "Listener", "Subscribe", "serve"]
