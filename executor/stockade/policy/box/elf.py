"""What an ELF file asks of the dynamic loader: its loader, its libraries and where it wants them looked for.

A reader of its own, of the dynamic section alone: pyelftools takes 65 ms to import, five times the start of Python
itself, and this is on the way of every start from the command line; the tests compare the two. The file may be hostile:
every number in it is bounded before it is used, nothing is read twice and no loop depends on the file alone.
Sources: elf(5), ld.so(8).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from stockade.kernel.binfmt import (
    PT_DYNAMIC,
    PT_LOAD,
    BinfmtError,
    ElfHeader,
    open_regular,
    read_at,
    read_elf_header,
)

DT_NULL, DT_NEEDED, DT_STRTAB, DT_STRSZ, DT_SONAME, DT_RPATH = 0, 1, 5, 10, 14, 15
DT_RUNPATH = 29
DT_FLAGS_1 = 0x6FFFFFFB
DF_1_NODEFLIB = 0x800

# Far above what real files have (a large browser: about 80 libraries, paths of some hundred bytes).
MAX_DYNAMIC_BYTES = 256 * 1024
MAX_NEEDED = 512
MAX_NAME = 4096
MAX_SEARCH_PATH = 16 * 1024


@dataclass(frozen=True, slots=True)
class Elf:
    """What the loader needs to know of one file. Paths are as the file has them, with `$ORIGIN` and the like."""

    bits: int
    order: str
    machine: int
    kind: int
    architecture: str
    interpreter: str | None
    needed: tuple[str, ...]
    soname: str | None
    rpath: tuple[str, ...]
    runpath: tuple[str, ...]
    # DF_1_NODEFLIB: the default directories are not searched for this file's libraries.
    no_default: bool

    def fits(self, other: Elf) -> bool:
        """Whether both can be in one process: same machine, width and byte order."""
        return (self.bits, self.order, self.machine) == (other.bits, other.order, other.machine)


def read_elf(path: str) -> Elf | None:
    """Return what the ELF file at `path` asks of the loader; None when it is not ELF.

    BinfmtError (a ValueError) when it is a broken or absurd one; OSError when it cannot be read or is no regular file.
    """
    descriptor = open_regular(path)
    try:
        header = read_elf_header(descriptor)
        return None if header is None else _read_dynamic(descriptor, header)
    finally:
        os.close(descriptor)


def _read_dynamic(descriptor: int, header: ElfHeader) -> Elf:
    entries = _dynamic_entries(descriptor, header)
    single = dict(entries)  # of a repeated tag the loader uses the last one; all of DT_NEEDED
    read = _string_reader(descriptor, header, single)
    needed = [value for tag, value in entries if tag == DT_NEEDED]
    if len(needed) > MAX_NEEDED:
        raise BinfmtError(f"needs {len(needed)} libraries, more than {MAX_NEEDED}")
    names = tuple(read(offset, MAX_NAME) for offset in needed)
    if not all(names):
        raise BinfmtError("needs a library without a name")
    interpreter = header.interpreter
    return Elf(
        bits=header.bits,
        order=header.order,
        machine=header.machine,
        kind=header.kind,
        architecture=header.architecture,
        interpreter=None if interpreter is None else _text(interpreter),
        needed=names,
        soname=read(single[DT_SONAME], MAX_NAME) if DT_SONAME in single else None,
        rpath=_search_path(read, single.get(DT_RPATH)),
        runpath=_search_path(read, single.get(DT_RUNPATH)),
        no_default=bool(single.get(DT_FLAGS_1, 0) & DF_1_NODEFLIB),
    )


def _dynamic_entries(descriptor: int, header: ElfHeader) -> list[tuple[int, int]]:
    """Return the (tag, value) pairs of the dynamic section, up to DT_NULL; empty for a static program."""
    segment = next((segment for segment in header.segments if segment.kind == PT_DYNAMIC), None)
    if segment is None:
        return []
    if segment.file_size > MAX_DYNAMIC_BYTES:
        raise BinfmtError(f"has a dynamic section of {segment.file_size} bytes, more than {MAX_DYNAMIC_BYTES}")
    layout = header.order + ("QQ" if header.bits == 64 else "II")
    usable = segment.file_size - segment.file_size % struct.calcsize(layout)
    entries: list[tuple[int, int]] = []
    for tag, value in struct.iter_unpack(layout, read_at(descriptor, segment.offset, usable)):
        if tag == DT_NULL:
            break
        entries.append((tag, value))
    return entries


def _string_reader(descriptor: int, header: ElfHeader, single: dict[int, int]) -> Callable[[int, int], str]:
    """Return a function (offset, limit) -> the string at that offset of the dynamic string table."""
    size = single.get(DT_STRSZ, 0)
    start = _file_offset(header, single[DT_STRTAB]) if DT_STRTAB in single else None

    def read(offset: int, limit: int) -> str:
        if start is None:
            raise BinfmtError("names libraries and has no string table")
        if offset >= size:
            raise BinfmtError(f"names a string at {offset:#x}, outside of its string table of {size:#x} bytes")
        data = os.pread(descriptor, min(size - offset, limit + 1), _checked_offset(start + offset))
        text, end, _ = data.partition(b"\0")
        if not end:
            raise BinfmtError(f"has a string of more than {limit} bytes, or without an end, in its dynamic section")
        return _text(text)

    return read


def _file_offset(header: ElfHeader, address: int) -> int:
    for segment in header.segments:
        if segment.kind == PT_LOAD and segment.address <= address < segment.address + segment.file_size:
            return segment.offset + address - segment.address
    raise BinfmtError(f"has its string table at address {address:#x}, which it does not load")


def _checked_offset(offset: int) -> int:
    if offset >= 1 << 62:
        raise BinfmtError(f"points to offset {offset:#x}, which no file has")
    return offset


def _search_path(read: Callable[[int, int], str], offset: int | None) -> tuple[str, ...]:
    return () if offset is None else tuple(_unique(read(offset, MAX_SEARCH_PATH).split(":")))


def _unique(parts: list[str]) -> Iterator[str]:
    """The elements that name a directory, each once. An empty one means the current directory, which is not ours."""
    return iter(dict.fromkeys(part for part in parts if part))


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise BinfmtError(f"holds the path {raw[:80]!r}, which is not UTF-8") from None
