"""Stacks of all threads of a program while it runs, for `Process.dump_stack_trace`.

A thread that runs is stopped for a moment; so is one that sleeps in a call which goes on afterwards as if nothing had
been. One that sleeps in any other call is looked at without being stopped (`monitor.blocked`): its stack and code
pointers are known then, its other registers are not.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from stockade._proto import report_pb2
from stockade.kernel import ptrace
from stockade.kernel.process import read_small_file
from stockade.monitor.blocked import DISTURBED, Sleep, is_uninterruptible, mend_interrupted_call, sleep_of
from stockade.monitor.picture import Picture
from stockade.monitor.stacks import missing_stack, stack_of

if TYPE_CHECKING:
    from stockade.monitor.supervision import Supervision

MAXIMUM_TASKS = 256
# Looks at a sleeping task until two agree that it has slept on meanwhile.
ATTEMPTS = 3
# For how long, and how often, a task is waited for that was told to stop.
STOP_SECONDS, WAIT_PAUSE = 0.5, 0.0002
# For how long one that is about to be killed.
KILL_SECONDS = 0.05
ENDED = "it ended before it could be looked at"
TOO_LATE = "it could not be stopped in time"


class Dump:
    """One request: the stacks that are there, and the threads whose stacks are awaited."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stacks: dict[int, report_pb2.ThreadStack] = {}
        self._awaited: set[int] = set()
        self.begun = False
        self.done = threading.Event()

    def await_task(self, tid: int) -> None:
        """The stack of `tid` will come."""
        with self._lock:
            self._awaited.add(tid)

    def give(self, tid: int, stack: report_pb2.ThreadStack) -> None:
        """Here is the stack of `tid`."""
        with self._lock:
            self._stacks.setdefault(tid, stack)
            self._awaited.discard(tid)

    def settle(self) -> bool:
        """Tell the requesting thread when nothing is awaited any more; whether that is so."""
        with self._lock:
            if not self._awaited:
                self.done.set()
            return not self._awaited

    def stacks(self) -> tuple[report_pb2.ThreadStack, ...]:
        """What has come, in order of process and thread, and who has not been stopped in time."""
        with self._lock:
            late = [missing_stack(tid, TOO_LATE) for tid in self._awaited]
            self._awaited.clear()
            return tuple(sorted((*self._stacks.values(), *late), key=lambda stack: (stack.pid, stack.tid)))


def dump_stacks(supervision: Supervision, timeout: float) -> tuple[report_pb2.ThreadStack, ...]:
    """Return the stacks of all threads of a running program; none when it does not run.

    Waits `timeout` seconds at most; threads that could not be stopped by then say so. TimeoutError: the monitor itself
    is busy with a hook.
    """
    begin = supervision.begin_dump
    if begin is None or not supervision.started or supervision.outcome is not None:
        return ()
    dump = Dump()
    if not supervision.mailbox.post(lambda: begin(dump)):
        return ()
    if not dump.done.wait(timeout) and not dump.begun:
        raise TimeoutError(f"the monitor had no time to look at stacks for {timeout:g} seconds: a hook keeps it busy")
    return dump.stacks()


class PtraceStopper:
    """Takes stacks in the thread that traces the tasks already: those that run are interrupted, and report it."""

    def __init__(self, program: int, is_awaited: Callable[[int], bool]) -> None:
        """`program` is the pid of the program. A task that `is_awaited` is never interrupted: what its call returns is
        waited for, and an interruption would look like it.
        """
        self._program = program
        self._is_awaited = is_awaited
        self._dumps: dict[int, list[Dump]] = {}

    def begin(self, dump: Dump) -> None:
        """Take the stacks of all tasks that are stopped or sleep; interrupt the others. In the tracer thread."""
        dump.begun = True
        for tid in tasks_of_box(self._program):
            try:
                dump.give(tid, stack_of(_stopped_picture(tid)))
                continue
            except OSError:
                pass  # it is not stopped
            stack = stack_of_sleeper(tid, spare=self._is_awaited(tid))
            if stack is not None:
                dump.give(tid, stack)
                continue
            try:
                ptrace.interrupt(tid)
            except OSError:
                dump.give(tid, missing_stack(tid, ENDED))
                continue
            dump.await_task(tid)
            self._dumps.setdefault(tid, []).append(dump)
        dump.settle()

    def stopped(self, tid: int) -> None:
        """A task reports an interruption (or another stop without a signal), in the tracer thread."""
        if tid not in self._dumps:
            return
        mend_interrupted_call(tid)
        stack = stack_of(Picture(tid))
        for dump in self._dumps.pop(tid):
            dump.give(tid, stack)
            dump.settle()

    def ended(self, tid: int) -> None:
        """A task ends."""
        for dump in self._dumps.pop(tid, ()):
            dump.give(tid, missing_stack(tid, ENDED))
            dump.settle()


