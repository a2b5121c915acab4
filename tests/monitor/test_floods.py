"""A program that keeps the monitor busy harms itself alone: its own deadline comes, and other runs go on.

Nothing here measures time: the busy run would never end by itself, and has to end by its limit; another run has to come
to its end while the busy one goes on.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stockade import PIPE, Executor, Limits, Process, Status, Verdict
from support.compiler import CCompiler
from support.runs import everything_builder, main_program

# All of them go on for ever, with the number of processes or threads in argv[1].
FLOODS = {
    "hooked calls of one task": "for (;;) raw(SYS_getppid, 0, 0, 0, 0, 0, 0);",
    "hooked calls of many processes": """
        for (int i = 0; i < 40; i++) if (!fork()) for (;;) raw(SYS_getppid, 0, 0, 0, 0, 0, 0);
        for (;;) pause();
    """,
    "hooked calls of many threads": """
        pthread_t t; for (int i = 0; i < 40; i++) pthread_create(&t, 0, call, 0);
        for (;;) raw(SYS_getppid, 0, 0, 0, 0, 0, 0);
    """,
    "signals to itself": "signal(SIGUSR1, handle); for (;;) raise(SIGUSR1);",
    "signals between processes": """
        signal(SIGUSR1, handle); signal(SIGUSR2, handle); int other = fork(), to = other ? other : getppid();
        for (;;) { kill(to, SIGUSR1); kill(to, SIGUSR2); }
    """,
    "stops and continuations": """
        int child = fork(); if (!child) for (;;);
        for (;;) { kill(child, SIGSTOP); kill(child, SIGCONT); }
    """,
    "processes that come and go": "signal(SIGCHLD, SIG_IGN); for (;;) { if (!fork()) _exit(0); }",
    "threads that come and go": """
        for (;;) { pthread_t t; if (!pthread_create(&t, 0, nothing, 0)) pthread_join(t, 0); }
    """,
    "execs": "execl(argv[0], argv[0], (char *)0);",
    "timers": """
        signal(SIGALRM, handle); struct itimerval often = {{0, 1}, {0, 1}}; setitimer(ITIMER_REAL, &often, 0); for (;;);
    """,
    "calls that are logged": "for (;;) raw(SYS_getuid, 0, 0, 0, 0, 0, 0);",
}
BEFORE = """
#include <sys/time.h>
static void handle(int signo) {}
static void *call(void *p) { for (;;) raw(SYS_getppid, 0, 0, 0, 0, 0, 0); }
static void *nothing(void *p) { return 0; }
"""


@pytest.fixture(params=FLOODS)
def flood(request: pytest.FixtureRequest, compile_c: CCompiler) -> Path:
    return main_program(compile_c, FLOODS[request.param], before=BEFORE)


@pytest.fixture
def short(compile_c: CCompiler) -> Path:
    body = """
    for (int i = 0; i < 20; i++) { raw(SYS_getppid, 0, 0, 0, 0, 0, 0); if (!fork()) _exit(0); wait(0); }
    say("done");
    """
    return main_program(compile_c, body)


def flooded(program: Path, **options: object) -> Executor:
    policy = everything_builder(program).trace("getppid", "hook").log_syscall("getuid").build()
    hooks = {"hook": lambda call: Verdict.ALLOW}
    return Executor(policy, hooks=hooks, **options)  # type: ignore[arg-type]


@pytest.fixture
def running(flood: Path) -> Iterator[Process]:
    process = flooded(flood).start([flood])
    yield process
    process.close()


def test_its_own_deadline_comes(flood: Path) -> None:
    result = flooded(flood, limits=Limits(wall_time=0.1)).run([flood])
    assert (result.status, result.limit) == (Status.TIMEOUT, "wall_time")
    process = flooded(flood).start([flood])
    process.set_wall_time(0.1)
    assert process.wait() == -signal.SIGKILL
    process.close()
    assert process.result.status is Status.TIMEOUT


def test_others_go_on_and_it_can_be_killed(running: Process, short: Path) -> None:
    executor = flooded(short)
    results = []
    threads = [threading.Thread(target=lambda: results.append(executor.run([short]))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(result.status, result.stdout) for result in results] == [(Status.OK, b"done")] * 3
    assert running.poll() is None
    running.kill()
    assert running.wait() == -signal.SIGKILL


def test_a_task_is_not_hidden_behind_others(compile_c: CCompiler) -> None:
    """Two dozen processes that stop all the time, and one that has to make a hundred calls between them."""
    body = """
    for (int i = 0; i < 24; i++) if (!fork()) for (;;) raw(SYS_getppid, 0, 0, 0, 0, 0, 0);
    for (int i = 0; i < 100; i++) raw(SYS_getppid, 0, 0, 0, 0, 0, 0);
    say("through");
    """
    program = main_program(compile_c, body)
    result = flooded(program).run([program])
    assert (result.status, result.stdout) == (Status.OK, b"through")


def test_a_violation_in_the_crowd_ends_it(compile_c: CCompiler) -> None:
    body = """
    for (int i = 0; i < 24; i++) if (!fork()) for (;;) raw(SYS_getppid, 0, 0, 0, 0, 0, 0);
    if (!fork()) { for (int i = 0; i < 50; i++) raw(SYS_getppid, 0, 0, 0, 0, 0, 0); raw(SYS_getpgid, 0, 0, 0, 0, 0,
        0); }
    for (;;) pause();
    """
    program = main_program(compile_c, body)
    policy = everything_builder(program).trace("getppid", "hook").kill_syscall("getpgid").build()
    result = Executor(policy, hooks={"hook": lambda call: Verdict.ALLOW}).run([program])
    assert result.status is Status.VIOLATION
    assert [violation.syscall for violation in result.violations] == ["getpgid"]


def test_a_flood_beside_a_thread_that_computes(compile_c: CCompiler) -> None:
    """A thread of the user's own process that never rests costs time, but nothing else."""
    program = main_program(compile_c, 'for (int i = 0; i < 2000; i++) raw(SYS_getppid, 0, 0, 0, 0, 0, 0); say("all");')
    done = threading.Event()

    def compute() -> None:
        while not done.is_set():
            sum(range(1000))

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        assert flooded(program).run([program]).stdout == b"all"
    finally:
        done.set()
        thread.join()


