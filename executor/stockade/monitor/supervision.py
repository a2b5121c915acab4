"""One run as its caller and its monitor see it: what may be asked of it, and how the caller is woken."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable

from stockade.kernel.process import SIGKILL, pidfd_send_signal
from stockade.monitor.job import Job
from stockade.monitor.mailbox import Mailbox
from stockade.monitor.outcome import Cause, KillReason, Outcome, Status
from stockade.monitor.readback import Readback

# How often a killed run that has not ended is killed again, and after how long it is given up.
INSIST_SECONDS, GIVE_UP_SECONDS = 0.1, 5.0
# Seconds. Waiting longer than some weeks in one go is more than poll(2) takes.
LONGEST_WAIT = 86400.0


class Supervision:
    """State shared between the thread that follows a run and the threads that wait for it.

    `event` is a descriptor (eventfd) that becomes readable when the program has started (if announced), when the
    verdict is there, and when nothing of the run is left.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.mailbox = Mailbox()
        self.event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.pid = 0
        self.go_at = 0.0
        self.started = False
        self.gone = False
        self.outcome: Outcome | None = None
        self.readback: Readback | None = None
        self.kill_reason: KillReason | None = None
        self.hook_since = 0.0
        self._hook_overrun: Callable[[], None] | None = None
        self._hook_timed_out = False
        self.on_lost: Callable[[], None] | None = None
        self._insisting_since = 0.0
        self._given_up = False
        self._lock = threading.Lock()
        self._wakers: list[int] = []
        self._init = -1
        self._sandboxee = -1
        self._event_open = True

    # What the following thread tells.

    def attach(self, init: int, sandboxee: int, pid: int) -> None:
        """The box stands: pidfds of init and the sandboxee, and the pid of the latter. Takes over the descriptors."""
        with self._lock:
            self._init, self._sandboxee, self.pid = init, sandboxee, pid
            if self.kill_reason is not None:
                self._send(self._init, SIGKILL)

    def announce(self, *, started: bool = False, outcome: Outcome | None = None, gone: bool = False) -> None:
        """Record progress and wake the waiting threads. The first outcome stands."""
        with self._lock:
            self.started = self.started or started
            if self.outcome is None:
                self.outcome = outcome
            if gone:
                self.gone = True
                for descriptor in (self._init, self._sandboxee):
                    if descriptor >= 0:
                        os.close(descriptor)
                self._init = self._sandboxee = -1
            self._wake()

    def _wake(self) -> None:
        """Wake all that wait. Called with the lock."""
        for descriptor in (*self._wakers, *([self.event] if self._event_open else [])):
            os.eventfd_write(descriptor, 1)

    def begin_hook(self, overrun: Callable[[], None]) -> None:
        """A hook is about to run; `overrun` records that it took too long, in the thread that notices."""
        with self._lock:
            self.hook_since, self._hook_overrun = time.monotonic(), overrun

    def end_hook(self) -> bool:
        """The hook has returned. True when the run has been ended over it meanwhile."""
        with self._lock:
            self.hook_since = 0.0
            return self._hook_timed_out

    def is_abandoned(self) -> bool:
        """Whether the following thread is left to itself: inside a hook that takes too long, or waiting in vain."""
        with self._lock:
            return self._given_up or (self._hook_timed_out and self.hook_since > 0)

    # What the waiting threads ask.

    def time_out_hook(self) -> None:
        """End the run because its hook takes too long. The thread that runs the hook is left to itself."""
        with self._lock:
            if not self.hook_since or self._hook_overrun is None or self._hook_timed_out:
                return
            self._hook_timed_out, overrun = True, self._hook_overrun
        overrun()

    def kill(self, reason: KillReason) -> None:
        """Kill everything in the box. The first reason stands; after the verdict nothing happens."""
        with self._lock:
            if self.outcome is None and self.kill_reason is None:
                self.kill_reason = reason
                self._wake()
            if not self.gone:
                if self._init >= 0:
                    self._send(self._init, SIGKILL)
                else:
                    self.job.channel.shutdown()

    def blame(self, reason: KillReason) -> None:
        """A limit was passed, which the verdict must name although the program may have ended before it was noticed."""
        with self._lock:
            if self.outcome is not None and self.outcome.status in (Status.OK, Status.SIGNALED):
                self.outcome.status, self.outcome.kill = Status.LIMIT, reason

    def kill_tree(self) -> None:
        """Kill everything in the box, for a reason that the outcome will name.

        The program goes first: it must not go on after the end of a child of its, while init only begins to end.
        """
        with self._lock:
            for pidfd in (self._sandboxee, self._init):
                if pidfd >= 0:
                    self._send(pidfd, SIGKILL)

    def send_signal(self, signo: int) -> bool:
        """Send a signal to the program itself. False when it is gone."""
        with self._lock:
            return self._sandboxee >= 0 and self._send(self._sandboxee, signo)

    def wait(self, timeout: float | None = None, *, for_start: bool = False, for_end: bool = False) -> bool:
        """Wait for the verdict (or the start, or until nothing is left). False when `timeout` seconds pass before.

        Waits on a descriptor, not on a condition: an exception of a signal handler (Ctrl-C) within a condition's own
        code could leave its lock taken for ever.
        """

        def reached() -> bool:
            ended = self.gone or self._given_up if for_end else self.outcome is not None
            return ended or (for_start and self.started)

        if reached():
            return True
        deadline = None if timeout is None else time.monotonic() + timeout
        waker = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            with self._lock:
                self._wakers.append(waker)
            poll = select.poll()
            poll.register(waker, select.POLLIN)
            while not reached():
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return False
                killed = self.kill_reason is not None or (for_end and self.outcome is not None)
                pauses = [LONGEST_WAIT, *([] if left is None else [left]), *([INSIST_SECONDS] if killed else [])]
                if poll.poll(max(1, int(min(pauses) * 1000 + 0.999))):
                    os.eventfd_read(waker)
                if killed:
                    self.insist()
            return True
        finally:
            with self._lock:
                if waker in self._wakers:
                    self._wakers.remove(waker)
                os.close(waker)

    def insist(self) -> None:
        """Kill again what was killed and has not ended, and give it up when it does not end for some seconds.

        That happens only when another thread of this process waits for any child (`os.wait()`): the kernel tells it of
        stops and ends that were meant for the thread that follows the run, and a task whose stop nobody answers stays.
        """
        with self._lock:
            if self.gone or self._given_up:
                return
            self._insisting_since = self._insisting_since or time.monotonic()
            for pidfd in (self._sandboxee, self._init):
                if pidfd >= 0:
                    self._send(pidfd, SIGKILL)
            if time.monotonic() - self._insisting_since < GIVE_UP_SECONDS:
                return
            self._given_up = True
            self._wake()
        if self.on_lost is not None:
            self.on_lost()

    def close_event(self) -> None:
        """The waiting side needs the descriptor no longer."""
        with self._lock:
            if self._event_open:
                self._event_open = False
                os.close(self.event)

    def expire_wall_time(self, wall_time: float) -> float:
        """Seconds left of `wall_time` since Go; when none are left, kill the run for it and return 0."""
        go_at = self.go_at
        left = wall_time - (time.monotonic() - go_at) if go_at else wall_time
        if left > 0:
            return left
        self.kill(KillReason(Cause.TIMEOUT, "wall_time", wall_time, wall_time - left))
        return 0.0

    @staticmethod
    def _send(pidfd: int, signo: int) -> bool:
        try:
            pidfd_send_signal(pidfd, signo)
        except ProcessLookupError:
            return False
        return True
