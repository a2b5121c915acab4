"""Tuning a policy: run, read what was refused, take the suggested rule into the policy, run again."""

from __future__ import annotations

from stockade import Executor, Policy, PolicyBuilder, Status

MOST_RUNS = 10


def first_guess() -> Policy:
    """What a C program needs to start, and the program with its libraries; nothing for its work."""
    return PolicyBuilder("wc").allow_dynamic_startup().add_libraries_for_binary("/usr/bin/wc").build()


def with_line(policy: Policy, line: str) -> Policy:
    """Put a suggested line at the head of the `syscalls` block of the policy's text."""
    return Policy.from_text(policy.to_text().replace("syscalls {\n", f"syscalls {{\n  {line}\n", 1))


def main() -> int:
    """Tune a policy for wc until a run has no violation."""
    policy = first_guess()
    for _ in range(MOST_RUNS):
        result = Executor(policy).run(["wc", "-c"], input=b"how many bytes?\n")
        if result.status is not Status.VIOLATION:
            break
        violation = result.violations[0]
        print(f"refused: {violation.summary}")
        if violation.patch.refused_because:
            print(f"no change would allow it: {violation.patch.refused_because}")
            return 1
        print(f"  added: {violation.patch.text_line}  # risk: {violation.patch.risk}")
        policy = with_line(policy, violation.patch.text_line)
    print(f"{result.status.name}: {result.stdout.decode().strip()} bytes")
    return 0 if result.returncode == 0 and result.stdout == b"16\n" else 1


if __name__ == "__main__":
    raise SystemExit(main())
