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
