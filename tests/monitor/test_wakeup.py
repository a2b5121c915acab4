"""Waking the thread that follows a run: it does at once what other threads ask, and nobody's signal is taken."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stockade import Executor, Process
from support.compiler import CCompiler
from support.runs import everything_builder, main_program, run_python, static_builder


@pytest.fixture
def paused(compile_c: CCompiler) -> Iterator[Process]:
    """A program that makes no event by itself."""
    program = main_program(compile_c, "pause();")
    with Executor(everything_builder(program).build()).start([program]) as process:
        yield process
        process.kill()


def test_work_is_done_by_one_thread_at_once(paused: Process) -> None:
    mailbox = paused._supervision.mailbox
    done_by: list[str] = []
    done = threading.Semaphore(0)

    def work() -> None:
        done_by.append(threading.current_thread().name)
        done.release()

    for _ in range(300):
        assert mailbox.post(work)
        done.acquire()
    assert set(done_by) == {"stockade-tracer"}


def test_work_of_many_threads(paused: Process) -> None:
    mailbox = paused._supervision.mailbox
    count = 0
    finished = threading.Semaphore(0)

    def work() -> None:
        nonlocal count
        count += 1  # by one thread only: nothing is lost
        finished.release()

    def post() -> None:
        for _ in range(100):
            assert mailbox.post(work)

    threads = [threading.Thread(target=post) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _ in range(800):
        finished.acquire()
    assert count == 800


def test_a_task_that_is_gone_is_no_failure(paused: Process) -> None:
    mailbox = paused._supervision.mailbox
    done = threading.Event()

    def gone() -> None:
        raise ProcessLookupError

    assert mailbox.post(gone)
    assert mailbox.post(done.set)
    done.wait()
    assert paused.poll() is None


def test_nothing_is_taken_after_the_end(paused: Process) -> None:
    paused.kill()
    paused.close()
    assert paused._supervision.mailbox.post(lambda: None) is False


def test_what_was_taken_is_done_at_the_latest_when_the_run_ends(compile_c: CCompiler) -> None:
    program = main_program(compile_c, "")
    for _ in range(20):
        with Executor(static_builder(program).build()).start([program]) as process:
            done = threading.Event()
            taken = process._supervision.mailbox.post(done.set)
        assert done.wait(60 if taken else 0) is taken


PREAMBLE = """
import os, signal, sys, threading
from pathlib import Path
from stockade import Executor, SetupError, Verdict, hook
from support.runs import static_builder

@hook(slow=True)
def slow(call):
    return Verdict.returning(5)

program = Path(sys.argv[1])
quick = Executor(static_builder(program).trace("getppid", "slow").build(), hooks={"slow": lambda call: Verdict.ALLOW})
executor = Executor(static_builder(program).trace("getppid", "slow").build(), hooks={"slow": slow})

def caught():
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    bits = int(lines["SigCgt"].strip(), 16)
    return {n for n in range(signal.SIGRTMIN, signal.SIGRTMAX + 1) if bits >> n - 1 & 1}
"""


@pytest.fixture(scope="module")
def program(compile_c: CCompiler) -> Path:
    return main_program(compile_c, 'char t[32]; snprintf(t, 32, "%ld;", raw(SYS_getppid, 0,0,0,0,0,0)); say(t);')


def test_nothing_is_installed_before_it_is_needed(program: Path) -> None:
    script = """
assert quick.run([program]).stdout == b"1;"
assert caught() == set(), caught()
blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
assert executor.run([program]).stdout == b"5;"
assert caught() == {signal.SIGRTMAX}, caught()
assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == blocked
assert signal.getsignal(signal.SIGRTMAX) == signal.SIG_DFL
"""
    run_python(PREAMBLE + script, str(program))


def test_signals_of_the_users_are_not_taken(program: Path) -> None:
    """One has a handler, one is ignored, one is waited for: none of them is chosen, and all do what they did."""
    script = """
seen = []
signal.signal(signal.SIGRTMAX, lambda *a: seen.append(a[0]))
signal.signal(signal.SIGRTMAX - 1, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGRTMAX - 2})
for _ in range(20):
    assert executor.run([program]).stdout == b"5;"
assert caught() == {signal.SIGRTMAX, signal.SIGRTMAX - 3}, caught()
assert seen == []
for signo in range(signal.SIGRTMAX - 2, signal.SIGRTMAX + 1):
    os.kill(os.getpid(), signo)
assert signal.sigwait({signal.SIGRTMAX - 2}) == signal.SIGRTMAX - 2
assert seen == [signal.SIGRTMAX]
"""
    run_python(PREAMBLE + script, str(program))


def test_a_signal_that_somebody_takes_later_is_left_to_them(program: Path) -> None:
    script = """
assert executor.run([program]).stdout == b"5;"
seen = []
signal.signal(signal.SIGRTMAX, lambda *a: seen.append(a[0]))
for _ in range(20):
    assert executor.run([program]).stdout == b"5;"
assert seen == []
assert caught() == {signal.SIGRTMAX, signal.SIGRTMAX - 1}
"""
    run_python(PREAMBLE + script, str(program))


def test_without_a_free_signal_a_run_that_needs_one_says_so(program: Path) -> None:
    script = """
for signo in range(signal.SIGRTMIN, signal.SIGRTMAX + 1):
    signal.signal(signo, lambda *a: None)
try:
    executor.run([program])
except SetupError as error:
    assert "real-time signal" in str(error), error
else:
    raise AssertionError("it ran")
assert quick.run([program]).stdout == b"1;"
signal.signal(signal.SIGRTMIN + 3, signal.SIG_DFL)
assert executor.run([program]).stdout == b"5;"
assert signal.SIGRTMIN + 3 in caught()
"""
    run_python(PREAMBLE + script, str(program))


def test_a_process_that_blocks_everything(program: Path) -> None:
    script = """
signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
for _ in range(5):
    assert executor.run([program]).stdout == b"5;"
"""
    run_python(PREAMBLE + script, str(program))