def test_the_thread_that_has_followed_a_flood_follows_the_next_run(compile_c: CCompiler) -> None:
    program = main_program(compile_c, FLOODS["hooked calls of many processes"], before=BEFORE)
    assert flooded(program, limits=Limits(wall_time=0.05)).run([program]).status is Status.TIMEOUT
    echo = main_program(compile_c, "char c; while (read(0, &c, 1) == 1) write(1, &c, 1);")
    with flooded(echo).start([echo], stdin=PIPE, stdout=PIPE) as process:
        assert process.communicate(b"again")[0] == b"again"


@pytest.mark.parametrize("end", ["exit_group(0);", 'execl(argv[0], argv[0], "again", (char *)0);'])
def test_tasks_that_are_killed_in_their_calls_breach_nothing(compile_c: CCompiler, end: str) -> None:
    """The end of a process, or its exec, kills threads at the very moment at which the monitor looks at them."""
    body = f"""
    if (argc > 1) return 0;
    pthread_t t;
    for (int i = 0; i < 12; i++) pthread_create(&t, 0, call, 0);
    for (int i = 0; i < 20; i++) raw(SYS_getppid, 0, 0, 0, 0, 0, 0);
    {end.replace("exit_group(0)", "syscall(SYS_exit_group, 0)")}
    """
    program = main_program(compile_c, body, before=BEFORE)
    executor = flooded(program)
    for _ in range(15):
        result = executor.run([program])
        assert (result.status, result.returncode, result.violations) == (Status.OK, 0, ()), result.report()
