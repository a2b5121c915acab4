"""Stacks of a program that runs: every thread of every process, and nothing is disturbed by the look."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from stockade import Executor, Process, Status, hook
from stockade.monitor.hooks import Verdict
from stockade.report.stacks import format_stacks
from stockade.request import MONITORS
from support.compiler import CCompiler
from support.runs import everything_builder

# Says "go", sleeps (or works) in one way for a second, and says what came of it and how long it took, in tenths.
SLEEPERS = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#define OWN __attribute__((noinline, noclone))
static volatile int sink;
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec / 1e9; }
OWN long sleeper(const char *how) {
    struct timespec second = {1, 0};
    struct timeval limit = {1, 0};
    struct epoll_event event;
    char byte;
    int word = 1, pair[2];
    sigset_t set;
    if (!strcmp(how, "nanosleep")) return nanosleep(&second, 0);
    if (!strcmp(how, "poll")) return poll(0, 0, 1000);
    if (!strcmp(how, "ppoll")) return ppoll(0, 0, &second, 0);
    if (!strcmp(how, "select")) return select(0, 0, 0, 0, &limit);
    if (!strcmp(how, "epoll_wait")) return epoll_wait(epoll_create1(0), &event, 1, 1000);
    if (!strcmp(how, "futex")) {
        long back = syscall(SYS_futex, &word, FUTEX_WAIT, 1, &second, 0, 0);
        return back == -1 && errno == ETIMEDOUT ? 0 : back;
    }
    if (!strcmp(how, "sigtimedwait")) {
        sigemptyset(&set);
        sigaddset(&set, SIGUSR1);
        long back = sigtimedwait(&set, 0, &second);
        return back == -1 && errno == EAGAIN ? 0 : back;
    }
    if (!strcmp(how, "recv")) {
        socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
        setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        long back = recv(pair[0], &byte, 1, 0);
        return back == -1 && errno == EAGAIN ? 0 : back;
    }
    if (!strcmp(how, "read")) return read(0, &byte, 1) - 1;
    if (!strcmp(how, "wait")) { if (!fork()) { nanosleep(&second, 0); _exit(0); } return wait(0) > 0 ? 0 : -1; }
    if (!strcmp(how, "vfork")) { if (!vfork()) { nanosleep(&second, 0); _exit(0); } return 0; }
    if (!strcmp(how, "spin")) { double end = now() + 1; while (now() < end) sink++; return 0; }
    return -2;
}
static void *thread_sleeper(void *unused) { sleeper("read"); return unused; }
OWN void stop(void) { raise(SIGSTOP); }
int main(int argc, char **argv) {
    double start = now();
    long back = 0;
    errno = 0;
    setbuf(stdout, 0);
    puts("go");
    if (!strcmp(argv[1], "stop")) stop();
    else if (!strcmp(argv[1], "many")) {
        pthread_t thread;
        for (int i = 0; i < 7; i++) pthread_create(&thread, 0, thread_sleeper, 0);
        if (!fork()) { sleeper("read"); _exit(0); }
        sleeper("read");
    } else back = sleeper(argv[1]);
    printf("%ld %d %.1f\n", back, back ? errno : 0, now() - start);
    return 0;
}
"""
TIMED = (
    *("nanosleep", "poll", "ppoll", "select", "epoll_wait", "futex", "sigtimedwait", "recv", "wait", "vfork", "spin"),
)


@pytest.fixture(scope="module")
def program(compile_c: CCompiler) -> Path:
    options = ("-fno-omit-frame-pointer", "-fno-optimize-sibling-calls", "-pthread")
    return compile_c(SLEEPERS, static=True, name="sleeper", options=options)


@pytest.fixture(params=MONITORS)
def executor(request: pytest.FixtureRequest, program: Path) -> Executor:
    # What the kernel makes a program do after a stop that a debugger has caused must not become a violation.
    policy = everything_builder(program).kill_syscall("restart_syscall").build()
    return Executor(policy, monitor=request.param)


@pytest.fixture
def started(executor: Executor, program: Path) -> Iterator[list[Process]]:
    """A list for the processes of a test, which are closed in the end."""
    processes: list[Process] = []
    yield processes
    for process in processes:
        process.close()


