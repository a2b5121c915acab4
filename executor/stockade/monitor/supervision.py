"""One run as its caller and its monitor see it: what may be asked of it, and how the caller is woken."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from stockade.kernel.process import SIGKILL, pidfd_send_signal
from stockade.monitor.callback_clock import CallbackClock
from stockade.monitor.job import Job
from stockade.monitor.mailbox import Mailbox
from stockade.monitor.outcome import Cause, KillReason, Outcome, Status
from stockade.monitor.readback import Readback

if TYPE_CHECKING:
    from stockade.monitor.stack_dump import Dump

SIGTERM = 15
# How often a killed run that has not ended is killed again, and after how long it is given up.
INSIST_SECONDS, GIVE_UP_SECONDS = 0.1, 5.0
# For so long init may take to report the end of a killed program before it is killed itself.
REPORT_SECONDS = 2.0
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
        # SIGTERM was sent for Process.terminate.
        self.is_terminating = False
        self.callbacks = CallbackClock(job.hook_timeout, self.nudge)
        # Set by the state machine: the end was not reported, and a limit was noticed after the verdict.
        self.on_lost: Callable[[], None] | None = None
        self.on_blame: Callable[[KillReason], None] | None = None
        # Set by the driver: takes the stacks of all threads, in the thread that follows the run.
        self.begin_dump: Callable[[Dump], None] | None = None
        # Set by a driver that does not see tasks end: takes the program's stack just before it is killed, quickly.
        self.before_kill: Callable[[], None] | None = None
        self._insisting_since = 0.0
        self._given_up = False
        self._lock = threading.Lock()
        self._wakers: list[int] = []
        self._init = -1
        self._sandboxee = -1
        # Nobody else sees the end of a program whose monitor is no tracer.
        self._init_reports = job.monitor == "unotify"
        self._event_open = True

    @property
    def is_sandboxed(self) -> bool:
        """Whether the program has been found to be under its policy, with all layers in force."""
        return self.readback is not None

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
                if self.outcome is None:  # the following thread has failed: nobody may wait for it in vain
                    self.outcome = Outcome(Status.INTERNAL_ERROR, internal="the monitor ended without a verdict")
                for descriptor in (self._init, self._sandboxee):
                    if descriptor >= 0:
                        os.close(descriptor)
                self._init = self._sandboxee = -1
            self._wake()

    def _wake(self) -> None:
        """Wake all that wait. Called with the lock."""
        for descriptor in (*self._wakers, *([self.event] if self._event_open else [])):
            os.eventfd_write(descriptor, 1)

    def nudge(self) -> None:
        """Have all that wait look again at what they wait for."""
        with self._lock:
            self._wake()

    def is_abandoned(self) -> bool:
        """Whether the following thread is left to itself: inside a callback that takes too long, or waiting in vain."""
        return self._given_up or self.callbacks.holds_follower

    # What the waiting threads ask.

    def kill(self, reason: KillReason) -> None:
        """Kill everything in the box. The first reason stands; after the verdict nothing happens."""
        before, self.before_kill = self.before_kill, None
        if before is not None and self.outcome is None and self.kill_reason is None:
            before()
        with self._lock:
            if self.outcome is None and self.kill_reason is None:
                self.kill_reason = reason
                self._wake()
            if not self.gone:
                if self._init >= 0:
                    self._send(self._sandboxee if self._init_reports else self._init, SIGKILL)
                else:
                    self.job.channel.shutdown()

    def blame(self, reason: KillReason) -> None:
        """A limit was passed, which the verdict must name although the program may have ended before it was noticed."""
        with self._lock:
            if self.outcome is None or self.outcome.status not in (Status.OK, Status.SIGNALED):
                return
            self.outcome.status, self.outcome.kill = Status.LIMIT, reason
        if self.on_blame is not None:
            self.on_blame(reason)

    def kill_tree(self) -> None:
        """Kill everything in the box, for a reason that the outcome will name.

        The program goes first: it must not go on after the end of a child of its, while init only begins to end.
        """
        with self._lock:
            self._kill_both()

    def _kill_both(self) -> None:
        """Kill the program and init, with the lock. An init that reports the program's end is given the time to do so:
        it ends itself then, and everything else in the box with it.
        """
        insisting = time.monotonic() - self._insisting_since if self._insisting_since else 0.0
        spared = self._init_reports and insisting < REPORT_SECONDS
        for pidfd in (self._sandboxee, *(() if spared else (self._init,))):
            if pidfd >= 0:
                self._send(pidfd, SIGKILL)

    def terminate(self) -> None:
        """Ask the program itself to end, by SIGTERM. When it does end by that, the outcome will say so.

        Nothing happens to a run that is being killed: the first reason stands.
        """
        with self._lock:
            if self.outcome is None and self.kill_reason is None and self._sandboxee >= 0:
                self.is_terminating = True
                self._send(self._sandboxee, SIGTERM)

    def send_signal(self, signo: int) -> bool:
        """Send a signal to the program itself. False when it is gone."""
        with self._lock:
            return self._sandboxee >= 0 and self._send(self._sandboxee, signo)

    def wait(
        self,
        timeout: float | None = None,
        *,
        for_start: bool = False,
        for_sandbox: bool = False,
        for_end: bool = False,
        also_for: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Wait for the verdict (or the start, or the check-in, or until nothing is left), or until `also_for` is true,
        which is asked whenever something is announced.

        False when `timeout` seconds pass before.

        Waits on a descriptor, not on a condition: an exception of a signal handler (Ctrl-C) within a condition's own
        code could leave its lock taken for ever.
        """

        def reached() -> bool:
            ended = self.gone or self._given_up if for_end else self.outcome is not None
            return ended or (for_start and self.started) or (for_sandbox and self.is_sandboxed) or also_for()

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
            self._kill_both()
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
