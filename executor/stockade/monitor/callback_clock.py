"""The time that the user's callbacks take: which of them run since when, and what is done about those that go on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Running:
    """One callback while it runs. `holds_follower`: it runs in the thread that follows the run."""

    __slots__ = ("deadline", "dealt_with", "holds_follower", "overrun")

    def __init__(self, deadline: float | None, overrun: Callable[[], None], holds_follower: bool) -> None:
        self.deadline, self.overrun, self.holds_follower = deadline, overrun, holds_follower
        # There once its time is over, and set when `overrun` has returned.
        self.dealt_with: threading.Event | None = None


class CallbackClock:
    """The callbacks of one run. `usual` is the time in seconds that one may take unless it has its own.

    `started_slowly` wakes the threads that wait for the run, so that they look here again.
    """

    def __init__(self, usual: float, started_slowly: Callable[[], None]) -> None:
        self._usual = usual
        self._started_slowly = started_slowly
        self._lock = threading.Lock()
        self._running: set[Running] = set()
        # How many have begun whose time is their own: who waits for the next moment that counts has to look again.
        self.begun_slowly = 0

    def begin(self, overrun: Callable[[], None]) -> Running:
        """A callback is about to run in the thread that follows the run.

        `overrun` is called by the thread that notices that it takes too long.
        """
        running = Running(time.monotonic() + self._usual, overrun, holds_follower=True)
        with self._lock:
            self._running.add(running)
        return running

    def begin_slow(self, timeout: float | None, overrun: Callable[[], None]) -> Running:
        """A callback is about to run in a worker; it has `timeout` seconds, None for as long as the run lasts."""
        running = Running(None if timeout is None else time.monotonic() + timeout, overrun, holds_follower=False)
        with self._lock:
            self._running.add(running)
        if timeout is not None:
            self.begun_slowly += 1
            self._started_slowly()
        return running

    def end(self, running: Running) -> bool:
        """The callback has come back. True when its time was over before: then it has been dealt with."""
        with self._lock:
            self._running.discard(running)
        if running.dealt_with is None:
            return False
        running.dealt_with.wait()
        return True

    def check(self) -> float:
        """Deal with callbacks whose time is over. Returns the seconds until the next look."""
        now, wait, late = time.monotonic(), self._usual / 2, []
        with self._lock:
            for running in self._running:
                if running.deadline is None or running.dealt_with is not None:
                    continue
                if running.deadline <= now:
                    running.dealt_with = threading.Event()
                    late.append(running)
                else:
                    wait = min(wait, running.deadline - now)
        for running in late:
            assert running.dealt_with is not None
            try:
                running.overrun()
            finally:
                running.dealt_with.set()
        return wait

    @property
    def holds_follower(self) -> bool:
        """Whether the thread that follows the run is inside a callback whose time is over."""
        with self._lock:
            return any(running.holds_follower and running.dealt_with is not None for running in self._running)

    @property
    def count(self) -> int:
        """How many callbacks are running."""
        with self._lock:
            return len(self._running)
