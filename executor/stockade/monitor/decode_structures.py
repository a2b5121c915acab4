"""Structures in memory as text: `{flags=O_RDONLY, mode=0, resolve=RESOLVE_BENEATH}`. Tables: `monitor.structures`.

Everything is read from a task that may be hostile: each read is bounded, and what cannot be read raises OSError.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from stockade.kernel import constants
from stockade.monitor import decode_memory as memory
from stockade.monitor.decode_memory import ARRAY_LIMIT, PAGE, Reader, read_exactly
from stockade.monitor.structures import Field, Layout, Use, layouts
from stockade.text import CUT_MARK, quote

SIGNALS = 64
# Descriptors and CPUs of a set that are shown, bytes of it that are read.
SET_LIMIT, SET_BYTES = 32, 128
FUTEX_COMMAND_MASK = 127
# FUTEX_WAIT, LOCK_PI, WAIT_BITSET, WAIT_REQUEUE_PI, LOCK_PI2: the others have a number there, or nothing. futex(2)
FUTEX_WAITS = frozenset((0, 6, 9, 11, 13))
FUTEX_WITH_NUMBER = frozenset((3, 4, 5, 12))
SOL_SOCKET = 1
# Options of SOL_SOCKET that are no int. socket(7)
SOCKET_OPTIONS = {13: "linger", 20: "timeval", 21: "timeval", 25: "data", 26: "sock_fprog", 51: "sock_fprog"}
_NUMBERS = {
    "i8": "b", "u8": "B", "i16": "h", "u16": "H", "i32": "i", "u32": "I", "i64": "q", "u64": "Q",
    "x32": "I", "x64": "Q", "fd": "i", "set64": "Q",
}  # fmt: skip


class Place(NamedTuple):
    """Where a structure is, and whose."""

    reader: Reader
    architecture: str
    word: int
    call: str
    raw: tuple[int, ...]
    argument: int
    describe_descriptor: Callable[[int], str]

    @property
    def address(self) -> int:
        """What the argument points at."""
        return self.raw[self.argument]


def decode_use(use: Use, place: Place) -> str:
    """Return what the argument points at, as the table says. OSError: unreadable."""
    special = SPECIAL.get(use.structure)
    if use.times or use.count_argument >= 0:
        return _array(use, place, special)
    if special is not None:
        return special(place, place.address)
    limit = place.raw[use.size_argument] & 0xFFFFFFFF if use.size_argument >= 0 else PAGE
    return structure(use.structure, place, place.address, limit)[0]


def structure(name: str, place: Place, address: int, limit: int = PAGE) -> tuple[str, int]:
    """Return a structure at `address`, of which there are `limit` bytes at most, and its size in bytes.

    OSError: nothing of it can be read.
    """
    layout = layouts().get(f"{name}@{place.architecture}") or layouts()[name]
    offsets, size = _offsets(layout, place)
    raw = place.reader.read_memory(address, size)[:size]
    shown: list[str] = []
    for field, (offset, width) in zip(layout.fields, offsets, strict=True):
        if offset + width > limit:
            break
        part = raw[offset : offset + width]
        if len(part) < width:
            if not shown:
                raise OSError(14, "only a part of it can be read")
            shown.append("unreadable")
            break
        if field.name != "-" and not (field.is_optional and not any(part)):
            shown.append(f"{field.name}={_field(field, part, place)}")
    return f"{{{', '.join(shown)}}}", size


def _offsets(layout: Layout, place: Place) -> tuple[list[tuple[int, int]], int]:
    """Return offset and width of each field, and the size of the whole."""
    offsets, at, largest = [], 0, 1
    for field in layout.fields:
        width, alignment = _width(field.type, place)
        if not layout.is_packed:
            at += -at % alignment
            largest = max(largest, alignment)
        offsets.append((at, width))
        at += width
    return offsets, at + -at % largest


def _width(kind: str, place: Place) -> tuple[int, int]:
    if kind.startswith("char"):
        return int(kind[4:]), 1
    width = struct.calcsize(_NUMBERS[kind]) if kind in _NUMBERS else place.word
    return width, min(width, 4) if place.architecture == "i386" else width


def _field(field: Field, part: bytes, place: Place) -> str:
    kind = field.type
    if kind.startswith("char"):
        return quote(part.partition(b"\0")[0])
    value = int.from_bytes(part, "little", signed=kind in ("i8", "i16", "i32", "i64", "fd", "long"))
    if field.family:
        return constants.format_value(field.family, value, place.architecture)
    if kind == "fd":
        return place.describe_descriptor(value)
    if kind == "set64":
        return signal_set(value, place.architecture)
    if kind == "str":
        return _string_at(place, value)
    if kind in ("ptr", "x32", "x64", "word"):
        return f"{value:#x}" if value else "NULL" if kind == "ptr" else "0"
    return str(value)


def _string_at(place: Place, address: int) -> str:
    if not address:
        return "NULL"
    try:
        return memory.string(place.reader, address)
    except OSError:
        return f"{address:#x} (unreadable)"


def _array(use: Use, place: Place, special: Callable[[Place, int], str] | None) -> str:
    count = use.times or place.raw[use.count_argument] & 0xFFFFFFFF
    shown: list[str] = []
    address = place.address
    for _ in range(min(count, ARRAY_LIMIT)):
        try:
            if special is not None:
                text, size = special(place, address), 4
            else:
                text, size = structure(use.structure, place, address)
        except OSError:
            if not shown:
                raise
            shown.append("unreadable")
            break
        shown.append(text)
        address += size
    return f"[{', '.join(shown + ([CUT_MARK] if count > ARRAY_LIMIT else []))}]"


def signal_set(bits: int, architecture: str = "x86_64") -> str:
    """Return a set of signals, the bit of signal 1 lowest: `[SIGINT SIGCHLD]`, or what is missing: `~[SIGKILL]`."""
    present = [number for number in range(1, SIGNALS + 1) if bits >> (number - 1) & 1]
    is_inverted = len(present) > SIGNALS // 2
    if is_inverted:
        present = [number for number in range(1, SIGNALS + 1) if not bits >> (number - 1) & 1]
    names = (constants.format_value("signal", number, architecture) for number in present)
    shown = (str(number) if name.startswith("0x") else name for number, name in zip(present, names, strict=True))
    return ("~" if is_inverted else "") + f"[{' '.join(shown)}]"


def _number(width: int, *, is_signed: bool) -> Callable[[Place, int], str]:
    def decode(place: Place, address: int) -> str:
        return f"[{int.from_bytes(read_exactly(place.reader, address, width), 'little', signed=is_signed)}]"

    return decode


def _plain_number(place: Place, address: int) -> str:
    return str(int.from_bytes(read_exactly(place.reader, address, 4), "little"))


def _signals(place: Place, address: int) -> str:
    return signal_set(int.from_bytes(read_exactly(place.reader, address, 8), "little"), place.architecture)


def _bits(place: Place, address: int, count: int) -> str:
    size = min(max(count, 0), SET_BYTES)
    raw = int.from_bytes(read_exactly(place.reader, address, size), "little") if size else 0
    members = [str(number) for number in range(8 * size) if raw >> number & 1]
    cut = [CUT_MARK] if len(members) > SET_LIMIT or count > SET_BYTES else []
    return f"[{' '.join(members[:SET_LIMIT] + cut)}]"


def _descriptor_set(place: Place, address: int) -> str:
    return _bits(place, address, (place.raw[0] & 0xFFFFFFFF) + 7 >> 3)


def _cpu_set(place: Place, address: int) -> str:
    return _bits(place, address, place.raw[1] & 0xFFFFFFFF)


def _string(place: Place, address: int) -> str:
    return memory.string(place.reader, address)


def _character(place: Place, address: int) -> str:
    return quote(read_exactly(place.reader, address, 1))


def _written(place: Place, address: int) -> str:
    return memory.vector(place.reader, address, place.raw[place.argument + 1] & 0xFFFFFFFF, place.word, show_data=True)


def _futex_timeout(place: Place, address: int) -> str:
    operation = place.raw[1] & FUTEX_COMMAND_MASK
    if operation in FUTEX_WITH_NUMBER:
        return str(address & 0xFFFFFFFF)
    if operation not in FUTEX_WAITS:
        return f"{address:#x}"
    return memory.times(place.reader, address, 1, 4 if place.architecture == "i386" else 8, "ns")


def _socket_option(place: Place, address: int) -> str:
    length = place.raw[4] & 0xFFFFFFFF
    kind = SOCKET_OPTIONS.get(place.raw[2] & 0xFFFFFFFF, "") if place.raw[1] & 0xFFFFFFFF == SOL_SOCKET else ""
    if kind == "timeval":
        return memory.times(place.reader, address, 1, place.word if place.architecture == "i386" else 8, "us")
    if kind in ("linger", "sock_fprog"):
        return structure(kind, place, address)[0]
    if length == 4 and kind != "data":
        return f"[{int.from_bytes(read_exactly(place.reader, address, 4), 'little', signed=True)}]"
    return memory.data(place.reader, address, length)


def _message(place: Place, address: int) -> str:
    return _message_parts(place, address, show_data=True)


def _message_space(place: Place, address: int) -> str:
    return _message_parts(place, address, show_data=False)


def _message_parts(place: Place, address: int, *, show_data: bool) -> str:
    """Return a `struct msghdr`, or the first of an array of `struct mmsghdr`. recvmsg(2)"""
    layout = struct.Struct("<QI4xQQQQi4x" if place.word == 8 else "<IIIIIIi")
    raw = read_exactly(place.reader, address, layout.size)
    name, name_size, vector, parts, control, control_size, flags = layout.unpack(raw)
    shown = []
    if name and show_data:
        shown.append(f"name={_or_unreadable(name, lambda: memory.socket_address(place.reader, name, name_size))}")
    count = min(parts, ARRAY_LIMIT + 1)

    def segments() -> str:
        return memory.vector(place.reader, vector, count, place.word, show_data=show_data)

    shown.append(f"iov={_or_unreadable(vector, segments)}")
    if control:
        head = _or_unreadable(control, lambda: _control(place, control)) if show_data else f"{control:#x}"
        shown.append(f"control={head}, controllen={control_size}")
    if flags and show_data:
        shown.append(f"flags={constants.format_value('msg_flags', flags, place.architecture)}")
    return f"{{{', '.join(shown)}}}"


def _control(place: Place, address: int) -> str:
    """Return the head of the first ancillary message. cmsg(3)"""
    raw = read_exactly(place.reader, address, place.word + 8)
    level, kind = struct.unpack_from("<ii", raw, place.word)
    if level == SOL_SOCKET:
        name = {1: "SCM_RIGHTS", 2: "SCM_CREDENTIALS"}.get(kind, str(kind))
        return f"{{level=SOL_SOCKET, type={name}}}"
    return f"{{level={constants.format_value('socket_level', level)}, type={kind}}}"


def _or_unreadable(address: int, decode: Callable[[], str]) -> str:
    if not address:
        return "NULL"
    try:
        return decode()
    except OSError:
        return f"{address:#x} (unreadable)"


SPECIAL: dict[str, Callable[[Place, int], str]] = {
    "character": _character,
    "cpu_set": _cpu_set,
    "fd_set": _descriptor_set,
    "futex_timeout": _futex_timeout,
    "i64": _number(8, is_signed=True),
    "int": _number(4, is_signed=True),
    "message": _message,
    "message_space": _message_space,
    "sigset": _signals,
    "socket_option": _socket_option,
    "string": _string,
    "u32": _plain_number,
    "written": _written,
}
