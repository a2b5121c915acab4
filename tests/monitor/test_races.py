"""Violations and the end of the whole tree, wherever in it the violation happens and whatever ends at the same time."""

from __future__ import annotations

import os
import select
import signal
import time
from pathlib import Path

import pytest

from stockade import PIPE, Executor, Result, Status, Syscall, Verdict
from stockade.monitor import machine, ptrace_driver, supervision, tracer, violations
from support.compiler import CCompiler
from support.monitors import assert_counts
from support.runs import everything_builder, main_program

VIOLATE = "raw(SYS_getppid, 0, 0, 0, 0, 0, 0);"


def lenient(program: Path) -> Executor:
    return Executor(everything_builder(program).kill_syscall("getppid").build())


def assert_violated(result: Result) -> None:
    assert (result.status, result.returncode) == (Status.VIOLATION, -signal.SIGSYS)
    assert [violation.syscall for violation in result.violations] == ["getppid"]


TREES = {
    "the program itself": VIOLATE,
    "a child": f"if (fork() == 0) {{ {VIOLATE} }} wait(0); pause();",
    "a child whose parent does not wait": f"if (fork() == 0) {{ {VIOLATE} }} pause();",
    "a grandchild": f"if (fork() == 0) {{ if (fork() == 0) {{ {VIOLATE} }} wait(0); pause(); }} wait(0); pause();",
    "an orphan": f"if (fork() == 0) {{ if (fork() == 0) {{ {VIOLATE} }} _exit(0); }} wait(0); pause();",
    "a child of vfork": f"if (vfork() == 0) {{ {VIOLATE} _exit(0); }} pause();",
    "a child of a new session": f"if (fork() == 0) {{ setsid(); {VIOLATE} }} wait(0); pause();",
    "after exec": f'if (argc < 2) execl(argv[0], argv[0], "again", (char *)0); {VIOLATE}',
    "after exec in a child": 'if (argc < 2) { if (fork()) pause(); execl(argv[0], argv[0], "x", (char *)0); }'
    + VIOLATE,
    "a thread": "pthread_t t; pthread_create(&t, 0, violate, 0); pause();",
    "a thread whose leader has ended": "pthread_t t; pthread_create(&t, 0, violate_after_leader, 0); pthread_exit(0);",
    "a thread that has called exec": "pthread_t t; if (argc < 2) { pthread_create(&t, 0, again, argv[0]); pause(); }"
    + VIOLATE,
    "a thread of a child": "pthread_t t; if (fork()) pause(); pthread_create(&t, 0, violate, 0); pause();",
}
THREADS = f"""
static void *violate(void *nothing) {{ {VIOLATE} return 0; }}
static void *violate_after_leader(void *nothing) {{
    char text[512] = "", path[64];
    snprintf(path, sizeof path, "/proc/%d/stat", getpid());
    while (!strstr(text, ") Z ")) {{
        int file = open(path, O_RDONLY);
        text[0] = 0;
        if (file < 0 || read(file, text, sizeof text - 1) <= 0) _exit(8);
        close(file);
    }}
    {VIOLATE}
    return 0;
}}
static void *again(void *name) {{ execl(name, name, "again", (char *)0); return 0; }}
"""


@pytest.mark.parametrize("place", TREES)
def test_a_violation_anywhere_ends_everything(compile_c: CCompiler, place: str) -> None:
    program = main_program(compile_c, TREES[place], before=THREADS)
    policy = everything_builder(program).kill_syscall("getppid").add_proc().build()
    reader, writer = os.pipe()
    try:
        process = Executor(policy).start([program], pass_fds=[writer])
        os.close(writer)
        writer = -1
        main = os.pidfd_open(process.pid) if process.poll() is None else -1
        with process:
            assert process.wait() == -signal.SIGSYS
        assert_violated(process.result)
        # Every process of the tree held the pipe: its end says that all of them are gone.
        assert os.read(reader, 1) == b""
        if main >= 0:
            assert select.select([main], [], [])[0] == [main]
            os.close(main)
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)


@pytest.mark.parametrize("place", TREES)
def test_each_of_these_trees_makes_the_call_once(compile_c: CCompiler, place: str) -> None:
    """Positive control: the programs reach the call, wherever it is."""
    program = main_program(compile_c, TREES[place], before=THREADS)
    callers = []

    def see(call: Syscall) -> Verdict:
        callers.append((call.name, call.pid))
        return Verdict.KILL

    policy = everything_builder(program).trace("getppid", "see").add_proc().build()
    result = Executor(policy, hooks={"see": see}).run([program])
    assert result.status is Status.VIOLATION
    assert [name for name, _ in callers] == ["getppid"]
    in_another_process = "child" in place or "orphan" in place
    assert (callers[0][1] != result.pid) == in_another_process


