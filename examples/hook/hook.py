"""A hook: a Python function that decides about a system call while the program waits."""

from __future__ import annotations

import errno

from stockade import Executor, Policy, PolicyBuilder, Syscall, Verdict

SCRIPT = """
for path in "/data/poem", "/data/diary":
    try:
        print(path, "is open:", open(path))
    except OSError as error:
        print(path, "is not:", error)
"""


# Every call that opens a file by its path, and which of its arguments is the path.
PATH_ARGUMENT = {"open": 0, "creat": 0, "openat": 1, "openat2": 1}


def no_diaries(call: Syscall) -> Verdict:
    """Let files be opened, unless they are diaries."""
    path = call.read_string(call.args[PATH_ARGUMENT[call.name]])
    if path.endswith(b"/diary"):
        print(f"hook: {call.name} of {path.decode()} is answered with EACCES")
        return Verdict.errno(errno.EACCES)
    return Verdict.ALLOW


def policy() -> Policy:
    """The ready-made policy for Python, in which the hook "open" decides every call that opens a file."""
    builder = PolicyBuilder().add_tmpfs("/data")
    for name in PATH_ARGUMENT:
        builder.trace(name, "open")
    return builder.include("python3").build()


def main() -> int:
    """Run a script that opens two files."""
    executor = Executor(policy(), hooks={"open": no_diaries})
    write = "open('/data/poem', 'w').close()\n"
    result = executor.run(["python3", "-c", write + SCRIPT], text=True)
    print(result.stdout, end="")
    return 0 if result.returncode == 0 and "/data/diary is not" in result.stdout else 1


if __name__ == "__main__":
    raise SystemExit(main())
