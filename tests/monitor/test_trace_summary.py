"""The trace summary: how often the traced calls of a run were made, how often they failed, how long they took."""

from __future__ import annotations

import errno
import json
import time
from pathlib import Path

import pytest

from stockade import Executor, Notify, PolicyError, Result, Status, Syscall, Verdict, hook
from stockade._proto import report_pb2
from stockade.monitor import trace_summary
from stockade.monitor.hooks import Verdict as AnyVerdict
from stockade.monitor.trace_summary import MAXIMUM_NAMES, OTHERS, SLOWEST, TraceSummary
from stockade.monitor.violations import Call
from support.compiler import CCompiler
from support.runs import everything_builder, main_program, static_builder

# Seconds that a sleep takes at least. Nothing is said about how long anything takes at most.
SLEEP = 0.03
BODY = f"""
struct timespec pause = {{0, {int(SLEEP * 1e9)}}};
for (int i = 0; i < 5; i++) raw(SYS_getppid, 0, 0, 0, 0, 0, 0);
for (int i = 0; i < 3; i++) raw(SYS_close, 1000 + i, 0, 0, 0, 0, 0);
raw(SYS_nanosleep, (long)&pause, 0, 0, 0, 0, 0);
"""


@pytest.fixture(scope="module")
def program(compile_c: CCompiler) -> Path:
    return main_program(compile_c, BODY, before="#include <time.h>")


def rows(result: Result) -> dict[str, tuple[int, int]]:
    """(count, errors) of each call."""
    assert result.trace_summary is not None
    return {row.syscall: (row.count, row.errors) for row in result.trace_summary.calls}


def row_of(result: Result, name: str) -> report_pb2.TracedCall:
    assert result.trace_summary is not None
    return next(row for row in result.trace_summary.calls if row.syscall == name)


def test_nobody_gets_it_who_has_not_asked(program: Path) -> None:
    result = Executor(everything_builder(program).log_syscall("getppid").build()).run([program])
    assert result.trace_summary is None
    assert not result.to_proto().HasField("trace_summary")


def test_logged_calls(program: Path) -> None:
    builder = static_builder(program)
    for name in ("getppid", "close", "nanosleep"):
        builder.log_syscall(name)
    result = Executor(builder.build(), trace_summary=True).run([program])
    assert result.status is Status.OK
    assert rows(result) == {"getppid": (5, 0), "close": (3, 3), "nanosleep": (1, 0)}
    slept = row_of(result, "nanosleep")
    assert slept.total_time == slept.longest_time >= SLEEP
    others = row_of(result, "getppid")
    assert 0 < others.longest_time <= others.total_time
    assert others.decision_time > 0
    summary = result.trace_summary
    assert summary is not None
    assert summary.calls[0].total_time == max(row.total_time for row in summary.calls)
    slowest = list(summary.slowest)
    assert len(slowest) == 9
    assert [each.time for each in slowest] == sorted((each.time for each in slowest), reverse=True)
    assert max(slowest, key=lambda each: each.time).text.startswith("nanosleep(0x") or slowest[0].time > SLEEP
    assert {each.tid for each in slowest} == {result.pid}


@pytest.mark.parametrize(
    ("mode", "errors"), [("permissive", {"getppid": 0, "close": 3, "nanosleep": 0}), ("refuse", None)]
)
def test_violations_that_the_run_goes_on_after(program: Path, mode: str, errors: dict[str, int] | None) -> None:
    result = Executor(static_builder(program).build(), mode=mode, trace_summary=True).run([program])
    found = rows(result)
    counts = {name: count for name, (count, _) in found.items()}
    assert counts == {"getppid": 5, "close": 3, "nanosleep": 1}
    assert {name: failed for name, (_, failed) in found.items()} == (errors or counts)
    total = row_of(result, "nanosleep").total_time
    assert total >= SLEEP if mode == "permissive" else total == 0


def test_hooks_that_take_their_time_and_answer_themselves(program: Path) -> None:
    def slow(call: Syscall) -> Verdict:
        time.sleep(SLEEP)
        return Verdict.errno(errno.EIO)

    policy = static_builder(program).trace("getppid", "slow").allow_syscall("nanosleep").trace("close", "fast").build()
    hooks = {"slow": slow, "fast": lambda call: Verdict.returning(0)}
    result = Executor(policy, hooks=hooks, trace_summary=True).run([program])
    assert rows(result) == {"getppid": (5, 5), "close": (3, 0)}
    row = row_of(result, "getppid")
    assert row.decision_time >= 5 * SLEEP
    assert (row.total_time, row.longest_time) == (0, 0)
    summary = result.trace_summary
    assert summary is not None and not summary.slowest


def test_only_inspected_calls_are_told_of_their_return(program: Path) -> None:
    class Told(Notify):
        def __init__(self) -> None:
            self.returned: list[str] = []

        def syscall_return(self, call: Syscall, value: int) -> None:
            self.returned.append(call.name)

    @hook(inspects=True)
    def inspecting(call: Syscall) -> Verdict:
        return Verdict.INSPECT

    policy = static_builder(program).trace("getppid", "look").trace("close", "pass").allow_syscall("nanosleep").build()
    hooks = {"look": inspecting, "pass": lambda call: Verdict.ALLOW}
    for summary in (True, False):
        told = Told()
        result = Executor(policy, hooks=hooks, notify=told, trace_summary=summary).run([program])
        assert result.status is Status.OK
        assert told.returned == ["getppid"] * 5


