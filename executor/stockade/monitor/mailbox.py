"""Work that other threads ask of the thread that follows a run: only that thread may make ptrace requests."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable


class Mailbox:
    """A queue of work, and the way to wake the thread that does it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._work: deque[Callable[[], None]] = deque()
        self._closed = False
        # Set by the driver: wakes its thread out of its wait. May be called from any thread, with the lock.
        self.wake: Callable[[], None] = lambda: None

    def post(self, work: Callable[[], None]) -> bool:
        """Have `work` done by the following thread. False when it will not be, because the run is over."""
        with self._lock:
            if self._closed:
                return False
            self._work.append(work)
            self.wake()
        return True

    def run_pending(self) -> None:
        """Do what was asked for; called by the following thread."""
        while self._work:
            self._work.popleft()()

    def close(self) -> None:
        """Take nothing more; what waits is done now, so that nobody waits for it in vain."""
        with self._lock:
            self._closed = True
        self.run_pending()
