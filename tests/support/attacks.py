"""What attack tests share: the attack programs, policies of three kinds, exact assertions, the score.

Each attempt is made three times over: without a sandbox, where it must succeed (the positive control); under a small
policy; and under a policy as open as can be written, or with a filter that lets everything through, which shows what
the other layers do by themselves.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from stockade import Executor, Policy, PolicyBuilder, Result, Status, Violation
from stockade._proto.lean import CompiledProgram
from stockade.kernel.architectures import native
from stockade.kernel.process import PR_SET_CHILD_SUBREAPER, prctl
from stockade.kernel.seccomp_constants import (
    FREE_EXEC_COOKIE,
    SECCOMP_RET_ALLOW,
    SECCOMP_RET_TRACE,
    SECCOMP_RET_USER_NOTIF,
)
from stockade.policy.bpf.instructions import JEQ, JMP, LOAD_WORD, RET_K, Instruction, encode, high_word, low_word
from stockade.policy.verdicts import DATA_FREE_EXEC
from stockade.sandboxee.launch import program_digest

PROGRAMS = Path(__file__).resolve().parent.parent / "attacks" / "programs"
SUCCEEDED, REFUSED, BROKEN = 0, 3, 4
# Seconds after which a test that waits for an event gives up: the event will never come.
PATIENCE = 60.0


class Attempt:
    """One attempt of the list of attacks. `control` must be called before the test ends."""

    def __init__(self, identifier: str) -> None:
        self.identifier = identifier
        self.controlled = False

    def control(self, succeeded: object, what: str) -> None:
        """Take note of the same attack without the sandbox. Skips the test when even that is not possible here."""
        if not succeeded:
            pytest.skip(f"attack not possible on this host: {what}")
        self.controlled = True


# --- programs ---


def attack_program(compile_c: Callable[..., Path], name: str, **options: Any) -> Path:
    """Compile tests/attacks/programs/<name>.c; statically unless asked otherwise."""
    source = (PROGRAMS / f"{name}.c").read_text()
    header = (PROGRAMS / "attack.h").read_text()
    return compile_c(source.replace('#include "attack.h"', header), name=name, **options)


def unsandboxed(*argv: str | Path, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run a program without a sandbox and return what it did; its input is empty."""
    given = {"stdin": subprocess.DEVNULL, **options}
    return subprocess.run([os.fspath(part) for part in argv], capture_output=True, check=False, **given)


def succeeds(*argv: str | Path, **options: Any) -> bool:
    """Whether the attack succeeds without a sandbox."""
    done = unsandboxed(*argv, **options)
    assert done.returncode != BROKEN, f"the attack program is broken: {done.stdout!r} {done.stderr!r}"
    return done.returncode == SUCCEEDED


def run_script(source: str, *arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run Python source in a process of its own, with this interpreter and the same modules in reach."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-c", source, *(os.fspath(argument) for argument in arguments)],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path},
        **options,
    )
    assert done.returncode == 0, f"the script failed:\n{done.stdout}\n{done.stderr}"
    return done


# --- policies ---


def small(program: str | Path) -> PolicyBuilder:
    """What a static program needs to start, write and end."""
    return PolicyBuilder().allow_static_startup().allow_write().allow_exit().add_file(program)


def open_wide(program: str | Path) -> PolicyBuilder:
    """As open as a policy can be: every call that is not always refused."""
    return PolicyBuilder().danger_default_allow_all().add_file(program)


def everything_but_the_free_exec(monitor: str = "ptrace") -> bytes:
    """A filter that lets every call through, and hands only the free exec to the monitor."""
    handed_over = SECCOMP_RET_USER_NOTIF if monitor == "unotify" else SECCOMP_RET_TRACE | DATA_FREE_EXEC
    number = native().number("execveat")
    cookie_low, cookie_high = FREE_EXEC_COOKIE & 0xFFFFFFFF, FREE_EXEC_COOKIE >> 32
    program = (
        Instruction(LOAD_WORD, k=0),
        Instruction(JMP | JEQ, 0, 5, number),
        Instruction(LOAD_WORD, k=4 * low_word(5)),
        Instruction(JMP | JEQ, 0, 3, cookie_low),
        Instruction(LOAD_WORD, k=4 * high_word(5)),
        Instruction(JMP | JEQ, 0, 1, cookie_high),
        Instruction(RET_K, k=handed_over),
        Instruction(RET_K, k=SECCOMP_RET_ALLOW),
    )
    return encode(program)


