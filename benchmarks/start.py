"""Start to exit of a static `true`, and the cost of a trace hook, side by side with the peers in one run.

    python benchmarks/start.py [--rounds N] [--events N]

Prints Markdown tables and exits with 1 when a goal of goals.toml is missed.
"""

from __future__ import annotations

import argparse
import functools
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable

from measure import CALLS_C, TRUE_C, Times, build, each_alone, in_turn, judge, per_event, table, version_of, workspace

from stockade import Executor, Policy, PolicyBuilder, Syscall, Verdict

PAUSE = 0.02


def static_policy(program: str) -> PolicyBuilder:
    return PolicyBuilder().allow_static_startup().allow_exit().add_file(program)


def expect_success(executor: Executor, *args: str) -> None:
    result = executor.run(args)
    if result.returncode != 0:
        raise SystemExit(f"{args} failed: {result.report()}")


def start_times(true: str, rounds: int) -> dict[str, dict[str, Times]]:
    """Start to exit, paced and back to back."""
    executor = Executor(static_policy(true).build())
    contestants: dict[str, Callable[[], object]] = {
        "stockade, warm": lambda: expect_success(executor, true),
        "subprocess.run": lambda: subprocess.run([true], check=True),
    }
    if shutil.which("bwrap"):
        bwrap = ["bwrap", "--unshare-all", "--ro-bind", true, "/true", "--", "/true"]
        contestants["bubblewrap --unshare-all"] = lambda: subprocess.run(bwrap, check=True)
    return {"paced": in_turn(contestants, rounds, PAUSE), "back to back": each_alone(contestants, rounds)}


def allow(_event: Syscall) -> Verdict:
    return Verdict.ALLOW


def with_hook(program: str) -> Policy:
    return static_policy(program).trace("getppid", "parent").build()


def hook_times(program: str, events: int, rounds: int) -> dict[str, Times]:
    """Milliseconds for `events` traced calls; the run without them is taken off afterwards."""
    executor = Executor(with_hook(program), hooks={"parent": allow})
    contestants: dict[str, Callable[[], object]] = {}
    for count in (0, events):
        arguments = (program, str(count))
        contestants[f"stockade {count}"] = functools.partial(expect_success, executor, *arguments)
        if shutil.which("strace"):
            strace = ["strace", "--seccomp-bpf", "-f", "-e", "trace=getppid", "-o", os.devnull, *arguments]
            contestants[f"strace {count}"] = functools.partial(subprocess.run, strace, check=True)
    return in_turn(contestants, rounds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60, help="counted runs of each contestant (default 60)")
    parser.add_argument("--events", type=int, default=5000, help="traced calls in one run (default 5000)")
    options = parser.parse_args()
    directory = workspace()
    try:
        true, calls = build(TRUE_C, "true", directory), build(CALLS_C, "calls", directory)
        peers = f"{version_of('bwrap')}; {version_of('strace')}"
        print(f"Python {platform.python_version()}, Linux {platform.release()}, {os.cpu_count()} cores; {peers}\n")
        measured: dict[str, float | None] = dict.fromkeys(("start paced", "start back to back", "hook"))
        for kind, times in start_times(true, options.rounds).items():
            print(table(f"start to exit of a static true, {kind}", times, "bubblewrap --unshare-all"))
            if "bubblewrap --unshare-all" in times:
                ratio = times["stockade, warm"].median / times["bubblewrap --unshare-all"].median
                measured[f"start {kind}"] = ratio
        hooks = hook_times(calls, options.events, max(3, options.rounds // 10))
        ours, peer = per_event(hooks, "stockade", options.events), per_event(hooks, "strace", options.events)
        print("### trace hook, per event\n")
        print(f"stockade {ours:.1f} µs" + (f", strace --seccomp-bpf {peer:.1f} µs\n" if peer else "\n"))
        if ours and peer:
            measured["hook"] = ours / peer
        return 0 if judge(measured) else 1
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    sys.exit(main())
