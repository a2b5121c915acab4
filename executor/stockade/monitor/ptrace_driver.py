"""The ptrace driver: sets a run off, and turns the stops of its tasks into events of the state machine. ptrace(2).

All of it runs in one thread of ours that follows one run at a time. The thread waits with __WNOTHREAD, so that neither
the user's own children nor the tasks of other runs are reaped here.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import time

from stockade._proto.lean import Command, Go, Reply
from stockade._proto.wire import WireError, decode, encode
from stockade.comms.channel import ChannelError
from stockade.kernel import ptrace
from stockade.kernel.process import read_small_file
from stockade.monitor.machine import Answer, Machine
from stockade.monitor.outcome import SetupFailure
from stockade.monitor.readback import ReadbackError, read_back, read_namespaces
from stockade.monitor.supervision import Supervision
from stockade.monitor.violations import call_of_registers, call_of_stop
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
# Flag of a task that is ending, in the ninth field of /proc/<pid>/stat.
PF_EXITING = 4
SYSCALL_STOP = signal.SIGTRAP | 0x80
# A task that the filter has killed, as /proc/<tid>/status shows it.
SECCOMP_MODE_DEAD = b"\nSeccomp:\t3\n"


class SetupFailedError(Exception):
    """The set-up did not come to the program's first instruction."""

    def __init__(self, failure: SetupFailure) -> None:
        super().__init__(failure)
        self.failure = failure


