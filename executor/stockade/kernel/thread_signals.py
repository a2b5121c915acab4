"""A signal whose only effect is that a blocking call of one thread of ours returns early (EINTR)."""

from __future__ import annotations

import ctypes
import os
import signal

from stockade.kernel.calls import Address, Int, library_call, system_call
from stockade.kernel.process import read_small_file

# The C library's struct sigaction: handler (8 bytes), mask (128), flags (4, padded), restorer (8).
_SIGACTION_BYTES = 152

_sigaction = library_call("sigaction", Int, Address, Address)
_tgkill = system_call("tgkill", Int, Int, Int)


def unused_realtime_signal() -> int | None:
    """The highest real-time signal for which this process has neither a handler nor SIG_IGN, None when there is none.

    One that the main thread does not block is preferred: a program may block a signal in order to wait for it
    (sigwait(3), signalfd(2)), and its disposition does not show that. Source: proc_pid_status(5).
    """
    masks = dict.fromkeys((b"SigBlk", b"SigIgn", b"SigCgt"), 0)
    for line in read_small_file("/proc/self/status").splitlines():
        name, _, value = line.partition(b":")
        if name in masks:
            masks[name] = int(value, 16)
    used = masks[b"SigIgn"] | masks[b"SigCgt"]
    for avoided in (used | masks[b"SigBlk"], used):
        for signo in range(signal.SIGRTMAX, signal.SIGRTMIN - 1, -1):
            if not avoided >> (signo - 1) & 1:
                return signo
    return None


def handler_address(signo: int) -> int:
    """sigaction(2): address of the handler of `signo`; 0 for SIG_DFL, 1 for SIG_IGN."""
    action = ctypes.create_string_buffer(_SIGACTION_BYTES)
    _sigaction(signo, None, ctypes.addressof(action))
    return int.from_bytes(action.raw[:8], "little")


def handle_with_nothing(signo: int) -> int:
    """sigaction(2): have `signo` handled by a function that does nothing, without SA_RESTART. Returns its address."""
    nothing = ctypes.cast(ctypes.PyDLL(None).abs, ctypes.c_void_p).value or 0
    action = ctypes.create_string_buffer(nothing.to_bytes(8, "little"), _SIGACTION_BYTES)
    _sigaction(signo, ctypes.addressof(action), None)
    return nothing


def send_to_own_thread(tid: int, signo: int) -> None:
    """tgkill(2): send `signo` to the thread `tid` of this process. ESRCH when it has ended."""
    _tgkill(os.getpid(), tid, signo)
