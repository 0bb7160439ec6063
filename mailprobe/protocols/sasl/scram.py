"""SCRAM (RFC 5802, RFC 7677), both sides, with and without channel binding.

Both sides prove that they know the password, and neither shows it. With channel binding (``-PLUS``) each also
proves that nobody sits in the middle of the TLS connection.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets

import msgspec

from mailprobe.protocols.sasl.exchange import (
    ChannelBinding,
    ClientExchange,
    ClientSteps,
    Credentials,
    Known,
    Login,
    SaslError,
    ServerSteps,
    octets,
    password_of,
    text,
)
from mailprobe.protocols.sasl.saslprep import saslprep

USUAL_ITERATIONS = 4096  # RFC 5802 §5.1: fewer should not be asked for
MOST_ITERATIONS = 1_000_000  # half a second of our time; more is an attack
NOTE_FEW_ITERATIONS = "few-iterations"

_NONCE = re.compile(rb"[\x21-\x2b\x2d-\x7e]+")
_ITERATIONS = re.compile(rb"[1-9][0-9]{0,9}")
_HASHES = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256"}


class _Keys(msgspec.Struct, frozen=True):
    """What is made of a password (RFC 5802 §3)."""

    hash: str
    client: bytes
    stored: bytes
    server: bytes

    def proof(self, transcript: bytes) -> bytes:
        return _xor(self.client, hmac.digest(self.stored, transcript, self.hash))

    def signature(self, transcript: bytes) -> bytes:
        return hmac.digest(self.server, transcript, self.hash)


def _keys(name: str, password: bytes, salt: bytes, iterations: int) -> _Keys:
    salted = hashlib.pbkdf2_hmac(name, password, salt, iterations)
    client = hmac.digest(salted, b"Client Key", name)
    return _Keys(name, client, hashlib.new(name, client).digest(), hmac.digest(salted, b"Server Key", name))


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


class ScramClient(ClientExchange):
    """The client's side. *mechanism* with ``-PLUS`` uses *binding*; without, it tells the server that we could.

    A server that offers channel binding refuses a client that could and does not: somebody must have taken it out
    of the list on the way (RFC 5802 §6). Whoever does without it on purpose gives no binding.
    """

    def __init__(
        self, mechanism: str, credentials: Credentials, binding: ChannelBinding | None, nonce: str | None = None
    ) -> None:
        base, plus, _ = mechanism.partition("-PLUS")
        if plus and binding is None:
            raise SaslError(f"{mechanism} needs TLS")
        self._hash = _HASHES[base]
        self._password = octets(saslprep(password_of(credentials, mechanism)))
        flag = f"p={binding.kind}" if plus and binding is not None else "n" if binding is None else "y"
        authzid = f"a={_escaped(credentials.acting_for)}" if credentials.acting_for else ""
        self._header = octets(f"{flag},{authzid},")
        self._bound = self._header + (binding.data if plus and binding is not None else b"")
        self._nonce = (nonce or secrets.token_urlsafe(24)).encode()
        self._bare = octets(f"n={_escaped(saslprep(credentials.user))},r=") + self._nonce
        self._proven = False
        super().__init__()

    def finish(self, data: bytes = b"") -> None:
        """Check that the server has proven that it knows the password, too."""
        super().finish(data)
        if not self._proven:
            raise SaslError("the server says yes and has not proven that it knows the password")

    def _talk(self) -> ClientSteps:
        first = yield self._header + self._bare
        nonce, salt, iterations = self._read_first(first)
        keys = _keys(self._hash, self._password, salt, iterations)
        final = b"c=" + base64.b64encode(self._bound) + b",r=" + nonce
        transcript = b",".join((self._bare, first, final))
        answer = yield final + b",p=" + base64.b64encode(keys.proof(transcript))
        self._check_final(answer, keys.signature(transcript))
        yield b""

    def _read_first(self, message: bytes) -> tuple[bytes, bytes, int]:
        nonce, salt, count = _values(message, b"rsi")
        if not nonce.startswith(self._nonce) or nonce == self._nonce or not _NONCE.fullmatch(nonce):
            raise SaslError("the server's nonce does not begin with ours")
        if not _ITERATIONS.fullmatch(count):
            raise SaslError("the server's iteration count is no number")
        iterations = int(count)
        if iterations > MOST_ITERATIONS:
            raise SaslError(f"the server asks for {iterations} iterations, more than {MOST_ITERATIONS}")
        if iterations < USUAL_ITERATIONS:
            self.notes = (*self.notes, NOTE_FEW_ITERATIONS)
        return nonce, _unbase64(salt), iterations

    def _check_final(self, message: bytes, signature: bytes) -> None:
        if message.startswith(b"e="):
            self.complaint = _printable(message[2:200].partition(b",")[0])
            raise SaslError(f"the server refuses: {self.complaint}")
        (verifier,) = _values(message, b"v")
        if not hmac.compare_digest(_unbase64(verifier), signature):
            raise SaslError("the server does not know the password")
        self._proven = True


def scram(
    mechanism: str, known: Known, iterations: int = USUAL_ITERATIONS, nonce: str | None = None, salt: bytes = b""
) -> ServerSteps:
    """Serve SCRAM; *nonce* and *salt* are fresh unless given. A user who is not there is refused at the end."""
    base, plus, _ = mechanism.partition("-PLUS")
    opening = yield b""
    header, bare = _split_header(opening)
    bound = header + _binding_data(header, bool(plus), known.bindings)
    name, client_nonce = _values(bare, b"nr")
    if not _NONCE.fullmatch(client_nonce):
        raise SaslError("malformed nonce")
    user = _unescaped(name)
    _refuse_other(header, name)
    both = client_nonce + (nonce or secrets.token_urlsafe(18)).encode()
    salt = salt or secrets.token_bytes(16)
    first = b"r=%b,s=%b,i=%d" % (both, base64.b64encode(salt), iterations)
    final = yield first
    without_proof, _, proof = final.rpartition(b",p=")
    channel, echoed = _values(without_proof, b"cr")
    if _unbase64(channel) != bound or echoed != both:
        raise SaslError("channel binding or nonce differ from what was said first")
    secret = known.secret(user)
    keys = _keys(_HASHES[base], _prepared(secret), salt, iterations)
    transcript = b",".join((bare, first, without_proof))
    if not hmac.compare_digest(_unbase64(proof), keys.proof(transcript)) or secret is None:
        return Login(user, allowed=False)
    yield b"v=" + base64.b64encode(keys.signature(transcript))
    return Login(user, allowed=True)


def _split_header(message: bytes) -> tuple[bytes, bytes]:
    flag, comma, rest = message.partition(b",")
    authzid, second, bare = rest.partition(b",")
    if not comma or not second or not (flag in (b"n", b"y") or flag.startswith(b"p=")):
        raise SaslError("malformed channel binding flag")
    if authzid and not authzid.startswith(b"a="):
        raise SaslError("malformed authorization identity")
    return message[: len(message) - len(bare)], bare


def _binding_data(header: bytes, plus: bool, bindings: tuple[ChannelBinding, ...]) -> bytes:
    """Give what the client's flag binds the exchange to (RFC 5802 §6)."""
    flag = header.partition(b",")[0]
    if plus != flag.startswith(b"p="):
        raise SaslError("the mechanism and the channel binding flag do not fit")
    if flag == b"y" and bindings:
        raise SaslError("channel binding is offered here, and was taken out of the list on the way")
    if not plus:
        return b""
    found = next((binding.data for binding in bindings if binding.kind.encode() == flag[2:]), None)
    if found is None:
        raise SaslError("channel binding of that kind is not supported")
    return found


