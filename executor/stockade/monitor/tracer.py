"""Threads that follow runs: parked between runs, one run at a time each.

A tracer must be one thread from SEIZE to the last wait, and may not be the caller's thread, whose own children the wait
would reap.
"""

from __future__ import annotations

import os
import queue
import signal
import threading

from stockade.monitor.ptrace_driver import PtraceDriver
from stockade.monitor.supervision import Supervision

MAXIMUM_PARKED = 64


class _Tracer(threading.Thread):
    """One such thread."""

    def __init__(self) -> None:
        super().__init__(name="stockade-tracer", daemon=True)
        self.jobs: queue.SimpleQueue[Supervision] = queue.SimpleQueue()

    def run(self) -> None:
        # The user's signals are the user's threads' business.
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
        while True:
            _follow(self.jobs.get())
            if not _park(self):
                return


def _follow(supervision: Supervision) -> None:
    """Follow one run with the driver that it asks for."""
    if supervision.job.monitor == "unotify":
        from stockade.monitor.unotify_driver import UnotifyDriver

        UnotifyDriver(supervision).follow()
    else:
        PtraceDriver(supervision).follow()


_lock = threading.Lock()
_parked: list[_Tracer] = []


def _park(tracer: _Tracer) -> bool:
    with _lock:
        if len(_parked) >= MAXIMUM_PARKED:
            return False
        _parked.append(tracer)
        return True


def follow(supervision: Supervision) -> None:
    """Have a tracer thread follow the run, starting one if all are busy."""
    with _lock:
        tracer = _parked.pop() if _parked else None
    if tracer is None:
        tracer = _Tracer()
        tracer.start()
    tracer.jobs.put(supervision)


def _after_fork_in_child() -> None:
    """Threads do not survive a fork; the child starts its own."""
    global _lock
    _lock = threading.Lock()
    _parked.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
