"""Class P: attacks on the monitor, and on other processes through the calls that a monitor uses."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stockade import Executor, PolicyBuilder
from support.attacks import (
    Adopter,
    Attempt,
    assert_allowed,
    assert_killed,
    assert_refused,
    attack_program,
    descendants,
    has_ended,
    open_wide,
    small,
    succeeds,
    wait_for_end,
    without_rules,
)

CALLS = {"attach": "ptrace", "seize": "ptrace", "vm": "process_vm_writev"}


@pytest.fixture
def processes(compile_c: Callable[..., Path]) -> Path:
    return attack_program(compile_c, "processes")


# --- P5: the monitor dies ---

MONITOR = """
import sys
from stockade import Executor, Policy

process = Executor(Policy.load(sys.argv[2])).start([sys.argv[1], "family"], stdout=sys.stdout.buffer)
process.wait()
"""
UNSANDBOXED_PARENT = """
import subprocess, sys
subprocess.run([sys.argv[1], "family"])
"""


def start_python(script: str, *arguments: str | Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
    )


def kill_parent(script: str, *arguments: str | Path, lines: int) -> list[tuple[int, int]]:
    """Start the script, wait for so many lines of output, kill it; (pid, pidfd) of all that was below it."""
    parent = start_python(script, *arguments)
    assert parent.stdout is not None
    for _ in range(lines):
        assert parent.stdout.readline() == b"ready\n"
    tree = [(pid, os.pidfd_open(pid)) for pid in descendants(parent.pid)]
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    return tree


@pytest.mark.attack("P5")
def test_the_whole_tree_dies_with_its_executor(attack: Attempt, processes: Path, public_tmp: Path) -> None:
    with Adopter() as adopter:
        left = kill_parent(UNSANDBOXED_PARENT, processes, lines=2)
        attack.control(not any(has_ended(pidfd) for _, pidfd in left), "children die with their parent anyway")
        adopter.expect(*(pid for pid, _ in left))
        for _, pidfd in left:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        wait_for_end(*(pidfd for _, pidfd in left))
    policy = public_tmp / "policy.textproto"
    policy.write_text(open_wide(processes).build().to_text())
    with Adopter() as adopter:
        tree = kill_parent(MONITOR, processes, policy, lines=2)
        adopter.expect(*(pid for pid, _ in tree))
        assert len(tree) >= 6  # forkserver, template, init, and three of the program
        wait_for_end(*(pidfd for _, pidfd in tree))


# --- P9: preying on siblings and helpers ---


def with_children(program: Path) -> PolicyBuilder:
    return small(program).allow_fork().allow_wait().allow_kill().allow_syscall("pause")


@pytest.mark.attack("P9")
@pytest.mark.parametrize("how", ["attach", "seize", "vm"])
@pytest.mark.parametrize("make", [with_children, open_wide])
def test_a_sibling_cannot_be_traced_or_written(
    attack: Attempt, processes: Path, how: str, make: Callable[[Path], PolicyBuilder]
) -> None:
    attack.control(succeeds(processes, "sibling", how), "processes of one user cannot be traced")
    found = assert_killed(Executor(make(processes).build()).run([processes, "sibling", how]), CALLS[how])
    assert found.patch.refused_because
    with_proc = open_wide(processes).add_proc().build()
    assert_killed(Executor(with_proc).run([processes, "init", how]), CALLS[how])
    refused = Executor(make(processes).build(), mode="refuse").run([processes, "sibling", how])
    assert_refused(refused, errno.EPERM)
    assert [violation.syscall for violation in refused.violations] == [CALLS[how]]


@pytest.mark.attack("P9")
def test_memory_of_a_sibling_cannot_be_opened_for_writing_by_default(attack: Attempt, processes: Path) -> None:
    attack.control(succeeds(processes, "sibling", "mem"), "memory of another process cannot be written by /proc")
    groups = with_children(processes).allow_open_for_reading().add_proc()
    found = assert_killed(Executor(groups.build()).run([processes, "sibling", "mem"]), "openat")
    assert "O_RDWR" in found.arguments[2].text


@pytest.mark.attack("P9")
@pytest.mark.parametrize("how", ["attach", "seize", "vm", "mem"])
def test_init_is_no_prey_even_without_a_filter(attack: Attempt, processes: Path, how: str) -> None:
    attack.control(succeeds(processes, "sibling", how), "processes of one user cannot be traced")
    executor = without_rules(open_wide(processes).add_proc(full=True).build())
    assert_refused(executor.run([processes, "init", how]), errno.EPERM, errno.EACCES, errno.ENOENT)
    # A sibling is the program itself, many times: it has the rights that the program has, so this one works.
    assert_allowed(executor.run([processes, "sibling", "vm"]))


def test_children_stay_allowed(processes: Path) -> None:
    policy = with_children(processes).build()
    assert_allowed(Executor(policy).run([processes, "fork"]))
