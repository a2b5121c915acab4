"""System-call arguments as people read them: symbols for flags, strings from memory, descriptors with their targets.

Table-driven: what an argument is comes from `kernel.signatures`, its symbols from `kernel.constants`. Reading memory of
a running program shows what was there at that moment, no more: it is for reports, never for a decision.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from stockade._proto import report_pb2
from stockade.kernel import constants
from stockade.kernel.signatures import Kind, Parameter, known_calls, signature, symbols
from stockade.kernel.signatures.dependent import NO_SYMBOLS
from stockade.monitor import decode_memory as memory
from stockade.monitor.decode_memory import Reader
from stockade.monitor.decode_structures import Place, decode_use
from stockade.monitor.prototypes import prototype
from stockade.monitor.structures import use_of
from stockade.text import escape

AT_FDCWD = -100
ARGUMENTS = 6
# Larger numbers of no known meaning are easier to read in hex.
LARGEST_DECIMAL = 1 << 24
# Bytes of a pointer for the ABIs that do not have 8.
POINTER_SIZES = {"i386": 4, "x32": 4}
# Structures that the kernel reads, by the names that their parameters have; others it writes, and before the call they
# hold nothing of interest.
INPUT_TIMES = frozenset({"timeout", "request", "abs_timeout", "tp@clock_settime", "tv@settimeofday"})
PAIRS_OF_TIMES = frozenset({"times"})
INPUT_TIMERS = frozenset({"new_value"})
INPUT_LIMITS = frozenset({"new_limit", "rlim@setrlimit"})
COUNT_ROLES = frozenset({"size", "int"})
# Arguments that the kernel reads only if a bit of another one is set, and that hold anything otherwise:
# call -> (first such argument, argument that decides, symbols of the bits)
READ_ONLY_WITH = {
    "open": (2, 1, "O_CREAT|O_TMPFILE"),
    "openat": (3, 2, "O_CREAT|O_TMPFILE"),
    "mq_open": (2, 1, "O_CREAT"),
    "mremap": (4, 3, "MREMAP_FIXED|MREMAP_DONTUNMAP"),
}
# Commands of fcntl without a third argument.
FCNTL_WITHOUT_ARGUMENT = frozenset(
    {"F_GETFD", "F_GETFL", "F_GETOWN", "F_GETSIG", "F_GETLEASE", "F_GETPIPE_SZ", "F_GET_SEALS"}
)


@dataclass(frozen=True, slots=True)
class _Context:
    """One call while it is decoded."""

    name: str
    architecture: str
    raw: tuple[int, ...]
    parameters: tuple[Parameter, ...]
    reader: Reader
    # Kind and target of the descriptors that were looked up.
    descriptors: dict[int, tuple[str, str]] = field(default_factory=dict)

    @property
    def word(self) -> int:
        """Bytes of a pointer."""
        return POINTER_SIZES.get(self.architecture, 8)

    def is_input(self, index: int, names: frozenset[str]) -> bool:
        """Whether the parameter is one of `names`, alone or with the name of the call."""
        name = self.parameters[index].name
        return name in names or f"{name}@{self.name}" in names

    def count_after(self, index: int) -> int | None:
        """Return the value of the parameter behind `index` when it says how much is there, else None."""
        if index + 1 >= len(self.parameters) or self.parameters[index + 1].kind.role not in COUNT_ROLES:
            return None
        return signed(self.raw[index + 1], self.parameters[index + 1].kind.width)


def decode_arguments(
    syscall_name: str, architecture_name: str, raw_args: Sequence[int], reader: Reader
) -> list[report_pb2.Argument]:
    """Return the arguments of a call in order, decoded, as many as the kernel reads (six when it is not known).

    `raw_args` are the registers, `reader` reads the calling task's memory and may have `describe_fd(descriptor)`. All
    text is one line and safe to print. Never raises for anything that the task did.
    """
    raw = tuple(value & 0xFFFFFFFFFFFFFFFF for value in (*raw_args, *[0] * ARGUMENTS)[:ARGUMENTS])
    parameters = _parameters(syscall_name, architecture_name)
    parameters = parameters[: _arguments_read(syscall_name, architecture_name, raw, len(parameters))]
    context = _Context(syscall_name, architecture_name, raw, parameters, reader)
    return [
        report_pb2.Argument(
            name=parameter.name,
            type=parameter.kind.c_type,
            value=raw[index],
            text=_decode(context, index),
            descriptor_kind=_descriptor_kind(context, index),
        )
        for index, parameter in enumerate(parameters)
    ]


def format_call(name: str, arguments: Sequence[report_pb2.Argument]) -> str:
    """Return a call as one line: `openat(AT_FDCWD, "/etc/passwd", O_RDONLY)`."""
    return f"{name}({', '.join(argument.text for argument in arguments)})"


def signed(value: int, width: int) -> int:
    """Return the lowest `width` bits of `value` as a two's complement number."""
    value &= (1 << width) - 1
    return value - (1 << width) if value >> (width - 1) else value


