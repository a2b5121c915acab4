"""What following a program costs, with each of the two drivers, side by side with the peers in one run.

    python benchmarks/monitor.py [--rounds N] [--events N] [--commands N] [--threads N] [--calls N]

Trace hooks against strace, alone and beside a busy thread of this process; notify hooks against a supervisor in C;
starts; a call that is allowed; programs that make many processes and many threads; the time from a violation to the
verdict; violations in the modes that go on.

Prints Markdown tables and exits with 1 when a goal of goals.toml is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import platform
import shutil
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from measure import (
    CALLS_C,
    TRUE_C,
    Times,
    build,
    each_alone,
    events_table,
    in_turn,
    judge,
    per_event,
    sampled,
    table,
    version_of,
    workspace,
)
from start import PAUSE, allow, expect_success, static_policy, with_hook

from stockade import PIPE, Executor, PolicyBuilder, Status

DRIVERS = ("ptrace", "unotify")
MODES = ("refuse", "permissive")
STRACE, SUPERVISOR = "strace --seccomp-bpf -f -o /dev/null", "supervisor in C"
SUPERVISOR_C = Path(__file__).with_name("supervisor.c")
# Nanoseconds that the loop takes, on stdout.
ALLOWED_C = """\
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int main(int argc, char **argv) {
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (long n = atol(argv[1]); n > 0; n--) syscall(SYS_getppid);
    clock_gettime(CLOCK_MONOTONIC, &b);
    long taken = (b.tv_sec - a.tv_sec) * 1000000000L + b.tv_nsec - a.tv_nsec;
    return write(1, &taken, sizeof taken) != sizeof taken;
}
"""
# The time of CLOCK_MONOTONIC just before a refused call, on stdout.
REFUSED_C = """\
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int main(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    long stamp = now.tv_sec * 1000000000L + now.tv_nsec;
    if (write(1, &stamp, sizeof stamp) != sizeof stamp) return 1;
    clock_gettime(CLOCK_MONOTONIC, &now);
    syscall(SYS_getppid);
    return 2;
}
"""
THREADS_C = """\
#include <pthread.h>
#include <stdlib.h>
static void *nothing(void *argument) { return argument; }
int main(int argc, char **argv) {
    for (long n = atol(argv[1]); n > 0; n--) {
        pthread_t thread;
        if (pthread_create(&thread, 0, nothing, 0) || pthread_join(thread, 0)) return 1;
    }
    return 0;
}
"""
SCRIPT = 'n=0; while [ "$n" -lt "$1" ]; do /bin/true; n=$((n + 1)); done'


@contextlib.contextmanager
def busy_thread() -> Iterator[None]:
    """A thread of this process that computes in Python all the time, as a user's program may."""
    stop = False

    def compute() -> None:
        while not stop:
            sum(range(1000))

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        yield
    finally:
        stop = True
        thread.join()


def lenient(*programs: str) -> PolicyBuilder:
    """Whatever is not always refused, for programs that make processes or threads."""
    builder = PolicyBuilder().danger_default_allow_all()
    for program in programs:
        builder = builder.add_libraries_for_binary(program)
    return builder


def hook_costs(calls: str, supervisor: str, events: int, rounds: int) -> dict[str, float | None]:
    """Microseconds for one call that a hook allows, and for one that a peer lets through."""
    policy = with_hook(calls)
    contestants: dict[str, Callable[[], object]] = {}
    executors = {driver: Executor(policy, hooks={"parent": allow}, monitor=driver) for driver in DRIVERS}
    for count in (0, events):
        arguments = (calls, str(count))
        for driver, executor in executors.items():
            contestants[f"stockade {driver} {count}"] = functools.partial(expect_success, executor, *arguments)
        if shutil.which("strace"):
            strace = ["strace", "--seccomp-bpf", "-f", "-e", "trace=getppid", "-o", os.devnull, *arguments]
            contestants[f"{STRACE} {count}"] = functools.partial(subprocess.run, strace, check=True)
        command = [supervisor, *arguments]
        contestants[f"{SUPERVISOR} {count}"] = functools.partial(subprocess.run, command, check=True)
    times = in_turn(contestants, rounds)
    names = ("stockade ptrace", STRACE, "stockade unotify", SUPERVISOR)
    return {name: per_event(times, name, events) for name in names}


