"""The benchmarks run and print what they promise to print. Their figures decide nothing here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.mark.slow
def test_start_runs() -> None:
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "start.py", "--rounds", "3", "--events", "50"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    for text in (
        "static true, paced",
        "static true, back to back",
        "trace hook, per event",
        "### Goals",
        "stockade, warm",
    ):
        assert text in done.stdout


@pytest.mark.slow
def test_compile_runs() -> None:
    command = [sys.executable, str(BENCHMARKS / "compile.py"), "--rounds", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    for text in (
        "300 rules: 300 calls",
        "stockade, self-check",
        "python3, warm",
        "default, fresh process",
        "### Goals",
    ):
        assert text in done.stdout


@pytest.mark.slow
def test_monitor_runs() -> None:
    sizes = {"--rounds": 2, "--events": 20, "--commands": 3, "--threads": 3, "--calls": 1000}
    command = [sys.executable, str(BENCHMARKS / "monitor.py"), *(str(part) for pair in sizes.items() for part in pair)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    for text in (
        "per event, alone",
        "supervisor in C",
        "per event, beside a busy Python thread",
        "| permissive, unotify |",
        "static true, paced",
        "static true, back to back",
        "violation to verdict",
        "1000 calls that are allowed",
        "a shell script of 3 commands",
        "3 threads, one after the other",
        "### Goals",
        "from the refused call to the verdict",
    ):
        assert text in done.stdout
