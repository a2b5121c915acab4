"""The start of a run whose monitor is told of calls by the kernel: how the listener is had, and the program executed.

For the start alone the monitor is the sandboxee's tracer. With its filter on the sandboxee can make no system call
until somebody answers the notifications, so it tells the number of the listener by a trap, at which it stops. The exec
that follows is the first notification. When it has succeeded the tracer leaves, before the program's first instruction;
the error of one that failed comes by another trap.
"""

from __future__ import annotations

import os
import select
import signal

from stockade.kernel import ptrace
from stockade.kernel.architectures import X86_64
from stockade.kernel.seccomp_constants import FREE_EXEC_COOKIE
from stockade.kernel.seccomp_notify import Answerer, Receiver, take_descriptor, wake_synchronously
from stockade.monitor.admission import Admission, SetupFailedError
from stockade.monitor.outcome import SetupFailure
from stockade.policy.verdicts import FREE_EXEC_ARGUMENT, FREE_EXEC_CALL

OPTIONS = ptrace.PTRACE_O_TRACEEXEC | ptrace.PTRACE_O_EXITKILL
WAIT_OPTIONS = ptrace.WALL | ptrace.WNOTHREAD
EXECVEAT = X86_64.number(FREE_EXEC_CALL)
# Milliseconds between looks whether a signal has taken the sandboxee out of the call that is waited for.
LOOK_AGAIN = 20
_LOOK = os.WEXITED | os.WSTOPPED | os.WNOHANG | os.WNOWAIT | ptrace.WALL | ptrace.WNOTHREAD


class Starter:
    """Brings one sandboxee from Go to the program's first instruction, where it stands stopped, still traced by us."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.listener = -1
        self._free_exec_open = True

    def start(self) -> None:
        """Raises SetupFailedError. `listener` is open afterwards if it was had at all, and is the caller's to close."""
        main = self._admission.main
        while True:
            _, status, _ = os.wait4(-1, WAIT_OPTIONS)
            if not os.WIFSTOPPED(status):
                raise SetupFailedError(self._admission.last_words(f"it ended with the wait status {status:#x}"))
            event, signo = status >> 16, os.WSTOPSIG(status)
            try:
                if event == ptrace.PTRACE_EVENT_EXEC:
                    self._check_executed()
                    return
                if event:
                    ptrace.resume(main)  # a stop like any other: it shall not wait for SIGCONT
                elif signo != signal.SIGTRAP or ptrace.signal_info(main).code <= 0:  # sent by a process
                    ptrace.resume(main, signo)
                else:
                    self._trapped(ptrace.get_registers(main).rdi)
            except ProcessLookupError:
                continue  # killed while it was stopped: its end is reported next
            # A signal that was ignored has interrupted the exec, and it is made again.
            if self.listener >= 0 and self._free_exec_open and self._is_notified():
                self._let_free_exec_go()

    def _trapped(self, told: int) -> None:
        """The sandboxee stands at a trap: the first tells the number of the listener, the second an error number."""
        if self.listener >= 0:
            raise SetupFailedError(self._admission.last_words("", told))
        ptrace.resume(self._admission.main)
        # It goes on to its exec, and there it waits for us.
        self._take_listener(told)
        self._admission.read_back()

    def _take_listener(self, number: int) -> None:
        try:
            self.listener = take_descriptor(self._admission.sandboxee, number)
            wake_synchronously(self.listener)
        except OSError as error:
            failure = SetupFailure("listener", error.errno or 0, f"descriptor {number}")
            if not self._is_alive():
                failure = self._admission.last_words(str(error))
            raise SetupFailedError(failure) from error

    def _is_notified(self) -> bool:
        """Wait until the sandboxee's call has become a notification. False when it did not come to that."""
        poll = select.poll()
        poll.register(self.listener, select.POLLIN)
        poll.register(self._admission.sandboxee, select.POLLIN)
        while True:
            events = dict(poll.poll(LOOK_AGAIN))
            if events.get(self.listener, 0) & select.POLLIN:
                return True
            if events or self._has_stopped():
                return False

    def _let_free_exec_go(self) -> None:
        """Answer the first notification when it is the exec of the program: the only one that is ever let go so."""
        receiver = Receiver(self.listener)
        if not receiver.receive():
            return
        notification, tid, _, number, token, _, *registers = receiver.fields()
        expected = self._admission.main, EXECVEAT, X86_64.audit_token, FREE_EXEC_COOKIE
        if (tid, number, token, registers[FREE_EXEC_ARGUMENT]) != expected:
            detail = f"task {tid} made call {number} where the program was to be executed"
            raise SetupFailedError(SetupFailure("read_back", 0, "", detail))
        self._free_exec_open = False
        Answerer(self.listener).let_go_on(notification)

    def _check_executed(self) -> None:
        if self._free_exec_open:
            detail = "the program was executed without being handed to the monitor: the policy's filter is not in force"
            raise SetupFailedError(SetupFailure("read_back", 0, "", detail))

    def _has_stopped(self) -> bool:
        """Whether a stop (or the end) of the sandboxee waits to be told."""
        return os.waitid(os.P_PID, self._admission.main, _LOOK) is not None

    def _is_alive(self) -> bool:
        poll = select.poll()
        poll.register(self._admission.sandboxee, select.POLLIN)
        return not poll.poll(0)