def mode_costs(calls: str, events: int, rounds: int) -> dict[str, float | None]:
    """Microseconds for one violation, in the modes that go on after it."""
    policy = static_policy(calls).build()
    contestants: dict[str, Callable[[], object]] = {}
    names = {f"{mode}, {driver}": Executor(policy, mode=mode, monitor=driver) for mode in MODES for driver in DRIVERS}
    for count in (0, events):
        for name, executor in names.items():
            contestants[f"{name} {count}"] = functools.partial(expect_success, executor, calls, str(count))
    times = in_turn(contestants, rounds)
    return {name: per_event(times, name, events) for name in names}


def start_times(true: str, rounds: int) -> dict[str, dict[str, Times]]:
    """Start to exit of a static true with each driver, paced and back to back."""
    policy = static_policy(true).build()
    contestants: dict[str, Callable[[], object]] = {
        driver: functools.partial(expect_success, Executor(policy, monitor=driver), true) for driver in DRIVERS
    }
    return {"paced": in_turn(contestants, rounds, PAUSE), "back to back": each_alone(contestants, rounds)}


def loop_time(output: bytes) -> float:
    """Milliseconds that the loop of ALLOWED_C took."""
    (nanoseconds,) = struct.unpack("q", output)
    return float(nanoseconds) / 1e6


def allowed_times(program: str, calls: int, rounds: int) -> dict[str, Times]:
    """Milliseconds for `calls` calls: without a filter, allowed by name, and allowed by a rule with an argument."""
    arguments = [program, str(calls)]

    def outside() -> float:
        return loop_time(subprocess.run(arguments, check=True, stdout=subprocess.PIPE).stdout)

    def inside(executor: Executor) -> float:
        return loop_time(executor.run(arguments).stdout)

    policy = static_policy(program).allow_write().allow_time().allow_syscall("getppid").build()
    contestants: dict[str, Callable[[], float]] = {"no filter": outside}
    for driver in DRIVERS:
        contestants[f"allowed, {driver}"] = functools.partial(inside, Executor(policy, monitor=driver))
    return sampled(contestants, rounds)


def many_times(policy: PolicyBuilder, arguments: list[str], rounds: int) -> dict[str, Times]:
    """A program without a sandbox, and in one, with each driver."""
    built = policy.build()
    contestants: dict[str, Callable[[], object]] = {
        "plain": functools.partial(subprocess.run, arguments, check=True),
    }
    for driver in DRIVERS:
        executor = Executor(built, monitor=driver)
        contestants[driver] = functools.partial(expect_success, executor, *arguments)
    return in_turn(contestants, rounds)


def verdict_times(program: str, true: str, rounds: int) -> dict[str, Times]:
    """From just before the refused call to the verdict in the waiting thread; beside a plain start of a static true."""
    policy = static_policy(program).allow_write().allow_time().build()

    def verdict(executor: Executor) -> float:
        with executor.start([program], stdout=PIPE) as process:
            process.wait()
            seen = time.monotonic_ns()
            stamp, _ = process.communicate()
        if process.result.status is not Status.VIOLATION:
            raise SystemExit(f"no violation: {process.result.report()}")
        (before,) = struct.unpack("q", stamp)
        return float(seen - before) / 1e6

    def plain() -> float:
        begun = time.perf_counter()
        subprocess.run([true], check=True)
        return (time.perf_counter() - begun) * 1e3

    contestants: dict[str, Callable[[], float]] = {"subprocess.run of a static true": plain}
    for driver in DRIVERS:
        contestants[driver] = functools.partial(verdict, Executor(policy, monitor=driver))
    return sampled(contestants, rounds)