@functools.lru_cache(maxsize=1)
def _known() -> frozenset[str]:
    return frozenset(known_calls())


def _parameters(name: str, architecture: str) -> tuple[Parameter, ...]:
    found = signature(name, architecture)
    if found or name in _known():
        return found
    second = prototype(name)
    if second is not None:
        return second
    unknown = Kind("word", 64, "word", "unsigned long")
    return tuple(Parameter(f"arg{index}", unknown) for index in range(ARGUMENTS))


def _arguments_read(name: str, architecture: str, raw: tuple[int, ...], count: int) -> int:
    """Return how many of its `count` arguments the kernel reads in this call."""
    if name in READ_ONLY_WITH:
        first, decider, bits = READ_ONLY_WITH[name]
        wanted = constants.parse(bits) & ~constants.value("O_DIRECTORY")  # O_TMPFILE holds it
        return count if raw[decider] & wanted else min(count, first)
    if name.startswith("fcntl") and constants.format_value("fcntl_cmd", raw[1], architecture) in FCNTL_WITHOUT_ARGUMENT:
        return min(count, 2)
    return count


def _decode(context: _Context, index: int) -> str:
    kind = context.parameters[index].kind
    value = context.raw[index] & ((1 << kind.width) - 1)
    if context.word == 4:
        value &= 0xFFFFFFFF
    use = use_of(context.name, index, context.raw) if value else None
    decoder = _BY_KIND.get(kind.name) or _BY_ROLE.get(kind.role, _number)
    try:
        return decode_use(use, _place(context, index, value)) if use else decoder(context, index, value)
    except OSError:
        return f"{value:#x} (unreadable)"
    except (ValueError, LookupError, OverflowError, struct.error):
        return f"{value:#x}"


def _place(context: _Context, index: int, address: int) -> Place:
    raw = (*context.raw[:index], address, *context.raw[index + 1 :])

    def describe(descriptor: int) -> str:
        return _descriptor(context, index, descriptor)

    return Place(context.reader, context.architecture, context.word, context.name, raw, index, describe)


def _number(context: _Context, index: int, value: int) -> str:
    kind = context.parameters[index].kind
    family = symbols(context.name, index, context.raw, context.architecture)
    if family not in (None, NO_SYMBOLS):
        return constants.format_value(family, value, context.architecture)
    if kind.c_type.startswith("u"):
        return str(value) if value < LARGEST_DECIMAL else f"{value:#x}"
    number = signed(value, min(kind.width, 8 * context.word))
    return str(number) if abs(number) < LARGEST_DECIMAL else f"{value:#x}"


def _symbols(context: _Context, index: int, value: int) -> str:
    family = symbols(context.name, index, context.raw, context.architecture)
    return constants.format_value(family, value, context.architecture)


def _count(context: _Context, index: int, value: int) -> str:
    kind = context.parameters[index].kind
    return str(signed(value, kind.width) if kind.c_type in ("int", "loff_t", "off_t", "long") else value)


def _identity(context: _Context, index: int, value: int) -> str:
    del context, index
    return str(signed(value, 32))


def _descriptor(context: _Context, index: int, value: int) -> str:
    del index
    number = signed(value, 32)
    _, target = _look_up(context, number)
    return f"{number}<{escape(target[: memory.STRING_LIMIT])}>" if target else str(number)


