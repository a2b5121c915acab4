"""Every final status with every reason that it may have: one table of how each comes about, and what it then says."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stockade import PIPE, Executor, Limits, MonitorError, Process, Result, SandboxError, Status, Verdict, Violation
from stockade._proto import report_pb2
from stockade.host import forkserver
from stockade.monitor.outcome import Cause
from support.attacks import descendants, parents
from support.compiler import CCompiler
from support.runs import everything_builder, main_program

# What argv[1] says.
BODY = r"""
const char *what = argv[1];
if (!strcmp(what, "exit")) return atoi(argv[2]);
if (!strcmp(what, "refused")) raw(SYS_getppid, 0, 0, 0, 0, 0, 0);
if (!strcmp(what, "refused in a child")) { if (!fork()) { raw(SYS_getppid, 0, 0, 0, 0, 0, 0); } wait(0); }
if (!strcmp(what, "refused in a thread")) { pthread_t t; pthread_create(&t, 0, violate, 0); for (;;) pause(); }
if (!strcmp(what, "refused while the first thread has ended")) { pthread_t t; pthread_create(&t, 0, violate, 0);
    pthread_exit(0); }
if (!strcmp(what, "refused in a child at the end")) { if (!fork()) { kill(getpid(), SIGSTOP); raw(SYS_getppid, 0,
    0, 0, 0, 0, 0); } }
