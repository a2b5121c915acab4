"""What an executor refuses to call, or could not: said when it is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stockade import (
    Executor,
    Notify,
    Policy,
    PolicyError,
    ProcessEvent,
    SignalEvent,
    SignalVerdict,
    Status,
    Syscall,
    Verdict,
    hook,
)
from support.compiler import CCompiler
from support.notified import Recorder, Returns
from support.runs import main_program, static_builder


@pytest.fixture(scope="module")
def getppid(compile_c: CCompiler) -> Path:
    return main_program(compile_c, 'char t[32]; snprintf(t, 32, "%ld;", raw(SYS_getppid, 0,0,0,0,0,0)); say(t);')


@pytest.mark.parametrize("name", ["signal", "syscall_return", "exec", "fork", "exit"])
def test_what_only_a_tracer_sees(getppid: Path, name: str) -> None:
    class Overrides(Notify):
        pass

    setattr(Overrides, name, lambda self, *arguments: None)
    policy = static_builder(getppid).trace("getppid", "parent").build()
    hooks = {"parent": lambda call: Verdict.ALLOW}
    with pytest.raises(PolicyError, match=rf"unotify.*Notify\.{name}.*monitor=\"ptrace\""):
        Executor(policy, hooks=hooks, notify=Overrides(), monitor="unotify")
    assert Executor(policy, hooks=hooks, notify=Overrides()).run([getppid]).status is Status.OK
    assert Executor(policy, hooks=hooks, notify=Notify(), monitor="unotify").run([getppid]).status is Status.OK


def test_hooks_that_only_one_monitor_can_serve(getppid: Path) -> None:
    @hook(inspects=True)
    def inspects(call: Syscall) -> Verdict:
        return Verdict.INSPECT

    @hook(opens=True)
    def opens(call: Syscall) -> Verdict:
        return Verdict.ALLOW

    policy = static_builder(getppid).trace("getppid", "parent").build()
    with pytest.raises(PolicyError, match=r"'parent'.*inspects=True.*monitor=\"ptrace\""):
        Executor(policy, hooks={"parent": inspects}, monitor="unotify")
    with pytest.raises(PolicyError, match="nobody would be told"):
        Executor(policy, hooks={"parent": inspects})
    with pytest.raises(PolicyError, match=r"'parent'.*opens=True.*monitor=\"unotify\""):
        Executor(policy, hooks={"parent": opens})
    assert Executor(policy, hooks={"parent": inspects}, notify=Returns()).run([getppid]).status is Status.OK
    assert Executor(policy, hooks={"parent": opens}, monitor="unotify").run([getppid]).status is Status.OK


# What is refused when the executor is made.


class Inspects(Notify):
    @hook(inspects=True)
    def syscall(self, call: Syscall) -> Verdict | None:
        return Verdict.INSPECT


class Declared(Notify):
    @hook(slow=True)
    def signal(self, event: SignalEvent) -> SignalVerdict | Verdict | None:
        return None


class NotCallable(Notify):
    exit = 5  # type: ignore[assignment]


class Asynchronous(Notify):
    async def started(self, event: ProcessEvent) -> Verdict | None:  # type: ignore[override]
        return None


class Opens(Notify):
    @hook(opens=True)
    def syscall(self, call: Syscall) -> Verdict | None:
        return None


@pytest.mark.parametrize(
    ("notify", "says"),
    [
        (Recorder, "needs an object.*Recorder\\(\\)"),
        (object(), "stockade.Notify"),
        (lambda call: None, "stockade.Notify"),
        (Inspects(), "syscall_return"),
        (Declared(), "Notify.signal cannot be declared"),
        (NotCallable(), "Notify.exit is no callable but a int"),
        (Asynchronous(), "Notify.started is asynchronous"),
        (Opens(), 'monitor="unotify"'),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_a_notify_that_cannot_be(getppid: Path, notify: Any, says: str) -> None:
    with pytest.raises(PolicyError, match=says):
        Executor(static_builder(getppid).trace("getppid", "parent").build(), notify=notify)


async def asynchronous(call: Syscall) -> Verdict:
    return Verdict.ALLOW


def generator(call: Syscall) -> Any:
    yield Verdict.ALLOW


class AsynchronousCallable:
    async def __call__(self, call: Syscall) -> Verdict:
        return Verdict.ALLOW


@pytest.mark.parametrize("bad", [asynchronous, generator, AsynchronousCallable()], ids=lambda each: str(each)[1:15])
def test_a_hook_that_nobody_would_run_is_refused(getppid: Path, bad: Any) -> None:
    policy = static_builder(getppid).trace("getppid", "parent").build()
    with pytest.raises(PolicyError, match="'parent' is asynchronous or a generator"):
        Executor(policy, hooks={"parent": bad})


def test_hooks_are_a_mapping(getppid: Path) -> None:
    policy = static_builder(getppid).trace("getppid", "parent").build()
    with pytest.raises(PolicyError, match="maps names to callables"):
        Executor(policy, hooks=[lambda call: Verdict.ALLOW])  # type: ignore[arg-type]
    with pytest.raises(PolicyError, match=r"Notify\.syscall"):
        Executor(policy, notify=Notify())


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan")])
def test_timeouts_of_slow_hooks(timeout: float) -> None:
    with pytest.raises(ValueError, match="more than 0 and finite"):
        hook(slow=True, timeout=timeout)
    with pytest.raises(ValueError, match="only a slow hook"):
        hook(timeout=1)


@pytest.mark.parametrize("seconds", ["5s", None, True, 0, -1, float("nan"), float("inf")])
def test_times_that_are_none(seconds: Any) -> None:
    policy = Policy.from_text("schema_version: 1")
    with pytest.raises(PolicyError, match="hook_timeout is a number of seconds"):
        Executor(policy, hook_timeout=seconds)
    if seconds is not None:
        with pytest.raises(ValueError, match="a timeout is a number of seconds"):
            hook(slow=True, timeout=seconds)
        with pytest.raises(PolicyError, match="start_timeout is a number of seconds"):
            Executor(policy).start_fork_server(["python3"], start_timeout=seconds)


def test_hook_needs_its_parentheses() -> None:
    with pytest.raises(TypeError, match=r"write @hook\(\.\.\.\)"):
        hook(lambda call: Verdict.ALLOW)  # type: ignore[arg-type]
