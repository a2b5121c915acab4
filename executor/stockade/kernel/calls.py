"""How the bindings reach the C library, and how its failures become `OSError`.

The library is opened with `PyDLL`, which keeps the interpreter lock: the calls bound here do not block (those that do
are made through `os`), and between installing a filter and the exec nothing but the bound call may reach the kernel.
"""

from __future__ import annotations

import ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_LIBC = ctypes.PyDLL(None, use_errno=True)

# Numbers of the system calls that the C library does not wrap. From pidfd_send_signal on all architectures agree.
_NUMBERS_BY_MACHINE = {
    "x86_64": {
        "mmap": 9,
        "mprotect": 10,
        "rt_sigaction": 13,
        "ioctl": 16,
        "clone": 56,
        "ptrace": 101,
        "capset": 126,
        "pivot_root": 155,
        "tgkill": 234,
        "keyctl": 250,
        "seccomp": 317,
        "execveat": 322,
        "statx": 332,
    },
    "aarch64": {
        "mmap": 222,
        "mprotect": 226,
        "rt_sigaction": 134,
        "ioctl": 29,
        "clone": 220,
        "ptrace": 117,
        "capset": 91,
        "pivot_root": 41,
        "tgkill": 131,
        "keyctl": 219,
        "seccomp": 277,
        "execveat": 281,
        "statx": 291,
    },
}
_COMMON_NUMBERS = {
    "pidfd_send_signal": 424,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "pidfd_open": 434,
    "close_range": 436,
    "openat2": 437,
    "pidfd_getfd": 438,
    "mount_setattr": 442,
}

Address = ctypes.c_void_p
Int = ctypes.c_int
Long = ctypes.c_long
Path = ctypes.c_char_p
Size = ctypes.c_size_t


def _failure(name: str, path: bytes | str | None) -> OSError:
    error = ctypes.get_errno()
    text = f"{name}: {os.strerror(error)}"
    if path is None:
        return OSError(error, text)
    return OSError(error, text, os.fsdecode(path))


def library_call(name: str, *argument_types: Any) -> Callable[..., int]:
    """Bind the C library's function `name`; the result is a callable that returns its value or raises `OSError`.

    The keyword argument `path` of the callable is not passed on: it names the object in the error.
    """
    function = _LIBC[name]
    function.argtypes = argument_types
    function.restype = Long if argument_types and argument_types[0] is Long else Int

    def call(*arguments: Any, path: bytes | str | None = None) -> int:
        result: int = function(*arguments)
        if result == -1:
            raise _failure(name, path)
        return result

    return call


def number_of(name: str) -> int:
    """Number of the system call `name` on this machine, for those that are bound here by number."""
    number = _COMMON_NUMBERS.get(name)
    if number is None:
        number = _NUMBERS_BY_MACHINE[os.uname().machine][name]
    return number


def system_call(name: str, *argument_types: Any) -> Callable[..., int]:
    """Bind the system call `name` by number, for calls without a wrapper in the C library. Fails as `library_call`.

    On a machine whose numbers are not known here the callable raises ENOSYS instead of calling anything.
    """
    try:
        number = number_of(name)
    except KeyError:
        return _unknown_machine(name)
    function = _LIBC["syscall"]
    function.argtypes = (Long, *argument_types)
    function.restype = Long

    def call(*arguments: Any, path: bytes | str | None = None) -> int:
        result: int = function(number, *arguments)
        if result == -1:
            raise _failure(name, path)
        return result

    return call


def _unknown_machine(name: str) -> Callable[..., int]:
    def call(*_arguments: Any, path: bytes | str | None = None) -> int:
        raise OSError(38, f"{name}: not known on {os.uname().machine}", path)

    return call


def prepared_system_call(name: str, *argument_types: Any) -> tuple[Callable[..., int], int]:
    """The bare foreign function and the number of a call that must be made with nothing around it (the free exec)."""
    function = _LIBC["syscall"]
    function.argtypes = (Long, *argument_types)
    function.restype = Long
    return function, number_of(name)


def error_of(number: int) -> int:
    """Make the system call `number`, without arguments; the error number that came back, 0 for none."""
    function = _LIBC["syscall"]
    function.argtypes, function.restype = (Long,), Long
    return ctypes.get_errno() if function(number) == -1 else 0