if (!strcmp(what, "foreign")) __asm__ volatile("int $0x80" :: "a"(20));
if (!strcmp(what, "hook")) raw(SYS_getpgid, 0, 0, 0, 0, 0, 0);
if (!strcmp(what, "signal")) { kill(getpid(), atoi(argv[2])); for (;;) pause(); }
if (!strcmp(what, "fault")) *(volatile char *)0x8000 = 1;
if (!strcmp(what, "threads go on")) { pthread_t t; pthread_create(&t, 0, finish, 0); pthread_exit(0); }
if (!strcmp(what, "forged")) {
    siginfo_t info = {.si_signo = SIGSYS, .si_code = 1 /* SYS_SECCOMP */};
    info.si_syscall = SYS_getppid; info.si_arch = 0xc000003e;
    raw(SYS_rt_sigqueueinfo, getpid(), SIGSYS, (long)&info, 0, 0, 0); for (;;) pause();
}
if (!strcmp(what, "trapped")) { raw(SYS_getpriority, 0, 0, 0, 0, 0, 0); say("not trapped"); }
if (!strcmp(what, "trapped and handled")) { signal(SIGSYS, handle); raw(SYS_getpriority, 0, 0, 0, 0, 0, 0); return 6; }
if (!strcmp(what, "noise")) for (;;) if (write(1, what, 5) < 0) return 1;
if (!strcmp(what, "spin")) for (;;);
say("ready\n");
for (;;) pause();
"""
BEFORE = """
static void *violate(void *p) { raw(SYS_getppid, 0, 0, 0, 0, 0, 0); for (;;) pause(); }
static void *finish(void *p) { for (volatile int i = 0; i < 1000000; i++); exit(12); }
static void handle(int signo) { say("handled"); }
"""


@pytest.fixture(scope="module")
def program(compile_c: CCompiler) -> Path:
    return main_program(compile_c, BODY, before=BEFORE)


def executor_of(program: Path, hook: Callable[..., Any] = lambda call: Verdict.ALLOW, **options: Any) -> Executor:
    policy = everything_builder(program).kill_syscall("getppid").trap_syscall("getpriority").trace("getpgid", "hook")
    return Executor(policy.build(), hooks={"hook": hook}, **options)


@dataclass(frozen=True)
class Case:
    """How one end comes about, and what the result says of it."""

    argv: tuple[str, ...]
    status: Status
    returncode: int
    reason: dict[str, Any]
    options: dict[str, Any]


def case(*argv: str, status: Status, returncode: int, options: dict[str, Any] | None = None, **reason: Any) -> Case:
    return Case(argv, status, returncode, reason, options or {})


def refuse(call: object) -> Verdict:
    return Verdict.KILL


def fail(call: object) -> Verdict:
    raise LookupError("no such luck")


def finish(call: object) -> Verdict:
    return Verdict.finish("enough")


OK, VIOLATION, SIGNALED = Status.OK, Status.VIOLATION, Status.SIGNALED
REFUSED: dict[str, Any] = {"status": VIOLATION, "returncode": -31, "violation": Violation.SYSCALL}
CASES = {
    "exit code 0": case("exit", "0", status=OK, returncode=0, exit_code=0),
    "exit code 255": case("exit", "255", status=OK, returncode=255, exit_code=255),
    "an exit code that looks like a signal": case("exit", "159", status=OK, returncode=159, exit_code=159),
    "the first thread ends, the others go on": case("threads go on", status=OK, returncode=12, exit_code=12),
    "a trapped call with a handler": case("trapped and handled", status=OK, returncode=6, exit_code=6),
    "a call that is not allowed": case("refused", **REFUSED),
    "the same in a child": case("refused in a child", **REFUSED),
    "the same in a thread": case("refused in a thread", **REFUSED),
    "the same when the first thread has ended": case("refused while the first thread has ended", **REFUSED),
    "a foreign ABI": case("foreign", status=VIOLATION, returncode=-31, violation=Violation.ARCHITECTURE),
    "a hook that refuses": case(
        "hook", status=VIOLATION, returncode=-31, violation=Violation.HOOK, options={"hook": refuse}
    ),
    "a hook that fails": case(
        "hook", status=VIOLATION, returncode=-31, violation=Violation.HOOK, options={"hook": fail}
    ),
    "a signal that it sends itself": case("signal", "10", status=SIGNALED, returncode=-10, signal=10, si_code=0),
    "SIGSYS that it sends itself": case("signal", "31", status=SIGNALED, returncode=-31, signal=31, si_code=0),
    "SIGKILL that it sends itself": case("signal", "9", status=SIGNALED, returncode=-9, signal=9),
    "a fault": case("fault", status=SIGNALED, returncode=-11, signal=11, si_code=1, fault_address=0x8000),
    "SIGSYS with a forged reason": case("forged", status=SIGNALED, returncode=-31, signal=31, si_code=1),
    "SIGSYS of a trap rule": case("trapped", status=SIGNALED, returncode=-31, signal=31, si_code=1),
    "wall time": case(
        "wait", status=Status.TIMEOUT, returncode=-9, limit="wall_time", options={"limits": Limits(wall_time=0.05)}
    ),
    "wall time of one that never rests": case(
        "spin", status=Status.TIMEOUT, returncode=-9, limit="wall_time", options={"limits": Limits(wall_time=0.05)}
    ),
    "too much output": case(
        "noise", status=Status.LIMIT, returncode=-9, limit="output", options={"limits": Limits(output=1000)}
    ),
    "a verdict of the user": case(
        "hook", status=Status.EXTERNAL_KILL, returncode=-9, killed_by="verdict", options={"hook": finish}
    ),
}
# What only a tracer is told.
TRACED_REASONS = ("si_code", "fault_address")


def assert_result(result: Result, status: Status, returncode: int, **reason: Any) -> None:
    """Result, message and report agree about the end of a run."""
    assert (result.status, result.returncode) == (status, returncode), result.report()
    if result.monitor != "ptrace":
        reason = {name: value for name, value in reason.items() if name not in TRACED_REASONS}
        assert (result.reason.si_code, result.reason.fault_address) == (0, 0)
    for name, value in reason.items():
        assert getattr(result.reason, name) == value, name
    code = result.reason.WhichOneof("code")
    assert code == next(iter(reason))
    message = result.to_proto()
    assert message.status == report_pb2.Status.Value(f"STATUS_{status.name}")
    assert message.reason == result.reason
    assert message.returncode == returncode
    assert bool(result.violations) == (status is VIOLATION)
    assert result.exit_code == (returncode if status is OK else None)
    assert result.signal == (-returncode if status is SIGNALED else None)
    assert result.limit == reason.get("limit")
    assert result.report()


@pytest.mark.parametrize("name", CASES)
def test_an_end(program: Path, name: str) -> None:
    wanted = CASES[name]
    result = executor_of(program, **wanted.options).run([program, *wanted.argv])
    assert_result(result, wanted.status, wanted.returncode, **wanted.reason)


def test_a_hook_that_takes_too_long(program: Path) -> None:
    reader, writer = os.pipe()

    def stuck(call: object) -> Verdict:
        os.read(reader, 1)
        return Verdict.ALLOW

    executor = executor_of(program, stuck, hook_timeout=0.05)
    result = executor.run([program, "hook"])
    os.write(writer, b"x")
    os.close(writer)
    assert_result(result, VIOLATION, -31, violation=Violation.HOOK_TIMEOUT)
    os.close(reader)


def test_sigsys_that_is_none_of_ours_is_handled_by_the_program(program: Path) -> None:
    result = executor_of(program).run([program, "trapped and handled"])
    assert result.stdout == b"handled"


@pytest.fixture
def waiting(program: Path) -> Iterator[Process]:
    """A program that has said that it is ready, and waits."""
    process = executor_of(program).start([program, "wait"], stdout=PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    yield process
    process.close()


def test_killed_by_kill(waiting: Process) -> None:
    waiting.kill()
    waiting.wait()
    assert_result(waiting.result, Status.EXTERNAL_KILL, -9, killed_by="kill")


def test_killed_by_closing(waiting: Process) -> None:
    waiting.close()
    assert_result(waiting.result, Status.EXTERNAL_KILL, -9, killed_by="kill")


def test_killed_by_terminate(waiting: Process) -> None:
    waiting.terminate()
    waiting.wait()
    assert_result(waiting.result, Status.EXTERNAL_KILL, -15, killed_by="terminate")


def test_killed_by_an_interrupt(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while `run` waits: tests/executor/test_interrupt.py does it for real; this is what the result says."""
    seen: list[Process] = []

    def interrupted(process: Process, *arguments: object) -> None:
        seen.append(process)
        raise KeyboardInterrupt

    monkeypatch.setattr(Process, "communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        executor_of(program).run([program, "wait"])
    assert_result(seen[0].result, Status.EXTERNAL_KILL, -9, killed_by="interrupt")


def test_a_set_up_that_fails(program: Path) -> None:
    with pytest.raises(SandboxError) as caught:
        executor_of(program).run(["/nowhere"])
    result = caught.value.result
    assert result is not None
    assert_result(result, Status.SETUP_ERROR, -9, step="find_program")
    assert result.to_proto().setup_failure.errno == errno.ENOENT


def test_a_cwd_that_is_not_there(program: Path) -> None:
    with pytest.raises(SandboxError) as caught:
        executor_of(program).run([program, "exit", "0"], cwd="/nowhere")
    assert caught.value.result is not None
    assert_result(caught.value.result, Status.SETUP_ERROR, -9, step="cwd")


def test_we_fail_ourselves(waiting: Process) -> None:
    """The processes that hold the box are killed under the program: that is neither its fault nor the caller's wish."""
    server = forkserver.current_pid()
    assert server
    init = parents()[waiting.pid]
    assert init in descendants(server)
    os.kill(init, signal.SIGKILL)
    waiting.wait()
    with pytest.raises(MonitorError) as caught:
        waiting.result  # noqa: B018
    result = caught.value.result
    assert result is not None
    assert_result(result, Status.INTERNAL_ERROR, -9, internal=result.reason.internal)
    assert "init" in result.reason.internal


# Which of two ends counts.


def test_a_violation_in_a_child_counts_when_the_program_ends_at_the_same_time(compile_c: CCompiler) -> None:
    """Whichever comes first: it is a violation with its call, or it is none and the call was not made."""
    body = """
    int ends[2]; pipe(ends);
    if (!fork()) { char c; close(ends[1]); read(ends[0], &c, 1); raw(SYS_pwrite64, 1, (long)"x", 1, 0, 0, 0); }
    """
    program = main_program(compile_c, body)
    executor = Executor(everything_builder(program).kill_syscall("pwrite64").build())
    for _ in range(20):
        result = executor.run([program])
        assert result.stdout == b""
        if result.status is OK:
            assert not result.violations
        else:
            assert_result(result, VIOLATION, -31, violation=Violation.SYSCALL)


def test_a_violation_before_the_end_of_the_program_counts(compile_c: CCompiler) -> None:
    """The program exits with 0 as soon as its child is dead: the child died of a violation."""
    program = main_program(compile_c, "if (!fork()) raw(SYS_getppid, 0, 0, 0, 0, 0, 0); wait(0);")
    executor = Executor(everything_builder(program).kill_syscall("getppid").build())
    for _ in range(10):
        assert_result(executor.run([program]), VIOLATION, -31, violation=Violation.SYSCALL)


def test_a_violation_counts_more_than_a_kill(program: Path) -> None:
    """The hook has the run killed from outside, then refuses."""
    process: list[Process] = []

    def hook(call: object) -> Verdict:
        while not process:
            time.sleep(0)
        process[0].kill()
        return Verdict.KILL

    executor = executor_of(program, hook)
    process.append(executor.start([program, "hook"]))
    process[0].wait()
    process[0].close()
    assert process[0].result.status in (VIOLATION, Status.EXTERNAL_KILL)
    assert bool(process[0].result.violations) == (process[0].result.status is VIOLATION)


def test_what_came_first_stands(waiting: Process) -> None:
    waiting.kill()
    waiting.set_wall_time(0.000001)
    waiting.terminate(0)
    waiting.wait()
    assert_result(waiting.result, Status.EXTERNAL_KILL, -9, killed_by="kill")


def test_every_status_and_cause_has_a_test() -> None:
    """A status or cause that is added needs a line above."""
    source = Path(__file__).read_text()
    for status in Status:
        assert f"Status.{status.name}" in source, status
    for cause in Cause:
        if cause not in (Cause.TIMEOUT, Cause.LIMIT):  # those have a status of their own
            assert f'killed_by="{cause.value}"' in source, cause
    kinds = set(Violation.Kind.keys()) - {"KIND_UNSPECIFIED"}
    # What would refuse a connection, a path or a brokered call does not exist yet: nothing produces these.
    assert {kind for kind in kinds if f"Violation.{kind}" in source} == kinds - NOT_PRODUCED


NOT_PRODUCED = {"NETWORK", "PATH"}
