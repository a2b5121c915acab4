"""The ptrace driver: sets a run off, and turns the stops of its tasks into events of the state machine. ptrace(2).

All of it runs in one thread of ours that follows one run at a time. The thread waits with __WNOTHREAD, so that neither
the user's own children nor the tasks of other runs are reaped here.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from typing import TYPE_CHECKING

from stockade.kernel import ptrace
from stockade.kernel.process import read_small_file
from stockade.monitor.admission import Admission, SetupFailedError
from stockade.monitor.callbacks import LATER
from stockade.monitor.check_in import CheckIn
from stockade.monitor.hooks import Verdict
from stockade.monitor.machine import Machine
from stockade.monitor.outcome import SetupFailure
from stockade.monitor.returns import AwaitedReturns, signed
from stockade.monitor.supervision import Supervision
from stockade.monitor.violations import Call, call_of_registers, call_of_stop
from stockade.monitor.wakeup import WakeableWait
from stockade.policy.verdicts import DATA_FREE_EXEC

if TYPE_CHECKING:
    from stockade.monitor.stack_dump import Dump, PtraceStopper

OPTIONS = (
    ptrace.PTRACE_O_TRACESYSGOOD
    | ptrace.PTRACE_O_TRACEFORK
    | ptrace.PTRACE_O_TRACEVFORK
    | ptrace.PTRACE_O_TRACECLONE
    | ptrace.PTRACE_O_TRACEEXEC
    | ptrace.PTRACE_O_TRACEEXIT
    | ptrace.PTRACE_O_TRACESECCOMP
    | ptrace.PTRACE_O_EXITKILL
)
WAIT_OPTIONS = ptrace.WALL | ptrace.WNOTHREAD
STOP_SIGNALS = frozenset((signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU))
SYSCALL_STOP = signal.SIGTRAP | 0x80
# clone(2) of x86_64, and its flag. That number of i386 makes no task.
CLONE, CLONE_THREAD = 56, 0x10000
# A task that the filter has killed, as /proc/<tid>/status shows it.
SECCOMP_MODE_DEAD = b"\nSeccomp:\t3\n"


class PtraceDriver:
    """Follows one run."""

    def __init__(self, supervision: Supervision) -> None:
        self._supervision = supervision
        self._machine = Machine(supervision, self._answer_late, self._still_waits)
        self._admission = Admission(supervision)
        self._channel = supervision.job.channel
        job = supervision.job
        self._check_in = CheckIn(supervision, self._admission) if job.deferred or job.forked else None
        self._free_exec_open = True
        self._executing = False
        self._begun = False
        self._reaped = False
        self._wait: WakeableWait | None = None
        self._returns = AwaitedReturns()
        # Calls whose verdict comes later, by the task that stands there. A task that is killed meanwhile, or takes over
        # the number of another by exec, is in here no more.
        self._waiting: dict[int, Call] = {}
        # The last signal that each task was given: (number, what it came with).
        self._signals: dict[int, tuple[int, ptrace.SignalInfo]] = {}
        self._stopper: PtraceStopper | None = None
        supervision.begin_dump = self._begin_dump

    @property
    def _main(self) -> int:
        return self._admission.main

    def follow(self) -> None:
        """Set the run off and follow it until nothing of it is left. Never raises."""
        try:
            try:
                self._admission.receive_box()
                self._admission.seize(OPTIONS)
                self._admission.go()
                self._loop()
                if not self._reaped:
                    self._machine.failed("the program vanished")
            except SetupFailedError as error:
                self._machine.setup_failed(error.failure)
                self._channel.close()
                self._drain()
            except Exception as error:
                self._machine.failed(f"{type(error).__name__}: {error}")
                self._channel.close()
                self._drain()
        finally:
            self._channel.close()
            self._supervision.mailbox.close()
            self._supervision.announce(gone=True)

    # Following.

    def _loop(self) -> None:
        supervision = self._supervision
        wait = self._wait = WakeableWait(supervision.mailbox, WAIT_OPTIONS, wakeable=supervision.job.wakeable)
        while True:
            supervision.mailbox.run_pending()
            try:
                event = wait.next()
            except ChildProcessError:
                return
            if event is None:
                continue  # woken
            self._handle(*event)

    def _handle(self, tid: int, status: int, rusage: resource.struct_rusage | None) -> None:
        if not os.WIFSTOPPED(status):
            self._ended(tid, status, rusage)
            return
        try:
            self._stopped(tid, status)
        except ProcessLookupError:
            return  # killed while it was stopped: its end is reported next

    def _drain(self) -> None:
        """After a failure: let everything end, deciding nothing any more."""
        if self._wait is not None:
            for tid, status, _ in self._wait.ready():  # stops that were taken note of, and will not be told again
                self._let_end(tid, status)
        while True:
            try:
                tid, status, _ = os.wait4(-1, WAIT_OPTIONS)
            except ChildProcessError:
                return
            self._let_end(tid, status)

    def _let_end(self, tid: int, status: int) -> None:
        if os.WIFSTOPPED(status):
            self._supervision.kill_tree()
            with contextlib.suppress(ProcessLookupError):
                ptrace.resume(tid)

    def _stopped(self, tid: int, status: int) -> None:
        """Answer one stop.

        A task that was killed after the wait has reported its stop is on its way to its end, or stands there: that stop
        is reported by itself, and the former one must not be answered any more.
        """
        event = status >> 16
        if event == ptrace.PTRACE_EVENT_SECCOMP:
            self._seccomp_stop(tid)
        elif event == ptrace.PTRACE_EVENT_EXIT:
            self._exit_stop(tid)
        elif not event:
            signo = os.WSTOPSIG(status)
            if signo == SYSCALL_STOP:
                self._syscall_stop(tid)
            else:
                self._signal_stop(tid, signo)
        elif ptrace.signal_info(tid).code >> 8 == event:
            if event == ptrace.PTRACE_EVENT_STOP:
                # A group-stop has one of the stop signals; anything else is a new task or an interruption.
                is_group_stop = os.WSTOPSIG(status) in STOP_SIGNALS
                if self._stopper is not None:
                    self._stopper.stopped(tid)
                ptrace.resume(tid, request=ptrace.PTRACE_LISTEN if is_group_stop else self._request(tid))
            elif event == ptrace.PTRACE_EVENT_EXEC:
                self._exec_stop(tid)
            else:
                self._new_task_stop(tid, event)

    def _request(self, tid: int) -> int:
        """How to go on: to the end of the call while it is awaited, else freely."""
        return ptrace.PTRACE_SYSCALL if self._executing or tid in self._returns else ptrace.PTRACE_CONT

    def _signal_stop(self, tid: int, signo: int) -> None:
        info = ptrace.signal_info(tid)
        if info.signo != signo:
            return  # killed
        delivered = self._machine.signal(tid, info)
        if delivered is None:
            return  # the kill of the tree reaches it
        self._signals[tid] = delivered, info
        ptrace.resume(tid, delivered, self._request(tid))

    def _new_task_stop(self, tid: int, event: int) -> None:
        """`tid` has made a task. A clone event is a thread, or a process whose exit signal is not SIGCHLD."""
        child = ptrace.event_message(tid)
        is_thread = event == ptrace.PTRACE_EVENT_CLONE and _makes_thread(tid, child)
        if self._machine.task_made(tid, child, is_thread=is_thread):
            ptrace.resume(tid, request=self._request(tid))

    def _seccomp_stop(self, tid: int) -> None:
        info = ptrace.syscall_info(tid)
        if info.op != ptrace.PTRACE_SYSCALL_INFO_SECCOMP:
            return  # killed
        if self._check_in is not None and self._free_exec_open:
            self._admit(tid, info, self._check_in)
            return
        if info.ret_data == DATA_FREE_EXEC and self._free_exec_open and tid == self._main:
            self._begin_exec(tid)
            return
        call = call_of_stop(info)
        self._waiting[tid] = call  # before a worker can ask whether it still waits
        verdict = self._machine.traced_call(tid, info.ret_data, call)
        if verdict is not LATER:
            del self._waiting[tid]
            self._answer(tid, call, verdict)

    def _still_waits(self, tid: int, call: Call) -> bool:
        """Whether that very call waits for its verdict."""
        return self._waiting.get(tid) is call

    def _answer_late(self, tid: int, call: Call, verdict: Verdict) -> None:
        """The verdict has come, for that very call: the task may be in another one, or be another task, by now."""
        if self._waiting.get(tid) is not call:
            return
        del self._waiting[tid]
        if ptrace.syscall_info(tid).op == ptrace.PTRACE_SYSCALL_INFO_SECCOMP:
            self._answer(tid, call, verdict)

    def _answer(self, tid: int, call: Call, verdict: Verdict) -> None:
        """Do with the stopped call what was decided. A killed one stays where it is: it makes no further call."""
        if self._machine.answered(tid, call, verdict):
            self._returns.add(tid, call)
        if verdict.kind in ("kill", "finish"):
            return  # the kill of the tree reaches it
        if verdict.kind == "errno":
            ptrace.answer_syscall(tid, -verdict.value)
        elif verdict.kind == "return":
            ptrace.answer_syscall(tid, verdict.value)
        ptrace.resume(tid, request=self._request(tid))

    def _begin_exec(self, tid: int) -> None:
        """The filter is on, the free exec about to be made: verify every layer, then let this one call through."""
        self._free_exec_open = False
        self._admission.read_back()
        self._executing = True
        ptrace.resume(tid, request=ptrace.PTRACE_SYSCALL)

    def _admit(self, tid: int, info: ptrace.SyscallInfo, check_in: CheckIn) -> None:
        """The program has installed the filter itself: verify every layer, and answer in the kernel's place."""
        check_in.admit(tid, info)
        self._free_exec_open = False
        self._channel.close()
        ptrace.answer_syscall(tid, 0)
        goes_on = self._machine.started(tid) if self._supervision.job.forked else True
        self._supervision.announce(started=self._supervision.job.announce_start)
        if goes_on:
            ptrace.resume(tid)

    def _exec_stop(self, tid: int) -> None:
        waits = self._free_exec_open and self._supervision.job.deferred
        if self._free_exec_open and not waits:
            detail = "the program was executed without being handed to the monitor: the policy's filter is not in force"
            raise SetupFailedError(SetupFailure("read_back", 0, "", detail))
        former = ptrace.event_message(tid)
        if former != tid:  # a thread that is not the leader has taken the leader's number
            self._returns.rename(former, tid)
            self._forget(tid)
            self._forget(former)
        if self._executing or (waits and not self._begun):
            self._begun = True
            self._executing = False
            if not waits:
                self._channel.close()
            goes_on = self._machine.started(tid)
            if self._supervision.job.announce_start:
                self._supervision.announce(started=True)
        else:
            goes_on = self._machine.program_executed(tid)
        if goes_on:
            ptrace.resume(tid, request=self._request(tid))

    def _syscall_stop(self, tid: int) -> None:
        """A call whose return is awaited has returned. The free exec only comes back when it has failed."""
        info = ptrace.syscall_info(tid)
        if info.op not in (ptrace.PTRACE_SYSCALL_INFO_ENTRY, ptrace.PTRACE_SYSCALL_INFO_EXIT):
            return  # killed
        if self._executing:
            raise SetupFailedError(self._admission.last_words("", -signed(info.number)))
        returned = self._returns.at_stop(tid, info)
        if returned is None or self._machine.call_returned(tid, *returned):
            ptrace.resume(tid, request=self._request(tid))

    def _exit_stop(self, tid: int) -> None:
        """A task is about to end, registers and memory still there. Proof of a violation: its seccomp mode is dead."""
        status = ptrace.event_message(tid)
        signo = status & 0x7F
        delivered, info = self._signals.get(tid, (0, None))
        self._returns.forget(tid)
        self._forget(tid)
        try:
            if SECCOMP_MODE_DEAD in read_small_file(f"/proc/{tid}/status"):
                token = ptrace.syscall_info(tid).arch
                self._machine.killed_by_filter(tid, call_of_registers(ptrace.get_registers(tid), token))
            elif signo == signal.SIGKILL and tid == self._main:
                self._machine.killed(box_is_dying=self._admission.box_is_dying())
            elif info is not None and signo == delivered and _is_thread(tid, self._main):
                self._machine.dies_of(signo, info)
            self._machine.task_ends(tid, status)
        finally:
            ptrace.resume(tid)

    def _forget(self, tid: int) -> None:
        """The task stands in no call and has no signal any more: it ends, or its number is another's."""
        if self._stopper is not None:
            self._stopper.ended(tid)
        self._waiting.pop(tid, None)
        self._signals.pop(tid, None)

    def _ended(self, tid: int, status: int, rusage: resource.struct_rusage | None) -> None:
        self._forget(tid)
        if tid != self._main:
            return
        self._reaped = True
        if self._check_in is not None and self._free_exec_open:
            raise SetupFailedError(self._check_in.ended_early(status))
        if self._executing or self._free_exec_open:
            raise SetupFailedError(self._admission.last_words(f"it ended with the wait status {status:#x}"))
        assert rusage is not None and self._wait is not None  # it has ended
        # What the others did before is looked at first: a violation of a child counts.
        for event in self._wait.ready():
            self._handle(*event)
        self._machine.program_ended(status, rusage)

    def _begin_dump(self, dump: Dump) -> None:
        """Another thread wants to see the stacks of all tasks."""
        if self._stopper is None:
            from stockade.monitor.stack_dump import PtraceStopper  # here, because few runs are looked at so

            self._stopper = PtraceStopper(self._main, self._returns.__contains__)
        if self._reaped:
            dump.settle()
        else:
            self._stopper.begin(dump)


def _makes_thread(tid: int, child: int) -> bool:
    """Whether the task `tid`, which stands at the event of its clone, has made a thread of its own process."""
    registers = ptrace.get_registers(tid)
    if registers.orig_rax == CLONE:
        return bool(registers.rdi & CLONE_THREAD)
    return _is_thread(child, tid)  # clone3, whose flags lie in memory


def _is_thread(tid: int, process: int) -> bool:
    """Whether the task is a thread of the process (of which any thread may be named)."""
    return os.path.exists(f"/proc/{process}/task/{tid}")
