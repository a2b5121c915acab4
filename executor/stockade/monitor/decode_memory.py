"""What pointers of a system call point at: strings, argument arrays, addresses of sockets, times, data.

Everything is read from a task that may be hostile: each read is bounded, nothing is followed further than said here,
and all text is escaped. What cannot be read raises OSError. Structures as in ip(7), ipv6(7), unix(7), netlink(7),
readv(2), timespec(3type).
"""

from __future__ import annotations

import ipaddress
import struct
from typing import Protocol

from stockade.text import CUT_MARK, quote

STRING_LIMIT = 256
DATA_LIMIT = 64
ARRAY_LIMIT = 16
ARRAY_STRING_LIMIT = 128
PAGE = 4096
SOCKADDR_LIMIT = 128
NUL = b"\0"

AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_ALG, AF_VSOCK = 1, 2, 10, 16, 17, 38, 40
FAMILY_NAMES = {
    0: "AF_UNSPEC", AF_UNIX: "AF_UNIX", AF_INET: "AF_INET", AF_INET6: "AF_INET6", AF_NETLINK: "AF_NETLINK",
    AF_PACKET: "AF_PACKET", AF_ALG: "AF_ALG", AF_VSOCK: "AF_VSOCK", 44: "AF_XDP",
}  # fmt: skip
UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2


class Reader(Protocol):
    """Reads the memory of a stopped task. May also have `describe_fd(descriptor: int) -> str | None`."""

    def read_memory(self, address: int, size: int) -> bytes:
        """Return up to `size` bytes at `address`, fewer when a hole follows. OSError when nothing can be read."""


def read_exactly(reader: Reader, address: int, size: int) -> bytes:
    """Return `size` bytes; OSError when fewer can be read."""
    data = reader.read_memory(address, size)
    if len(data) < size:
        raise OSError(14, "only a part of it can be read")
    return data[:size]


def read_string(reader: Reader, address: int, limit: int = STRING_LIMIT) -> tuple[bytes, bool]:
    """Return the string at `address` without its NUL, and whether all of it is there; page by page, up to `limit`."""
    found = b""
    while len(found) < limit:
        size = min(PAGE - address % PAGE, limit - len(found))
        try:
            part = reader.read_memory(address, size)[:size]
        except OSError:
            if found:
                return found, False
            raise
        text, end, _ = part.partition(b"\0")
        found += text
        if end:
            return found, True
        if len(part) < size:
            break
        address += size
    if not found:
        raise OSError(14, "nothing can be read")
    return found, False


def string(reader: Reader, address: int, limit: int = STRING_LIMIT) -> str:
    """Return a C string in quotes; one that is longer than `limit`, or has no readable end, is marked as cut."""
    found, whole = read_string(reader, address, limit)
    return quote(found, limit) + ("" if whole else CUT_MARK)


def string_array(reader: Reader, address: int, word: int) -> str:
    """Return an array of strings that ends with NULL, as for argv: `["ls", "-l"]`. `word` is the size of a pointer."""
    shown: list[str] = []
    for index in range(ARRAY_LIMIT + 1):
        try:
            pointer = int.from_bytes(read_exactly(reader, address + index * word, word), "little")
        except OSError:
            if not shown:
                raise
            break
        if pointer == 0:
            return f"[{', '.join(shown)}]"
        shown.append(_string_or_address(reader, pointer))
    return f"[{', '.join(shown[:ARRAY_LIMIT])}, {CUT_MARK}]"


def _string_or_address(reader: Reader, address: int) -> str:
    try:
        return string(reader, address, ARRAY_STRING_LIMIT)
    except OSError:
        return f"{address:#x} (unreadable)"


def data(reader: Reader, address: int, size: int) -> str:
    """Return `size` bytes in quotes, cut to the first few."""
    if size <= 0:
        return '""'
    found = reader.read_memory(address, min(size, DATA_LIMIT))[:DATA_LIMIT]
    return quote(found, DATA_LIMIT) + (CUT_MARK if len(found) < size else "")


