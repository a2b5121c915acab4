"""Notify: what each event is answered with happens; what is no answer ends the run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stockade import (
    Executor,
    Notify,
    Result,
    SignalVerdict,
    Status,
    Syscall,
    Verdict,
    Violation,
    hook,
)
from support.compiler import CCompiler
from support.notified import processes_builder
from support.runs import main_program, static_builder


@pytest.fixture(scope="module")
def getppid(compile_c: CCompiler) -> Path:
    return main_program(compile_c, 'char t[32]; snprintf(t, 32, "%ld;", raw(SYS_getppid, 0,0,0,0,0,0)); say(t);')


# Answers that end the run.

# Event -> a program in which it happens.
CAUSES = {
    "started": "",
    "exec": 'if (argc == 1) { char *args[] = {argv[0], "again", 0}; execv(argv[0], args); } say("went on");',
    "fork": 'if (fork() == 0) _exit(0); wait(0); say("went on");',
    "exit": "",
    "signal": 'signal(SIGUSR1, SIG_IGN); signal(SIGUSR1, on); kill(getpid(), SIGUSR1); say("went on");',
    "syscall_return": 'raw(SYS_getppid, 0, 0, 0, 0, 0, 0); say("went on");',
}


class Answers(Notify):
    """Answers one event with something; every other as if it were not overridden."""

    def __init__(self, name: str, answer: Callable[[], Any]) -> None:
        self.results: list[Result] = []

        def method(*_arguments: object) -> Any:
            return answer()

        setattr(self, name, method)

    @hook(inspects=True)
    def syscall(self, call: Syscall) -> Verdict | None:
        return Verdict.INSPECT

    def syscall_return(self, call: Syscall, value: int) -> Verdict | None:
        return None

    def finished(self, result: Result) -> None:
        self.results.append(result)


@pytest.fixture(scope="module")
def cause(compile_c: CCompiler) -> Callable[[str], Path]:
    programs: dict[str, Path] = {}

    def program(name: str) -> Path:
        if name not in programs:
            before = "static void on(int n) { (void)n; }"
            programs[name] = main_program(compile_c, CAUSES[name], before=before, name=f"cause_{name}")
        return programs[name]

    return program


def answer_event(program: Path, name: str, answer: Callable[[], Any], **options: Any) -> tuple[Result, Answers]:
    notify = Answers(name, answer)
    policy = processes_builder(program).trace("getppid", "parent").build()
    return Executor(policy, notify=notify, **options).run([program]), notify


@pytest.mark.parametrize("name", CAUSES)
@pytest.mark.parametrize("answer", [None, Verdict.ALLOW], ids=repr)
def test_go_on(cause: Callable[[str], Path], name: str, answer: Verdict | None) -> None:
    result, notify = answer_event(cause(name), name, lambda: answer)
    assert result.status is Status.OK, result.violations
    assert result.stdout in (b"", b"went on")
    assert [each.status for each in notify.results] == [Status.OK]


@pytest.mark.parametrize("name", CAUSES)
def test_kill(cause: Callable[[str], Path], name: str) -> None:
    result, notify = answer_event(cause(name), name, lambda: Verdict.KILL)
    assert (result.status, result.returncode, result.stdout) == (Status.VIOLATION, -31, b"")
    (violation,) = result.violations
    assert violation.kind == result.reason.violation == Violation.HOOK
    assert (violation.hook, violation.layer, violation.syscall) == (f"Notify.{name}", "hook", "")
    assert f"Notify.{name}" in violation.summary
    assert result.report()
    assert [each.status for each in notify.results] == [Status.VIOLATION]


@pytest.mark.parametrize("name", CAUSES)
def test_a_verdict_of_the_users_own(cause: Callable[[str], Path], name: str) -> None:
    result, notify = answer_event(cause(name), name, lambda: Verdict.finish("wrong answer"))
    assert (result.status, result.returncode, result.stdout) == (Status.EXTERNAL_KILL, -9, b"")
    assert (result.reason.killed_by, result.user_verdict) == ("verdict", "wrong answer")
    assert not result.violations
    (told,) = notify.results
    assert (told.status, told.user_verdict) == (Status.EXTERNAL_KILL, "wrong answer")


class OddError(BaseException):
    def __str__(self) -> str:
        raise RuntimeError("no text for this")


def raising(error: BaseException) -> Callable[[], Any]:
    def answer() -> Any:
        raise error

    return answer


@pytest.mark.parametrize("name", CAUSES)
@pytest.mark.parametrize(
    "error", [ValueError("odd"), SystemExit(3), OddError()], ids=lambda error: type(error).__name__
)
def test_a_callback_that_raises(cause: Callable[[str], Path], name: str, error: BaseException) -> None:
    result, notify = answer_event(cause(name), name, raising(error))
    assert (result.status, result.stdout) == (Status.VIOLATION, b"")
    (violation,) = result.violations
    assert (violation.kind, violation.hook) == (Violation.HOOK, f"Notify.{name}")
    assert type(error).__name__ in violation.hook_message
    assert len(notify.results) == 1


NONSENSE = [True, 0, "allow", Verdict, Verdict.INSPECT, Verdict.returning(1), SignalVerdict, Verdict("deliver now")]


@pytest.mark.parametrize("name", CAUSES)
@pytest.mark.parametrize("nonsense", NONSENSE, ids=repr)
def test_a_callback_that_answers_nonsense(cause: Callable[[str], Path], name: str, nonsense: Any) -> None:
    result, _ = answer_event(cause(name), name, lambda: nonsense)
    assert (result.status, result.stdout) == (Status.VIOLATION, b"")
    (violation,) = result.violations
    assert (violation.kind, violation.hook) == (Violation.HOOK, f"Notify.{name}")
    assert "cannot be answered" in violation.hook_message


@pytest.mark.parametrize("name", [name for name in CAUSES if name != "signal"])
def test_only_signals_are_answered_with_a_signal_verdict(cause: Callable[[str], Path], name: str) -> None:
    result, _ = answer_event(cause(name), name, lambda: SignalVerdict.DELIVER)
    assert (result.status, result.violations[0].hook) == (Status.VIOLATION, f"Notify.{name}")


@pytest.mark.parametrize("name", CAUSES)
def test_a_callback_that_takes_too_long(cause: Callable[[str], Path], name: str) -> None:
    never, entered = threading.Event(), threading.Event()

    def answer() -> None:
        entered.set()
        never.wait()

    try:
        result, notify = answer_event(cause(name), name, answer, hook_timeout=0.5)
        assert entered.is_set()
        assert not never.is_set()
        assert (result.status, result.returncode, result.stdout) == (Status.VIOLATION, -31, b"")
        (violation,) = result.violations
        assert violation.kind == result.reason.violation == Violation.HOOK_TIMEOUT
        assert violation.hook == f"Notify.{name}"
        assert result.to_proto().abandoned_threads == 1
        assert [each.status for each in notify.results] == [Status.VIOLATION]
    finally:
        never.set()


# The hook names of a policy.


def test_one_method_serves_the_names_without_a_callable(compile_c: CCompiler) -> None:
    program = main_program(compile_c, "raw(SYS_getppid, 0,0,0,0,0,0); raw(SYS_getpgrp, 0,0,0,0,0,0);")
    policy = static_builder(program).trace("getppid", "parent").trace("getpgrp", "group").build()
    asked: list[tuple[str, str]] = []

    class Serves(Notify):
        def syscall(self, call: Syscall) -> Verdict | None:
            asked.append(("method", call.hook))
            return Verdict.ALLOW

    def own(call: Syscall) -> Verdict:
        asked.append(("callable", call.hook))
        return Verdict.ALLOW

    assert Executor(policy, notify=Serves(), hooks={"group": own}).run([program]).status is Status.OK
    assert asked == [("method", "parent"), ("callable", "group")]
    assert Executor(policy, notify=Serves()).run([program]).status is Status.OK
    assert asked[2:] == [("method", "parent"), ("method", "group")]


def test_a_method_that_says_nothing_denies(getppid: Path) -> None:
    class Silent(Notify):
        def syscall(self, call: Syscall) -> Verdict | None:
            return None

    result = Executor(static_builder(getppid).trace("getppid", "parent").build(), notify=Silent()).run([getppid])
    assert result.status is Status.VIOLATION
    assert (result.violations[0].hook, result.violations[0].syscall) == ("parent", "getppid")


def test_an_exit_callback_that_fails_in_time_ends_the_run_as_a_violation(
    cause: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that fails when the run is ending anyway is only told: see test_notify_observers."""
    lost: list[object] = []
    monkeypatch.setattr("sys.unraisablehook", lost.append)
    result, _ = answer_event(cause("exit"), "exit", raising(ValueError("odd")))
    assert (result.status, result.violations[0].hook) == (Status.VIOLATION, "Notify.exit")
    assert lost == []
