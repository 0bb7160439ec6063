"""BYTES: bytes to events and back, sans-IO, client and server side."""
