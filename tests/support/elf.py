"""ELF files made by hand, good ones and lying ones."""

from __future__ import annotations

import struct

HEADER_SIZE, PROGRAM_HEADER_SIZE = 64, 56


def make_elf(
    *,
    interpreter: bytes = b"",
    dynamic: list[tuple[int, int]] | None = None,
    strings: bytes = b"\0",
    string_address: int | None = None,
    segments: list[bytes] | None = None,
    count: int | None = None,
) -> bytes:
    """Return a small x86_64 ELF file whose tables can be told to lie."""
    entries = [] if dynamic is None else [*dynamic, (5, string_address or 0x400), (10, len(strings)), (0, 0)]
    body = b"".join(struct.pack("<QQ", tag & (1 << 64) - 1, value & (1 << 64) - 1) for tag, value in entries)
    at_interpreter, at_strings = 0x200, 0x400
    at_dynamic = max(0x1000, at_strings + (len(strings) + 15) // 16 * 16)
    table = segments if segments is not None else []
    if segments is None:
        table.append(program_header(1, 0, 0, 1 << 20))
        if interpreter:
            table.append(program_header(3, at_interpreter, at_interpreter, len(interpreter)))
        if dynamic is not None:
            table.append(program_header(2, at_dynamic, at_dynamic, len(body)))
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    number = len(table) if count is None else count
    header += struct.pack(
        "<HHIQQQIHHHHHH", 3, 62, 1, 0, HEADER_SIZE, 0, 0, HEADER_SIZE, PROGRAM_HEADER_SIZE, number, 0, 0, 0
    )
    image = bytearray(at_dynamic + len(body))
    parts = {0: header + b"".join(table), at_interpreter: interpreter, at_strings: strings, at_dynamic: body}
    for offset, part in parts.items():
        image[offset : offset + len(part)] = part
    return bytes(image)


def program_header(kind: int, offset: int, address: int, size: int) -> bytes:
    return struct.pack("<IIQQQQQQ", kind, 4, offset, address, address, size, size, 1)
