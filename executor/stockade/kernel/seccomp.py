"""seccomp(2): installing a filter on the calling thread."""

from __future__ import annotations

import ctypes

from stockade.kernel.calls import Address, Int, prepared_system_call, system_call
from stockade.kernel.seccomp_constants import INSTRUCTION_SIZE, SECCOMP_FILTER_FLAG_TSYNC, SECCOMP_SET_MODE_FILTER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_seccomp = system_call("seccomp", Int, Int, Address)


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def _program(instructions: bytes) -> tuple[_Program, ctypes.Array[ctypes.c_char]]:
    buffer = ctypes.create_string_buffer(instructions, len(instructions))
    return _Program(len(instructions) // INSTRUCTION_SIZE, ctypes.addressof(buffer)), buffer


def install_filter(instructions: bytes, flags: int = 0) -> None:
    """Install a filter of struct sock_filter `instructions`. Needs no_new_privs or CAP_SYS_ADMIN; cannot be undone."""
    program, buffer = _program(instructions)
    _seccomp(SECCOMP_SET_MODE_FILTER, flags, ctypes.addressof(program))
    del buffer


def prepare_filter(instructions: bytes, flags: int = 0) -> Callable[[], int]:
    """Lay out the call of `install_filter` so that calling the result makes that one system call and no other.

    The result returns 0, or the error number when the kernel refused.
    """
    program, buffer = _program(instructions)
    function, number = prepared_system_call("seccomp", Int, Int, Address)
    call = (number, SECCOMP_SET_MODE_FILTER, flags, ctypes.addressof(program))

    def install(_keep_alive: object = (program, buffer)) -> int:
        return ctypes.get_errno() if function(*call) else 0

    return install


def prepare_listener(instructions: bytes, flags: int) -> Callable[[], int]:
    """As `prepare_filter`, with flags that ask for a listener (SECCOMP_FILTER_FLAG_NEW_LISTENER).

    The result returns the listener's descriptor, or the negated error number.
    """
    program, buffer = _program(instructions)
    function, number = prepared_system_call("seccomp", Int, Int, Address)
    call = (number, SECCOMP_SET_MODE_FILTER, flags, ctypes.addressof(program))

    def install(_keep_alive: object = (program, buffer)) -> int:
        listener = function(*call)
        return -ctypes.get_errno() if listener == -1 else listener

    return install


def prepare_filter_for_all_threads(instructions: bytes, flags: int = 0) -> Callable[[], tuple[int, int]]:
    """As `prepare_filter`, for every thread of the process at once (SECCOMP_FILTER_FLAG_TSYNC): all of them or none.

    The result returns (error number, 0), or (0, thread id) of a thread that cannot take over the filter; (0, 0) is
    success.
    """
    program, buffer = _program(instructions)
    function, number = prepared_system_call("seccomp", Int, Int, Address)
    call = (number, SECCOMP_SET_MODE_FILTER, flags | SECCOMP_FILTER_FLAG_TSYNC, ctypes.addressof(program))

    def install(_keep_alive: object = (program, buffer)) -> tuple[int, int]:
        result = function(*call)
        return (ctypes.get_errno(), 0) if result < 0 else (0, result)

    return install
