"""Any of our processes may be killed at any time: the run ends, nothing of it is left, and the next one works."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stockade import PIPE, Executor, MonitorError, Process, Status
from stockade.host import forkserver
from support.attacks import PATIENCE, Adopter, attack_program, descendants, open_wide, parents, pidfds_of, wait_for_end


@pytest.fixture
def program(compile_c: Callable[..., Path]) -> Path:
    return attack_program(compile_c, "processes")


@pytest.fixture
def executor(program: Path) -> Executor:
    return Executor(open_wide(program).build())


@pytest.fixture(autouse=True)
def own_forkserver() -> Iterator[None]:
    forkserver.stop()
    yield
    forkserver.stop()


def start(executor: Executor, program: Path) -> Process:
    process = executor.start([program, "family"], stdin=PIPE, stdout=PIPE)
    assert process.stdout is not None
    for _ in range(2):
        assert process.stdout.readline() == b"ready\n"
    return process


def chain(process: Process) -> dict[str, int]:
    """The helpers above a running program, by their role."""
    init = parents()[process.pid]
    template = parents()[init]
    own = parents()[template]
    assert own == forkserver.current_pid()
    return {"init": init, "template": template, "forkserver": own}


@pytest.mark.parametrize("role", ["init", "template", "forkserver"])
@pytest.mark.parametrize("runs_before", [0, 3], ids=["first run", "spares wait"])
def test_a_helper_is_killed_during_a_run(executor: Executor, program: Path, role: str, runs_before: int) -> None:
    for _ in range(runs_before):
        assert executor.run([program, "fork"]).returncode == 0
    with Adopter() as adopter:
        process = start(executor, program)
        helpers = chain(process)
        tree = [pid for pid in descendants(helpers["init"]) if pid != process.pid]
        below = [helpers["init"], *tree] if role == "init" else descendants(helpers[role])
        adopter.expect(*(pid for pid in below if pid != process.pid))
        pidfds = pidfds_of(below)
        victim = os.pidfd_open(helpers[role])
        signal.pidfd_send_signal(victim, signal.SIGKILL)
        assert process.wait(PATIENCE) == -9
        with pytest.raises(MonitorError, match="was killed") as caught:
            process.result  # noqa: B018  (raises)
        assert caught.value.result is not None
        assert caught.value.result.status is Status.INTERNAL_ERROR
        process.close()
        wait_for_end(victim, *pidfds)
        result = executor.run([program, "fork"])
        assert (result.status, result.returncode) == (Status.OK, 0)
        if role == "forkserver":
            assert forkserver.current_pid() != helpers["forkserver"]


def test_the_forkserver_dies_between_two_runs(executor: Executor, program: Path) -> None:
    for _ in range(3):
        assert executor.run([program, "fork"]).returncode == 0
        pid = forkserver.current_pid()
        assert pid is not None
        with Adopter() as adopter:
            below = descendants(pid)
            adopter.expect(*below)
            pidfds = pidfds_of([pid, *below])
            signal.pidfd_send_signal(pidfds[0], signal.SIGKILL)
            wait_for_end(*pidfds)
            assert executor.run([program, "fork"]).returncode == 0


def test_a_stopped_forkserver_takes_everything_with_it(executor: Executor, program: Path) -> None:
    for _ in range(3):
        assert executor.run([program, "fork"]).returncode == 0
    process = start(executor, program)
    pid = forkserver.current_pid()
    assert pid is not None
    below = [other for other in descendants(pid) if other != process.pid]
    pidfds = pidfds_of(below)
    forkserver.stop()
    wait_for_end(*pidfds)
    # All of it is reaped as well, by the forkserver before it left.
    assert not [other for other in below if os.path.exists(f"/proc/{other}")]
    assert process.wait(PATIENCE) == -9
    process.close()
    assert executor.run([program, "fork"]).returncode == 0


def test_the_program_is_killed_from_outside(executor: Executor, program: Path) -> None:
    process = start(executor, program)
    rest = [os.pidfd_open(pid) for pid in descendants(parents()[process.pid])]
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(PATIENCE) == -9
    assert process.result.status is Status.SIGNALED
    wait_for_end(*rest)
    process.close()
