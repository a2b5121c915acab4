"""Limits: a program that never ends is ended, and one that prints too much as well."""

from __future__ import annotations

from stockade import Executor, Limits, Policy, Status

EXPECTED = {
    "while True: pass": (Limits(wall_time="500ms"), Status.TIMEOUT),
    "while True: print('x' * 1000)": (Limits(output="100K"), Status.LIMIT),
    "bytearray(10**9)": (Limits(address_space="256M"), Status.OK),
}


def main() -> int:
    """Run three greedy scripts, each under a limit."""
    policy = Policy.profile("python3")
    as_expected = True
    for script, (limits, status) in EXPECTED.items():
        result = Executor(policy, limits=limits).run(["python3", "-c", script], text=True)
        reason = f"the limit {result.limit}" if result.limit else result.stderr.strip().rpartition("\n")[2]
        print(f"{script:32} {result.status.name:8} {result.returncode:3}  {reason}")
        as_expected = as_expected and result.status is status
    return 0 if as_expected else 1


if __name__ == "__main__":
    raise SystemExit(main())