def look_at_untraced(tid: int, seconds: float = STOP_SECONDS) -> report_pb2.ThreadStack:
    """Return the stack of a task that nobody traces: asleep it is left alone, running it is stopped for a moment.

    Stops it with ptrace(2), so nobody else may trace it. Waits `seconds` at most; then the thread that did it
    ends, and with that the task is let go whatever its state.
    """
    stack = stack_of_sleeper(tid, spare=True)
    if stack is not None:
        return stack
    found: list[report_pb2.ThreadStack] = []

    def look() -> None:
        found.append(_seize_and_look(tid, seconds))

    thread = threading.Thread(target=look, name="stockade-stacks", daemon=True)
    thread.start()
    thread.join()
    return found[0] if found else missing_stack(tid, TOO_LATE)


def _seize_and_look(tid: int, seconds: float) -> report_pb2.ThreadStack:
    try:
        ptrace.seize(tid, 0)
        ptrace.interrupt(tid)
        deadline = time.monotonic() + seconds
        while (status := os.waitpid(tid, ptrace.WALL | os.WNOHANG))[0] == 0:
            if time.monotonic() > deadline:
                return missing_stack(tid, TOO_LATE)
            time.sleep(WAIT_PAUSE)
        if not os.WIFSTOPPED(status[1]):
            return missing_stack(tid, ENDED)
        mend_interrupted_call(tid)
        stack = stack_of(Picture(tid))
        # A signal that was just about to be delivered goes on its way.
        is_signal = status[1] >> 16 == 0
        ptrace.resume(tid, os.WSTOPSIG(status[1]) if is_signal else 0, ptrace.PTRACE_DETACH)
        return stack
    except OSError as error:
        return missing_stack(tid, f"it could not be stopped: {error.strerror}")


def stack_of_sleeper(tid: int, *, spare: bool = False) -> report_pb2.ThreadStack | None:
    """Return the stack of a task that sleeps in a call which a stop would disturb; None when it may be stopped.

    `spare`: it may not be stopped in any call.
    """
    for _ in range(ATTEMPTS):
        sleep = sleep_of(tid)
        if sleep is None or not (spare or sleep.number in DISTURBED or is_uninterruptible(tid)):
            return None
        stack = stack_of(Picture(tid, _registers_of(sleep)))
        if sleep_of(tid) == sleep:
            return stack
    return None


def _registers_of(sleep: Sleep) -> dict[str, int]:
    known = {"rip": sleep.instruction_pointer, "rsp": sleep.stack_pointer}
    if sleep.number >= 0:
        names = ("rdi", "rsi", "rdx", "r10", "r8", "r9")
        known |= {"orig_rax": sleep.number, **dict(zip(names, sleep.arguments, strict=True))}
    return known


def _stopped_picture(tid: int) -> Picture:
    """Return the picture of a task that is stopped for us. OSError when it is not."""
    ptrace.get_registers(tid)
    return Picture(tid)


def tasks_of_box(program: int) -> Iterator[int]:
    """Give the tasks of all processes in the pid namespace of the process `program`, but for its init; bounded."""
    namespace = _namespace(program)
    given = 0
    if not namespace or namespace == _namespace(os.getpid()):
        return  # it is gone, and its number may be that of somebody else
    numbers = (int(name) for name in os.listdir("/proc") if name.isdigit())
    for pid in sorted(numbers, key=lambda pid: pid != program):
        if _namespace(pid) != namespace or _is_init(pid):
            continue
        with contextlib.suppress(OSError):
            for tid in sorted(int(name) for name in os.listdir(f"/proc/{pid}/task")):
                if given >= MAXIMUM_TASKS:
                    return
                given += 1
                yield tid


def _namespace(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""


def _is_init(pid: int) -> bool:
    try:
        status = read_small_file(f"/proc/{pid}/status")
    except OSError:
        return True
    _, _, rest = status.partition(b"\nNSpid:")
    return rest.partition(b"\n")[0].split()[-1:] == [b"1"]