def _descriptor_kind(context: _Context, index: int) -> str:
    """Return the kind of a descriptor; "" for an argument that is none, or that is not known."""
    number = signed(context.raw[index], 32)
    if context.parameters[index].kind.role not in ("fd", "dirfd") or number < 0:
        return ""
    return escape(_look_up(context, number)[0])


def _look_up(context: _Context, number: int) -> tuple[str, str]:
    """Return kind and target of a descriptor, as far as the reader knows of such things."""
    if number < 0:
        return "", ""
    if number not in context.descriptors:
        look_up: Callable[[int], tuple[str, str]] | None = getattr(context.reader, "look_up_fd", None)
        if look_up is not None:
            context.descriptors[number] = look_up(number)
        else:
            describe: Callable[[int], str | None] | None = getattr(context.reader, "describe_fd", None)
            context.descriptors[number] = "", (describe(number) if describe is not None else None) or ""
    return context.descriptors[number]


def _directory(context: _Context, index: int, value: int) -> str:
    return "AT_FDCWD" if signed(value, 32) == AT_FDCWD else _descriptor(context, index, value)


def _pointer(context: _Context, index: int, value: int) -> str:
    del context, index
    return "NULL" if value == 0 else f"{value:#x}"


def _or_null(decode: Callable[[_Context, int, int], str]) -> Callable[[_Context, int, int], str]:
    def decode_unless_null(context: _Context, index: int, value: int) -> str:
        return "NULL" if value == 0 else decode(context, index, value)

    return decode_unless_null


def _string(context: _Context, index: int, value: int) -> str:
    del index
    return memory.string(context.reader, value)


def _string_array(context: _Context, index: int, value: int) -> str:
    del index
    return memory.string_array(context.reader, value, context.word)


def _data(context: _Context, index: int, value: int) -> str:
    size = context.count_after(index)
    return _pointer(context, index, value) if size is None else memory.data(context.reader, value, size)


def _vector(context: _Context, index: int, value: int) -> str:
    return memory.vector(context.reader, value, context.count_after(index) or 0, context.word)


def _socket_address(context: _Context, index: int, value: int) -> str:
    return memory.socket_address(context.reader, value, context.count_after(index) or 0)


def _time(fraction: str, per_value: int = 1) -> Callable[[_Context, int, int], str]:
    def decode(context: _Context, index: int, value: int) -> str:
        size = 4 if context.architecture == "i386" else 8
        if per_value == 2:
            is_input, count = context.is_input(index, INPUT_TIMERS), 2
        elif context.is_input(index, PAIRS_OF_TIMES):
            is_input, count = True, 2
        else:
            is_input, count = context.is_input(index, INPUT_TIMES), 1
        return memory.times(context.reader, value, count, size, fraction) if is_input else f"{value:#x}"

    return decode


def _limits(context: _Context, index: int, value: int) -> str:
    if not context.is_input(index, INPUT_LIMITS):
        return f"{value:#x}"
    return memory.limits(context.reader, value, 8 if context.name == "prlimit64" else context.word)


_BY_KIND: dict[str, Callable[[_Context, int, int], str]] = {
    "*strings": _or_null(_string_array),
    "*iovec": _or_null(_vector),
    "*timespec": _or_null(_time("ns")),
    "*timeval": _or_null(_time("us")),
    "*itimerspec": _or_null(_time("ns", per_value=2)),
    "*itimerval": _or_null(_time("us", per_value=2)),
    "*rlimit": _or_null(_limits),
    "*rlimit64": _or_null(_limits),
    # The kernel writes this one.
    "*sockaddr": _pointer,
    "const_data": _or_null(_data),
    "sockaddr": _or_null(_socket_address),
}
_BY_ROLE: dict[str, Callable[[_Context, int, int], str]] = {
    "fd": _descriptor,
    "dirfd": _directory,
    "path": _or_null(_string),
    "string": _or_null(_string),
    "pointer": _pointer,
    "address": _pointer,
    "size": _count,
    "offset": _count,
    "mode": _symbols,
    "pid": _identity,
    "id": _identity,
    "flags": _symbols,
    "enum": _symbols,
    "signal": _symbols,
}
