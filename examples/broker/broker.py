"""A broker: files are opened for the program, by a rule on the path that no thread of it can get around."""

from __future__ import annotations

import errno

from stockade import Executor, Policy, PolicyBuilder, Syscall, Verdict, hook

SCRIPT = """
import os

os.symlink("/data/diary", "/data/poem")
for path, mode in ("/data/diary", "w"), ("/data/diary", "r"), ("/data/poem", "r"), ("/data/poem", "w"), ("/etc/x", "w"):
    try:
        with open(path, mode) as file:
            print(mode, path, "is open:", file.write("dear diary") if mode == "w" else file.read())
    except OSError as error:
        print(mode, path, "is not:", error.strerror)
"""

OPENING = ("open", "openat", "openat2", "creat")


@hook(opens=True)
def serve(call: Syscall) -> Verdict:
    """Writing is for files below /data, by paths without symbolic links; the diary is read by no name at all."""
    request = call.open_request()
    if request.writes:
        if not request.full_path.startswith(b"/data/"):
            return Verdict.errno(errno.EACCES)
        return request.open(follow_links=False)
    verdict = request.open()
    return Verdict.errno(errno.EACCES) if request.opened_path() == b"/data/diary" else verdict


def policy() -> Policy:
    """The ready-made policy for Python, in which the hook "serve" decides every call that opens a file."""
    builder = PolicyBuilder().add_tmpfs("/data").allow_syscall("symlink")
    for name in OPENING:
        builder.trace(name, "serve")
    return builder.include("python3").build()


def main() -> int:
    """Run a script that writes and reads a diary."""
    result = Executor(policy(), hooks={"serve": serve}, monitor="unotify").run(["python3", "-c", SCRIPT], text=True)
    print(result.stdout + result.stderr, end="")
    print("advisory hooks:", list(result.advisory_hooks))
    return 0 if result.returncode == 0 and not result.advisory_hooks else 1


if __name__ == "__main__":
    raise SystemExit(main())
