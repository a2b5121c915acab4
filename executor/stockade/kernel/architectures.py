"""The architectures that stockade knows: audit tokens, and system call names and numbers.

The tables themselves lie in `syscall_numbers`, one module each, and are loaded when first asked for: the forkserver
needs `native()` but no table.

A program can enter the kernel by more than one architecture: on x86_64 by `int 0x80` (i386) and with bit 30 of the
number set (x32). Both are known here so that a report can name the call; a policy is for X86_64 or AARCH64.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# AUDIT_ARCH_* of linux/audit.h: the ELF machine, with bit 31 for 64-bit and bit 30 for little-endian.
AUDIT_ARCH_X86_64 = 0xC000003E
AUDIT_ARCH_AARCH64 = 0xC00000B7
AUDIT_ARCH_I386 = 0x40000003

# Set in the number of an x32 call; its audit token is that of x86_64.
X32_BIT = 0x40000000


class Architecture:
    """One way into the kernel: `name`, `audit_token` (AUDIT_ARCH_*, as seccomp and ptrace report it) and its calls."""

    __slots__ = ("_load", "_names", "_syscalls", "audit_token", "name")

    def __init__(self, name: str, audit_token: int, load: Callable[[], dict[str, int]]) -> None:
        self.name = name
        self.audit_token = audit_token
        self._load = load
        self._syscalls: dict[str, int] | None = None
        self._names: dict[int, str] | None = None

    def __repr__(self) -> str:
        return f"<Architecture {self.name}>"

    def __reduce__(self) -> tuple[Callable[[str], Architecture], tuple[str]]:
        return _by_name, (self.name,)

    @property
    def syscalls(self) -> Mapping[str, int]:
        """All system calls, name to number, in the order of their numbers. Do not change it."""
        if self._syscalls is None:
            self._syscalls = self._load()
        return self._syscalls

    @property
    def names(self) -> Mapping[int, str]:
        """All system calls, number to name. Do not change it."""
        if self._names is None:
            self._names = {number: name for name, number in self.syscalls.items()}
        return self._names

    def number(self, name: str) -> int:
        """Give the number of the call `name`. Raises LookupError when this architecture has none of that name."""
        number = self.syscalls.get(name)
        if number is None:
            raise LookupError(f"{self.name} has no system call named {name!r}")
        return number

    def name_of(self, number: int) -> str:
        """Give the name of a call, or "syscall_9999" for a number that the table does not have."""
        return self.names.get(number) or f"syscall_{number}"


def _load_x86_64() -> dict[str, int]:
    from stockade.kernel.syscall_numbers import x86_64

    return x86_64.SYSCALLS


def _load_aarch64() -> dict[str, int]:
    from stockade.kernel.syscall_numbers import aarch64

    return aarch64.SYSCALLS


def _load_i386() -> dict[str, int]:
    from stockade.kernel.syscall_numbers import i386

    return i386.SYSCALLS


def _load_x32() -> dict[str, int]:
    from stockade.kernel.syscall_numbers import x32

    return x32.SYSCALLS


X86_64 = Architecture("x86_64", AUDIT_ARCH_X86_64, _load_x86_64)
AARCH64 = Architecture("aarch64", AUDIT_ARCH_AARCH64, _load_aarch64)
I386 = Architecture("i386", AUDIT_ARCH_I386, _load_i386)
X32 = Architecture("x32", AUDIT_ARCH_X86_64, _load_x32)

# Every architecture by name. The first two can carry a policy.
ARCHITECTURES: dict[str, Architecture] = {each.name: each for each in (X86_64, AARCH64, I386, X32)}

_BY_TOKEN = {each.audit_token: each for each in (X86_64, AARCH64, I386)}
_NATIVE = {"x86_64": X86_64, "aarch64": AARCH64}


def _by_name(name: str) -> Architecture:
    return ARCHITECTURES[name]


def native() -> Architecture:
    """Give the architecture of this process and kernel.

    Raises UnsupportedError unless both are 64-bit x86_64 or aarch64.
    """
    machine = os.uname().machine
    architecture = _NATIVE.get(machine)
    if architecture is None or sys.maxsize <= 2**32:
        from stockade.errors import UnsupportedError

        width = "64" if sys.maxsize > 2**32 else "32"
        raise UnsupportedError(
            "architecture",
            f"uname says {machine!r} and this Python is {width}-bit; stockade knows the system calls of x86_64 and "
            "aarch64 only",
            "run a 64-bit Python on such a machine, without `setarch`",
        )
    return architecture


def by_token(token: int) -> Architecture | None:
    """Give the architecture of an audit token (AUDIT_ARCH_*), or None. x32 has the token of x86_64: see `of_call`."""
    return _BY_TOKEN.get(token)


def of_call(token: int, number: int) -> Architecture | None:
    """Give the architecture of one call as seccomp or ptrace reports it, telling x32 from x86_64; None if unknown."""
    architecture = _BY_TOKEN.get(token)
    return X32 if architecture is X86_64 and number & X32_BIT else architecture