def start(executor: Executor, program: Path, how: str, started: list[Process]) -> Process:
    process = executor.start([program, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    started.append(process)
    assert process.stdout is not None
    assert process.stdout.readline() == b"go\n"
    return process


def wait_for_state(pid: int, states: str) -> None:
    """Wait until the task is in one of the states that proc_pid_stat(5) names."""
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in states:
        pass


@pytest.mark.parametrize("how", TIMED)
def test_looking_disturbs_nothing(executor: Executor, program: Path, started: list[Process], how: str) -> None:
    process = start(executor, program, how, started)
    looks = 0
    while process.poll() is None and looks < 40:
        stacks = process.dump_stack_trace()
        looks += 1
        assert all(stack.frames or stack.missing for stack in stacks)
    assert process.stdout is not None
    back, error, duration = process.stdout.readline().split()
    assert (int(back), int(error)) == (0, 0)
    assert float(duration) >= 1
    assert process.wait() == 0
    assert not process.result.violations
    assert looks > 1


@pytest.mark.parametrize("how", ["nanosleep", "poll", "epoll_wait", "futex", "sigtimedwait", "recv"])
def test_a_call_that_was_interrupted_by_mishap_begins_again(
    executor: Executor, program: Path, started: list[Process], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task may begin such a call between the look at it and the interruption: here all looks are in vain."""
    monkeypatch.setattr("stockade.monitor.stack_dump.stack_of_sleeper", lambda tid, *, spare=False: None)
    process = start(executor, program, how, started)
    wait_for_state(process.pid, "S")
    for _ in range(3):
        (stack,) = process.dump_stack_trace()
        assert "rbx" in stack.registers  # it was stopped
    assert process.stdout is not None
    back, error, duration = process.stdout.readline().split()
    assert (int(back), int(error)) == (0, 0)
    assert float(duration) >= 1
    assert process.wait() == 0


def test_a_read_goes_on(executor: Executor, program: Path, started: list[Process]) -> None:
    process = start(executor, program, "read", started)
    wait_for_state(process.pid, "S")
    for _ in range(10):
        (stack,) = process.dump_stack_trace()
    assert (stack.pid, stack.tid, stack.name, stack.missing) == (process.pid, process.pid, "sleeper", "")
    assert stack.registers["rip"] == stack.frames[0].address
    assert stack.registers["orig_rax"] == 0
    assert "rbx" not in stack.registers  # it was not stopped for it
    assert len(stack.frames) >= 3
    assert {frame.module for frame in stack.frames} == {str(program)}
    assert process.stdin is not None
    process.stdin.write(b"x")
    process.stdin.close()
    assert process.wait() == 0
    assert process.dump_stack_trace() == ()


def test_all_threads_of_all_processes(executor: Executor, program: Path, started: list[Process]) -> None:
    process = start(executor, program, "many", started)
    stacks = process.dump_stack_trace()
    while len(stacks) < 9:
        stacks = process.dump_stack_trace()
    assert [stack.pid for stack in stacks].count(process.pid) == 8
    assert len({stack.tid for stack in stacks}) == 9
    assert all(stack.frames for stack in stacks)
    text = format_stacks(stacks)
    assert text.count("Stack of thread") == 9
    assert all(line.isprintable() for line in text.splitlines())
    process.kill()
    assert process.wait() == -signal.SIGKILL


def test_a_stopped_program(executor: Executor, program: Path, started: list[Process]) -> None:
    process = start(executor, program, "stop", started)
    wait_for_state(process.pid, "Tt")
    for _ in range(5):
        (stack,) = process.dump_stack_trace()
        assert len(stack.frames) >= 3
        wait_for_state(process.pid, "Tt")
    os.kill(process.pid, signal.SIGCONT)
    assert process.wait() == 0


def test_a_program_that_ends_at_any_moment(executor: Executor, program: Path, started: list[Process]) -> None:
    for _ in range(10):
        process = start(executor, program, "none", started)
        while process.poll() is None:
            assert len(process.dump_stack_trace()) <= 1
        assert process.returncode == 0
        assert process.result.status is Status.OK


def test_a_killed_program_is_looked_at_in_vain(executor: Executor, program: Path, started: list[Process]) -> None:
    process = start(executor, program, "spin", started)
    process.kill()
    process.dump_stack_trace()
    process.wait()
    assert process.dump_stack_trace() == ()
    assert process.result.status is Status.EXTERNAL_KILL


def test_two_who_look_at_once(executor: Executor, program: Path, started: list[Process]) -> None:
    import threading

    process = start(executor, program, "spin", started)
    found: list[int] = []
    looks = [
        threading.Thread(target=lambda: found.extend(len(process.dump_stack_trace()) for _ in range(5)))
        for _ in range(4)
    ]
    for look in looks:
        look.start()
    for look in looks:
        look.join()
    assert len(found) == 20
    assert set(found) <= {0, 1}
    assert process.wait() == 0


def test_a_task_whose_hook_is_slow_has_a_stack_too(program: Path, started: list[Process]) -> None:
    import threading

    asked, go_on = threading.Event(), threading.Event()

    @hook(slow=True)
    def decide(call: object) -> Verdict:
        asked.set()
        go_on.wait()
        return Verdict.ALLOW

    policy = everything_builder(program).trace("poll", "decide").build()
    executor = Executor(policy, hooks={"decide": decide})
    process = start(executor, program, "poll", started)
    asked.wait()
    try:
        (stack,) = process.dump_stack_trace()
    finally:
        go_on.set()
    assert stack.frames
    assert process.wait() == 0


def test_a_monitor_that_is_busy_says_so(program: Path, started: list[Process]) -> None:
    import threading

    asked, go_on = threading.Event(), threading.Event()

    def decide(call: object) -> Verdict:
        asked.set()
        go_on.wait()
        return Verdict.ALLOW

    policy = everything_builder(program).trace("poll", "decide").build()
    executor = Executor(policy, hooks={"decide": decide}, hook_timeout=60)
    process = start(executor, program, "poll", started)
    asked.wait()
    try:
        with pytest.raises(TimeoutError, match="hook"):
            process.dump_stack_trace(timeout=0.1)
    finally:
        go_on.set()
    assert process.wait() == 0
