"""The same tests for both monitors: each module of BOTH is run once with each as the executor's default.

What one of them cannot do stands in support.monitors, with the reason, and nowhere else.
"""

from __future__ import annotations

import pytest

from support.monitors import default_monitor, run_with_both

__all__ = ["default_monitor"]

# Modules of this directory whose tests make executors without naming a monitor.
BOTH = frozenset(
    {
        "test_foreign_abi",
        "test_floods",
        "test_hooks",
        "test_job_control",
        "test_patches",
        "test_processes",
        "test_races",
        "test_refuse_mode",
        "test_signals",
        "test_slow_hooks",
        "test_statuses",
        "test_syscall_event",
        "test_violations",
    }
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of BOTH with each monitor."""
    run_with_both(metafunc, BOTH)
