"""Runs in the company of other threads, other processes and other runs; and what they leave behind: nothing."""

from __future__ import annotations

import concurrent.futures
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from stockade import Executor, SetupError, Status
from stockade.host import forkserver
from support.compiler import CCompiler
from support.runs import main_program, open_descriptors, run_python, static_builder

BODY = """
if (argc > 2) raw(SYS_getppid, 0, 0, 0, 0, 0, 0);
if (argc > 1) say(argv[1]);
return argc;
"""


@pytest.fixture(scope="module")
def program(compile_c: CCompiler) -> Path:
    return main_program(compile_c, BODY)


@pytest.fixture(scope="module")
def executor(program: Path) -> Executor:
    return Executor(static_builder(program).build())


def one_run(executor: Executor, program: Path, text: str) -> None:
    result = executor.run([program, text])
    assert (result.status, result.returncode, result.stdout) == (Status.OK, 2, text.encode())
    assert not result.violations


def test_from_thirty_two_threads_at_once(executor: Executor, program: Path) -> None:
    """Every thread gets its own results, also when some of the runs breach the policy and some never start."""
    start = threading.Barrier(32)

    def work(number: int) -> None:
        start.wait()
        for turn in range(5):
            one_run(executor, program, f"{number}-{turn}")
            violated = executor.run([program, "x", "y"])
            assert violated.status is Status.VIOLATION
            assert violated.violations[0].pid == violated.pid
            with pytest.raises(SetupError, match=f"nowhere-{number}-{turn}"):
                executor.run([f"/nowhere-{number}-{turn}"])

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        list(pool.map(work, range(32)))


def test_an_executor_for_each_thread(program: Path) -> None:
    """Each with a policy of its own: the templates do not get mixed up."""

    def work(number: int) -> None:
        policy = static_builder(program).add_tmpfs(f"/own-{number}").build()
        for _ in range(3):
            one_run(Executor(policy), program, str(number))

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        list(pool.map(work, range(20)))


def test_processes_started_in_one_thread_and_awaited_in_another(executor: Executor, program: Path) -> None:
    processes = [executor.start([program, str(number)], stdout=-1) for number in range(10)]
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        outputs = list(pool.map(lambda process: process.communicate()[0], processes))
    assert outputs == [str(number).encode() for number in range(10)]
    for process in processes:
        process.close()


def test_the_user_s_own_children_are_never_reaped(executor: Executor, program: Path) -> None:
    """Before, during and after runs, from this thread and from others: each child stays waitable, with its status."""
    before = [fork_child(number) for number in (11, 12)]
    with executor.start([program], stdin=-1) as process:
        during = fork_child(13)
        process.wait()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        in_threads = list(pool.map(fork_child, range(14, 22)))
        list(pool.map(lambda _: one_run(executor, program, "x"), range(8)))
        popen = subprocess.Popen([sys.executable, "-c", "raise SystemExit(22)"])
        list(pool.map(lambda _: one_run(executor, program, "x"), range(8)))
    for number, pid in [
        *zip((11, 12), before, strict=True),
        (13, during),
        *zip(range(14, 22), in_threads, strict=True),
    ]:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == number
    assert popen.wait() == 22


def fork_child(code: int) -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(code)
    return pid


def test_no_child_of_ours_appears_in_the_user_s_wait(program: Path) -> None:
    """A script that waits for any child sees none of a run's; the forkserver is the one child that it has."""
    script = """
import os, sys
from pathlib import Path
from stockade import Executor
from support.runs import static_builder
program = Path(sys.argv[1])
assert Executor(static_builder(program).build()).run([program]).returncode == 1
print(os.waitpid(-1, os.WNOHANG))
assert Executor(static_builder(program).build()).run([program]).returncode == 1
print(os.waitpid(-1, os.WNOHANG))
"""
    assert run_python(script, str(program)).stdout == "(0, 0)\n(0, 0)\n"


FORKS = """
import os, sys
from pathlib import Path
from stockade import Executor
from stockade.host import forkserver
from support.runs import static_builder
program = Path(sys.argv[1])
executor = Executor(static_builder(program).build())

def run(text):
    result = executor.run([program, text])
    assert (result.returncode, result.stdout) == (2, text.encode()), (result, result.stdout)

run("before")
ours = forkserver.current_pid()
pid = os.fork()
if pid == 0:
    try:
        assert forkserver.current_pid() is None
        for _ in range(3):
            run("child")
        assert forkserver.current_pid() not in (None, ours)
        forkserver.stop()
        os._exit(5)
    finally:
        os._exit(6)
for _ in range(3):
    run("parent")
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
run("after")
assert forkserver.current_pid() == ours
print("fine")
"""


def test_a_process_that_forks(program: Path) -> None:
    assert run_python(FORKS, str(program)).stdout == "fine\n"