class PtraceDriver:
    """Follows one run."""

    def __init__(self, supervision: Supervision) -> None:
        self._supervision = supervision
        self._machine = Machine(supervision)
        self._channel = supervision.job.channel
        self._main, self._init = 0, -1
        self._namespaces: dict[str, str] = {}
        self._program = ""
        self._free_exec_open = True
        self._executing = False
        self._reaped = False

    def follow(self) -> None:
        """Set the run off and follow it until nothing of it is left. Never raises."""
        try:
            try:
                self._hand_over()
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
            self._supervision.announce(gone=True)

    # From the request to Go.

    def _hand_over(self) -> None:
        """Wait for the box and the sandboxee, become its tracer, and let it go."""
        try:
            reply, descriptors = self._receive()
        except (EOFError, OSError, ChannelError, WireError) as error:
            detail = f"the processes that set up the sandbox are gone ({error})"
            raise SetupFailedError(SetupFailure("forkserver", 0, "", detail)) from error
        if reply.failure is not None:
            raise SetupFailedError(_failure(reply))
        if reply.started is None or len(descriptors) != 2:
            raise SetupFailedError(SetupFailure("forkserver", 0, "", "init said something else than Started"))
        init, sandboxee = descriptors
        self._main, self._init = _pid_of(sandboxee), init
        self._supervision.attach(init, sandboxee, self._main)
        try:
            if self._main:
                ptrace.seize(self._main, OPTIONS)
        except OSError as error:
            if _is_readable(sandboxee):
                raise SetupFailedError(self._last_words("it died before it could be seized")) from error
            raise SetupFailedError(SetupFailure("seize", error.errno or 0, f"pid {self._main}")) from error
        if _is_readable(sandboxee):
            raise SetupFailedError(self._last_words("it died before it could be seized"))
        self._supervision.go_at = time.monotonic()
        try:
            self._channel.send(encode(Command(go=Go())))
            self._namespaces = read_namespaces(self._main)  # while it prepares itself
        except OSError as error:
            raise SetupFailedError(self._last_words(str(error))) from error

    def _receive(self) -> tuple[Reply, list[int]]:
        payload, descriptors = self._channel.receive()
        return decode(Reply, payload), descriptors

    # Following.

    def _loop(self) -> None:
        while True:
            try:
                tid, status, rusage = os.wait4(-1, WAIT_OPTIONS)
            except ChildProcessError:
                return
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
            ptrace.resume(tid, request=ptrace.PTRACE_LISTEN if signo in STOP_SIGNALS else ptrace.PTRACE_CONT)
        elif event == ptrace.PTRACE_EVENT_EXEC:
            self._exec_stop(tid)
        elif event:
            self._count_new_task(tid, event)
            ptrace.resume(tid)
        elif signo == SYSCALL_STOP:
            self._syscall_exit_stop(tid)
        else:
            self._machine.signal(tid, ptrace.signal_info(tid))
            ptrace.resume(tid, signo, self._request())

    def _request(self) -> int:
        """How to go on: to the end of the exec while that is under way, else freely."""
        return ptrace.PTRACE_SYSCALL if self._executing else ptrace.PTRACE_CONT

    def _count_new_task(self, tid: int, event: int) -> None:
        """Count what `tid` has made. A clone event is a thread, or a process whose exit signal is not SIGCHLD."""
        self._machine.threads += 1
        if event != ptrace.PTRACE_EVENT_CLONE or not _is_thread_of(tid, ptrace.event_message(tid)):
            self._machine.processes += 1

    def _seccomp_stop(self, tid: int) -> None:
        info = ptrace.syscall_info(tid)
        if info.ret_data == DATA_FREE_EXEC and self._free_exec_open and tid == self._main:
            self._begin_exec(tid)
            return
        answer = self._machine.traced_call(tid, info.ret_data, call_of_stop(info))
        if answer is Answer.KILL:
            return  # it stays where it is until the kill of the tree reaches it: it makes no further call
        if isinstance(answer, int):
            ptrace.answer_syscall(tid, -answer)
        ptrace.resume(tid)

    def _begin_exec(self, tid: int) -> None:
        """The filter is on, the free exec about to be made: verify every layer, then let this one call through."""
        self._free_exec_open = False
        job = self._supervision.job
        try:
            self._supervision.readback = read_back(
                tid, self._namespaces, job.filters, job.rlimits, host_network=job.host_network
            )
        except (ReadbackError, OSError) as error:
            raise SetupFailedError(SetupFailure("read_back", 0, "", str(error))) from error
        self._executing = True
        ptrace.resume(tid, request=ptrace.PTRACE_SYSCALL)

    def _exec_stop(self, tid: int) -> None:
        if self._free_exec_open:
            detail = "the program was executed without being handed to the monitor: the policy's filter is not in force"
            raise SetupFailedError(SetupFailure("read_back", 0, "", detail))
        if self._executing:
            self._executing = False
            self._channel.close()
            if self._supervision.job.announce_start:
                self._supervision.announce(started=True)
        ptrace.resume(tid)

    def _syscall_exit_stop(self, tid: int) -> None:
        """The free exec came back, so it failed."""
        errno = (1 << 64) - ptrace.syscall_info(tid).number
        raise SetupFailedError(self._last_words("", errno))

    def _exit_stop(self, tid: int) -> None:
        """A task is about to end, registers and memory still there. Proof of a violation: its seccomp mode is dead."""
        try:
            if SECCOMP_MODE_DEAD in read_small_file(f"/proc/{tid}/status"):
                token = ptrace.syscall_info(tid).arch
                self._machine.killed_by_filter(tid, call_of_registers(ptrace.get_registers(tid), token))
            elif tid == self._main and ptrace.event_message(tid) & 0x7F == signal.SIGKILL:
                self._machine.killed(box_is_dying=self._box_is_dying())
        finally:
            ptrace.resume(tid)

    def _box_is_dying(self) -> bool:
        """Whether init is ending already, although the program, at its exit stop, has not: something has killed it."""
        try:
            fields = read_small_file(f"/proc/{_pid_of(self._init)}/stat").rpartition(b")")[2].split()
        except OSError:
            return True
        return bool(int(fields[6]) & PF_EXITING)

    def _ended(self, tid: int, status: int, rusage: resource.struct_rusage) -> None:
        if tid != self._main:
            return
        self._reaped = True
        if self._executing or self._free_exec_open:
            raise SetupFailedError(self._last_words(f"it ended with the wait status {status:#x}"))
        self._machine.program_ended(status, rusage)

    def _last_words(self, detail: str, exec_errno: int = 0) -> SetupFailure:
        """Why the sandboxee did not become the program: what it said, or the error of its exec, or else `detail`."""
        while self._channel.is_readable():
            try:
                reply, _ = self._receive()
            except (EOFError, OSError, ChannelError, WireError):
                break
            if reply.failure is not None:
                return _failure(reply)
            if reply.ready is not None:
                self._program = os.fsdecode(reply.ready.program)
        if exec_errno:
            return SetupFailure("exec", exec_errno, self._program)
        return SetupFailure("launch", 0, self._program, f"the sandboxee died before it became the program: {detail}")


def _is_readable(descriptor: int) -> bool:
    """Whether something is there to read, or, of a pidfd, the process has ended."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def _is_thread_of(tid: int, other: int) -> bool:
    return os.path.exists(f"/proc/{tid}/task/{other}")


def _failure(reply: Reply) -> SetupFailure:
    failure = reply.failure
    assert failure is not None
    return SetupFailure(failure.step, failure.errno, failure.path, failure.detail)


def _pid_of(pidfd: int) -> int:
    """Pid of the process behind `pidfd` as this process sees it, exact however often the number was used; 0: gone."""
    for line in read_small_file(f"/proc/self/fdinfo/{pidfd}").splitlines():
        if line.startswith(b"Pid:"):
            pid = int(line[4:])
            return max(pid, 0)
    return 0
