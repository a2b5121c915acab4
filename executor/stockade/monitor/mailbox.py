"""Work that other threads ask of the thread that follows a run: only that thread may make ptrace requests."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable

from stockade.monitor.lost import report_lost


class Mailbox:
    """A queue of work, and the way to wake the thread that does it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._work: deque[Callable[[], None]] = deque()
        self._closed = False
        # Set by the driver: wakes its thread out of its wait. Called from any thread, without the lock.
        self.wake: Callable[[], None] = lambda: None

    @property
    def pending(self) -> bool:
        """Whether work waits."""
        return bool(self._work)

    @property
    def closed(self) -> bool:
        """Whether the run is over, so that nothing is taken any more."""
        return self._closed

    def post(self, work: Callable[[], None]) -> bool:
        """Have `work` done by the following thread, which is woken for it.

        Returns False when it will not be done, because the run is over. What was posted in time is done, at the latest
        when the run ends: `work` must find out itself whether the task that it is about is still what it was.
        """
        with self._lock:
            if self._closed:
                return False
            self._work.append(work)
        self.wake()
        return True

    def run_pending(self) -> None:
        """Do what was asked for; called by the following thread. A task that was killed meanwhile is no failure."""
        while self._work:
            with contextlib.suppress(ProcessLookupError):
                self._work.popleft()()

    def close(self) -> None:
        """Take nothing more; what waits is done now, so that nobody waits for it in vain."""
        with self._lock:
            self._closed = True
        while self._work:
            try:
                self.run_pending()
            except Exception as error:  # the run is over: nothing can fail for it any more
                report_lost(error, "work that was asked of the monitor")
