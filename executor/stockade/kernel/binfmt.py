"""What the kernel reads of a program file: the `#!` line, the ELF header, the program headers and PT_INTERP.

Only reading, from a descriptor, with `pread`, a bounded number of bytes whatever the file says: it may be
hostile.
Sources: execve(2), elf(5).
"""

from __future__ import annotations

import os
import stat
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

ELF_MAGIC = b"\x7fELF"
SCRIPT_MAGIC = b"#!"
# BINPRM_BUF_SIZE: the kernel looks for the end of a `#!` line in this many bytes.
SCRIPT_LINE_BYTES = 256
# Interpreters of interpreters: the kernel follows this many before it answers ELOOP.
SCRIPT_DEPTH = 5

PT_LOAD: Final = 1
PT_DYNAMIC: Final = 2
PT_INTERP: Final = 3
ET_EXEC: Final = 2
ET_DYN: Final = 3
PATH_MAX = 4096
# The kernel refuses program headers of more than 64 KiB together.
MAX_PROGRAM_HEADER_BYTES = 65536

# e_machine by the name that `uname -m` gives (elf.h).
MACHINES = {
    "x86_64": 62,
    "i386": 3,
    "aarch64": 183,
    "arm": 40,
    "riscv": 243,
    "ppc": 20,
    "ppc64": 21,
    "s390x": 22,
    "mips": 8,
    "sparc": 2,
    "loongarch": 258,
    "bpf": 247,
}


class BinfmtError(ValueError):
    """The file starts like a program and is not one; the text says what is wrong with it."""


class Segment:
    """One program header: p_type, p_offset, p_vaddr, p_filesz."""

    __slots__ = ("address", "file_size", "kind", "offset")

    def __init__(self, kind: int, offset: int, address: int, file_size: int) -> None:
        self.kind, self.offset, self.address, self.file_size = kind, offset, address, file_size


class ElfHeader:
    """The parts of an ELF file that decide whether and how the kernel runs it."""

    __slots__ = ("bits", "interpreter", "kind", "machine", "order", "segments")

    def __init__(self, bits: int, order: str, machine: int, kind: int, segments: list[Segment]) -> None:
        # 32 or 64
        self.bits = bits
        # "<" or ">", as `struct` writes the byte order
        self.order = order
        # e_machine
        self.machine = machine
        # e_type
        self.kind = kind
        self.segments = segments
        # Path of the loader as the file has it, or None
        self.interpreter: bytes | None = None

    @property
    def architecture(self) -> str:
        """Name of the architecture, for people: "x86_64", "i386", "machine 99, 64 bits"."""
        return architecture_name(self.machine, self.bits)


def architecture_name(machine: int, bits: int) -> str:
    """Return the name for an e_machine and a width: x86_64 of 32 bits is "x32"."""
    if machine == MACHINES["x86_64"] and bits == 32:
        return "x32"
    for name, number in MACHINES.items():
        if number == machine:
            return name
    return f"machine {machine}, {bits} bits"


def native_architecture() -> str:
    """Return this machine's name as `architecture_name` spells it."""
    return os.uname().machine


