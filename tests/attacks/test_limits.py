"""Class L: programs that do not end, and those that outlive their run."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from stockade import PIPE, Executor, Limits, Status
from support.attacks import (
    Adopter,
    Attempt,
    attack_program,
    descendants,
    has_ended,
    open_wide,
    parents,
    small,
    wait_for_end,
)


@pytest.fixture
def processes(compile_c: Callable[..., Path]) -> Path:
    return attack_program(compile_c, "processes")


# --- L3: sleep without end ---


@pytest.mark.attack("L3")
@pytest.mark.parametrize("mode", ["enforce", "refuse"])
def test_a_program_that_sleeps_forever_is_ended_by_its_clock(attack: Attempt, processes: Path, mode: str) -> None:
    with subprocess.Popen([processes, "sleep"]) as plain:
        with contextlib.suppress(subprocess.TimeoutExpired):
            plain.wait(0.2)
        attack.control(plain.poll() is None, "the program ends by itself")
        plain.kill()
    policy = small(processes).allow_syscall("pause").build()
    result = Executor(policy, limits=Limits(wall_time=0.2), mode=mode).run([processes, "sleep"])
    assert (result.status, result.returncode, result.limit) == (Status.TIMEOUT, -9, "wall_time")
    assert result.reason.limit == "wall_time"
    assert result.limits["wall_time"] == 0.2
    assert result.usage.wall_time >= 0.2
    assert not result.violations


def test_a_program_within_its_time_is_left_alone(processes: Path) -> None:
    policy = open_wide(processes).build()
    result = Executor(policy, limits=Limits(wall_time=60)).run([processes, "fork"])
    assert (result.status, result.returncode) == (Status.OK, 0)


# --- L6: a daemon ---


@pytest.mark.attack("L6")
def test_a_daemon_does_not_outlive_its_run(attack: Attempt, processes: Path) -> None:
    with Adopter() as adopter, subprocess.Popen([processes, "daemon"], stdin=PIPE, stdout=PIPE) as plain:
        assert plain.stdin is not None and plain.stdout is not None
        assert plain.stdout.readline() == b"daemon runs\n"
        # The daemon has been inherited by this process.
        (daemon,) = [pid for pid in descendants(os.getpid()) if _program_of(pid) == processes and pid != plain.pid]
        pidfd = os.pidfd_open(daemon)
        adopter.expect(daemon)
        plain.stdin.close()
        plain.wait()
        survived = not has_ended(pidfd)
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        wait_for_end(pidfd)
        attack.control(survived, "daemons die with their parent")
    process = Executor(open_wide(processes).build()).start([processes, "daemon"], stdin=PIPE, stdout=PIPE)
    assert process.stdin is not None and process.stdout is not None
    assert process.stdout.readline() == b"daemon runs\n"
    init = parents()[process.pid]
    inside = descendants(init)
    assert process.pid in inside and len(inside) == 2
    tree = [os.pidfd_open(pid) for pid in (init, *inside)]
    process.stdin.close()
    assert process.wait() == 0
    wait_for_end(*tree)
    assert process.result.status is Status.OK
    process.close()


def _program_of(pid: int) -> Path | None:
    try:
        return Path(os.readlink(f"/proc/{pid}/exe"))
    except OSError:
        return None
