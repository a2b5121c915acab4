"""A program that puts itself under its policy when it has initialised itself."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from stockade import Executor, Policy, PolicyBuilder, Result

PROGRAM = Path(__file__).resolve().with_name("program.py")


def policy() -> Policy:
    """The ready-made policy for Python, with the program and the client library in the box."""
    return PolicyBuilder().include("python3").add_client().add_file(PROGRAM, inside="/program.py").build()


def calculate(executor: Executor, expression: str) -> Result:
    """Have the program work out an expression."""
    return executor.run(
        ["python3", "/program.py"],
        sandbox_at="client",
        input=expression,
        text=True,
        env={"PYTHONPATH": "/usr/lib/stockade", "HOME": "/"},
        forward_logs=True,
    )


def main() -> int:
    """A harmless expression, and one that does what the program itself could do a moment before."""
    logging.basicConfig(format="log: %(message)s", stream=sys.stdout)
    executor = Executor(policy())
    harmless = calculate(executor, "6 * 7")
    print(f"{harmless.status.name}: {harmless.stdout}", end="")
    hostile = calculate(executor, "__import__('os').fork()")
    print(f"{hostile.status.name}: {hostile.violations[0].syscall}")
    return 0 if harmless.stdout == "42\n" and hostile.violations else 1


if __name__ == "__main__":
    raise SystemExit(main())
