"""`Process.terminate`: SIGTERM, a grace, SIGKILL; and what the status says afterwards."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from stockade import PIPE, Executor, Process, Status
from stockade.request import MONITORS
from support.compiler import CCompiler
from support.runs import everything_builder, main_program

# argv[1] says what the program does about SIGTERM. Then it answers lines.
BODY = r"""
char line[100];
if (!strcmp(argv[1], "ignore")) signal(SIGTERM, SIG_IGN);
if (!strcmp(argv[1], "zero")) signal(SIGTERM, leave);
if (!strcmp(argv[1], "44")) signal(SIGTERM, leave_44);
if (!strcmp(argv[1], "again")) signal(SIGTERM, again);
if (!strcmp(argv[1], "itself")) raise(SIGTERM);
say("ready\n");
while (fgets(line, sizeof line, stdin)) say(line);
return 3;
"""
HANDLERS = """
static void leave(int signo) { _exit(0); }
static void leave_44(int signo) { say("cleaned up\\n"); _exit(44); }
static void again(int signo) { signal(signo, SIG_DFL); raise(signo); }
"""


@pytest.fixture(scope="module")
def program(compile_c: CCompiler) -> Path:
    return main_program(compile_c, BODY, before=HANDLERS)


@pytest.fixture(params=MONITORS)
def executor(request: pytest.FixtureRequest, program: Path) -> Executor:
    return Executor(everything_builder(program).build(), monitor=request.param)


def ready(executor: Executor, program: Path, how: str) -> Process:
    """Start the program and wait until it has done about SIGTERM what it wants to."""
    process = executor.start([program, how], stdin=PIPE, stdout=PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def ended(process: Process) -> tuple[Status, int, str]:
    """Status, return code and who ended it."""
    process.wait()
    process.close()
    return process.result.status, process.result.returncode, process.result.reason.killed_by


@pytest.mark.parametrize("how", ["nothing", "again"])
@pytest.mark.parametrize("grace", [3600, "1h", None])
def test_a_program_that_ends_by_it(executor: Executor, program: Path, how: str, grace: Any) -> None:
    process = ready(executor, program, how)
    process.terminate(grace)
    assert ended(process) == (Status.EXTERNAL_KILL, -signal.SIGTERM, "terminate")
    assert process.result.to_proto().reason.killed_by == "terminate"
    assert "terminate" in process.result.report()


@pytest.mark.parametrize(("how", "code"), [("zero", 0), ("44", 44)])
def test_a_program_that_handles_it_and_exits(executor: Executor, program: Path, how: str, code: int) -> None:
    process = ready(executor, program, how)
    process.terminate()
    assert ended(process) == (Status.OK, code, "")


@pytest.mark.parametrize("grace", [0, 0.02, "20ms"])
def test_a_program_that_ignores_it_is_killed(executor: Executor, program: Path, grace: Any) -> None:
    process = ready(executor, program, "ignore")
    process.terminate(grace)
    assert ended(process) == (Status.EXTERNAL_KILL, -signal.SIGKILL, "terminate")


def test_without_a_grace_it_is_as_in_subprocess(executor: Executor, program: Path) -> None:
    process = ready(executor, program, "ignore")
    assert process.stdin is not None
    assert process.stdout is not None
    for word in (b"one\n", b"two\n"):
        process.terminate(None)
        process.stdin.write(word)
        process.stdin.flush()
        assert process.stdout.readline() == word
    assert process._clocks._keeper is None  # nobody looks at a clock
    process.stdin.close()
    assert ended(process) == (Status.OK, 3, "")


def test_the_default_grace_is_some_seconds(executor: Executor, program: Path) -> None:
    process = ready(executor, program, "ignore")
    process.terminate()
    left = process._clocks.check()
    assert left is not None and 0 < left <= 10
    process.kill()
    assert ended(process) == (Status.EXTERNAL_KILL, -signal.SIGKILL, "kill")


def test_asking_again_does_not_give_more_time(executor: Executor, program: Path) -> None:
    process = ready(executor, program, "ignore")
    process.terminate("1h")
    process.terminate("10ms")
    process.terminate("1h")
    process.terminate(None)
    assert ended(process) == (Status.EXTERNAL_KILL, -signal.SIGKILL, "terminate")


def test_a_stopped_program_is_killed_after_the_grace(executor: Executor, program: Path) -> None:
    process = ready(executor, program, "zero")
    process.send_signal(signal.SIGSTOP)
    process.terminate("10ms")
    # Whether it stops before it handles the signal is up to the kernel.
    assert ended(process) in (
        (Status.EXTERNAL_KILL, -signal.SIGKILL, "terminate"),
        (Status.OK, 0, ""),
    )


def test_another_limit_may_come_first(executor: Executor, program: Path) -> None:
    process = ready(executor, program, "ignore")
    process.terminate("1h")
    process.set_wall_time(0.001)
    process.wait()
    process.close()
    assert (process.result.status, process.result.limit) == (Status.TIMEOUT, "wall_time")


def test_a_program_that_sends_it_to_itself_was_not_terminated(executor: Executor, program: Path) -> None:
    process = executor.start([program, "itself"])
    assert ended(process) == (Status.SIGNALED, -signal.SIGTERM, "")
    assert process.result.signal == signal.SIGTERM


def test_send_signal_is_a_signal_and_nothing_more(executor: Executor, program: Path) -> None:
    process = ready(executor, program, "nothing")
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (Status.SIGNALED, -signal.SIGTERM, "")


def test_after_the_end_nothing_happens(executor: Executor, program: Path) -> None:
    process = ready(executor, program, "nothing")
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait() == 3
    process.terminate(0)
    assert ended(process) == (Status.OK, 3, "")
    process.terminate(0)


@pytest.mark.parametrize("nonsense", [-1, float("nan"), float("inf"), "soon", True, "-5s", [1]])
def test_a_grace_that_is_no_time(executor: Executor, program: Path, nonsense: Any) -> None:
    process = ready(executor, program, "nothing")
    with pytest.raises(ValueError):
        process.terminate(nonsense)
    assert process.poll() is None  # not even the first signal was sent
    process.close()
