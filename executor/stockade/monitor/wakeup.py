"""How the thread that waits for the stops of a run is woken for work that other threads ask of it.

wait4(2) waits for nothing but children. So one real-time signal that nobody uses gets a handler that does nothing; it
is unblocked in tracer threads only, and sent to the one that has to be woken. It may come just before the thread enters
wait4, where it has no effect: it is sent again until the thread says that it is awake. Nothing is installed before the
first run that may need it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator

from stockade.kernel import thread_signals
from stockade.kernel.ptrace import Event, Waiter
from stockade.monitor.admission import SetupFailedError
from stockade.monitor.mailbox import Mailbox
from stockade.monitor.outcome import SetupFailure

# Between two attempts to wake a thread.
FIRST_PAUSE, LONGEST_PAUSE = 0.0001, 0.01
# How often an event is looked for, about a microsecond each, and how many are found so before the thread sleeps again.
LOOKS, MOST_HITS = 50, 5000
# After n times in vain 2**n - 2 long sleeps are left out.
MOST_MISSES = 6

_lock = threading.Lock()
# The signal and its handler, once chosen.
_chosen = (0, 0)


def _wake_signal() -> int:
    """The signal that wakes, installed when it is not, and chosen again when somebody has taken it. 0: none is free."""
    global _chosen
    with _lock:
        signo, handler = _chosen
        if signo and thread_signals.handler_address(signo) == handler:
            return signo
        signo = thread_signals.unused_realtime_signal() or 0
        if signo:
            _chosen = signo, thread_signals.handle_with_nothing(signo)
        return signo


class Eager:
    """Looks for the next event for some microseconds before its thread goes to sleep for it, where that saves time.

    To sleep and be woken is cheap by itself. But a sleeping thread gives the interpreter's lock away, and beside a
    thread that computes it gets it back only after the switch interval (`sys.getswitchinterval`), for each event. So a
    sleep that has taken about as long may have been such a one, and the thread begins to look. It goes on while that
    finds events, sleeps now and then to see whether it still has to, and tries less often when it was in vain.
    """

    def __init__(self, waiter: Waiter) -> None:
        self._look = waiter.look
        # With one processor the program could not run meanwhile.
        self._may = len(os.sched_getaffinity(0)) > 1
        self._long = sys.getswitchinterval() / 2
        self._hits_left = self._misses = self._left_out = 0

    def look(self) -> Event | None:
        """An event, or None: sleep."""
        if not self._hits_left:
            return None
        look = self._look
        for _ in range(LOOKS):
            event = look()
            if event is not None:
                self._hits_left -= 1
                self._misses = 0
                return event
        self._hits_left = 0
        self._misses = min(self._misses + 1, MOST_MISSES)
        self._left_out = (1 << self._misses) - 2
        return None

    def slept(self, seconds: float) -> None:
        """The thread has slept for so long until it could go on."""
        if seconds < self._long or not self._may:
            return
        if self._left_out:
            self._left_out -= 1
        else:
            self._hits_left = MOST_HITS


class WakeableWait:
    """The wait of one run's tracer thread. Made, and waited in, by that thread.

    `wakeable`: whether `mailbox` may be used in this run. Raises SetupFailedError when no signal is free for it.
    """

    def __init__(self, mailbox: Mailbox, options: int, *, wakeable: bool) -> None:
        self._mailbox = mailbox
        self._waiter = Waiter(options)
        self._eager = Eager(self._waiter)
        self._round: deque[Event] = deque()
        self._tid = threading.get_native_id()
        self._asleep = False
        self._signo = 0
        if wakeable:
            self._signo = _wake_signal()
            if not self._signo:
                detail = "every real-time signal of this process has a handler, and the monitor needs one of its own"
                raise SetupFailedError(SetupFailure("monitor", 0, "", detail))
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (self._signo,))
            mailbox.wake = self._wake

    def next(self) -> Event | None:
        """The next event of a child or tracee, as `Waiter.wait` gives it; None: look into the mailbox.

        Everybody who has something to report is served before anybody is served twice: the kernel itself tells of the
        task that it finds first, and a few that stop all the time would hide the others.

        ChildProcessError: nothing is left to wait for.
        """
        if self._round:
            return self._round.popleft()
        event = self._eager.look() or self._sleep()
        if event is not None:
            while (other := self._waiter.look()) is not None:
                self._round.append(other)
        return event

    def ready(self) -> Iterator[Event]:
        """What is there to report already, without waiting: one event of each task at most.

        What is not asked for, because the one before could not be dealt with, stays to be reported.
        """
        while (other := self._waiter.look()) is not None:
            self._round.append(other)
        while self._round:
            yield self._round.popleft()

    def _sleep(self) -> Event | None:
        # Said first, looked second: whoever posts after the look sees a thread that has to be woken.
        self._asleep = True
        try:
            if self._mailbox.pending:
                return None
            began = time.monotonic()
            event = self._waiter.wait()
            self._eager.slept(time.monotonic() - began)
            return event
        finally:
            self._asleep = False

    def _wake(self) -> None:
        pause = FIRST_PAUSE
        while self._asleep and self._mailbox.pending:
            with contextlib.suppress(ProcessLookupError):
                thread_signals.send_to_own_thread(self._tid, self._signo)
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


def in_forked_child() -> None:
    """A lock that another thread held at the fork would stay locked."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=in_forked_child)
