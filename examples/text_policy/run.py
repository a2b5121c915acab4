"""A policy in a file of its own: load it, look at it, run a program under it."""

from __future__ import annotations

from pathlib import Path

from stockade import Executor, Policy, PolicyError

POLICY = Path(__file__).with_name("sort.textproto")
NAMES = b"cherry\napple\nbanana\n"


def main() -> int:
    """Run sort, then show what a mistake in a policy looks like."""
    policy = Policy.load(POLICY)
    executor = Executor(policy)
    print(f"{policy.name}: {len(policy.compile()) // 8} instructions of BPF; mounts:")
    for step in executor.describe():
        print(f"  {step}")
    result = executor.run(["sort"], input=NAMES)
    print(result.stdout.decode(), end="")
    try:
        Policy.from_text(POLICY.read_text().replace("fadvise", "fadvice"), source=POLICY.name)
    except PolicyError as error:
        print(f"with a mistake in it: {error}")
        return 0 if result.stdout == b"apple\nbanana\ncherry\n" else 1
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
