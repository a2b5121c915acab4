"""Notify: every event is told with the right facts, by both monitors, for many runs at once."""

from __future__ import annotations

import errno
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from stockade import (
    Executor,
    Limits,
    Notify,
    ProcessEvent,
    QuotaEvent,
    Result,
    SignalEvent,
    SignalVerdict,
    Status,
    Syscall,
    Verdict,
    Violation,
)
from support.compiler import CCompiler
from support.notified import Recorder, Returns, processes_builder
from support.runs import main_program, static_builder

PROCESSES = r"""
if (argc > 1) return 0;
pthread_t t;
pthread_create(&t, 0, work, 0);
pthread_join(t, 0);
pid_t child = fork();
if (child == 0) { char *args[] = {argv[0], "again", 0}; execv(argv[0], args); _exit(9); }
int status;
waitpid(child, &status, 0);
raw(SYS_getppid, 0, 0, 0, 0, 0, 0);
return WEXITSTATUS(status) + 7;
"""


@pytest.fixture(scope="module")
def getppid(compile_c: CCompiler) -> Path:
    return main_program(compile_c, 'char t[32]; snprintf(t, 32, "%ld;", raw(SYS_getppid, 0,0,0,0,0,0)); say(t);')


def test_events_of_threads_and_processes(compile_c: CCompiler) -> None:
    program = main_program(compile_c, PROCESSES, before="static void *work(void *n) { return n; }")
    recorder = Recorder()
    policy = processes_builder(program).trace("getppid", "parent").build()
    result = Executor(policy, notify=recorder).run([program])
    assert (result.status, result.returncode) == (Status.OK, 7), result.violations
    pid = result.pid
    names = recorder.names()
    assert names[0] == "started"
    assert names[-1] == "finished"
    assert recorder.of("started") == [(pid, pid, str(program))]
    (thread_maker, _, first), (child_maker, child, second) = recorder.of("fork")
    assert (thread_maker, first, child_maker, second) == (pid, True, pid, False)
    assert recorder.of("exec") == [(child, str(program))]
    assert recorder.of("exit") == [(pid, 0), (child, 0), (pid, 7)]  # the thread, the child, the program
    assert recorder.of("signal") == [(pid, signal.SIGCHLD)]
    assert recorder.of("syscall") == [("parent", "getppid")]
    assert recorder.of("finished") == [(Status.OK, None)]


def test_nothing_is_overridden(getppid: Path) -> None:
    """Neighbour: a Notify as it is changes nothing, and costs no hook."""
    result = Executor(static_builder(getppid).allow_syscalls("getppid").build(), notify=Notify()).run([getppid])
    assert (result.status, result.stdout) == (Status.OK, b"1;")
    assert result.user_verdict is None


# What calls return.

RETURNS = r"""
int fd = open("/nothing", O_RDONLY);
raw(SYS_getppid, 0, 0, 0, 0, 0, 0);
pid_t child = fork();
if (child == 0) { char *args[] = {argv[0], 0}; if (argc > 1) execv(argv[0], args); _exit(3); }
wait(0);
char text[64];
snprintf(text, sizeof text, "%d %d", fd, child);
if (argc > 1) say(text);
"""


def test_returns_of_every_kind_of_call(compile_c: CCompiler) -> None:
    program = main_program(compile_c, RETURNS)
    builder = processes_builder(program)
    for name in ("openat", "open", "getppid", "fork", "vfork", "clone", "execve", "exit_group"):
        builder.trace(name, "inspect")
    notify = Returns()
    result = Executor(builder.build(), notify=notify).run([program, "parent"], text=True)
    assert result.status is Status.OK, result.violations
    descriptor, child = (int(number) for number in result.stdout.split())
    assert descriptor == -1
    by_name: dict[str, list[int]] = {}
    for name, value in notify.returned:
        by_name.setdefault(name, []).append(value)
    assert by_name.get("openat", by_name.get("open")) == [-errno.ENOENT] * 2  # the program, and what the child executes
    assert sorted(by_name["getppid"]) == [1, 2]  # the parent of the program is init, that of the child the program
    assert sorted(by_name["clone"]) == [child, child + 1]  # as the program sees them: its child, and that one's
    assert by_name["execve"] == [0]
    assert "exit_group" not in by_name


