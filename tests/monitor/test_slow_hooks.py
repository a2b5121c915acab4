"""Slow hooks: one task waits for its verdict while the others go on; a verdict that comes too late means nothing."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stockade import Executor, Limits, Notify, PolicyBuilder, Result, Status, Syscall, Verdict, Violation, hook
from stockade.monitor import workers
from support.compiler import CCompiler
from support.runs import everything_builder, main_program, run_python, static_builder

ASKS = 'char t[32]; snprintf(t, 32, "%ld;", raw(SYS_getppid, (long)"hello",0,0,0,0,0)); say(t);'


@pytest.fixture(scope="module")
def asks(compile_c: CCompiler) -> Path:
    return main_program(compile_c, ASKS)


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """What a stuck hook waits for; set when the test is over, so that no thread stays behind."""
    event = threading.Event()
    yield event
    event.set()


def slowly(function: Callable[[Syscall], Any], **declared: Any) -> Callable[[Syscall], Any]:
    @hook(slow=True, **declared)
    def slow(call: Syscall) -> Any:
        return function(call)

    return slow


def executor_of(program: Path, function: Callable[[Syscall], Any], **options: Any) -> Executor:
    policy = static_builder(program).trace("getppid", "slow").build()
    return Executor(policy, hooks={"slow": function}, **options)


@pytest.mark.parametrize(
    ("verdict", "said"),
    [(Verdict.ALLOW, "1;"), (Verdict.errno(errno.EXDEV), f"-{errno.EXDEV};"), (Verdict.returning(77), "77;")],
    ids=repr,
)
def test_verdicts(asks: Path, verdict: Verdict, said: str) -> None:
    result = executor_of(asks, slowly(lambda call: verdict)).run([asks], text=True)
    assert (result.status, result.stdout) == (Status.OK, said)
    assert result.to_proto().abandoned_threads == 0


def test_finish(asks: Path) -> None:
    result = executor_of(asks, slowly(lambda call: Verdict.finish("seen enough"))).run([asks])
    assert (result.status, result.user_verdict, result.stdout) == (Status.EXTERNAL_KILL, "seen enough", b"")


def odd(call: Syscall) -> Verdict:
    raise SystemExit(5)


@pytest.mark.parametrize(
    ("function", "message"),
    [(lambda call: Verdict.KILL, ""), (odd, "SystemExit"), (lambda call: None, "instead of a Verdict")],
    ids=["kill", "raises", "nonsense"],
)
def test_what_denies(asks: Path, function: Callable[[Syscall], Any], message: str) -> None:
    result = executor_of(asks, slowly(function)).run([asks])
    assert (result.status, result.stdout) == (Status.VIOLATION, b"")
    (violation,) = result.violations
    assert (violation.kind, violation.hook, violation.syscall) == (Violation.HOOK, "slow", "getppid")
    assert message in violation.hook_message


def test_memory_can_be_read_and_makes_it_advisory(asks: Path) -> None:
    found: list[Any] = []

    def read(call: Syscall) -> Verdict:
        found.append((call.read_string(call.args[0]), call.program, call.pid, threading.current_thread().name))
        return Verdict.ALLOW

    result = executor_of(asks, slowly(read)).run([asks])
    assert found == [(b"hello", str(asks), result.pid, "stockade-worker")]
    assert list(result.to_proto().advisory_hooks) == ["slow"]


def test_the_return_of_a_call_that_a_slow_hook_inspects(asks: Path) -> None:
    returned: list[int] = []

    class Returned(Notify):
        @hook(slow=True, inspects=True)
        def syscall(self, call: Syscall) -> Verdict | None:
            return Verdict.INSPECT

        def syscall_return(self, call: Syscall, value: int) -> Verdict | None:
            returned.append(value)
            return None

    policy = static_builder(asks).trace("getppid", "slow").build()
    assert Executor(policy, notify=Returned()).run([asks]).status is Status.OK
    assert returned == [1]


def test_hook_timeout_does_not_hold_for_it(asks: Path) -> None:
    """A plain hook would be ended after a hundredth of a second."""

    def waits(call: Syscall) -> Verdict:
        time.sleep(0.1)
        return Verdict.ALLOW

    result = executor_of(asks, slowly(waits), hook_timeout=0.01).run([asks])
    assert (result.status, result.stdout) == (Status.OK, b"1;")
    assert executor_of(asks, waits, hook_timeout=0.01).run([asks]).status is Status.VIOLATION


TWO_THREADS = r"""
pthread_t t;
pthread_create(&t, 0, work, 0);
raw(SYS_getppid, 0, 0, 0, 0, 0, 0);
pthread_join(t, 0);
say("both");
"""


def two_threads(compile_c: CCompiler) -> tuple[Path, PolicyBuilder]:
    before = "static void *work(void *n) { raw(SYS_getpgrp, 0, 0, 0, 0, 0, 0); return n; }"
    program = main_program(compile_c, TWO_THREADS, before=before)
    return program, everything_builder(program).trace("getppid", "slow").trace("getpgrp", "other")


def test_other_tasks_go_on_meanwhile(compile_c: CCompiler) -> None:
    program, builder = two_threads(compile_c)
    other_was_asked = threading.Event()

    def waits(call: Syscall) -> Verdict:
        return Verdict.ALLOW if other_was_asked.wait(60) else Verdict.KILL

    def other(call: Syscall) -> Verdict:
        other_was_asked.set()
        return Verdict.ALLOW

    hooks = {"slow": slowly(waits), "other": other}
    result = Executor(builder.build(), hooks=hooks).run([program])
    assert (result.status, result.stdout) == (Status.OK, b"both")


def test_a_plain_hook_that_waits_for_another_task_waits_in_vain(compile_c: CCompiler, never: threading.Event) -> None:
    """Control: only because it is slow does the other task go on."""
    program, builder = two_threads(compile_c)
    entered, other_was_asked = threading.Event(), threading.Event()

    def waits(call: Syscall) -> Verdict:
        entered.set()
        never.wait()
        return Verdict.ALLOW

    def other(call: Syscall) -> Verdict:
        if entered.is_set():
            other_was_asked.set()
        return Verdict.ALLOW

    result = Executor(builder.build(), hooks={"slow": waits, "other": other}, hook_timeout=0.2).run([program])
    assert result.status is Status.VIOLATION
    assert result.violations[0].kind == Violation.HOOK_TIMEOUT
    assert not other_was_asked.is_set()


def test_many_at_once_and_the_others_in_turn(compile_c: CCompiler) -> None:
    before = "static void *work(void *n) { return (void *)raw(SYS_getppid, 0, 0, 0, 0, 0, 0); }"
    body = r"""
    pthread_t t[40]; long sum = 0; void *got;
    for (int i = 0; i < 40; i++) pthread_create(&t[i], 0, work, 0);
    for (int i = 0; i < 40; i++) { pthread_join(t[i], &got); sum += (long)got; }
    return sum == 40 * 3;
    """
    program = main_program(compile_c, body, before=before)
    policy = everything_builder(program).trace("getppid", "slow").build()
    lock, full = threading.Lock(), threading.Event()
    inside = most = 0

    def waits(call: Syscall) -> Verdict:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
            if inside == workers.AT_ONCE:
                full.set()
        full.wait(60)
        with lock:
            inside -= 1
        return Verdict.returning(3)

    result = Executor(policy, hooks={"slow": slowly(waits)}).run([program])
    assert (result.status, result.returncode) == (Status.OK, 1)
    assert most == workers.AT_ONCE


def test_turns() -> None:
    turns, begun, release, ended = workers.Turns(2), threading.Semaphore(0), threading.Event(), threading.Semaphore(0)
    order: list[int] = []

    def work(number: int) -> None:
        order.append(number)
        begun.release()
        release.wait()
        ended.release()

    for number in range(5):
        turns.start(lambda number=number: work(number))  # type: ignore[misc]
    assert begun.acquire(timeout=60)
    assert begun.acquire(timeout=60)
    assert not begun.acquire(timeout=0.2)
    release.set()
    for _ in range(5):
        assert ended.acquire(timeout=60)
    assert sorted(order[:2]) == [0, 1]
    assert sorted(order) == [0, 1, 2, 3, 4]


# Their time.


def test_the_wall_time_of_the_run_ends_it(asks: Path, never: threading.Event) -> None:
    def stuck(call: Syscall) -> Verdict:
        never.wait()
        return Verdict.KILL

    result = executor_of(asks, slowly(stuck), limits=Limits(wall_time=0.1), hook_timeout=0.01).run([asks])
    assert (result.status, result.limit, result.stdout) == (Status.TIMEOUT, "wall_time", b"")
    assert not result.violations
    assert result.to_proto().abandoned_threads == 1


@pytest.mark.parametrize("way", ["run", "start"])
def test_a_time_of_its_own(asks: Path, never: threading.Event, way: str) -> None:
    def stuck(call: Syscall) -> Verdict:
        never.wait()
        return Verdict.ALLOW

    # The other clocks are looked at once an hour: this one is looked at in time all the same.
    executor = executor_of(asks, slowly(stuck, timeout=0.05), hook_timeout=7200)
    result: Result
    if way == "run":
        result = executor.run([asks])
    else:
        with executor.start([asks]) as process:
            assert process.wait() == -31
            result = process.result
    assert (result.status, result.reason.violation) == (Status.VIOLATION, Violation.HOOK_TIMEOUT)
    (violation,) = result.violations
    assert (violation.kind, violation.hook, violation.syscall) == (Violation.HOOK_TIMEOUT, "slow", "getppid")
    assert result.to_proto().abandoned_threads == 1
    assert executor_of(asks, slowly(lambda call: Verdict.ALLOW, timeout=600)).run([asks]).status is Status.OK


def test_the_run_may_be_killed_meanwhile(asks: Path, never: threading.Event) -> None:
    entered = threading.Event()

    def stuck(call: Syscall) -> Verdict:
        entered.set()
        never.wait()
        return Verdict.KILL

    with executor_of(asks, slowly(stuck)).start([asks]) as process:
        entered.wait()
        process.kill()
        assert process.wait() == -9
    assert process.result.status is Status.EXTERNAL_KILL
    assert not process.result.violations


# Verdicts that come too late.

CHILD_IS_KILLED = r"""
int ends[2]; char byte;
pipe(ends);
pid_t child = fork();
if (child == 0) { write(ends[1], "x", 1); raw(SYS_getppid, 0, 0, 0, 0, 0, 0); _exit(0); }
read(ends[0], &byte, 1);
raw(SYS_getpgrp, 0, 0, 0, 0, 0, 0);      // comes back when the hook of the child has begun
kill(child, SIGKILL);
waitpid(child, 0, 0);
raw(SYS_getsid, 0, 0, 0, 0, 0, 0);       // comes back when the hook of the child has answered
say("went on");
"""


@pytest.mark.parametrize(
    "verdict",
    [Verdict.KILL, Verdict.ALLOW, Verdict.errno(1), Verdict.finish("late"), None, "nonsense"],
    ids=repr,
)
def test_a_verdict_about_a_task_that_is_gone_means_nothing(
    compile_c: CCompiler, monkeypatch: pytest.MonkeyPatch, verdict: Any
) -> None:
    monkeypatch.setattr("sys.unraisablehook", lambda arguments: lost.append(arguments.exc_value))
    lost: list[BaseException] = []
    program = main_program(compile_c, CHILD_IS_KILLED)
    builder = everything_builder(program)
    policy = builder.trace("getppid", "late").trace("getpgrp", "begun").trace("getsid", "answered").build()
    begun, release = threading.Event(), threading.Event()
    thread: list[threading.Thread] = []
    read: list[int | None] = []

    def late(call: Syscall) -> Any:
        thread.append(threading.current_thread())
        begun.set()
        release.wait(60)
        try:
            call.read_memory(call.stack_pointer, 8)
        except OSError as error:
            read.append(error.errno)
        if verdict is None:
            raise ValueError("late")
        return verdict

    def wait_for_beginning(call: Syscall) -> Verdict:
        begun.wait(60)
        return Verdict.ALLOW

    def wait_for_answer(call: Syscall) -> Verdict:
        release.set()
        while thread[0] not in workers._parked:  # it has posted the verdict
            time.sleep(0.001)
        return Verdict.ALLOW

    hooks = {"late": slowly(late), "begun": slowly(wait_for_beginning), "answered": slowly(wait_for_answer)}
    result = Executor(policy, hooks=hooks).run([program])
    assert (result.status, result.stdout) == (Status.OK, b"went on"), result.violations
    assert not result.violations
    assert result.user_verdict is None
    assert read == [errno.ESRCH]
    assert [type(error) for error in lost] == ([ValueError] if verdict is None else [])


def test_a_verdict_that_comes_after_the_run(asks: Path) -> None:
    release = threading.Event()

    def late(call: Syscall) -> Verdict:
        entered.set()
        release.wait(60)
        return Verdict.KILL

    entered = threading.Event()
    with executor_of(asks, slowly(late)).start([asks]) as process:
        entered.wait()
        process.kill()
        process.wait()
    release.set()
    assert executor_of(asks, slowly(lambda call: Verdict.ALLOW)).run([asks]).stdout == b"1;"
    assert process.result.status is Status.EXTERNAL_KILL


def test_a_call_that_was_answered_cannot_be_looked_at(asks: Path) -> None:
    kept: list[Syscall] = []

    def keep(call: Syscall) -> Verdict:
        kept.append(call)
        assert call.read_string(call.args[0]) == b"hello"
        return Verdict.ALLOW

    for function in (keep, slowly(keep)):
        assert executor_of(asks, function).run([asks]).status is Status.OK
    for call in kept:
        for look in (lambda: call.read_memory(call.args[0], 5), lambda: call.pid, lambda: call.program):  # noqa: B023
            with pytest.raises(ProcessLookupError):
                look()
        assert call.name == "getppid"


# Threads.


def test_threads_are_used_again(asks: Path) -> None:
    seen: set[threading.Thread] = set()

    def see(call: Syscall) -> Verdict:
        seen.add(threading.current_thread())
        return Verdict.ALLOW

    executor = executor_of(asks, slowly(see))
    for _ in range(20):
        assert executor.run([asks]).status is Status.OK
    assert len(seen) <= 3  # one may still be on its way to its place when the next run asks
    assert all(thread.daemon for thread in seen)


def test_a_slow_hook_may_run_the_same_executor(asks: Path) -> None:
    depth = 0

    def again(call: Syscall) -> Verdict:
        nonlocal depth
        depth += 1
        if depth < 5:
            assert executor.run([asks]).stdout == b"1;"
        return Verdict.ALLOW

    executor = executor_of(asks, slowly(again))
    assert executor.run([asks]).stdout == b"1;"
    assert depth == 5


def test_many_runs_at_once(asks: Path) -> None:
    executor = executor_of(asks, slowly(lambda call: Verdict.returning(call.pid)))
    results: list[Result] = []

    def run_some() -> None:
        results.extend(executor.run([asks]) for _ in range(8))

    threads = [threading.Thread(target=run_some) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 48
    assert {(result.status, int(result.stdout[:-1]) - result.pid) for result in results} == {(Status.OK, 0)}


IN_A_CHILD = """
import os, sys
from pathlib import Path
from stockade import Executor, Verdict, hook
from support.runs import static_builder