def without_rules(policy: Policy, instructions: bytes | None = None, **options: Any) -> Executor:
    """An executor whose filter refuses nothing (or is `instructions`): what holds then are the other layers."""
    executor = Executor(policy, **options)
    instructions = instructions or everything_but_the_free_exec(executor.monitor)
    program = CompiledProgram(architecture=native().audit_token, instructions=instructions, mode="enforce")
    program.digest = program_digest(policy.digest, program)
    executor._program = program
    return executor


# --- assertions ---


def assert_killed(
    result: Result,
    syscall: str,
    *,
    kind: Violation.Kind = Violation.SYSCALL,
    architecture: str = "x86_64",
    output: bytes = b"",
) -> Violation:
    """The run ended because of exactly this call, which was not made; returns the violation."""
    assert result.status is Status.VIOLATION, f"{result.status.name} {result.returncode} {result.stdout!r}"
    assert result.returncode == -31
    assert result.reason.violation == kind
    first = result.violations[0]
    assert (first.syscall, first.kind, first.architecture) == (syscall, kind, architecture)
    assert result.stdout == output
    return first


def assert_refused(result: Result, *errors: int) -> None:
    """The program ended by itself and says that its attack failed with one of these error numbers."""
    assert result.status is Status.OK, f"{result.status.name}: {[v.summary for v in result.violations]}"
    assert result.returncode == REFUSED, f"{result.returncode}: {result.stdout!r}"
    said = int(result.stdout.split()[-1])
    assert said in errors, f"errno {said}: {result.stdout!r}"


def assert_allowed(result: Result) -> None:
    """The program did what it tried, undisturbed: the neighbour of an attack that stays allowed."""
    assert result.status is Status.OK, f"{result.status.name}: {[v.summary for v in result.violations]}"
    assert (result.returncode, list(result.violations)) == (SUCCEEDED, []), result.stdout


# --- waiting and looking, without sleeping ---


def wait_for_end(*pidfds: int) -> None:
    """Wait until all the processes behind the pidfds have ended, and close the pidfds."""
    for pidfd in pidfds:
        ended = select.select([pidfd], [], [], PATIENCE)[0]
        os.close(pidfd)
        assert ended, "the process lives on"


def has_ended(pidfd: int) -> bool:
    """Whether the process behind the pidfd has ended."""
    return bool(select.select([pidfd], [], [], 0)[0])


def parents() -> Mapping[int, int]:
    """The parent of each process that exists."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                status = Path("/proc", entry, "stat").read_text(errors="replace")
            except OSError:
                continue
            found[int(entry)] = int(status.rpartition(")")[2].split()[1])
    return found


def descendants(pid: int) -> list[int]:
    """The processes below `pid`, nearest first."""
    tree = parents()
    found: list[int] = []
    level: Sequence[int] = [pid]
    while level:
        level = [child for child, parent in tree.items() if parent in level]
        found += level
    return found


def pidfds_of(pids: Iterable[int]) -> list[int]:
    """Pidfds of those of the processes that still exist: what is left of an earlier run may just be going."""
    found = []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            found.append(os.pidfd_open(pid))
    return found


class Adopter:
    """Makes this process inherit what its children leave behind, so that the orphans can be reaped here.

    As a context manager: on leaving, every orphan that was `expected` is reaped; the wait ends when they have ended.
    """

    def __init__(self) -> None:
        self._expected: list[int] = []

    def expect(self, *pids: int) -> None:
        """These processes will have no other parent in the end."""
        self._expected += pids

    def __enter__(self) -> Adopter:
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        return self

    def __exit__(self, *_: object) -> None:
        for pid in self._expected:
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                continue  # another one has reaped it
        prctl(PR_SET_CHILD_SUBREAPER, 0)