def test_a_return_of_a_thread_that_executes_is_told_under_its_new_number(compile_c: CCompiler) -> None:
    before = r"""
    static char **arguments;
    static void *work(void *n) { char *args[] = {arguments[0], "again", 0}; execv(arguments[0], args); return n; }
    """
    body = "if (argc > 1) return 5; arguments = argv; pthread_t t; pthread_create(&t, 0, work, 0); pause();"
    program = main_program(compile_c, body, before=before)
    told: list[tuple[str, int, int]] = []

    class Returned(Returns):
        def syscall_return(self, call: Syscall, value: int) -> Verdict | None:
            told.append((call.name, call.tid, value))
            return None

    policy = processes_builder(program).trace("execve", "inspect").build()
    result = Executor(policy, notify=Returned()).run([program])
    assert (result.status, result.returncode) == (Status.OK, 5), result.violations
    assert told == [("execve", result.pid, 0)]


INTERRUPTED = r"""
pipe(ends);
struct sigaction action = {.sa_handler = on, .sa_flags = argc == 2 ? SA_RESTART : 0};
sigaction(SIGUSR1, &action, 0);
pid_t parent = getpid();
if (fork() == 0) {
    // The parent reads an empty pipe, and blocks.
    char state = 0, path[64], line[512];
    snprintf(path, sizeof path, "/proc/%d/stat", parent);
    while (state != 'S') {
        int fd = open(path, O_RDONLY); int n = read(fd, line, sizeof line - 1); close(fd); line[n] = 0;
        state = *(strrchr(line, ')') + 2);
    }
    kill(parent, SIGUSR1);
    if (argc == 3) write(ends[1], "x", 1);  // the handler does not
    _exit(0);
}
char byte;
struct { char *start; long size; } part = {&byte, 1};
long got = raw(SYS_readv, ends[0], (long)&part, 1, 0, 0, 0);
char text[32]; snprintf(text, sizeof text, "%ld", got); say(text);
"""


@pytest.mark.parametrize(
    ("how", "seen", "told"),
    [
        ([], f"-{errno.EINTR}", [-errno.EINTR]),
        # A handler runs in between: the call has returned, is made again, and the hook is asked again.
        (["restart"], "1", [-errno.EINTR, 1]),
        # Nothing runs in between: the program never learns of the interruption.
        (["suppress", "it"], "1", [1]),
    ],
    ids=["interrupted", "restarted", "suppressed"],
)
def test_a_call_that_a_signal_interrupts(compile_c: CCompiler, how: list[str], seen: str, told: list[int]) -> None:
    before = 'static int ends[2]; static void on(int n) { (void)n; write(ends[1], "x", 1); }'
    program = main_program(compile_c, INTERRUPTED, before=before)

    class Suppresses(Returns):
        def signal(self, event: SignalEvent) -> SignalVerdict | Verdict | None:
            return SignalVerdict.SUPPRESS if len(how) == 2 else None

    notify = Suppresses()
    policy = processes_builder(program).add_proc().trace("readv", "inspect").build()
    result = Executor(policy, notify=notify).run([program, *how], text=True)
    assert (result.status, result.stdout) == (Status.OK, seen), result.violations
    assert [value for _, value in notify.returned] == told


# What both monitors tell.

MONITORS = ("ptrace", "unotify")


class Common(Notify):
    """The events that every monitor sees; `answers` are given to them by their name."""

    def __init__(self, **answers: Any) -> None:
        self.names: list[str] = []
        self.answers = answers

    def _told(self, name: str) -> Any:
        self.names.append(name)
        return self.answers.get(name)

    def started(self, event: ProcessEvent) -> Verdict | None:
        assert event.pid == event.tid > 0
        assert event.program.endswith("/program")
        answer: Verdict | None = self._told("started")
        return answer

    def syscall(self, call: Syscall) -> Verdict | None:
        answer: Verdict | None = self._told("syscall")
        return answer or Verdict.errno(errno.EXDEV)

    def violation(self, violation: Violation) -> Verdict | None:
        answer: Verdict | None = self._told("violation")
        return answer

    def quota(self, event: QuotaEvent) -> Verdict | None:
        answer: Verdict | None = self._told("quota")
        return answer

    def finished(self, result: Result) -> None:
        self._told("finished")


COMMON = r"""
raw(SYS_getpgrp, 0, 0, 0, 0, 0, 0);
char text[32]; snprintf(text, sizeof text, "%ld;", raw(SYS_getppid, 0, 0, 0, 0, 0, 0)); say(text);
if (argc > 1) for (;;) ;
"""


