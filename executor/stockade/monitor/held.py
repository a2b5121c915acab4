"""Holding a task, that waits for the answer to a notification, at the very end of its life.

A monitor that is no tracer sees neither registers nor the stack of a task. For a violation, which kills the task
anyway, it becomes its tracer for a moment: the task stops just before it is gone, registers and memory still there.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

from stockade.kernel import ptrace

WAIT_OPTIONS = ptrace.WALL | ptrace.WNOTHREAD


@contextlib.contextmanager
def held_at_its_end(tid: int, still_waits: Callable[[], bool], kill: Callable[[], None]) -> Iterator[None]:
    """Hold the task `tid` at its PTRACE_EVENT_EXIT; `kill` ends it, and everything else.

    The block is executed in any case: without a stopped task where that is gone, or cannot be traced by us (it has made
    itself undumpable, or somebody else traces it).
    """
    stopped = _stop(tid, still_waits, kill)
    try:
        yield
    finally:
        if stopped:
            with contextlib.suppress(ProcessLookupError):
                ptrace.resume(tid)
            _reap(tid)


def _stop(tid: int, still_waits: Callable[[], bool], kill: Callable[[], None]) -> bool:
    if not still_waits():
        kill()
        return False
    try:
        ptrace.seize(tid, ptrace.PTRACE_O_TRACEEXIT)
    except OSError:
        kill()
        return False
    if not still_waits():  # the number may be that of another task by now
        kill()
        _let_go(tid)
        return False
    kill()
    return _wait(tid)


def _wait(tid: int) -> bool:
    """Wait for the stop of a seized task that was killed; whether it has come."""
    while True:
        try:
            _, status = os.waitpid(tid, WAIT_OPTIONS)
        except ChildProcessError:
            return False
        if not os.WIFSTOPPED(status):
            return False
        if status >> 16 == ptrace.PTRACE_EVENT_EXIT:
            return True
        with contextlib.suppress(ProcessLookupError):
            ptrace.resume(tid)


def _let_go(tid: int) -> None:
    """Stop being the tracer of a task, which has to be stopped for that."""
    with contextlib.suppress(OSError):
        ptrace.interrupt(tid)
        _, status = os.waitpid(tid, WAIT_OPTIONS)
        if os.WIFSTOPPED(status):
            signo = 0 if status >> 16 else os.WSTOPSIG(status)
            ptrace.resume(tid, signo, ptrace.PTRACE_DETACH)


def _reap(tid: int) -> None:
    """Take note of the end of a task that was ours to wait for, so that its own parent can."""
    with contextlib.suppress(ChildProcessError):
        while os.WIFSTOPPED(os.waitpid(tid, WAIT_OPTIONS)[1]):
            with contextlib.suppress(ProcessLookupError):
                ptrace.resume(tid)
