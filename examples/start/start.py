"""A program that runs for a while: talk to it through its streams, ask how it does, end it."""

from __future__ import annotations

from stockade import PIPE, Executor, Policy, Status

QUESTIONS = ("1 + 1", "2 ** 100", "sorted('stockade')")
SCRIPT = """
import sys
for line in sys.stdin:
    print(eval(line), flush=True)
"""


def main() -> int:
    """Let a program in the box evaluate what nobody should evaluate outside of one."""
    executor = Executor(Policy.profile("python3"))
    with executor.start(["python3", "-c", SCRIPT], stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for question in QUESTIONS:
            print(question, file=process.stdin, flush=True)
            print(f"{question} = {process.stdout.readline().strip()}")
        print("running" if process.poll() is None else "ended")
        print("__import__('os').system('echo a shell')", file=process.stdin, flush=True)
        process.wait()
    result = process.result
    print(f"{result.status.name}: {result.violations[0].summary}")
    return 0 if result.status is Status.VIOLATION else 1


if __name__ == "__main__":
    raise SystemExit(main())
