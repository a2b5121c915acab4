"""Signals of the calling thread and process: mask, dispositions, synchronous waiting."""

from __future__ import annotations

import ctypes

from stockade.kernel.calls import Address, Int, Size, library_call, system_call

SIG_BLOCK = 0
SIG_SETMASK = 2
SIG_DFL = 0
SIG_IGN = 1
SIGKILL = 9
SIGCHLD = 17
SIGSTOP = 19
SI_USER = 0
SETTABLE_SIGNALS = tuple(n for n in range(1, 65) if n not in (SIGKILL, SIGSTOP))

_SIGSET_BYTES, _KERNEL_SIGSET_BYTES = 128, 8
_SIGINFO_BYTES = 128
_SI_CODE_OFFSET = 8
_SI_PID_OFFSET = 16

_sigprocmask = library_call("sigprocmask", Int, Address, Address)
# Not the C library's sigaction, which refuses 32 and 33; they are inherited like any other.
_rt_sigaction = system_call("rt_sigaction", Int, Address, Address, Size)
_sigwaitinfo = library_call("sigwaitinfo", Address, Address)

ALL_SIGNALS = (1 << 64) - 1


def _signal_set(mask: int) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(mask.to_bytes(8, "little"), _SIGSET_BYTES)


def set_signal_mask(mask: int) -> None:
    """sigprocmask(2): block exactly the signals of `mask` (bit n-1 is signal n) in the calling thread."""
    _sigprocmask(SIG_SETMASK, ctypes.addressof(new := _signal_set(mask)), None)
    del new


def replace_signal_mask(mask: int) -> int:
    """As `set_signal_mask`; returns the mask that held before."""
    new, old = _signal_set(mask), _signal_set(0)
    _sigprocmask(SIG_SETMASK, ctypes.addressof(new), ctypes.addressof(old))
    return int.from_bytes(old.raw[:8], "little")


def set_disposition(signo: int, disposition: int) -> None:
    """rt_sigaction(2): SIG_DFL or SIG_IGN for `signo`, with no flags."""
    # The kernel's struct sigaction: handler, flags, restorer, mask, 8 bytes each.
    action = ctypes.create_string_buffer(disposition.to_bytes(8, "little"), 32)
    _rt_sigaction(signo, ctypes.addressof(action), None, _KERNEL_SIGSET_BYTES)


def reset_dispositions() -> None:
    """Every signal gets its default disposition. Python itself ignores SIGPIPE and SIGXFSZ, which exec would keep."""
    for signo in SETTABLE_SIGNALS:
        set_disposition(signo, SIG_DFL)


def wait_for_signal(mask: int) -> tuple[int, bool]:
    """sigwaitinfo(2): wait for one of the blocked signals of `mask`.

    Returns (signal number, whether a process outside of the caller's pid namespace has sent it by kill(2)). The code of
    kill(2) cannot be forged by sigqueue(3), a sender of 0 can.
    """
    information = ctypes.create_string_buffer(_SIGINFO_BYTES)
    wanted = _signal_set(mask)
    signo = _sigwaitinfo(ctypes.addressof(wanted), ctypes.addressof(information))
    code = int.from_bytes(information.raw[_SI_CODE_OFFSET : _SI_CODE_OFFSET + 4], "little", signed=True)
    sender = int.from_bytes(information.raw[_SI_PID_OFFSET : _SI_PID_OFFSET + 4], "little")
    return signo, code == SI_USER and sender == 0