RACE = """
static int file;
static volatile int go;
static void *leave(void *nothing) { while (!go); syscall(SYS_exit_group, 0); return 0; }
"""


@pytest.mark.slow
def test_a_violation_that_races_with_exit_group_never_takes_effect(compile_c: CCompiler) -> None:
    """The refused call would write a byte; it may be that the exit wins, never that the byte is there."""
    body = """
    pthread_t t;
    pthread_create(&t, 0, leave, 0);
    go = 1;
    for (volatile int i = number_of(argv[1]); i; i--);
    raw(SYS_pwrite64, 1, (long)"x", 1, 0, 0, 0);
    for (;;);
    """
    program = main_program(compile_c, body, before=RACE)
    executor = Executor(everything_builder(program).kill_syscall("pwrite64").build())
    seen = set()
    for delay in [*range(0, 2000, 20)] * 2:
        result = executor.run([program, str(delay)])
        seen.add(result.status)
        assert result.stdout == b""
        if result.status is Status.VIOLATION:
            assert [violation.syscall for violation in result.violations] == ["pwrite64"]
        else:
            assert (result.status, result.returncode, result.violations) == (Status.OK, 0, ())
    assert seen <= {Status.VIOLATION, Status.OK}


@pytest.mark.slow
def test_two_violations_at_once_are_one_verdict(compile_c: CCompiler) -> None:
    body = "pthread_t t; pthread_create(&t, 0, rush, 0); go = 1; raw(SYS_getppid, 0, 0, 0, 0, 0, 0); for (;;);"
    before = (
        "static volatile int go;\nstatic void *rush(void *n) { while (!go); raw(SYS_getppid, 0,0,0,0,0,0); for (;;); }"
    )
    program = main_program(compile_c, body, before=before)
    executor = lenient(program)
    for _ in range(30):
        result = executor.run([program])
        assert result.status is Status.VIOLATION
        assert {violation.syscall for violation in result.violations} == {"getppid"}


def test_a_violation_in_a_vfork_child_beside_an_exec(compile_c: CCompiler) -> None:
    """Neighbour of the trees: the child of vfork that execs instead leaves its parent to go on."""
    body = """
    if (argc > 1) { say("child "); _exit(0); }
    if (vfork() == 0) { execl(argv[0], argv[0], "x", (char *)0); _exit(9); }
    wait(0);
    say("parent");
    """
    program = main_program(compile_c, body)
    result = lenient(program).run([program])
    assert (result.status, result.stdout) == (Status.OK, b"child parent")
    assert_counts(result, processes=2, threads=2)


def test_nothing_waits_for_time_between_the_stop_and_the_verdict(
    compile_c: CCompiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = main_program(compile_c, "pthread_t t; pthread_create(&t, 0, violate, 0); pause();", before=THREADS)
    executor = lenient(program)
    assert_violated(executor.run([program]))

    def refuse(*arguments: object) -> None:
        raise AssertionError(f"a timed wait: {arguments}")

    real_select = select.select

    def only_asking(reading: list[int], writing: list[int], other: list[int], timeout: float | None = None) -> object:
        assert timeout in (None, 0), timeout
        return real_select(reading, writing, other, timeout)

    monkeypatch.setattr(time, "sleep", refuse)
    monkeypatch.setattr(select, "select", only_asking)
    assert_violated(executor.run([program]))
    # Whoever waits for the verdict does so in poll() without an end, in wait4() or on a condition; the modules that lie
    # between the stop and the verdict know no other way to wait.
    for module in (machine, ptrace_driver, supervision, tracer, violations):
        assert module.__file__
        source = Path(module.__file__).read_text()
        assert "sleep" not in source
        assert "select.select" not in source.replace("[], [], 0)", "")


def test_many_threads_die_in_one_go(compile_c: CCompiler) -> None:
    """A hundred busy threads are let go together when one breaches: the run ends although all stop at their exit."""
    before = "static void *spin(void *n) { for (;;); }"
    body = "pthread_t t; for (int i = 0; i < 100; i++) pthread_create(&t, 0, spin, 0);" + VIOLATE
    program = main_program(compile_c, body, before=before)
    result = lenient(program).run([program])
    assert_violated(result)
    assert_counts(result, processes=1, threads=101)


def test_output_up_to_the_violation_is_kept(compile_c: CCompiler) -> None:
    program = main_program(compile_c, f'say("before "); write(2, "error", 5); {VIOLATE} say("after");')
    result = lenient(program).run([program], stderr=PIPE)
    assert_violated(result)
    assert (result.stdout, result.stderr) == (b"before ", b"error")