def run_common(compile_c: CCompiler, notify: Common, monitor: str, *arguments: str, mode: str = "refuse") -> Result:
    program = main_program(compile_c, COMMON)
    policy = static_builder(program).trace("getppid", "parent").build()
    limits = Limits(wall_time=0.2) if arguments else None
    executor = Executor(policy, notify=notify, mode=mode, monitor=monitor, limits=limits)
    return executor.run([program, *arguments])


@pytest.mark.parametrize("monitor", MONITORS)
def test_both_monitors_tell_the_same(compile_c: CCompiler, monitor: str) -> None:
    notify = Common()
    result = run_common(compile_c, notify, monitor)
    assert (result.status, result.stdout) == (Status.OK, f"-{errno.EXDEV};".encode())
    assert notify.names == ["started", "violation", "syscall", "finished"]
    notify = Common(quota=Verdict.finish("slow"))
    result = run_common(compile_c, notify, monitor, "forever")
    assert (result.status, result.user_verdict) == (Status.TIMEOUT, "slow")
    assert notify.names == ["started", "violation", "syscall", "quota", "finished"]
    notify = Common()
    assert run_common(compile_c, notify, monitor, mode="enforce").status is Status.VIOLATION
    assert notify.names == ["started", "violation", "finished"]


@pytest.mark.parametrize("monitor", MONITORS)
@pytest.mark.parametrize("event", ["started", "syscall", "violation"])
def test_both_monitors_end_the_run_for_an_answer(compile_c: CCompiler, event: str, monitor: str) -> None:
    killed = run_common(compile_c, Common(**{event: Verdict.KILL}), monitor)
    assert (killed.status, killed.stdout) == (Status.VIOLATION, b"")
    assert killed.violations[-1].kind == Violation.HOOK
    assert killed.violations[-1].hook == {"syscall": "parent"}.get(event, f"Notify.{event}")
    finished = run_common(compile_c, Common(**{event: Verdict.finish("enough")}), monitor)
    assert (finished.status, finished.user_verdict) == (Status.EXTERNAL_KILL, "enough")
    nonsense = run_common(compile_c, Common(**{event: "nonsense"}), monitor)
    assert (nonsense.status, nonsense.stdout) == (Status.VIOLATION, b"")


# Many at once, and runs inside of runs.


def test_one_notify_serves_many_runs_from_many_threads(getppid: Path) -> None:
    class Counts(Notify):
        def __init__(self) -> None:
            self.lock, self.started_pids, self.finished_pids = threading.Lock(), [], []  # type: ignore[var-annotated]

        def started(self, event: ProcessEvent) -> Verdict | None:
            with self.lock:
                self.started_pids.append(event.pid)
            return None

        def syscall(self, call: Syscall) -> Verdict | None:
            return Verdict.errno(errno.EXDEV)

        def finished(self, result: Result) -> None:
            with self.lock:
                self.finished_pids.append(result.pid)

    notify = Counts()
    executor = Executor(static_builder(getppid).trace("getppid", "parent").build(), notify=notify)
    results: list[Result] = []
    threads = [
        threading.Thread(target=lambda: results.extend(executor.run([getppid]) for _ in range(5))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {(result.status, result.stdout) for result in results} == {(Status.OK, f"-{errno.EXDEV};".encode())}
    assert len(results) == 30
    assert sorted(notify.started_pids) == sorted(notify.finished_pids) == sorted(result.pid for result in results)


@pytest.mark.parametrize("event", ["started", "syscall", "exit", "finished"])
def test_a_callback_may_run_the_same_executor(getppid: Path, event: str) -> None:
    depth = 0

    def again(*_arguments: object) -> Verdict | None:
        nonlocal depth
        if depth < 3:
            depth += 1
            assert executor.run([getppid]).stdout == b"1;"
        return Verdict.ALLOW if event == "syscall" else None

    class Again(Notify):
        def syscall(self, call: Syscall) -> Verdict | None:
            return Verdict.ALLOW

    notify = Again()
    setattr(notify, event, again)
    executor = Executor(static_builder(getppid).trace("getppid", "parent").build(), notify=notify)
    assert executor.run([getppid]).stdout == b"1;"
    assert depth == 3