def ratio(ours: float | None, peer: float | None) -> float | None:
    """`ours` to `peer`; None when one is missing."""
    return ours / peer if ours is not None and peer else None


def hooks(directory: Path, options: argparse.Namespace, measured: dict[str, float | None]) -> None:
    """Hooks and violations, per event."""
    calls = build(CALLS_C, "calls", directory)
    supervisor = build(SUPERVISOR_C.read_text(), "supervisor", directory)
    rounds = max(3, options.rounds // 10)
    alone = hook_costs(calls, supervisor, options.events, rounds)
    print(events_table("trace hook and notify hook, per event, alone", alone, STRACE))
    measured["hook"] = ratio(alone["stockade ptrace"], alone[STRACE])
    measured["notify hook"] = ratio(alone["stockade unotify"], alone[SUPERVISOR])
    with busy_thread():
        company = hook_costs(calls, supervisor, max(1, options.events // 20), rounds)
    print(events_table("trace hook and notify hook, per event, beside a busy Python thread", company, STRACE))
    modes = mode_costs(calls, options.events, rounds)
    print(events_table("one violation, per event, in the modes that go on", modes, "refuse, ptrace"))


def runs(directory: Path, options: argparse.Namespace, measured: dict[str, float | None]) -> None:
    """Starts, and from a violation to its verdict."""
    true = build(TRUE_C, "true", directory)
    for kind, times in start_times(true, options.rounds).items():
        print(table(f"start to exit of a static true, {kind}", times, "ptrace"))
        if kind == "paced":
            measured["start unotify"] = times["unotify"].median / times["ptrace"].median
    times = verdict_times(build(REFUSED_C, "refused", directory), true, options.rounds)
    print(table("violation to verdict", times, "subprocess.run of a static true"))
    measured["violation to verdict"] = max(times[driver].median for driver in DRIVERS)


def programs(directory: Path, options: argparse.Namespace, measured: dict[str, float | None]) -> None:
    """Whole programs: of allowed calls, of processes, of threads."""
    rounds = max(3, options.rounds // 10)
    times = allowed_times(build(ALLOWED_C, "allowed", directory), options.calls, rounds)
    print(table(f"{options.calls} calls that are allowed", times, "no filter"))
    measured["allowed call"] = max(times[f"allowed, {driver}"].median for driver in DRIVERS) / times["no filter"].median
    script = ["/bin/sh", "-c", SCRIPT, "sh", str(options.commands)]
    times = many_times(lenient("/bin/sh", "/bin/true"), script, rounds)
    print(table(f"a shell script of {options.commands} commands", times, "plain"))
    threads = build(THREADS_C, "threads", directory)
    times = many_times(lenient(threads), [threads, str(options.threads)], rounds)
    print(table(f"{options.threads} threads, one after the other", times, "plain"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60, help="counted runs of each contestant (default 60)")
    parser.add_argument("--events", type=int, default=5000, help="events in one run (default 5000)")
    parser.add_argument("--commands", type=int, default=1000, help="commands of the shell script (default 1000)")
    parser.add_argument("--threads", type=int, default=1000, help="threads in one run (default 1000)")
    parser.add_argument("--calls", type=int, default=2_000_000, help="allowed calls in one run (default 2000000)")
    options = parser.parse_args()
    directory = workspace()
    try:
        print(f"Python {platform.python_version()}, Linux {platform.release()}, {os.cpu_count()} cores; ", end="")
        print(f"{version_of('strace')}; {SUPERVISOR} by {version_of('gcc')}\n")
        measured: dict[str, float | None] = {}
        for part in (hooks, runs, programs):
            part(directory, options, measured)
        return 0 if judge(measured) else 1
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    sys.exit(main())
