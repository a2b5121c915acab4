"""Calls whose return is awaited, and what becomes of one that a signal interrupts.

At the end of an interrupted call the kernel shows the tracer a number of its own that no program ever sees: the call is
about to be made again, or to fail with EINTR, and which of them is only known at what the task does next. signal(7),
"Interruption of system calls"; restart_syscall(2).
"""

from __future__ import annotations

import errno

from stockade.kernel.ptrace import PTRACE_SYSCALL_INFO_EXIT, SyscallInfo
from stockade.monitor.violations import Call

# ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK of the kernel's include/linux/errno.h.
_INTERRUPTED = frozenset((-512, -513, -514, -516))
# restart_syscall of x86_64.
_RESTART = 219


class AwaitedReturns:
    """The calls by the task that makes them. A task that is in here is resumed with PTRACE_SYSCALL."""

    __slots__ = ("_calls", "_interrupted")

    def __init__(self) -> None:
        self._calls: dict[int, Call] = {}
        self._interrupted: set[int] = set()

    def __contains__(self, tid: int) -> bool:
        return tid in self._calls

    def add(self, tid: int, call: Call) -> None:
        """The task goes on with `call`."""
        self._calls[tid] = call
        self._interrupted.discard(tid)

    def forget(self, tid: int) -> None:
        """The task has ended, or is in no call any more."""
        if self._calls.pop(tid, None) is not None:
            self._interrupted.discard(tid)

    def rename(self, former: int, tid: int) -> None:
        """The task has a new number: a thread that is not the leader has called exec."""
        call = self._calls.pop(former, None)
        self.forget(tid)
        if call is not None:
            self._calls[tid] = call

    def at_stop(self, tid: int, info: SyscallInfo) -> tuple[Call, int] | None:
        """The task stands at the beginning or end of a call: the call that has returned, and its value.

        None when none has: the task goes on. A call that was interrupted is reported with EINTR when the task makes
        another one instead (of its handler, say), and not at all when it is made again: the filter asks again then.
        """
        call = self._calls.get(tid)
        if call is None:
            return None
        if info.op == PTRACE_SYSCALL_INFO_EXIT:
            value = signed(info.number)
            if value in _INTERRUPTED:
                self._interrupted.add(tid)
                return None
            self.forget(tid)
            return call, value
        if info.number == _RESTART and tid in self._interrupted:
            self._interrupted.discard(tid)  # the kernel goes on with the same call
            return None
        self.forget(tid)
        is_made_again = (info.number, info.instruction_pointer) == (call.number, call.instruction_pointer)
        return None if is_made_again and tuple(info.arguments) == call.args else (call, -errno.EINTR)


def signed(value: int) -> int:
    """A register as the signed number that it holds."""
    return value - (value >> 63 << 64)