def vector(reader: Reader, address: int, count: int, word: int, *, show_data: bool = False) -> str:
    """Return an array of `struct iovec`: where (or, to `show_data`, what) and how long each part is."""
    count = max(count, 0)
    layout = struct.Struct("<QQ" if word == 8 else "<II")
    raw = read_exactly(reader, address, min(count, ARRAY_LIMIT) * layout.size) if count else b""
    shown = [
        f"{{{_part(reader, base, length) if show_data else f'{base:#x}'}, {length}}}"
        for base, length in layout.iter_unpack(raw)
    ]
    return f"[{', '.join(shown + ([CUT_MARK] if count > ARRAY_LIMIT else []))}]"


def _part(reader: Reader, address: int, size: int) -> str:
    try:
        return data(reader, address, size)
    except OSError:
        return f"{address:#x} (unreadable)"


def times(reader: Reader, address: int, count: int, word: int, fraction: str) -> str:
    """Return `count` times of seconds and a fraction ("ns" or "us"): `{5 s, 0 ns}`."""
    layout = struct.Struct("<qq" if word == 8 else "<ii")
    raw = read_exactly(reader, address, count * layout.size)
    shown = [_time(seconds, part, fraction) for seconds, part in layout.iter_unpack(raw)]
    return shown[0] if count == 1 else f"[{', '.join(shown)}]"


def _time(seconds: int, part: int, fraction: str) -> str:
    if fraction == "ns" and part in (UTIME_NOW, UTIME_OMIT):
        return "UTIME_NOW" if part == UTIME_NOW else "UTIME_OMIT"
    return f"{{{seconds} s, {part} {fraction}}}"


def limits(reader: Reader, address: int, word: int) -> str:
    """Return a `struct rlimit`: `{soft 1024, hard unlimited}`."""
    largest = (1 << 8 * word) - 1
    raw = read_exactly(reader, address, 2 * word)
    soft, hard = struct.unpack("<QQ" if word == 8 else "<II", raw)
    names = ["unlimited" if value == largest else str(value) for value in (soft, hard)]
    return f"{{soft {names[0]}, hard {names[1]}}}"


def socket_address(reader: Reader, address: int, length: int) -> str:
    """Return a socket address of `length` bytes: `{AF_INET, 192.0.2.1 port 443}`, `{AF_UNIX, abstract "x"}`."""
    if length < 2:
        return f"{{{length} bytes}}"
    raw = read_exactly(reader, address, min(length, SOCKADDR_LIMIT))
    family = int.from_bytes(raw[:2], "little")
    name = FAMILY_NAMES.get(family, f"family {family}")
    return f"{{{name}, {_socket_place(family, raw)}}}"


def _socket_place(family: int, raw: bytes) -> str:
    rest = raw[2:]
    if family == AF_INET and len(raw) >= 8:
        return f"{ipaddress.IPv4Address(raw[4:8])} port {int.from_bytes(raw[2:4], 'big')}"
    if family == AF_INET6 and len(raw) >= 24:
        scope = int.from_bytes(raw[24:28], "little")
        where = f"%{scope}" if scope else ""
        return f"{ipaddress.IPv6Address(raw[8:24])}{where} port {int.from_bytes(raw[2:4], 'big')}"
    if family == AF_UNIX:
        if not rest:
            return "unnamed"
        # An abstract name is all that follows the first NUL, other NULs included; a path ends at its first.
        return f"abstract {quote(rest[1:])}" if rest[0] == 0 else quote(rest.partition(NUL)[0])
    if family == AF_NETLINK and len(raw) >= 12:
        return f"port {int.from_bytes(raw[4:8], 'little')}, groups {int.from_bytes(raw[8:12], 'little'):#x}"
    if family == AF_VSOCK and len(raw) >= 12:
        return f"cid {int.from_bytes(raw[8:12], 'little')} port {int.from_bytes(raw[4:8], 'little')}"
    if family == AF_PACKET and len(raw) >= 8:
        interface = int.from_bytes(raw[4:8], "little", signed=True)
        return f"protocol {int.from_bytes(raw[2:4], 'big'):#x}, interface {interface}"
    if family == AF_ALG and len(raw) >= 25:  # type in 14 bytes, two numbers, name
        return f"{quote(raw[2:16].partition(NUL)[0])}, {quote(raw[24:].partition(NUL)[0])}"
    return quote(rest, DATA_LIMIT)
