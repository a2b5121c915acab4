"""The process of a fork server, as the executor sees it. It is not traced: the tracers of its copies trace those."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from _socket import CMSG_SPACE

from stockade._proto.lean import Command, Ended, Go, Reply
from stockade._proto.wire import WireError, decode, encode
from stockade.comms.channel import Channel, ChannelError
from stockade.kernel.process import SIGKILL, pidfd_send_signal
from stockade.monitor.admission import LONGEST_WORDS, SetupFailedError, is_dying, parent_of, pid_of
from stockade.monitor.outcome import SetupFailure
from stockade.monitor.readback import ReadbackError, read_back, read_namespaces

STEP = "fork_server"
_DESCRIPTORS = CMSG_SPACE(3 * 4)
# Seconds that the end of a box that was killed may take before it is left to itself.
LONGEST_END = 5.0
# Seconds within which the end of a process is reported once its connections are closed.
_LAG = 1.0


class ServerProcess:
    """One such process, in its own box. `channel` leads to it, and is closed with it."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self._init = self._server = self._ends = -1
        self._closed = False
        self.pid = 0

    def boot(self, timeout: float | None, rlimits: dict[int, tuple[int, int]], *, host_network: bool) -> None:
        """See it through to its serving, `timeout` seconds at most. Raises SetupFailedError; `close` it then."""
        deadline = None if timeout is None else time.monotonic() + timeout
        _, descriptors = self._expect("started", deadline)
        if len(descriptors) != 3:
            for descriptor in descriptors:
                os.close(descriptor)
            raise SetupFailedError(SetupFailure(STEP, 0, "", "init said something else than Started"))
        with self._lock:
            self._init, self._server, self._ends = descriptors
        self.pid = pid_of(self._server)
        self._expect("ready", deadline)
        try:
            self._channel.send(encode(Command(go=Go())))
        except OSError as error:
            detail = "its box was gone before it was started"
            raise SetupFailedError(SetupFailure(STEP, error.errno or 0, "", detail)) from error
        self._expect("serving", deadline)
        try:
            read_back(self.pid, read_namespaces(self.pid), 0, rlimits, host_network=host_network)
        except (ReadbackError, OSError) as error:
            raise SetupFailedError(SetupFailure("read_back", 0, "", str(error))) from error

    def _expect(self, what: str, deadline: float | None) -> tuple[Reply, list[int]]:
        """The next message, which must be that one. Bounded in size and time, whoever sends it."""
        try:
            start = self._channel.receive_start(_DESCRIPTORS, deadline)
            reply = decode(Reply, self._channel.receive_rest(start, LONGEST_WORDS, deadline))
        except TimeoutError:
            detail = "the program did not call Client.become_fork_server() in time"
            raise SetupFailedError(SetupFailure(STEP, 0, "", detail)) from None
        except (EOFError, OSError) as error:
            detail = f"the program {self._ended_how()} before it called Client.become_fork_server()"
            raise SetupFailedError(SetupFailure(STEP, 0, "", detail)) from error
        except (ChannelError, WireError) as error:
            detail = f"something else than stockade's own library uses its connection to the executor ({error})"
            raise SetupFailedError(SetupFailure(STEP, 0, "", detail)) from error
        failure = reply.failure
        if failure is not None:
            raise SetupFailedError(SetupFailure(failure.step, failure.errno, failure.path, failure.detail))
        if getattr(reply, what) is None:
            for descriptor in start.descriptors:
                os.close(descriptor)
            raise SetupFailedError(SetupFailure(STEP, 0, "", f"it did not say {what} when it had to"))
        return reply, start.descriptors

    def ask(self, request: bytes, reply: int) -> None:
        """Have it make a copy, which will answer at the other end of `reply`. BrokenPipeError when it is gone."""
        with self._lock:
            if self._closed:
                raise BrokenPipeError("it was closed")
            self._channel.send(request, [reply])

    def is_dying(self) -> bool:
        """Whether it, or its box, is ending or has ended."""
        with self._lock:
            return self._closed or self._init < 0 or _has_ended(self._server) or is_dying(self._init)

    def has_in_box(self, pid: int) -> bool:
        """Whether the process `pid` is below the init of its box."""
        with self._lock:
            init = pid_of(self._init) if self._init >= 0 else 0
        while init and pid > 1:
            pid = parent_of(pid)
            if pid == init:
                return True
        return False

    def _ended_how(self) -> str:
        """What the program, which has closed the connection, did, for a sentence."""
        if self._ends < 0:
            return "could not be started"
        report = os.read(self._ends, 4096) if _wait(self._ends, _LAG) else b""
        if not report:
            return "closed its connection to the executor"
        status = decode(Ended, report).status
        if os.WIFSIGNALED(status):
            return f"ended with signal {os.WTERMSIG(status)}"
        return f"ended with exit status {os.WEXITSTATUS(status)}"

    def close(self) -> None:
        """Kill its box, with all copies, wait for the end, and close every descriptor. Closing twice is fine."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._channel.close()
        # Not with the lock: copies end first, and the threads that follow them ask about us.
        if self._init >= 0:
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                pidfd_send_signal(self._init, SIGKILL)
            _wait(self._init, LONGEST_END)
        self._close_descriptors()

    def forget(self) -> None:
        """In a forked copy of the user's process: close the descriptors; the process belongs to the parent."""
        self._lock = threading.Lock()
        self._closed = True
        self._channel.close()
        self._close_descriptors()

    def _close_descriptors(self) -> None:
        with self._lock:
            for descriptor in (self._init, self._server, self._ends):
                if descriptor >= 0:
                    os.close(descriptor)
            self._init = self._server = self._ends = -1


def _wait(descriptor: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _has_ended(pidfd: int) -> bool:
    return _wait(pidfd, 0)