def test_a_process_that_forks_while_a_run_goes_on(executor: Executor, program: Path, compile_c: CCompiler) -> None:
    """The child's copy of our descriptors keeps nothing alive and ends nothing."""
    reads = main_program(compile_c, "char b; return read(0, &b, 1) == 1 ? b : 99;")
    policy = static_builder(reads).allow_read().build()
    go_reader, go_writer = os.pipe()
    with Executor(policy).start([reads], stdin=-1) as process:
        pid = os.fork()
        if pid == 0:
            os.close(go_writer)
            os.read(go_reader, 1)
            os._exit(0)
        assert process.stdin is not None
        process.stdin.write(b"\x21")
        process.stdin.close()
        assert process.wait() == 0x21
    one_run(executor, program, "on")
    os.close(go_writer)
    os.close(go_reader)
    os.waitpid(pid, 0)


MULTIPROCESSING = """
import concurrent.futures, multiprocessing, sys
from stockade.host import forkserver
from support.runs import run_elsewhere
if __name__ == "__main__":
    program, method = sys.argv[1:]
    run_elsewhere(program)
    run_elsewhere(program, stop=False)
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        answers = list(pool.map(run_elsewhere, [program] * 4))
    assert forkserver.current_pid() not in answers
    run_elsewhere(program)
    print("fine")
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(program: Path, method: str) -> None:
    assert run_python(MULTIPROCESSING, str(program), method).stdout == "fine\n"


def test_an_executor_can_be_sent_to_a_thread_that_ends(executor: Executor, program: Path) -> None:
    """The forkserver, and what runs, outlives the thread that started it."""
    forkserver.stop()
    started = []
    thread = threading.Thread(target=lambda: started.append(executor.start([program, "x"], stdout=-1)))
    thread.start()
    thread.join()
    assert started[0].communicate()[0] == b"x"
    started[0].close()
    one_run(executor, program, "y")


def test_signals_of_the_user_s_process_stay_its_own(executor: Executor, program: Path) -> None:
    """Handlers and masks of the user are neither changed nor inherited."""
    caught = []
    previous = signal.signal(signal.SIGUSR1, lambda signo, _: caught.append(signo))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    try:
        one_run(executor, program, "x")
        os.kill(os.getpid(), signal.SIGUSR1)
        assert caught == [signal.SIGUSR1]
        assert signal.SIGUSR2 in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGUSR1, previous)


def test_the_forkserver_may_die(executor: Executor, program: Path) -> None:
    one_run(executor, program, "before")
    first = forkserver.current_pid()
    assert first is not None
    descriptor = os.pidfd_open(first)
    os.kill(first, signal.SIGKILL)
    os.waitid(os.P_PIDFD, descriptor, os.WEXITED | os.WNOWAIT)
    os.close(descriptor)
    one_run(executor, program, "after")
    assert forkserver.current_pid() not in (None, first)


def counts() -> tuple[list[str], int, int]:
    """Open descriptors, threads that are not parked tracers, children of ours; with no box that waits."""
    gc.collect()
    descriptors = open_descriptors()
    threads = sum(thread.name != "stockade-tracer" for thread in threading.enumerate())
    children = 0
    for task in os.listdir("/proc/self/task"):
        try:
            children += len(Path(f"/proc/self/task/{task}/children").read_text().split())
        except FileNotFoundError:
            continue
    return descriptors, threads, children


def settle(executor: Executor, program: Path, work: Callable[[], object]) -> tuple[list[str], int, int]:
    """Do something, and count when what follows a verdict has been cleaned up too."""
    work()
    with executor.start([program]) as process:
        process.wait()
    for thread in threading.enumerate():
        if thread.name == "stockade-clock":
            thread.join()
    return counts()


@pytest.mark.slow
def test_three_hundred_runs_leave_nothing(executor: Executor, program: Path) -> None:
    def round_of_runs(number: int) -> None:
        for turn in range(number):
            match turn % 5:
                case 0 | 1:
                    one_run(executor, program, "x")
                case 2:
                    assert executor.run([program, "x", "y"]).status is Status.VIOLATION
                case 3:
                    with pytest.raises(SetupError):
                        executor.run(["/nowhere"])
                case _:
                    with executor.start([program, "x"], stdin=-1, stdout=-1, stderr=-1) as process:
                        process.communicate(b"y")

    before = settle(executor, program, lambda: round_of_runs(10))
    after = settle(executor, program, lambda: round_of_runs(300))
    assert after == before
    tracers = [thread for thread in threading.enumerate() if thread.name == "stockade-tracer"]
    assert len(tracers) <= 64


def test_idle_threads_are_bounded(executor: Executor, program: Path) -> None:
    from stockade.monitor import tracer

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: one_run(executor, program, "x"), range(32)))
    tracers = [thread for thread in threading.enumerate() if thread.name == "stockade-tracer"]
    assert len(tracers) <= tracer.MAXIMUM_PARKED
    assert all(thread.daemon for thread in tracers)
