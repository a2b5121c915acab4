"""Mode "refuse": refused calls fail with EPERM and the program goes on, so that one run shows all of them."""

from __future__ import annotations

from stockade import Executor, Policy, Status

SCRIPT = """
import os, socket

def attempt(name, function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        print(f"{name}: {error.strerror}")

attempt("connect", socket.create_connection, ("192.0.2.1", 80))
attempt("child", os.fork)
attempt("owner", os.chown, "/tmp", 0, 0)
"""


def main() -> int:
    """Run a script that tries three things that its policy does not allow."""
    result = Executor(Policy.profile("python3"), mode="refuse").run(["python3", "-c", SCRIPT], text=True)
    print("The script saw:")
    print(result.stdout)
    print("The policy refused:")
    for violation in result.violations:
        print(f"{violation.count} x {violation.summary}")
    refused = {violation.syscall for violation in result.violations}
    return 0 if result.status is Status.OK and {"socket", "chown"} < refused else 1


if __name__ == "__main__":
    raise SystemExit(main())