def open_regular(path: str | bytes) -> int:
    """Open a regular file for reading and return the descriptor; the caller closes it.

    Never blocks on a FIFO and never opens a device: OSError (EINVAL; EISDIR for a directory) instead.
    """
    _require_regular(os.stat(path).st_mode, path)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        _require_regular(os.fstat(descriptor).st_mode, path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _require_regular(mode: int, path: str | bytes) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(21, "Is a directory", path)
    if not stat.S_ISREG(mode):
        raise OSError(22, "not a regular file", path)


def read_at(descriptor: int, offset: int, size: int) -> bytes:
    """Read exactly `size` bytes at `offset`. BinfmtError when the file ends before, or the offset is absurd."""
    if offset < 0 or offset + size > (1 << 63) - 1:
        raise BinfmtError(f"points to offset {offset:#x}, which no file has")
    data = b""
    while len(data) < size:
        piece = os.pread(descriptor, size - len(data), offset + len(data))
        if not piece:
            raise BinfmtError(f"ends before offset {offset + size:#x}, to which its headers point")
        data += piece
    return data


def read_script_line(descriptor: int) -> tuple[bytes, bytes] | None:
    """Return (interpreter, argument) of the file's `#!` line as the kernel splits it; None when there is no such line.

    The argument is one string, blanks and all, or empty. BinfmtError when the kernel would refuse the line.
    """
    head = os.pread(descriptor, SCRIPT_LINE_BYTES, 0)
    if not head.startswith(SCRIPT_MAGIC):
        return None
    # Without a line break within it the last byte of the buffer does not count.
    line, newline, _ = head[2 : SCRIPT_LINE_BYTES if b"\n" in head else SCRIPT_LINE_BYTES - 1].partition(b"\n")
    line = line.partition(b"\0")[0].strip(b" \t")
    interpreter, blank, _ = line.replace(b"\t", b" ").partition(b" ")
    if not newline and len(head) == SCRIPT_LINE_BYTES and not blank:
        raise BinfmtError(f"its #! line is longer than {SCRIPT_LINE_BYTES} bytes")
    if not interpreter:
        raise BinfmtError("its #! line names no interpreter")
    return interpreter, line[len(interpreter) :].strip(b" \t")


def read_elf_header(descriptor: int) -> ElfHeader | None:
    """Return the header of an ELF file; None when the file is not ELF. BinfmtError when it is a broken one."""
    head = os.pread(descriptor, 64, 0)
    if not head.startswith(ELF_MAGIC):
        return None
    if len(head) < 52:
        raise BinfmtError("ends within its ELF header")
    bits, order = {1: 32, 2: 64}.get(head[4]), {1: "<", 2: ">"}.get(head[5])
    if bits is None or order is None:
        raise BinfmtError(f"has an unknown ELF class or byte order ({head[4]}, {head[5]})")
    layout = f"{order}16xHHI{'QQQ' if bits == 64 else 'III'}IHHH"
    if len(head) < struct.calcsize(layout):
        raise BinfmtError("ends within its ELF header")
    kind, machine, _, _, table, _, _, _, entry_size, count = struct.unpack_from(layout, head)
    header = ElfHeader(bits, order, machine, kind, _read_segments(descriptor, bits, order, table, entry_size, count))
    header.interpreter = _read_interpreter(descriptor, header.segments)
    return header


def _read_segments(descriptor: int, bits: int, order: str, table: int, entry_size: int, count: int) -> list[Segment]:
    layout = f"{order}IIQQQQQQ" if bits == 64 else f"{order}IIIIIIII"
    size = struct.calcsize(layout)
    if count == 0:
        return []
    if entry_size != size or count * size > MAX_PROGRAM_HEADER_BYTES:
        raise BinfmtError(f"has {count} program headers of {entry_size} bytes, which the kernel refuses")
    segments = []
    for fields in struct.iter_unpack(layout, read_at(descriptor, table, count * size)):
        kind, offset, address, file_size = (
            (fields[0], fields[2], fields[3], fields[5]) if bits == 64 else (fields[0], fields[1], fields[2], fields[4])
        )
        segments.append(Segment(kind, offset, address, file_size))
    return segments


def _read_interpreter(descriptor: int, segments: list[Segment]) -> bytes | None:
    for segment in segments:
        if segment.kind == PT_INTERP:
            if not 2 <= segment.file_size <= PATH_MAX:
                raise BinfmtError(f"names its loader in {segment.file_size} bytes, which the kernel refuses")
            text = read_at(descriptor, segment.offset, segment.file_size)
            if text[-1] != 0:
                raise BinfmtError("names its loader without a terminating NUL, which the kernel refuses")
            return text.partition(b"\0")[0]
    return None
