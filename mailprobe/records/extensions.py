"""The extensions of a certificate (RFC 5280 §4.2), each by itself, so that a bad one does not spoil the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID

_Kind = TypeVar("_Kind", bound=x509.ExtensionType)

BAD = (ValueError, TypeError, x509.UnsupportedGeneralNameType, x509.DuplicateExtension)
_NAMES = {
    oid: name.replace("_", " ").lower()
    for name, oid in vars(ExtensionOID).items()
    if isinstance(oid, x509.ObjectIdentifier)
}
_SEQUENCE, _EXTENSIONS = 0x30, 0xA3  # RFC 5280 §4.1: the extensions are [3] EXPLICIT


class Extensions(NamedTuple):
    """The extensions that could be read, and the names of those that could not, or stand there twice."""

    values: tuple[x509.ExtensionType, ...]
    unreadable: tuple[str, ...]

    def find(self, kind: type[_Kind]) -> _Kind | None:
        """Give the extension of a kind; None when there is none that can be read."""
        return next((value for value in self.values if isinstance(value, kind)), None)


def name_of(oid: x509.ObjectIdentifier) -> str:
    """Name an extension in words; by its number where it is not known."""
    return _NAMES.get(oid, oid.dotted_string)


def extensions(certificate: x509.Certificate) -> Extensions:
    """Read the extensions of a certificate, one at a time where reading all of them fails."""
    try:
        return Extensions(tuple(each.value for each in certificate.extensions), ())
    except BAD:
        return _one_by_one(certificate)


def _one_by_one(certificate: x509.Certificate) -> Extensions:
    found: dict[x509.ObjectIdentifier, x509.ExtensionType] = {}
    unreadable: dict[x509.ObjectIdentifier, None] = {}
    for oid, alone in _alone(certificate):
        try:
            (extension,) = x509.load_der_x509_certificate(alone).extensions
        except BAD:
            unreadable[oid] = None
            continue
        if oid in found:  # RFC 5280 §4.2: no more than one instance
            unreadable[oid] = None
        found[oid] = extension.value
    values = tuple(value for oid, value in found.items() if oid not in unreadable)
    return Extensions(values, tuple(map(name_of, unreadable)))


def _alone(certificate: x509.Certificate) -> Iterator[tuple[x509.ObjectIdentifier, bytes]]:
    """Give each extension's OID with a copy of the certificate that has no other extension."""
    (whole,) = _items(certificate.public_bytes(Encoding.DER))
    signed, *rest = _items(_content(whole))
    fields = _items(_content(signed))
    others = b"".join(field for field in fields if field[0] != _EXTENSIONS)
    for field in fields:
        if field[0] == _EXTENSIONS:
            for extension in _items(_content(_content(field))):
                oid = _oid(_content(_items(_content(extension))[0]))
                signed = _wrap(_SEQUENCE, others + _wrap(_EXTENSIONS, _wrap(_SEQUENCE, extension)))
                yield oid, _wrap(_SEQUENCE, signed + b"".join(rest))


def _start(item: bytes) -> tuple[int, int]:
    """Give where the content of a DER item starts and where it ends (X.690 §8.1.3)."""
    if item[1] < 0x80:
        return 2, 2 + item[1]
    start = 2 + (item[1] & 0x7F)
    return start, start + int.from_bytes(item[2:start])


def _content(item: bytes) -> bytes:
    start, end = _start(item)
    return item[start:end]


def _items(content: bytes) -> list[bytes]:
    """Split DER that the library took into its items."""
    found = []
    while content:
        end = _start(content)[1]
        found.append(content[:end])
        content = content[end:]
    return found


def _wrap(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(octets))) + octets + content


def _oid(content: bytes) -> x509.ObjectIdentifier:
    """Read an object identifier (X.690 §8.19)."""
    numbers = [0]
    for octet in content:
        numbers[-1] = numbers[-1] << 7 | octet & 0x7F
        if octet < 0x80:
            numbers.append(0)
    first = min(numbers[0] // 40, 2)
    return x509.ObjectIdentifier(".".join(map(str, (first, numbers[0] - 40 * first, *numbers[1:-1]))))
