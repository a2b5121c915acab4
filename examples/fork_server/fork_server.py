"""One initialisation, many sandboxed runs."""

from __future__ import annotations

from pathlib import Path

from stockade import Executor, Policy, PolicyBuilder

PROGRAM = Path(__file__).resolve().with_name("program.py")
ENVIRONMENT = {"PYTHONPATH": "/usr/lib/stockade", "HOME": "/"}


def policy() -> Policy:
    """The ready-made policy for Python, with the program and the client library in the box."""
    return PolicyBuilder().include("python3").add_client().add_file(PROGRAM, inside="/program.py").build()


def main() -> int:
    """Ask three times: two copies of one initialisation, and one copy that breaks its policy."""
    with Executor(policy()).start_fork_server(["python3", "/program.py"], env=ENVIRONMENT) as server:
        answers = [server.run(input=text, text=True, check=True).stdout.strip() for text in ("aé", "§")]
        tokens = {answer.split(", ")[0] for answer in answers}
        for answer in answers:
            print(answer.partition(", ")[2])
        print("initialised once:", len(tokens) == 1)
        escape = server.run(["escape"])
        print(f"{escape.status.name}: {escape.violations[0].syscall}")
    return 0 if len(tokens) == 1 and escape.violations else 1


if __name__ == "__main__":
    raise SystemExit(main())
