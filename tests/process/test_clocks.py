"""The clocks of a started process: one thread at most, which sees every change, whatever state the program is in."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

from stockade import PIPE, Executor, Limits, Process, Status
from stockade.request import MONITORS
from support.compiler import CCompiler
from support.runs import everything_builder, main_program

BODY = """
struct timespec day = {86400, 0};
say("ready\\n");
if (argc > 1 && !strcmp(argv[1], "stop")) raise(SIGSTOP);
if (argc > 1 && !strcmp(argv[1], "sleep")) nanosleep(&day, 0);
if (argc > 1 && !strcmp(argv[1], "spin")) for (;;);
char line[100];
while (fgets(line, sizeof line, stdin)) say(line);
return 3;
"""


@pytest.fixture(scope="module")
def program(compile_c: CCompiler) -> Path:
    return main_program(compile_c, BODY, before="#include <time.h>")


@pytest.fixture(params=MONITORS)
def executor(request: pytest.FixtureRequest, program: Path) -> Executor:
    return Executor(everything_builder(program).build(), monitor=request.param)


def clock_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "stockade-clock"]


def assert_timed_out(process: Process, allowed: float) -> None:
    assert process.wait() == -signal.SIGKILL
    process.close()
    assert (process.result.status, process.result.limit) == (Status.TIMEOUT, "wall_time")
    limit = process.result.to_proto().limit
    assert limit.allowed == allowed
    assert limit.measured >= allowed


def test_many_changes_take_one_thread(executor: Executor, program: Path) -> None:
    for thread in clock_threads():  # of tests before
        thread.join()
    with executor.start([program], stdin=PIPE) as process:
        assert clock_threads() == []  # nothing to look at
        for seconds in range(1000, 1100):
            process.set_wall_time(seconds)
            assert len(clock_threads()) == 1
        process.set_wall_time(None)
        changes = [threading.Thread(target=process.set_wall_time, args=[1000 + n]) for n in range(20)]
        for thread in changes:
            thread.start()
        for thread in changes:
            thread.join()
        (keeper,) = clock_threads()
    keeper.join()  # it leaves with the verdict
    process.set_wall_time(1)
    assert clock_threads() == []


def test_a_run_needs_no_thread_for_its_clock(executor: Executor, program: Path) -> None:
    seen: list[list[threading.Thread]] = []
    real = Process.communicate

    def looking(*arguments: object) -> object:
        seen.append(clock_threads())
        return real(*arguments)  # type: ignore[arg-type]

    limited = Executor(executor.policy, limits=Limits(wall_time=3600), monitor=executor.monitor)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Process, "communicate", looking)
        assert limited.run([program]).returncode == 3
    assert seen == [[]]


@pytest.mark.parametrize("state", ["stop", "sleep", "spin", "read"])
def test_a_limit_set_later_ends_it_in_any_state(executor: Executor, program: Path, state: str) -> None:
    process = executor.start([program, state], stdin=PIPE, stdout=PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.set_wall_time(3600)
    process.set_wall_time("10ms")
    assert_timed_out(process, 0.01)


def test_a_limit_that_has_passed_already_ends_it_now(executor: Executor, program: Path) -> None:
    process = executor.start([program], stdin=PIPE)
    process.set_wall_time(0.000001)
    assert_timed_out(process, 0.000001)


def test_a_limit_is_seen_by_a_thread_that_communicates(executor: Executor, program: Path) -> None:
    process = executor.start([program, "sleep"], stdin=PIPE, stdout=PIPE)
    outputs: list[bytes] = []
    thread = threading.Thread(target=lambda: outputs.append(process.communicate()[0]))
    thread.start()
    process.set_wall_time("20ms")
    thread.join()
    assert outputs == [b"ready\n"] or outputs == [b""]
    assert_timed_out(process, 0.02)


def test_the_clock_of_a_policy_runs_while_the_program_is_stopped(executor: Executor, program: Path) -> None:
    limited = Executor(executor.policy, limits=Limits(wall_time="50ms"), monitor=executor.monitor)
    assert limited.run([program, "stop"]).status is Status.TIMEOUT
    assert_timed_out(limited.start([program, "stop"]), 0.05)


def test_closing_a_stopped_program_ends_it(executor: Executor, program: Path) -> None:
    process = executor.start([program, "stop"], stdout=PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.close()
    assert (process.result.status, process.result.reason.killed_by) == (Status.EXTERNAL_KILL, "kill")


def test_an_exception_ends_a_stopped_program(executor: Executor, program: Path) -> None:
    with pytest.raises(LookupError), executor.start([program, "stop"]) as process:
        raise LookupError
    assert process.result.status is Status.EXTERNAL_KILL


def test_a_stopped_program_gets_its_signals_when_it_goes_on(executor: Executor, program: Path) -> None:
    with executor.start([program], stdin=PIPE, stdout=PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGSTOP)
        process.send_signal(signal.SIGUSR1)  # its default ends the program, once it runs
        process.stdin.write(b"unread\n")
        process.stdin.flush()
        process.send_signal(signal.SIGCONT)
        assert process.wait() == -signal.SIGUSR1
    assert (process.result.status, process.result.signal) == (Status.SIGNALED, signal.SIGUSR1)
