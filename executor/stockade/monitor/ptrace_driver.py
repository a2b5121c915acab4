"""The ptrace driver: sets a run off, and turns the stops of its tasks into events of the state machine. ptrace(2).

All of it runs in one thread of ours that follows one run at a time. The thread waits with __WNOTHREAD, so that neither
the user's own children nor the tasks of other runs are reaped here.
"""

from __future__ import annotations

import os
import resource
import signal

from stockade.kernel import ptrace
from stockade.kernel.process import read_small_file
from stockade.monitor.admission import Admission, SetupFailedError
from stockade.monitor.hooks import Verdict
from stockade.monitor.machine import LATER, Machine
from stockade.monitor.outcome import SetupFailure
from stockade.monitor.supervision import Supervision
from stockade.monitor.violations import Call, call_of_registers, call_of_stop
from stockade.policy.verdicts import DATA_FREE_EXEC

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
# A task that the filter has killed, as /proc/<tid>/status shows it.
SECCOMP_MODE_DEAD = b"\nSeccomp:\t3\n"


class PtraceDriver:
    """Follows one run."""

    def __init__(self, supervision: Supervision) -> None:
        self._supervision = supervision
        self._machine = Machine(supervision, self._answer)
        self._admission = Admission(supervision)
        self._channel = supervision.job.channel
        self._free_exec_open = True
        self._executing = False
        self._reaped = False
        # Calls whose return is awaited, by the task that makes them.
        self._inspected: dict[int, Call] = {}

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
        while True:
            try:
                tid, status, rusage = os.wait4(-1, WAIT_OPTIONS)
            except ChildProcessError:
                return
            self._supervision.mailbox.run_pending()
            if os.WIFSTOPPED(status):
                try:
                    self._stopped(tid, status)
                except ProcessLookupError:
                    continue  # killed while it was stopped: its end is reported next
            else:
                self._ended(tid, status, rusage)

    def _drain(self) -> None:
        """After a failure: let everything end, deciding nothing any more."""
        while True:
            try:
                tid, status, _ = os.wait4(-1, WAIT_OPTIONS)
            except ChildProcessError:
                return
            if os.WIFSTOPPED(status):
                self._supervision.kill_tree()
                try:
                    ptrace.resume(tid)
                except ProcessLookupError:
                    continue

    def _stopped(self, tid: int, status: int) -> None:
        event, signo = status >> 16, os.WSTOPSIG(status)
        if event == ptrace.PTRACE_EVENT_SECCOMP:
            self._seccomp_stop(tid)
        elif event == ptrace.PTRACE_EVENT_EXIT:
            self._exit_stop(tid)
        elif event == ptrace.PTRACE_EVENT_STOP:
            # A group-stop has one of the stop signals; anything else is a new task or an interruption.
            ptrace.resume(tid, request=ptrace.PTRACE_LISTEN if signo in STOP_SIGNALS else self._request(tid))
        elif event == ptrace.PTRACE_EVENT_EXEC:
            self._exec_stop(tid)
        elif event:
            self._new_task_stop(tid, event)
        elif signo == SYSCALL_STOP:
            self._syscall_exit_stop(tid)
        else:
            delivered = self._machine.signal(tid, ptrace.signal_info(tid))
            ptrace.resume(tid, delivered, self._request(tid))

    def _request(self, tid: int) -> int:
        """How to go on: to the end of the call while it is awaited, else freely."""
        return ptrace.PTRACE_SYSCALL if self._executing or tid in self._inspected else ptrace.PTRACE_CONT

    def _new_task_stop(self, tid: int, event: int) -> None:
        """`tid` has made a task. A clone event is a thread, or a process whose exit signal is not SIGCHLD."""
        child = ptrace.event_message(tid)
        is_thread = event == ptrace.PTRACE_EVENT_CLONE and os.path.exists(f"/proc/{tid}/task/{child}")
        if self._machine.task_made(tid, child, is_thread=is_thread):
            ptrace.resume(tid, request=self._request(tid))

    def _seccomp_stop(self, tid: int) -> None:
        info = ptrace.syscall_info(tid)
        if info.ret_data == DATA_FREE_EXEC and self._free_exec_open and tid == self._main:
            self._begin_exec(tid)
            return
        call = call_of_stop(info)
        verdict = self._machine.traced_call(tid, info.ret_data, call)
        if verdict is not LATER:
            self._answer(tid, call, verdict)

    def _answer(self, tid: int, call: Call, verdict: Verdict) -> None:
        """Do with the stopped call what was decided. A killed one stays where it is: it makes no further call."""
        if verdict.kind in ("kill", "finish"):
            return  # the kill of the tree reaches it
        if verdict.kind == "errno":
            ptrace.answer_syscall(tid, -verdict.value)
        elif verdict.kind == "return":
            ptrace.answer_syscall(tid, verdict.value)
        elif verdict.kind == "inspect":
            self._inspected[tid] = call
        ptrace.resume(tid, request=self._request(tid))

    def _begin_exec(self, tid: int) -> None:
        """The filter is on, the free exec about to be made: verify every layer, then let this one call through."""
        self._free_exec_open = False
        self._admission.read_back()
        self._executing = True
        ptrace.resume(tid, request=ptrace.PTRACE_SYSCALL)

    def _exec_stop(self, tid: int) -> None:
        if self._free_exec_open:
            detail = "the program was executed without being handed to the monitor: the policy's filter is not in force"
            raise SetupFailedError(SetupFailure("read_back", 0, "", detail))
        former = ptrace.event_message(tid)
        if former != tid and former in self._inspected:  # a thread that is not the leader takes the leader's number
            self._inspected[tid] = self._inspected.pop(former)
        goes_on = True
        if self._executing:
            self._executing = False
            self._channel.close()
            goes_on = self._machine.started(tid)
            if self._supervision.job.announce_start:
                self._supervision.announce(started=True)
        else:
            goes_on = self._machine.program_executed(tid)
        if goes_on:
            ptrace.resume(tid, request=self._request(tid))

    def _syscall_exit_stop(self, tid: int) -> None:
        """A call whose return is awaited has returned. The free exec only comes back when it has failed."""
        value = ptrace.syscall_info(tid).number
        value -= value >> 63 << 64
        if self._executing:
            raise SetupFailedError(self._admission.last_words("", -value))
        call = self._inspected.pop(tid, None)
        if call is None or self._machine.call_returned(tid, call, value):
            ptrace.resume(tid)

    def _exit_stop(self, tid: int) -> None:
        """A task is about to end, registers and memory still there. Proof of a violation: its seccomp mode is dead."""
        self._inspected.pop(tid, None)
        status = ptrace.event_message(tid)
        try:
            if SECCOMP_MODE_DEAD in read_small_file(f"/proc/{tid}/status"):
                token = ptrace.syscall_info(tid).arch
                self._machine.killed_by_filter(tid, call_of_registers(ptrace.get_registers(tid), token))
            elif tid == self._main and status & 0x7F == signal.SIGKILL:
                self._machine.killed(box_is_dying=self._admission.box_is_dying())
            self._machine.task_ends(tid, status)
        finally:
            ptrace.resume(tid)

    def _ended(self, tid: int, status: int, rusage: resource.struct_rusage) -> None:
        if tid != self._main:
            return
        self._reaped = True
        if self._executing or self._free_exec_open:
            raise SetupFailedError(self._admission.last_words(f"it ended with the wait status {status:#x}"))
        self._machine.program_ended(status, rusage)
