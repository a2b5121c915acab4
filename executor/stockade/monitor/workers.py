"""Threads in which the user's callbacks run beside the one that follows the run: parked when idle, and used again."""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections import deque
from collections.abc import Callable

MAXIMUM_PARKED = 16
# Slow hooks of one run that run at the same time; further ones wait. Of one run, not of all: a hook may start a run
# whose hooks are slow as well, and must not take the threads that it waits for.
AT_ONCE = 32

# Calls of one run that may wait for their turn. Those of tasks that were killed meanwhile count as well.
MAXIMUM_WAITING = 4096

Work = Callable[[], None]


class _Worker(threading.Thread):
    """One such thread. What never returns keeps it for good; nobody waits for it, and others take its place."""

    def __init__(self) -> None:
        super().__init__(name="stockade-worker", daemon=True)
        self.jobs: queue.SimpleQueue[Work] = queue.SimpleQueue()

    def run(self) -> None:
        # The user's signals are the user's threads' business.
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
        while True:
            self.jobs.get()()
            if not _park(self):
                return


_lock = threading.Lock()
_parked: list[_Worker] = []


def _park(worker: _Worker) -> bool:
    with _lock:
        if len(_parked) >= MAXIMUM_PARKED:
            return False
        _parked.append(worker)
        return True


def run_in_worker(work: Work) -> None:
    """Have `work`, which may not raise, done by a thread of its own."""
    with _lock:
        worker = _parked.pop() if _parked else None
    if worker is None:
        worker = _Worker()
        worker.start()
    worker.jobs.put(work)


def run_within(timeout: float, work: Work) -> bool:
    """Have `work`, which may not raise, done by another thread, and wait for it. False when it takes too long.

    Then the thread is left to itself.
    """
    done = threading.Event()

    def do() -> None:
        try:
            work()
        finally:
            done.set()

    run_in_worker(do)
    return done.wait(min(timeout, threading.TIMEOUT_MAX))


class Turns:
    """The slow hooks of one run: so many at once, the others in the order in which they came."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._lock = threading.Lock()
        self._free = at_once
        self._waiting: deque[Work] = deque()

    def start(self, work: Work) -> bool:
        """Have `work`, which may not raise, done when its turn has come. False when too many wait already."""
        with self._lock:
            if not self._free:
                if len(self._waiting) >= MAXIMUM_WAITING:
                    return False
                self._waiting.append(work)
                return True
            self._free -= 1
        run_in_worker(lambda: self._work_off(work))
        return True

    def _work_off(self, work: Work | None) -> None:
        while work is not None:
            work()
            with self._lock:
                work = self._waiting.popleft() if self._waiting else None
                if work is None:
                    self._free += 1


def _after_fork_in_child() -> None:
    """Threads do not survive a fork; the child starts its own."""
    global _lock
    _lock = threading.Lock()
    _parked.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
