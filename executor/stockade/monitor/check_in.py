"""Admitting a program that has installed the filter itself: by its own call, or as a copy that a fork server made.

Such a program has been followed from its first instruction on, but without the filter. It installs that on all of its
threads, and then makes the one call that stops here whatever the policy says. What the kernel says of every task in the
box at that stop decides; nothing that the program says does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from stockade.kernel.process import read_small_file
from stockade.kernel.ptrace import SyscallInfo
from stockade.kernel.seccomp_constants import FREE_EXEC_COOKIE
from stockade.monitor.admission import Admission, SetupFailedError, pid_of
from stockade.monitor.outcome import SetupFailure
from stockade.monitor.readback import ReadbackError, check_task, read_namespaces
from stockade.monitor.supervision import Supervision
from stockade.monitor.violations import call_of_stop
from stockade.policy.verdicts import DATA_FREE_EXEC, FREE_EXEC_ARGUMENT, FREE_EXEC_CALL
from stockade.text import escape

STEP = "client"
CALL = "Client.sandbox_me_here()"
_NAMED = 5
# States of a task that has ended, and whose number is not free yet.
_ENDED = (b"Z", b"X")


class CheckIn:
    """The check-in of one run, which happens once."""

    def __init__(self, supervision: Supervision, admission: Admission) -> None:
        self._job, self._admission = supervision.job, admission

    def admit(self, tid: int, info: SyscallInfo) -> None:
        """A task stands at a call that a filter hands to us, before the check-in. Raises SetupFailedError.

        When this returns the whole process is under the policy, nothing else in the box is without it, and the call is
        to be answered with 0.
        """
        main = self._admission.main
        call = call_of_stop(info)
        asks = call.name == FREE_EXEC_CALL and call.args[FREE_EXEC_ARGUMENT] == FREE_EXEC_COOKIE
        if info.ret_data != DATA_FREE_EXEC or not asks:
            detail = f"a filter that is not the policy's asked the monitor about {call.name} before {CALL}"
            raise _failure(f"task {tid}", detail)
        if not os.path.exists(f"/proc/{main}/task/{tid}"):
            raise _failure(f"task {tid}", f"only the program itself can call {CALL}, not a child of its")
        self._admission.expect_silence()
        try:
            self._check_tasks(main, _tasks(main))
            if self._job.deferred:
                self._check_others(main)
        except (ReadbackError, OSError) as error:
            raise _failure("", str(error)) from error
        self._admission.read_back()  # last: from here on the run counts as sandboxed

    def _check_tasks(self, process: int, tasks: Iterator[int]) -> None:
        for task in tasks:
            try:
                check_task(task, self._job.filters)
                changed = read_namespaces(task) != self._admission.namespaces
            except OSError:
                if _has_ended(task):
                    continue
                raise
            if changed:
                raise ReadbackError(f"{_describe(task)} of process {process} has left the namespaces of the box")

    def _check_others(self, main: int) -> None:
        """Whatever was started before the check-in has no filter, and would keep on having none."""
        unfiltered = []
        for process in _descendants(pid_of(self._admission.init)):
            if process != main:
                try:
                    self._check_tasks(process, _tasks(process))
                except ReadbackError:
                    unfiltered.append(_describe(process))
        if unfiltered:
            more = f" and {len(unfiltered) - _NAMED} more" if len(unfiltered) > _NAMED else ""
            raise ReadbackError(
                f"the program has started processes before {CALL}, which are not under the policy: "
                f"{', '.join(unfiltered[:_NAMED])}{more}"
            )

    def ended_early(self, status: int) -> SetupFailure:
        """Why the program, which has ended with the wait status `status`, was never checked in."""
        how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit status {os.WEXITSTATUS(status)}"
        when = f"before it called {CALL}" if self._job.deferred else "before it was under its policy"
        return self._admission.said() or SetupFailure(STEP, 0, "", f"the program ended with {how} {when}")


def _failure(path: str, detail: str) -> SetupFailedError:
    return SetupFailedError(SetupFailure(STEP, 0, path, detail))


def _tasks(process: int) -> Iterator[int]:
    """The threads of a process that there are at this moment; those that they make from here on inherit the filter."""
    try:
        names = os.listdir(f"/proc/{process}/task")
    except FileNotFoundError:
        return
    yield from map(int, names)


def _has_ended(task: int) -> bool:
    try:
        state = read_small_file(f"/proc/{task}/stat").rpartition(b")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in _ENDED


def _descendants(top: int) -> list[int]:
    """The processes below `top`, none of which has ended. proc_pid_stat(5)."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                state, parent = read_small_file(f"/proc/{name}/stat").rpartition(b")")[2].split()[:2]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if state not in _ENDED:
                children.setdefault(int(parent), []).append(int(name))
    found: list[int] = []
    level = [top]
    while level:
        level = [child for parent in level for child in children.get(parent, ())]
        found += level
    return found


def _describe(task: int) -> str:
    try:
        name = read_small_file(f"/proc/{task}/comm").decode(errors="backslashreplace").strip()
    except (FileNotFoundError, ProcessLookupError):
        name = "gone meanwhile"
    return f"{task} ({escape(name)})"
