"""The benchmarks run and print what they promise to print. Their figures decide nothing here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

START = Path(__file__).resolve().parent.parent / "benchmarks" / "start.py"


@pytest.mark.slow
def test_start_runs() -> None:
    done = subprocess.run(
        [sys.executable, START, "--rounds", "3", "--events", "50"], capture_output=True, text=True, check=False
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
