"""From the request for a box to the program's first instruction: what both drivers do the same way."""

from __future__ import annotations

import errno
import os
import select
import time

from stockade._proto.lean import Command, Go, Reply
from stockade._proto.wire import WireError, decode, encode
from stockade.comms.channel import ChannelError
from stockade.host.tracing import explain_refused_tracing
from stockade.kernel import ptrace
from stockade.kernel.process import read_small_file
from stockade.monitor.outcome import SetupFailure
from stockade.monitor.readback import ReadbackError, read_back, read_namespaces
from stockade.monitor.supervision import Supervision

# Flag of a task that is ending, in the ninth field of /proc/<pid>/stat.
PF_EXITING = 4
# Bytes of a message of the sandboxee's, which from some point on may be anybody's.
LONGEST_WORDS = 65536


class SetupFailedError(Exception):
    """The set-up did not come to the program's first instruction."""

    def __init__(self, failure: SetupFailure) -> None:
        super().__init__(failure)
        self.failure = failure


class Admission:
    """Receives the box, becomes the tracer of its sandboxee, lets it go, and verifies what is in force.

    `main` is the pid of the sandboxee, `init` and `sandboxee` are pidfds (closed by the supervision), `ends` is the
    pipe on which init reports the end when the driver has asked for that, else -1.
    """

    def __init__(self, supervision: Supervision) -> None:
        self._supervision = supervision
        self._channel = supervision.job.channel
        self.main = 0
        self.init = self.sandboxee = self.ends = -1
        self.namespaces: dict[str, str] = {}
        self._program = ""

    def receive_box(self, expected: int = 2) -> None:
        """Wait for the box: Started with `expected` descriptors (two pidfds, and the pipe of `reports_end`)."""
        try:
            reply, descriptors = self._receive()
        except (EOFError, OSError, ChannelError, WireError) as error:
            detail = f"the processes that set up the sandbox are gone ({error})"
            raise SetupFailedError(SetupFailure("forkserver", 0, "", detail)) from error
        if reply.failure is not None:
            raise SetupFailedError(_failure(reply))
        if reply.started is None or len(descriptors) != expected:
            for descriptor in descriptors:
                os.close(descriptor)
            raise SetupFailedError(SetupFailure("forkserver", 0, "", "init said something else than Started"))
        try:
            self._check_copy(*descriptors[:2])
        except BaseException:
            for descriptor in descriptors:
                os.close(descriptor)
            raise
        self.init, self.sandboxee, *rest = descriptors
        self.ends = rest[0] if rest else -1
        self.main = pid_of(self.sandboxee)
        self._supervision.attach(self.init, self.sandboxee, self.main)

    def _check_copy(self, init: int, sandboxee: int) -> None:
        """Check that what a fork server names as its copy is one; what `init` and `sandboxee` lead to will be killed.

        The program of a fork server says which processes its copies are: it is believed only of processes in its box.
        """
        has_in_box = self._supervision.job.server_has_in_box
        if has_in_box is None:
            return  # our own init has said it
        first, second = pid_of(init), pid_of(sandboxee)
        is_copy = bool(first and second) and parent_of(second) == first and has_in_box(first)
        if not is_copy or (pid_of(init), pid_of(sandboxee)) != (first, second):
            detail = "the fork server named something as its copy that is none, or has ended already"
            raise SetupFailedError(SetupFailure("fork_server", 0, "", detail))

    def seize(self, options: int) -> None:
        """Become the tracer of the sandboxee, which waits for Go."""
        if not self.main:
            raise SetupFailedError(self.last_words("it died before it could be seized"))
        try:
            ptrace.seize(self.main, options)
        except OSError as error:
            if _is_readable(self.sandboxee):
                raise SetupFailedError(self.last_words("it died before it could be seized")) from error
            why = explain_refused_tracing(self.main) if error.errno == errno.EPERM else ""
            raise SetupFailedError(SetupFailure("seize", error.errno or 0, f"pid {self.main}", why)) from error
        if _is_readable(self.sandboxee):
            raise SetupFailedError(self.last_words("it died before it could be seized"))

    def go(self) -> None:
        """Let the sandboxee go on. The clocks run from here."""
        self._supervision.go_at = time.monotonic()
        try:
            self._channel.send(encode(Command(go=Go())))
            self.namespaces = read_namespaces(self.main)  # while it prepares itself
        except OSError as error:
            raise SetupFailedError(self.last_words(str(error))) from error

    def read_back(self) -> None:
        """The filter is on and the program about to be executed: verify every layer. Raises SetupFailedError."""
        job = self._supervision.job
        try:
            self._supervision.readback = read_back(
                self.main, self.namespaces, job.filters, job.rlimits, host_network=job.host_network
            )
        except (ReadbackError, OSError) as error:
            raise SetupFailedError(SetupFailure("read_back", 0, "", str(error))) from error

    def box_is_dying(self) -> bool:
        """Whether init is ending already, although the program, at its exit stop, has not: something has killed it."""
        server_is_dying = self._supervision.job.server_is_dying
        return is_dying(self.init) or (server_is_dying is not None and server_is_dying())

    def last_words(self, detail: str, exec_errno: int = 0) -> SetupFailure:
        """Why the sandboxee did not become the program: what it said, or the error of its exec, or else `detail`."""
        said = self.said()
        if said is not None:
            return said
        if exec_errno:
            return SetupFailure("exec", exec_errno, self._program)
        return SetupFailure("launch", 0, self._program, f"the sandboxee died before it became the program: {detail}")

    def said(self) -> SetupFailure | None:
        """The failure that the sandboxee has told, None when it has told none. Never waits."""
        while (reply := self._receive_now()) is not None:
            if reply.failure is not None:
                return _failure(reply)
            if reply.ready is not None:
                self._program = os.fsdecode(reply.ready.program)
        return None

    def expect_silence(self) -> None:
        """The sandboxee has said that it is ready, and may say nothing else. Raises SetupFailedError."""
        reply = self._receive_now()
        if reply is None or reply.ready is None or self._channel.is_readable():
            detail = "something else than stockade's own library uses its connection to the executor, or has closed it"
            raise SetupFailedError(SetupFailure("client", 0, "", detail))

    def _receive(self) -> tuple[Reply, list[int]]:
        payload, descriptors = self._channel.receive()
        return decode(Reply, payload), descriptors

    def _receive_now(self) -> Reply | None:
        """A message that is there already and short, without descriptors; None for anything else, and for nothing."""
        now = time.monotonic()
        try:
            start = self._channel.receive_start(0, now)
            return decode(Reply, self._channel.receive_rest(start, LONGEST_WORDS, now))
        except (EOFError, OSError, ChannelError, WireError):
            return None


def is_dying(pidfd: int) -> bool:
    """Whether the process behind `pidfd` is ending, or has ended."""
    try:
        fields = read_small_file(f"/proc/{pid_of(pidfd)}/stat").rpartition(b")")[2].split()
    except OSError:
        return True
    return bool(int(fields[6]) & PF_EXITING)


def parent_of(pid: int) -> int:
    """Pid of the parent of a process; 0 when the process is gone. proc_pid_stat(5)."""
    try:
        return int(read_small_file(f"/proc/{pid}/stat").rpartition(b")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def pid_of(pidfd: int) -> int:
    """Pid of the process behind `pidfd` as this process sees it, exact however often the number was used; 0: gone."""
    for line in read_small_file(f"/proc/self/fdinfo/{pidfd}").splitlines():
        if line.startswith(b"Pid:"):
            pid = int(line[4:])
            return max(pid, 0)
    return 0


def _is_readable(descriptor: int) -> bool:
    """Whether something is there to read, or, of a pidfd, the process has ended."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def _failure(reply: Reply) -> SetupFailure:
    failure = reply.failure
    assert failure is not None
    return SetupFailure(failure.step, failure.errno, failure.path, failure.detail)