def _refuse_other(header: bytes, name: bytes) -> None:
    authzid = header.split(b",")[1]
    if authzid and authzid[2:] != name:
        raise SaslError("acting for another user is not possible")


def _prepared(secret: str | None) -> bytes:
    try:
        return octets(saslprep(secret)) if secret else b""
    except SaslError:
        return b""  # a password that no client can send


def _values(message: bytes, wanted: bytes) -> list[bytes]:
    """Read ``r=...,s=...``: the wanted attributes in their order; extensions may only follow (RFC 5802 §5.1)."""
    attributes = message.split(b",")
    found = attributes[: len(wanted)]
    if len(found) < len(wanted) or any(each[:2] != bytes((key, 0x3D)) for each, key in zip(found, wanted, strict=True)):
        raise SaslError(f"attributes {','.join(wanted.decode())} expected")
    return [each[2:] for each in found]


def _unbase64(data: bytes) -> bytes:
    try:
        decoded = binascii.a2b_base64(data, strict_mode=True)
    except binascii.Error:
        decoded = b""
    if not decoded:
        raise SaslError("an attribute is not base64")
    return decoded


def _escaped(name: str) -> str:
    return name.replace("=", "=3D").replace(",", "=2C")


def _unescaped(name: bytes) -> str:
    if not name or re.search(rb"=(?!2C|3D)", name):
        raise SaslError("malformed user name")
    return text(name.replace(b"=2C", b",").replace(b"=3D", b"="))


def _printable(data: bytes) -> str:
    return "".join(character if character.isprintable() else "?" for character in data.decode("ascii", "replace"))
