"""What each system call of x86_64 and aarch64 takes: names, kinds and widths of its arguments.

The tables are text, one call a line: `openat(dirfd dirfd, path path, open_flags flags, file_mode mode)`. An argument is
a kind of `kinds.TEXT` and a name; the kind `*iovec` is a pointer to `struct iovec` (see `kinds.POINTEES`). A line
`clone@aarch64(...)` holds for that architecture alone. A line is taken apart when its call is first asked for.

The widths are those of the SYSCALL_DEFINE lines of Linux 6.18: 16 for umode_t, 32 for int, unsigned int and what they
name (pid_t, key_serial_t, clockid_t ...), 64 for long, unsigned long, size_t, loff_t and pointers; narrower where the
kernel itself drops the upper bits of a long before it looks at it. An argument whose meaning hangs on another one (the
last ones of prctl, fcntl, ioctl, keyctl) has the widest reading, 64.
"""

from __future__ import annotations

from functools import cache, lru_cache

from stockade.kernel.signatures import kinds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_DISCRIMINATING_ROLES = frozenset({"flags", "enum", "signal"})


class Kind:
    """A kind of argument.

    `width` in bits (16, 32 or 64), `c_type` as C spells it, `role` (fd, dirfd, path, string, pointer, sockaddr,
    address, size, offset, mode, pid, id, int, flags, enum, signal), and `symbols`, the family of `kernel.constants`
    or None.
    """

    __slots__ = ("c_type", "name", "role", "symbols", "width")

    def __init__(self, name: str, width: int, role: str, c_type: str, symbols: str | None = None) -> None:
        self.name = name
        self.width = width
        self.role = role
        self.c_type = c_type
        self.symbols = symbols

    def __repr__(self) -> str:
        return f"<Kind {self.name}: {self.c_type}, {self.width} bits>"


class Parameter:
    """One parameter of a call: its `name` and its `kind`."""

    __slots__ = ("kind", "name")

    def __init__(self, name: str, kind: Kind) -> None:
        self.name = name
        self.kind = kind

    def __repr__(self) -> str:
        return f"<Parameter {self.kind.name} {self.name}>"

    @property
    def discriminating(self) -> bool:
        """True when the argument selects what the call does (flags, a command, a signal), not what it does it to."""
        return self.kind.role in _DISCRIMINATING_ROLES


# Bounded, because the name may come from a number that a hostile program made up.
@lru_cache(maxsize=1024)
def signature(name: str, architecture: str = "x86_64") -> tuple[Parameter, ...]:
    """Give the parameters of the call `name` in order; empty for a call without any and for one that is not known."""
    lines = _lines()
    text = lines.get(f"{name}@{architecture}") or lines.get(name, "")
    pairs = (argument.split() for argument in text.split(", ") if argument)
    return tuple(Parameter(parameter, kind(label)) for label, parameter in pairs)


def known_calls() -> tuple[str, ...]:
    """Give the names of all calls that the tables hold, in alphabetical order."""
    return tuple(sorted(name for name in _lines() if "@" not in name))


def width(name: str, index: int) -> int:
    """Give the number of bits that the kernel reads of argument `index` (0-5): 16, 32 or 64.

    64 for a call that is not known and beyond the parameters of one that is. The architectures do not differ.
    """
    parameters = signature(name)
    return parameters[index].kind.width if 0 <= index < len(parameters) else 64


def symbols(name: str, index: int, arguments: Sequence[int] = (), architecture: str = "x86_64") -> str | None:
    """Give the family of constants that fits argument `index` of a call, or None.

    Where the family hangs on another argument (the protocol of an AF_NETLINK socket, the value of fcntl(F_SETFL)) it is
    found with the help of `arguments`, the call's arguments as the registers hold them.
    """
    from stockade.kernel.signatures.dependent import NO_SYMBOLS, dependent_family

    family = dependent_family(name, index, arguments)
    if family is not None:
        return None if family == NO_SYMBOLS else family
    parameters = signature(name, architecture)
    return parameters[index].kind.symbols if 0 <= index < len(parameters) else None


def kind(name: str) -> Kind:
    """Give the kind `name`; `*timespec` is a pointer to struct timespec. Raises KeyError for a name that is none."""
    return _pointer(name) if name.startswith("*") else _kinds()[name]


@cache
def _pointer(name: str) -> Kind:
    pointee = kinds.POINTEES.get(name[1:], f"struct {name[1:]}")
    role = "sockaddr" if name == "*sockaddr" else "pointer"
    return Kind(name, 64, role, f"{pointee} *".replace("* *", "**"))


@cache
def _kinds() -> dict[str, Kind]:
    found = {}
    for line in kinds.TEXT.strip().splitlines():
        label, bits, role, c_type = line.split(None, 3)
        role, _, family = role.partition(":")
        found[label] = Kind(label, int(bits), role, c_type, family or None)
    return found


@cache
def _lines() -> dict[str, str]:
    from stockade.kernel.signatures import files, memory, network, processes, system

    found = {}
    for module in (files, memory, network, processes, system):
        for line in module.TEXT.strip().splitlines():
            name, _, rest = line.partition("(")
            found[name] = rest.rstrip(")")
    return found
