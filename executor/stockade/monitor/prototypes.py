"""python-ptrace's table of system-call prototypes, behind one door: the second source of names and types.

Our own table (kernel.signatures) comes first and covers x86_64 and aarch64; this one knows calls that only older ABIs
have, such as socketcall of i386. Nothing else of stockade uses that table. Loaded when it is first asked.
"""

from __future__ import annotations

import functools

from stockade.kernel.signatures import Kind, Parameter

_DESCRIPTORS = frozenset({"fd", "sockfd", "s", "epfd", "oldfd", "newfd", "fildes", "in_fd", "out_fd", "mqdes"})
_SIZES = frozenset({"size_t", "unsigned long", "socklen_t"})
_SIZE_NAMES = frozenset({"len", "length", "count", "size", "nbyte", "buflen", "addrlen"})
_OFFSETS = frozenset({"loff_t", "off_t", "loff_t "})
_LONG = frozenset({"long", "unsigned long", "size_t", "loff_t", "off_t", "u64"})


@functools.lru_cache(maxsize=1024)
def prototype(name: str) -> tuple[Parameter, ...] | None:
    """Return the parameters of the call `name`; None when python-ptrace does not know it, or cannot be loaded."""
    try:
        from ptrace.syscall.prototypes import FILENAME_ARGUMENTS, SYSCALL_PROTOTYPES
    except (ImportError, NotImplementedError):  # the latter on a CPU that it does not know
        return None
    found = SYSCALL_PROTOTYPES.get(name)
    if found is None:
        return None
    return tuple(
        Parameter(argument, _kind(c_type.strip(), argument, argument in FILENAME_ARGUMENTS))
        for c_type, argument in found[1][:6]
    )


def _kind(c_type: str, argument: str, is_file_name: bool) -> Kind:
    """Return what kind of argument a C type and a name mean."""
    if c_type.endswith("*"):
        if is_file_name and c_type == "const char *":
            return Kind("path", 64, "path", c_type)
        return Kind("data", 64, "pointer", c_type)
    if argument in _DESCRIPTORS:
        return Kind("fd", 32, "fd", c_type)
    if argument == "dirfd" or argument.endswith("dfd"):
        return Kind("dirfd", 32, "dirfd", c_type)
    if c_type in _OFFSETS:
        return Kind("offset", 64, "offset", c_type)
    if c_type in _SIZES and argument in _SIZE_NAMES:
        return Kind("size", 64, "size", c_type)
    return Kind("int", 64 if c_type in _LONG else 32, "int", c_type)
