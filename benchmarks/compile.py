"""Compiling 300 rules beside libseccomp, and loading a policy with and without the disk cache, in one run.

    python benchmarks/compile.py [--rounds N]

Prints Markdown tables and exits with 1 when a goal of goals.toml is missed.
"""

from __future__ import annotations

import argparse
import functools
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyseccomp
from measure import Times, in_turn, judge, table

from stockade.kernel.architectures import native
from stockade.policy import profiles
from stockade.policy.bpf.compile import compile as compile_rules
from stockade.policy.caching import compiled
from stockade.policy.caching import directory as cache_directory
from stockade.policy.policy import Policy
from stockade.policy.rules import KILL, Action, Kind, Op, Origin, ResolvedCondition, ResolvedPolicy, ResolvedRule
from stockade.policy.selfcheck import check_program

RULES = 300
# name: (calls that the rules are spread over, arguments that each rule compares)
SHAPES = {
    "300 calls, one argument each": (300, 1),
    "60 calls, five rules with two arguments each": (60, 2),
    "60 calls, five rules with one argument each": (60, 1),
}
PROFILES = ("python3", "default")
LOAD = """
import time
begun = time.perf_counter()
from stockade.policy.policy import Policy
imported = time.perf_counter()
Policy.profile({name!r}).compile()
print(imported - begun, time.perf_counter() - imported)
"""


def lines(calls: int, arguments: int) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """The rules of one shape: name of the call, and (argument, value) of each comparison with ==."""
    known = (name for name in native().syscalls if pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name) >= 0)
    names = [name for name, _ in zip((each for each in known if each != "execveat"), range(calls), strict=False)]
    for number in range(RULES):
        yield names[number % calls], [(argument, 7 * number + argument) for argument in range(arguments)]


def resolved(calls: int, arguments: int) -> ResolvedPolicy:
    """The rules as our compiler takes them."""
    rules = [
        ResolvedRule(
            name,
            native().number(name),
            tuple(ResolvedCondition(argument, 64, Op.EQUAL, (value,)) for argument, value in tests),
            Action(Kind.ALLOW),
            Origin("benchmark", ""),
        )
        for name, tests in lines(calls, arguments)
    ]
    return ResolvedPolicy(native(), "enforce", tuple(rules), KILL, KILL, max(native().names), ())


def libseccomp(rules: list[tuple[str, list[tuple[int, int]]]]) -> bytes:
    """The program that libseccomp makes of the same rules."""
    made = pyseccomp.SyscallFilter(pyseccomp.KILL_PROCESS)
    for name, tests in rules:
        made.add_rule(
            pyseccomp.ALLOW, name, *(pyseccomp.Arg(argument, pyseccomp.EQ, value) for argument, value in tests)
        )
    with os.fdopen(os.memfd_create("filter"), "w+b") as file:
        made.export_bpf(file)
        file.seek(0)
        return file.read()


def compile_times(calls: int, arguments: int, rounds: int) -> dict[str, Times]:
    """Rules to program: libseccomp's, ours, and the check of ours, which a policy from a cache does not need."""
    rules, ours = list(lines(calls, arguments)), resolved(calls, arguments)
    program = compile_rules(ours)
    contestants: dict[str, Callable[[], object]] = {
        "pyseccomp": functools.partial(libseccomp, rules),
        "stockade, compile": functools.partial(compile_rules, ours),
        "stockade, self-check": functools.partial(check_program, ours, program),
    }
    return in_turn(contestants, rounds)


def fresh_process(name: str) -> None:
    """Load and compile a ready-made policy in a new Python, with all that it imports."""
    subprocess.run([sys.executable, "-c", LOAD.format(name=name)], check=True, stdout=subprocess.DEVNULL)


def same_process(name: str) -> None:
    """Load and compile a ready-made policy, with nothing kept in memory."""
    compiled.PROGRAMS.clear()
    Policy.load(profiles.find(name)).compile()


def switched(run: Callable[[str], None], name: str, directory: str) -> None:
    """Do `run` with the cache in `directory`; an empty one switches it off."""
    os.environ[cache_directory.VARIABLE] = directory
    run(name)


def load_times(name: str, run: Callable[[str], None], directory: str, rounds: int) -> dict[str, Times]:
    """A policy from the disk cache and without it. The first rounds, which do not count, fill the cache."""
    return in_turn(
        {
            "without the disk cache": functools.partial(switched, run, name, ""),
            "from the disk cache": functools.partial(switched, run, name, directory),
        },
        rounds,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30, help="counted runs of each contestant (default 30)")
    rounds = parser.parse_args().rounds
    print(f"Python {platform.python_version()}, Linux {platform.release()}, {os.cpu_count()} cores\n")
    measured: dict[str, float | None] = {}
    for name, (calls, arguments) in SHAPES.items():
        times = compile_times(calls, arguments, rounds)
        print(table(f"300 rules: {name}", times, "pyseccomp"))
        measured[f"compile: {name}"] = times["stockade, compile"].median / times["pyseccomp"].median
    with tempfile.TemporaryDirectory(prefix="stockade-bench-") as directory:
        Path(directory).chmod(0o700)
        for profile in PROFILES:
            for kind, run, count in (
                ("warm", same_process, rounds),
                ("fresh process", fresh_process, max(3, rounds // 3)),
            ):
                times = load_times(profile, run, directory, count)
                print(table(f"load and compile {profile}, {kind}", times, "without the disk cache"))
                ratio = times["from the disk cache"].median / times["without the disk cache"].median
                measured[f"load {profile}, {kind}"] = ratio
    return 0 if judge(measured) else 1


if __name__ == "__main__":
    sys.exit(main())
