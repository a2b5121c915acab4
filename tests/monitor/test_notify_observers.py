"""Notify.violation, exit, quota and finished: told once, on every path, and never in the way."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from stockade import (
    Executor,
    Limits,
    MonitorError,
    Notify,
    ProcessEvent,
    QuotaEvent,
    Result,
    SetupError,
    Status,
    Verdict,
    Violation,
)
from stockade.monitor.ptrace_driver import PtraceDriver
from support.compiler import CCompiler
from support.notified import Recorder, processes_builder
from support.runs import main_program, static_builder


@pytest.fixture(scope="module")
def getppid(compile_c: CCompiler) -> Path:
    return main_program(compile_c, 'char t[32]; snprintf(t, 32, "%ld;", raw(SYS_getppid, 0,0,0,0,0,0)); say(t);')


# Observers: violation, exit, quota, finished.


def test_violations_are_told_once_each(compile_c: CCompiler) -> None:
    body = "for (int i = 0; i < 5; i++) raw(SYS_getppid, 0, 0, 0, 0, 0, 0); raw(SYS_getpgrp, 0, 0, 0, 0, 0, 0);"
    program = main_program(compile_c, body)
    for mode, told in (("refuse", ["getppid", "getpgrp"]), ("enforce", ["getppid"])):
        recorder = Recorder()
        result = Executor(static_builder(program).build(), mode=mode, notify=recorder).run([program])
        assert recorder.of("violation") == told == [each.syscall for each in result.violations]
        if mode == "refuse":
            assert result.violations[0].count == 5


def test_a_told_violation_is_the_users_own_copy(compile_c: CCompiler) -> None:
    program = main_program(compile_c, "raw(SYS_getppid, 0, 0, 0, 0, 0, 0);")

    class Forges(Notify):
        def violation(self, violation: Violation) -> Verdict | None:
            violation.Clear()
            return None

    result = Executor(static_builder(program).build(), notify=Forges()).run([program])
    assert [each.syscall for each in result.violations] == ["getppid"]


@pytest.mark.parametrize(
    ("answer", "status"),
    [(None, Status.OK), (Verdict.KILL, Status.VIOLATION), (Verdict.finish("enough"), Status.EXTERNAL_KILL)],
    ids=repr,
)
def test_a_violation_that_would_not_end_the_run_may(
    compile_c: CCompiler, answer: Verdict | None, status: Status
) -> None:
    program = main_program(compile_c, 'raw(SYS_getppid, 0, 0, 0, 0, 0, 0); say("went on");')

    class Decides(Notify):
        def violation(self, violation: Violation) -> Verdict | None:
            return answer

    result = Executor(static_builder(program).build(), mode="refuse", notify=Decides()).run([program])
    assert result.status is status
    assert result.stdout == (b"went on" if answer is None else b"")


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """What is handed to sys.unraisablehook."""
    found: list[BaseException] = []
    monkeypatch.setattr("sys.unraisablehook", lambda arguments: found.append(arguments.exc_value))
    return found


@pytest.mark.parametrize("error", [ValueError("odd"), SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_what_fails_when_the_run_is_ending_is_told_and_changes_nothing(
    compile_c: CCompiler, lost: list[BaseException], error: BaseException
) -> None:
    program = main_program(compile_c, "raw(SYS_getppid, 0, 0, 0, 0, 0, 0);")

    class Fails(Notify):
        def violation(self, violation: Violation) -> Verdict | None:
            raise error

        def exit(self, event: ProcessEvent) -> Verdict | None:
            raise error

        def finished(self, result: Result) -> None:
            raise error

    result = Executor(static_builder(program).build(), notify=Fails()).run([program])
    assert result.status is Status.VIOLATION
    assert [(each.kind, each.syscall) for each in result.violations] == [(Violation.SYSCALL, "getppid")]
    assert [each is error for each in lost] == [True] * 3


@pytest.mark.parametrize("stuck", ["violation", "finished", "quota"])
def test_an_observer_that_never_returns_does_not_hold_the_run(compile_c: CCompiler, stuck: str) -> None:
    body = {"violation": "raw(SYS_getppid, 0, 0, 0, 0, 0, 0);", "finished": "", "quota": "for (;;) ;"}[stuck]
    status = {"violation": Status.VIOLATION, "finished": Status.OK, "quota": Status.TIMEOUT}[stuck]
    program = main_program(compile_c, body)
    never = threading.Event()
    finished: list[Status] = []

    class Stuck(Notify):
        def finished(self, result: Result) -> None:
            finished.append(result.status)

    notify = Stuck()

    def hang(*_arguments: object) -> None:
        if stuck == "finished":
            finished.append(status)
        never.wait()

    setattr(notify, stuck, hang)
    try:
        executor = Executor(
            static_builder(program).build(), limits=Limits(wall_time=0.1), notify=notify, hook_timeout=0.5
        )
        result = executor.run([program])
        assert (result.status, finished) == (status, [status])
        assert result.to_proto().abandoned_threads == 1
        assert len(result.violations) == (stuck == "violation")
    finally:
        never.set()


QUOTAS = {
    "wall_time": ("for (;;) ;", Limits(wall_time=0.05), Status.TIMEOUT),
    "output": ("char b[4096] = {0}; for (;;) raw(SYS_write, 1, (long)b, sizeof b, 0, 0, 0);", None, Status.LIMIT),
}


@pytest.mark.parametrize("name", QUOTAS)
def test_a_limit_is_told(compile_c: CCompiler, name: str) -> None:
    body, limits, status = QUOTAS[name]
    program = main_program(compile_c, body)
    events: list[QuotaEvent] = []
    order: list[str] = []

    class Quota(Notify):
        def quota(self, event: QuotaEvent) -> Verdict | None:
            events.append(event)
            order.append("quota")
            return Verdict.finish("too much")

        def finished(self, result: Result) -> None:
            order.append("finished")
            assert result.user_verdict == "too much"

    executor = Executor(static_builder(program).build(), limits=limits or Limits(output=10000), notify=Quota())
    result = executor.run([program])
    assert result.status is status
    assert result.limit == name
    (event,) = events
    assert (event.name, event.allowed) == (name, result.to_proto().limit.allowed)
    assert event.measured >= event.allowed
    assert order == ["quota", "finished"]
    assert result.user_verdict == "too much"


def test_output_that_is_found_too_much_after_the_end_is_told_late(compile_c: CCompiler) -> None:
    program = main_program(compile_c, "char b[4096] = {0}; raw(SYS_write, 1, (long)b, sizeof b, 0, 0, 0);")
    order: list[Any] = []

    class Quota(Notify):
        def quota(self, event: QuotaEvent) -> Verdict | None:
            order.append(event.name)
            return None

        def finished(self, result: Result) -> None:
            order.append("finished")

    result = Executor(static_builder(program).build(), limits=Limits(output=100), notify=Quota()).run([program])
    assert result.status is Status.LIMIT
    assert sorted(order) == ["finished", "output"]


def test_finished_is_told_when_the_program_never_started(getppid: Path) -> None:
    recorder = Recorder()
    with pytest.raises(SetupError) as raised:
        Executor(static_builder(getppid).build(), notify=recorder).run(["/no/such/program"])
    assert raised.value.result is not None
    assert raised.value.result.status is Status.SETUP_ERROR
    assert recorder.events == [("finished", (Status.SETUP_ERROR, None))]


def test_finished_is_told_when_we_fail(getppid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        raise RuntimeError("odd")

    monkeypatch.setattr(PtraceDriver, "_exec_stop", fail)
    recorder = Recorder()
    with pytest.raises(MonitorError, match="odd"):
        Executor(static_builder(getppid).build(), notify=recorder).run([getppid])
    assert recorder.events == [("finished", (Status.INTERNAL_ERROR, None))]


def test_finished_is_told_when_the_run_is_killed(compile_c: CCompiler) -> None:
    program = main_program(compile_c, "pause();")
    recorder = Recorder()
    with Executor(processes_builder(program).build(), notify=recorder).start([program]) as process:
        process.kill()
        process.wait()
    assert recorder.of("finished") == [(Status.EXTERNAL_KILL, None)]
    assert recorder.of("quota") == []


def test_finished_comes_before_anybody_who_waits(getppid: Path) -> None:
    seen: list[int | None] = []

    class Finished(Notify):
        def finished(self, result: Result) -> None:
            seen.append(processes[0].returncode if processes else None)

    processes: list[Any] = []
    policy = static_builder(getppid).allow_syscalls("getppid").build()
    with Executor(policy, notify=Finished()).start([getppid]) as process:
        processes.append(process)
        assert process.wait() == 0
        assert seen == [None]
