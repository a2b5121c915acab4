"""What the monitors tell differently of the same run: the one table, for the tests that run with both."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from stockade import Executor, Result
from stockade.request import MONITORS

# Test → why it runs under ptrace only. Everything else in the modules that run with both holds for both.
ONLY_PTRACE = {
    "test_a_fault_tells_its_address": "only a tracer is told of signals: unotify knows no si_code and no fault address",
    "test_the_return_of_a_call_that_a_slow_hook_inspects": "only a tracer sees calls return",
    "test_an_event_of_a_return_can_be_looked_at": "only a tracer sees calls return",
}


def run_with_both(metafunc: pytest.Metafunc, modules: Collection[str]) -> None:
    """Parametrize a test of one of the modules with the monitors; for `pytest_generate_tests`."""
    if metafunc.module.__name__.rpartition(".")[2] in modules:
        only_ptrace = metafunc.function.__name__ in ONLY_PTRACE
        metafunc.parametrize("default_monitor", MONITORS[:1] if only_ptrace else MONITORS, indirect=True)


@pytest.fixture(autouse=True)
def default_monitor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The monitor that executors of this test have unless they name one."""
    monitor: str = getattr(request, "param", "ptrace")
    defaults = Executor.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "monitor", monitor)
    return monitor


def assert_counts(result: Result, *, processes: int, threads: int) -> None:
    """Check how many processes and threads a run had: only a tracer sees them begin, so unotify counts none."""
    counted = result.usage.processes, result.usage.threads
    assert counted == ((0, 0) if result.monitor == "unotify" else (processes, threads))
