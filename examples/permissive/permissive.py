"""Mode "permissive": one run of a trusted program shows all that its policy has to allow."""

from __future__ import annotations

from stockade import Executor, Policy, PolicyBuilder, Result, Status

PROGRAM = "/usr/bin/sort"
WORDS = b"pear\napple\nfig\n"


def first_guess() -> Policy:
    """What a C program needs to start and to end, and the program with its libraries; nothing for its work."""
    builder = PolicyBuilder("sort").allow_dynamic_startup().allow_exit()
    return builder.add_libraries_for_binary(PROGRAM).build()


def run(policy: Policy, mode: str) -> Result:
    """Sort three words, and say how that ended."""
    result = Executor(policy, mode=mode).run([PROGRAM, "--parallel=1"], input=WORDS, env={"LC_ALL": "C"})
    breaches = "breached" if result.violations else "kept"
    print(f"{mode}: {result.status.name}, policy {breaches}, sorted: {result.stdout.decode().split()}")
    return result


def suggested_lines(result: Result) -> list[str]:
    """The changes that would allow what happened: the wider one where there is one, each once."""
    lines: dict[str, None] = {}
    for violation in result.violations:
        change = violation.wider_patch if violation.wider_patch.text_line else violation.patch
        if change.text_line and change.text_line not in lines:
            lines[change.text_line] = None
            print(f"  {violation.syscall}: {change.text_line}  # risk: {change.risk}")
    return list(lines)


def with_lines(policy: Policy, lines: list[str]) -> Policy:
    """Put suggested lines at the head of the `syscalls` block of the policy's text."""
    block = "".join(f"  {line}\n" for line in lines)
    return Policy.from_text(policy.to_text().replace("syscalls {\n", f"syscalls {{\n{block}", 1))


def main() -> int:
    """Learn a policy by one permissive run, and run under it."""
    policy = first_guess()
    run(policy, "enforce")
    lines = suggested_lines(run(policy, "permissive"))
    print(f"{len(lines)} lines added")
    result = run(with_lines(policy, lines), "enforce")
    return 0 if result.status is Status.OK and result.stdout == b"apple\nfig\npear\n" else 1


if __name__ == "__main__":
    raise SystemExit(main())
