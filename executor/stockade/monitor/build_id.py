"""The GNU build id of a mapped file, from the memory of the process that has it mapped. elf(5).

The file itself is inside the box and may not be what was mapped, so memory is read: the ELF header, its program headers
and the notes. All of it belongs to a program that may be hostile: reads are few and bounded, and whatever does not look
like a build id is none. A program can put a false one there.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from stockade.monitor.decode_memory import Reader, read_exactly

MAXIMUM_HEADERS = 64
MAXIMUM_NOTES = 4096
LONGEST_ID = 64
PT_LOAD, PT_NOTE, NT_GNU_BUILD_ID = 1, 4, 3
_HEADER_SIZE = 64


def build_id(reader: Reader, start: int) -> str:
    """Return the build id, in hexadecimal, of the ELF file whose first byte is mapped at `start`.

    Empty when it has none, when it is no ELF file, and when its memory cannot be read. Never raises.
    """
    try:
        return _find(reader, start)
    except (OSError, struct.error, OverflowError):
        return ""


class Segment:
    """One program header."""

    __slots__ = ("address", "kind", "offset", "size")

    def __init__(self, kind: int, offset: int, address: int, size: int) -> None:
        self.kind, self.offset, self.address, self.size = kind, offset, address, size


def segments(reader: Reader, start: int) -> list[Segment]:
    """Return the program headers of what is mapped at `start`; none when it is no ELF file. OSError: unreadable."""
    header = read_exactly(reader, start, _HEADER_SIZE)
    if header[:4] != b"\x7fELF" or header[4] not in (1, 2) or header[5] != 1:
        return []
    if header[4] == 2:
        table, size, count = struct.unpack_from("<32xQ14xHH", header)
        layout, least = "<IIQQQQ", 56
    else:
        table, size, count = struct.unpack_from("<28xI10xHH", header)
        layout, least = "<IIIII", 32
    if size < least or size > 1024:
        return []
    raw = reader.read_memory(start + table, size * min(count, MAXIMUM_HEADERS))
    found = []
    for place in range(0, len(raw) - least + 1, size):
        fields = struct.unpack_from(layout, raw, place)
        if header[4] == 2:
            found.append(Segment(fields[0], fields[2], fields[3], fields[5]))
        else:
            found.append(Segment(fields[0], fields[1], fields[2], fields[4]))
    return found


def _find(reader: Reader, start: int) -> str:
    found = segments(reader, start)
    first = next((each for each in found if each.kind == PT_LOAD and each.offset == 0), None)
    if first is None:
        return ""
    for segment in found:
        if segment.kind != PT_NOTE:
            continue
        address = (start - first.address + segment.address) % (1 << 64)
        raw = reader.read_memory(address, min(segment.size, MAXIMUM_NOTES))
        for owner, kind, content in _notes(raw):
            if owner == b"GNU\0" and kind == NT_GNU_BUILD_ID and 0 < len(content) <= LONGEST_ID:
                return content.hex()
    return ""


def _notes(raw: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    """Take notes apart: owner, type, content."""
    place = 0
    while place + 12 <= len(raw):
        owner_size, size, kind = struct.unpack_from("<III", raw, place)
        name_at = place + 12
        content_at = name_at + (owner_size + 3 & ~3)
        place = content_at + (size + 3 & ~3)
        if place > len(raw) + 3:
            return
        yield raw[name_at : name_at + owner_size], kind, raw[content_at : content_at + size]