@hook(slow=True)
def slow(call):
    return Verdict.returning(5)

program = Path(sys.argv[1])
executor = Executor(static_builder(program).trace("getppid", "slow").build(), hooks={"slow": slow})
assert executor.run([program]).stdout == b"5;"
pid = os.fork()
if pid == 0:
    os._exit(0 if executor.run([program]).stdout == b"5;" else 1)
print(os.waitpid(pid, 0)[1])
"""


def test_in_a_forked_child(asks: Path) -> None:
    assert run_python(IN_A_CHILD, str(asks)).stdout == "0\n"


AT_EXIT = """
import sys, threading
from pathlib import Path
from stockade import Executor, Limits, Verdict, hook
from support.runs import static_builder

@hook(slow=True)
def slow(call):
    threading.Event().wait()

program = Path(sys.argv[1])
policy = static_builder(program).trace("getppid", "slow").build()
print(Executor(policy, hooks={"slow": slow}, limits=Limits(wall_time=0.05)).run([program]).status.name)
"""


def test_a_stuck_thread_does_not_keep_the_process(asks: Path) -> None:
    assert run_python(AT_EXIT, str(asks)).stdout == "TIMEOUT\n"


def test_no_descriptor_is_left(asks: Path) -> None:
    executor = executor_of(asks, slowly(lambda call: Verdict.ALLOW))
    for _ in range(3):
        executor.run([asks])

    def pinned() -> list[str]:
        found = []
        for name in os.listdir("/proc/self/fd"):
            try:
                target = os.readlink(f"/proc/self/fd/{name}")
            except FileNotFoundError:
                continue
            if target.startswith("/proc/") and target.count("/") == 2:
                found.append(target)
        return found

    executor.run([asks])
    assert pinned() == []


def test_calls_that_wait_for_their_turn_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of tasks that were killed meanwhile wait as well: a program could make any number of them."""
    monkeypatch.setattr(workers, "MAXIMUM_WAITING", 3)
    turns, go_on, done = workers.Turns(at_once=1), threading.Event(), []
    assert turns.start(lambda: done.append(go_on.wait()))
    assert [turns.start(lambda: done.append(True)) for _ in range(5)] == [True, True, True, False, False]
    go_on.set()
    last = threading.Event()
    while not turns.start(last.set):
        go_on.wait()
    assert last.wait(60)
    assert done == [True] * 4
