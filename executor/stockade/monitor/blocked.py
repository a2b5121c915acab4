"""Tasks that sleep in a system call, and how to look at them without waking them. proc_pid_syscall(5), signal(7).

To stop a task for its tracer the kernel interrupts the call that it sleeps in. Most calls go on afterwards as if
nothing had been, but some fail with EINTR although no signal was delivered, and some are continued by restart_syscall,
which a policy may not allow. Tasks in those are never interrupted: the kernel tells where their stack is.
"""

from __future__ import annotations

import errno
from typing import NamedTuple

from stockade.kernel import ptrace
from stockade.kernel.architectures import X86_64
from stockade.kernel.process import read_small_file

# Calls that a stop may end with EINTR, and those that restart_syscall continues. signal(7), "Interruption of system
# calls and library functions by stop signals", restart_syscall(2)
_DISTURBED_NAMES = (
    *("nanosleep", "clock_nanosleep", "poll", "futex", "restart_syscall"),
    *("epoll_wait", "epoll_pwait", "epoll_pwait2", "semop", "semtimedop", "rt_sigtimedwait"),
    *("io_getevents", "io_pgetevents", "io_uring_enter"),
    # Of sockets with a timeout.
    *("accept", "accept4", "connect", "recvfrom", "recvmsg", "recvmmsg", "sendto", "sendmsg", "sendmmsg"),
    *("read", "readv", "write", "writev", "splice", "sendfile"),
)
DISTURBED = frozenset(X86_64.syscalls[name] for name in _DISTURBED_NAMES)
# What the kernel leaves in the register of the result for itself, while the call may still be restarted.
ERESTARTNOINTR, ERESTART_RESTARTBLOCK = 513, 516


class Sleep(NamedTuple):
    """The call that a task sleeps in (-1: none, it sleeps for another reason), and where its stack and code are."""

    number: int
    arguments: tuple[int, ...]
    stack_pointer: int
    instruction_pointer: int


def sleep_of(tid: int) -> Sleep | None:
    """What the task sleeps in; None when it runs, and when that cannot be told."""
    try:
        fields = read_small_file(f"/proc/{tid}/syscall", size=512).split()
    except OSError:
        return None
    if len(fields) == 3:
        return Sleep(-1, (), int(fields[1], 16), int(fields[2], 16))
    if len(fields) != 9:
        return None
    arguments = tuple(int(field, 16) for field in fields[1:7])
    return Sleep(int(fields[0]), arguments, int(fields[7], 16), int(fields[8], 16))


def is_uninterruptible(tid: int) -> bool:
    """Whether only its death can end the sleep of the task, such as that of a parent in vfork."""
    try:
        return read_small_file(f"/proc/{tid}/stat").rpartition(b")")[2].split()[0] == b"D"
    except OSError:
        return False


def mend_interrupted_call(tid: int) -> None:
    """Have a call that the stop of the task has just interrupted begin again, if it were to fail or change otherwise.

    For the task that began such a call between our look at it and the interruption.
    """
    registers = ptrace.get_registers(tid)
    result = registers.rax - (registers.rax >> 63 << 64)
    number = registers.orig_rax - (registers.orig_rax >> 63 << 64)
    if number in DISTURBED and result in (-errno.EINTR, -ERESTART_RESTARTBLOCK):
        registers.rax = -ERESTARTNOINTR & 0xFFFFFFFFFFFFFFFF
        ptrace.set_registers(tid, registers)
