"""In which order the tracer thread takes what its tasks report, and when it looks instead of sleeping."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import pytest

from stockade.kernel.ptrace import Event
from stockade.monitor import wakeup
from stockade.monitor.mailbox import Mailbox
from stockade.monitor.wakeup import WakeableWait


class Kernel:
    """Tells of the first task that stands and has not been told of, as wait4(2) does."""

    def __init__(self, *tasks: int) -> None:
        self.tasks, self.untold = tasks, set(tasks)
        self.sleeps = self.looks = 0
        # Whether a look finds what a sleep would, and whether a sleep takes as long as the switch interval.
        self.quick, self.slow = True, False
        self.time = 0.0

    def look(self) -> Event | None:
        self.looks += 1
        return self._tell() if self.quick else None

    def wait(self) -> Event | None:
        self.sleeps += 1
        self.time += sys.getswitchinterval() if self.slow else 0.0001
        return self._tell()

    def _tell(self) -> Event | None:
        for task in self.tasks:
            if task in self.untold:
                self.untold.remove(task)
                return task, 0x57F, None
        return None


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel(1, 2, 3)
    monkeypatch.setattr(wakeup, "Waiter", lambda options: made)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    monkeypatch.setattr(wakeup, "time", SimpleNamespace(monotonic=lambda: made.time))
    return made


def wait_of() -> WakeableWait:
    return WakeableWait(Mailbox(), 0, wakeable=False)


def test_a_task_that_stops_all_the_time_does_not_hide_the_others(kernel: Kernel) -> None:
    wait, served = wait_of(), []
    for _ in range(30):
        event = wait.next()
        assert event is not None
        served.append(event[0])
        kernel.untold.add(event[0])  # it goes on, and stands again at once
    assert [served.count(task) for task in kernel.tasks] == [10, 10, 10]


def test_what_is_ready_is_told_once(kernel: Kernel) -> None:
    wait = wait_of()
    first = wait.next()
    assert first is not None and first[0] == 1
    kernel.untold.add(1)
    assert [event[0] for event in wait.ready()] == [2, 3, 1]
    assert list(wait.ready()) == []


def serve(kernel: Kernel, wait: WakeableWait, times: int) -> tuple[int, int]:
    """How often it slept, and how often it looked, for so many events."""
    kernel.sleeps = kernel.looks = 0
    for _ in range(times):
        kernel.untold = {1}
        assert wait.next() is not None
    return kernel.sleeps, kernel.looks


def test_it_looks_once_it_has_slept_as_long_as_beside_a_thread_that_computes(kernel: Kernel) -> None:
    kernel.tasks = (1,)
    wait = wait_of()
    assert serve(kernel, wait, 1000) == (1000, 1000)  # a look for others after each, nothing more
    kernel.slow = True
    assert serve(kernel, wait, wakeup.MOST_HITS + 1) == (1, 1 + 2 * wakeup.MOST_HITS)
    assert serve(kernel, wait, wakeup.MOST_HITS + 1)[0] == 1  # it asks again now and then whether it has to
    kernel.slow = False
    serve(kernel, wait, wakeup.MOST_HITS)
    assert serve(kernel, wait, 1000)[0] == 1000


def test_in_vain_it_looks_less_and_less(kernel: Kernel) -> None:
    kernel.tasks, kernel.slow, kernel.quick = (1,), True, False
    wait = wait_of()
    sleeps, looks = serve(kernel, wait, 1000)
    assert sleeps == 1000
    assert looks < 1000 + 25 * wakeup.LOOKS
    kernel.quick = True
    serve(kernel, wait, 100)
    assert serve(kernel, wait, 100)[0] == 0


def test_with_one_processor_it_only_sleeps(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    kernel.tasks, kernel.slow = (1,), True
    assert serve(kernel, wait_of(), 100)[0] == 100
