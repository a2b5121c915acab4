"""Small PDF documents made by hand: pages with a few words, encrypted if a password is given.

The structure and the encryption (security handler of revision 2, RC4 with 40 bits) are those of ISO 32000-1, chapter 7.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

_PADDING = bytes.fromhex("28bf4e5e4e758a4164004e56fffa01082e2e00b6d0683e802f0ca9fe6453697a")
_IDENTIFIER = b"0123456789abcdef"
_PERMISSIONS = -4
_PAGE = (
    "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R /Resources << /Font << /F1 3 0 R >> >> >>"
)


def make_pdf(pages: Sequence[Sequence[str]], *, title: str = "", password: str = "") -> bytes:
    """Make a document whose pages show these lines of ASCII text, one below the other; `password` opens it."""
    key = _key(password) if password else b""
    numbers = range(4, 4 + 2 * len(pages), 2)
    kids = " ".join(f"{number + 1} 0 R" for number in numbers)
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, lines in zip(numbers, pages, strict=True):
        shown = " 0 -24 Td ".join(f"({line}) Tj" for line in lines)
        content = _encrypt(key, number, f"BT /F1 18 Tf 72 700 Td {shown} ET".encode())
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content))
        objects.append((_PAGE % number).encode())
    objects.append(b"<< /Title <%s> >>" % _encrypt(key, len(objects) + 1, title.encode()).hex().encode())
    identifier = _IDENTIFIER.hex().encode()
    trailer = b"/Root 1 0 R /Info %d 0 R /ID [<%s> <%s>]" % (len(objects), identifier, identifier)
    if password:
        trailer += b" /Encrypt << /Filter /Standard /V 1 /R 2 /P %d /O <%s> /U <%s> >>" % (
            _PERMISSIONS,
            _owner_entry(password).hex().encode(),
            _rc4(key, _PADDING).hex().encode(),
        )
    return _assemble(objects, trailer)


def _assemble(objects: Sequence[bytes], trailer: bytes) -> bytes:
    document = bytearray(b"%PDF-1.4\n")
    places = []
    for number, content in enumerate(objects, 1):
        places.append(len(document))
        document += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    start = len(document)
    document += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    document += b"".join(b"%010d 00000 n \n" % place for place in places)
    document += b"trailer\n<< /Size %d %s >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, trailer, start)
    return bytes(document)


def _padded(password: str) -> bytes:
    return (password.encode() + _PADDING)[:32]


def _owner_entry(password: str) -> bytes:
    return _rc4(hashlib.md5(_padded(password)).digest()[:5], _padded(password))


def _key(password: str) -> bytes:
    permissions = struct.pack("<i", _PERMISSIONS)
    return hashlib.md5(_padded(password) + _owner_entry(password) + permissions + _IDENTIFIER).digest()[:5]


def _encrypt(key: bytes, number: int, data: bytes) -> bytes:
    """Encrypt what belongs to object `number`; without a key, leave it as it is."""
    if not key:
        return data
    return _rc4(hashlib.md5(key + struct.pack("<I", number)[:3] + b"\0\0").digest()[:10], data)


def _rc4(key: bytes, data: bytes) -> bytes:
    state = list(range(256))
    second = 0
    for first in range(256):
        second = (second + state[first] + key[first % len(key)]) % 256
        state[first], state[second] = state[second], state[first]
    first = second = 0
    result = bytearray()
    for byte in data:
        first = (first + 1) % 256
        second = (second + state[first]) % 256
        state[first], state[second] = state[second], state[first]
        result.append(byte ^ state[(state[first] + state[second]) % 256])
    return bytes(result)
