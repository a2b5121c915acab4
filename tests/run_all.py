"""Run all tests, as root a second time without privilege, and end with the closing lines of both runs.

.venv/bin/python tests/run_all.py [pytest arguments]
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run(command: list[str]) -> tuple[int, str]:
    """Run a command, pass its output on as it comes, and return its exit status and its last line."""
    last = ""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            last = line.strip() or last
    return process.returncode, last


def main() -> int:
    """Return 0 if every run passed."""
    passes = {"as uid " + str(os.geteuid()): [sys.executable, "-m", "pytest", *sys.argv[1:]]}
    if os.geteuid() == 0:
        passes["unprivileged"] = [sys.executable, str(ROOT / "tests" / "run_unprivileged.py"), *sys.argv[1:]]
    results = {name: run(command) for name, command in passes.items()}
    for name, (_, last) in results.items():
        print(f"\n{name}:\n{last}")
    return max(min(status, 1) if status >= 0 else 1 for status, _ in results.values())


if __name__ == "__main__":
    sys.exit(main())
