"""Installs filters in forked children and says what the kernel does with system calls there."""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from stockade.kernel import architectures
from stockade.kernel.seccomp_constants import INSTRUCTION_SIZE, SECCOMP_SET_MODE_FILTER

PR_SET_NO_NEW_PRIVS = 38
RESULTS = 4096 // ctypes.sizeof(ctypes.c_long)
SENTINEL = 1 << 40

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one child: the result of each call that returned (-errno), and the signal that ended it."""

    results: tuple[int, ...]
    killed_by: int


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def install(program: bytes) -> int:
    """Install a filter on this process for good; 0 or an error number."""
    buffer = ctypes.create_string_buffer(program, len(program))
    packed = _Program(len(program) // INSTRUCTION_SIZE, ctypes.addressof(buffer))
    if _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return ctypes.get_errno()
    number = architectures.native().number("seccomp")
    result = _syscall(number, SECCOMP_SET_MODE_FILTER, 0, ctypes.byref(packed))
    return ctypes.get_errno() if result != 0 else 0


def run_under(programs: Sequence[bytes], calls: Sequence[tuple[int, Sequence[int]]]) -> Outcome:
    """Make the calls (number, arguments) one after the other in a child under `programs`, installed in that order.

    Raises OSError when the kernel refuses a program. Between the calls the child makes no other system call.
    """
    shared = mmap.mmap(-1, 4096)
    results = (ctypes.c_long * RESULTS).from_buffer(shared)
    results[0] = 0
    for index in range(len(calls)):
        results[1 + index] = SENTINEL
    prepared = [
        tuple(map(ctypes.c_long, (number, *(value - (1 << 64) if value >> 63 else value for value in arguments))))
        for number, arguments in calls
    ]
    gc.collect()
    child = os.fork()
    if child == 0:
        _child(programs, prepared, results)
    status = os.waitpid(child, 0)[1]
    refused = int(results[0])
    found = tuple(int(value) for value in results[1 : 1 + len(calls)] if value != SENTINEL)
    del results
    shared.close()
    if refused:
        raise OSError(refused, f"seccomp: {os.strerror(refused)}")
    return Outcome(found, os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0)


def _child(
    programs: Sequence[bytes], prepared: Sequence[tuple[ctypes.c_long, ...]], results: ctypes.Array[ctypes.c_long]
) -> None:
    """Never returns. Only memory that exists already is used once the filters are on."""
    gc.disable()
    signal.signal(signal.SIGSYS, signal.SIG_DFL)
    # No core file, whatever the limits of the test run are.
    _libc.prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE
    for program in programs:
        results[0] = install(program)
        if results[0]:
            os._exit(1)
    for index, call in enumerate(prepared):
        value = _syscall(*call)
        results[1 + index] = -ctypes.get_errno() if value == -1 else value
    os._exit(0)


def install_each(programs: Sequence[bytes]) -> list[int]:
    """Install the programs one after the other in one child; give 0 or the error number for each.

    They have to allow everything that the child does.
    """
    shared = mmap.mmap(-1, 4096)
    results = (ctypes.c_long * RESULTS).from_buffer(shared)
    child = os.fork()
    if child == 0:
        for index, program in enumerate(programs):
            results[index] = install(program)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    found = list(results[: len(programs)])
    del results
    shared.close()
    return found


def natural(calls: Sequence[tuple[int, Sequence[int]]]) -> tuple[int, ...]:
    """What the calls give without any filter."""
    outcome = run_under([], calls)
    assert outcome.killed_by == 0
    return outcome.results
