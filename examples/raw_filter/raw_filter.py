"""A raw filter: a small BPF program for what conditions cannot say. It can only tighten what the rules allow."""

from __future__ import annotations

from stockade import Executor, Policy, PolicyBuilder

# Conditions look at one argument at a time. This adds two: a write has to end within the first mebibyte of a file.
WITHIN_A_MEBIBYTE = """
    jgt64 args[2], 0x100000, refuse     # count
    jgt64 args[3], 0x100000, refuse     # offset
    ld    args[2].low
    tax
    ld    args[3].low
    add   x
    jgt   0x100000, refuse
    ret   allow                         # the rules decide
refuse:
    ret   errno EFBIG
"""

SCRIPT = """
import os
file = os.open("/tmp/file", os.O_RDWR | os.O_CREAT)
for size, offset in ((10, 0), (10, 1048566), (10, 1048567), (0, 2**40)):
    try:
        print(os.pwrite(file, b"x" * size, offset), "bytes written at", offset)
    except OSError as error:
        print(size, "bytes at", offset, "are refused:", error.strerror)
"""


def policy() -> Policy:
    """The ready-made policy for Python, with the raw filter on pwrite64."""
    builder = PolicyBuilder.from_policy(Policy.profile("python3"))
    return builder.add_tmpfs("/tmp").add_policy_on_syscall("pwrite64", WITHIN_A_MEBIBYTE).build()


def main() -> int:
    """Run a script that writes within the bound and beyond it."""
    result = Executor(policy()).run(["python3", "-c", SCRIPT], text=True)
    print(result.stdout, end="")
    return 0 if result.returncode == 0 and result.stdout.count("refused") == 2 else 1


if __name__ == "__main__":
    raise SystemExit(main())
