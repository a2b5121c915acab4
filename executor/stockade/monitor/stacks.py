"""Stacks of tasks that are about to end, and of those that run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stockade._proto import report_pb2
from stockade.text import escape

if TYPE_CHECKING:
    from stockade.monitor.picture import Picture

SIGKILL = 9


class LastStacks:
    """Takes the stack of the thread that a run ends with, at its last stop: registers and memory are still there.

    That is the thread whose signal ends the program; for SIGKILL, which is sent to all, the main thread, or, where that
    has ended before, the first of its process. `program` is the pid of the program.
    """

    def __init__(self) -> None:
        self.stacks: list[report_pb2.ThreadStack] = []
        self._signalled: dict[int, int] = {}
        self._main_is_gone = False

    def signalled(self, tid: int, signo: int) -> None:
        """A signal is delivered to a task: one that may be its last."""
        self._signalled[tid] = signo

    def task_ends(self, tid: int, status: int, program: int) -> None:
        """The task stands at its last stop. Never raises for what it did."""
        signo, signalled = status & 0x7F, self._signalled.pop(tid, 0)
        if signo and not self.stacks and (tid == program or self._main_is_gone or signo == signalled):
            from stockade.monitor.picture import Picture  # here, because most runs end well

            is_its = signalled == signo if signo != SIGKILL else tid == program or self._main_is_gone
            picture = Picture(tid)
            if is_its and picture.pid == program:
                self.stacks.append(stack_of(picture))
        if tid == program:
            self._main_is_gone = True


def stack_of(picture: Picture) -> report_pb2.ThreadStack:
    """Return the stack of a task; one with only a reason when its memory is too odd to be walked. Never raises."""
    try:
        return picture.thread_stack()
    except (OSError, ValueError, LookupError, OverflowError) as error:
        return missing_stack(picture.tid, escape(f"it cannot be told: {error}"))


def missing_stack(tid: int, why: str, pid: int = 0) -> report_pb2.ThreadStack:
    """Return the message about a task whose stack is not known."""
    return report_pb2.ThreadStack(pid=pid, tid=tid, missing=why)
