"""Stopping at one's tracer without a system call, with a number to tell: for a process whose filter is on already."""

from __future__ import annotations

import ctypes
import os

from stockade.kernel.calls import Address, Int, Long, Size, system_call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# A breakpoint, and the return from the function that it is.
_CODE = {"x86_64": b"\xcc\xc3"}
PROT_READ, PROT_WRITE, PROT_EXEC = 1, 2, 4
MAP_PRIVATE_ANONYMOUS = 0x22
PAGE = 4096
ENOSYS = 38

# Made once, because making the type costs more than all the rest.
_Trap = ctypes.PYFUNCTYPE(None, ctypes.c_long)
_mmap = system_call("mmap", Long, Size, Int, Int, Int, Long)
_mprotect = system_call("mprotect", Address, Size, Int)


def prepare_trap() -> Callable[[int], None]:
    """Return a function that raises SIGTRAP with its argument (not negative) in the first argument register.

    The tracer that suppresses the signal lets the function return; without a tracer the process dies of it. Raises
    OSError when there may be no memory for its code, or the machine is not known.
    """
    code = _CODE.get(os.uname().machine)
    if code is None:
        raise OSError(ENOSYS, f"trap: not known on {os.uname().machine}")
    address = _mmap(0, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0)
    ctypes.memmove(address, code, len(code))
    _mprotect(address, PAGE, PROT_READ | PROT_EXEC)
    return _Trap(address)