def test_calls_that_do_not_return(compile_c: CCompiler) -> None:
    body = """
    if (fork() == 0) for (;;) pause();
    raw(SYS_exit_group, 3, 0, 0, 0, 0, 0);
    """
    program = main_program(compile_c, body)
    builder = everything_builder(program)
    for name in ("exit_group", "pause", "fork", "clone"):
        builder.log_syscall(name)
    result = Executor(builder.build(), trace_summary=True).run([program])
    assert (result.status, result.returncode) == (Status.OK, 3)
    row = row_of(result, "exit_group")
    assert (row.count, row.errors, row.total_time) == (1, 0, 0)


def test_a_thread_that_executes_a_program(compile_c: CCompiler) -> None:
    """It goes on with another number, and its call returns there."""
    before = """
    static char **words;
    static void *work(void *n) { execl(words[0], words[0], "again", NULL); return 0; }
    """
    body = """
    if (argc > 1) return 6;
    words = argv;
    pthread_t t;
    pthread_create(&t, 0, work, 0);
    pthread_join(t, 0);
    """
    program = main_program(compile_c, body, before=before)
    result = Executor(everything_builder(program).log_syscall("execve").build(), trace_summary=True).run([program])
    assert (result.status, result.returncode) == (Status.OK, 6)
    row = row_of(result, "execve")
    assert (row.count, row.errors) == (1, 0)
    assert row.total_time > 0


def test_many_threads(compile_c: CCompiler) -> None:
    before = "static void *work(void *n) { for (int i = 0; i < 50; i++) getppid(); return 0; }"
    body = """
    pthread_t threads[20];
    for (int i = 0; i < 20; i++) pthread_create(&threads[i], 0, work, 0);
    for (int i = 0; i < 20; i++) pthread_join(threads[i], 0);
    """
    program = main_program(compile_c, body, before=before)
    result = Executor(everything_builder(program).log_syscall("getppid").build(), trace_summary=True).run([program])
    assert rows(result) == {"getppid": (1000, 0)}
    summary = result.trace_summary
    assert summary is not None and len(summary.slowest) == SLOWEST


def test_it_is_in_the_message_and_in_the_report(program: Path) -> None:
    result = Executor(everything_builder(program).log_syscall("close").build(), trace_summary=True).run([program])
    assert result.to_proto().trace_summary == result.trace_summary
    decoded = json.loads(result.to_json())["trace_summary"]
    assert [(row["syscall"], row["count"], row["errors"]) for row in decoded["calls"]] == [("close", "3", "3")]
    assert "\nTraced calls: 3 calls, " in result.report()


def test_what_cannot_be_measured_is_refused(program: Path) -> None:
    policy = static_builder(program).build()
    with pytest.raises(PolicyError, match="trace_summary is True or False, not 1"):
        Executor(policy, trace_summary=1)  # type: ignore[arg-type]
    with pytest.raises(PolicyError, match="trace_summary needs the monitor ptrace"):
        Executor(policy, monitor="unotify", trace_summary=True)


# --- the collector itself, with a clock of its own ---


class Clock:
    """Stands in for the clock: each look at it takes one nanosecond."""

    def __init__(self) -> None:
        self.now = 0

    def monotonic_ns(self) -> int:
        self.now += 1
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(trace_summary, "time", made)
    return made


def call(name: str) -> Call:
    return Call(name, 1, "x86_64", (1, 2, 3, 4, 5, 6), 0, 0)


def made(
    summary: TraceSummary, name: str, clock: Clock, taken: int, value: int = 0, verdict: AnyVerdict | None = None
) -> None:
    summary.asked(1)
    each = call(name)
    if summary.answered(1, each, verdict or Verdict.ALLOW):
        clock.now += taken
        summary.returned(1, each, value)


def test_only_the_slowest_ten_are_kept(clock: Clock) -> None:
    summary = TraceSummary()
    for taken in [*range(1000, 1030), *range(900, 1000)]:
        made(summary, "read", clock, taken)
    message = summary.message()
    assert [round(each.time * 1e9) for each in message.slowest] == list(range(1030, 1020, -1))
    (row,) = message.calls
    assert (row.count, round(row.longest_time * 1e9)) == (130, 1030)
    assert len(summary._slowest) == SLOWEST


@pytest.mark.parametrize(
    ("value", "errors"), [(0, 0), (-1, 1), (-4095, 1), (-4096, 0), (-512, 0), (-516, 0), (-511, 1)]
)
def test_what_counts_as_an_error(clock: Clock, value: int, errors: int) -> None:
    summary = TraceSummary()
    made(summary, "read", clock, 5, value)
    assert summary.message().calls[0].errors == errors


def test_names_may_be_hostile(clock: Clock) -> None:
    summary = TraceSummary()
    for index in range(3 * MAXIMUM_NAMES):
        made(summary, f"syscall_{index}", clock, 1)
    message = summary.message()
    assert len(message.calls) == MAXIMUM_NAMES + 1
    assert sum(row.count for row in message.calls) == 3 * MAXIMUM_NAMES
    assert {row.syscall: row.count for row in message.calls}[OTHERS] == 2 * MAXIMUM_NAMES


def test_tasks_that_are_gone_leave_nothing(clock: Clock) -> None:
    summary = TraceSummary()
    for tid in range(1, 100):
        summary.asked(tid)
        assert summary.answered(tid, call("pause"), Verdict.ALLOW)
        summary.asked(tid + 1000)
        summary.ended(tid)
        summary.ended(tid + 1000)
    assert not summary._running and not summary._deciding
    assert summary.returned(5, call("pause"), 0) is None
    assert summary.message().calls[0].count == 99
