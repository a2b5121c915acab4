"""Attacks on a monitor that is told of calls by the kernel: callbacks that fail, signals, its death, a second one."""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stockade import Executor, Status, Syscall, Verdict, Violation
from stockade.kernel import seccomp_notify
from stockade.kernel.calls import Int, system_call
from stockade.kernel.seccomp_constants import SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
from stockade.monitor.blocked import sleep_of
from stockade.request import MONITORS
from support.attacks import PATIENCE, Attempt, run_script, unsandboxed
from support.compiler import CCompiler
from support.runs import everything_builder, main_program, python_environment, static_builder

_tgkill = system_call("tgkill", Int, Int, Int)
GETPPID = 110
ASK = "raw(SYS_getppid, 0, 0, 0, 0, 0, 0)"


# --- N4: a callback that raises, or hangs ---

CALLBACKS: dict[str, Callable[[Syscall], object]] = {
    "raises": lambda call: 1 // 0,
    "answers nothing": lambda call: None,
    "answers nonsense": lambda call: "yes",
    "inspects unasked": lambda call: Verdict.INSPECT,
}


@pytest.fixture(scope="module")
def asking(compile_c: CCompiler) -> Path:
    return main_program(compile_c, f'if ({ASK} > 0) say("done");')


@pytest.mark.attack("N4")
@pytest.mark.parametrize("name", CALLBACKS)
def test_a_callback_that_fails_denies_under_both_monitors(attack: Attempt, asking: Path, name: str) -> None:
    attack.control(unsandboxed(asking).stdout == b"done", "the call does nothing")
    policy = static_builder(asking).trace("getppid", "decide").build()
    found = []
    for monitor in MONITORS:
        hooks = {"decide": CALLBACKS[name]}
        result = Executor(policy, hooks=hooks, monitor=monitor).run([asking])  # type: ignore[arg-type]
        (violation,) = result.violations
        assert (result.status, result.stdout, violation.kind) == (Status.VIOLATION, b"", Violation.HOOK)
        found.append((violation.hook, violation.hook_message, violation.summary))
    assert found[0] == found[1]


@pytest.mark.attack("N4")
@pytest.mark.parametrize("monitor", MONITORS)
def test_a_callback_that_hangs_ends_the_run(attack: Attempt, asking: Path, monitor: str) -> None:
    attack.control(unsandboxed(asking).stdout == b"done", "the call does nothing")
    never = threading.Event()
    policy = static_builder(asking).trace("getppid", "decide").build()
    try:
        executor = Executor(
            policy,
            hooks={"decide": lambda call: Verdict.ALLOW if never.wait() else Verdict.KILL},
            hook_timeout=0.01,
            monitor=monitor,
        )
        result = executor.run([asking])
        assert (result.status, result.stdout) == (Status.VIOLATION, b"")
        assert [violation.kind for violation in result.violations] == [Violation.HOOK_TIMEOUT]
    finally:
        never.set()


# --- N5: a signal comes while a call waits ---

# The main thread and a second one each ask; what they get, and whether the handler ran, is told at the end.
SIGNALS = """
static volatile int handled;
static volatile long got[2];
static void handler(int signo) { handled++; }
static void *second(void *nothing) { got[1] = raw(SYS_getppid, 2, 0, 0, 0, 0, 0); return 0; }
"""
ASK_TWICE = """
struct sigaction action = {.sa_handler = handler, .sa_flags = number_of(argv[1])};
char text[64];
pthread_t t;
sigaction(SIGUSR1, &action, 0);
pthread_create(&t, 0, second, 0);
got[0] = raw(SYS_getppid, 1, 0, 0, 0, 0, 0);
pthread_join(t, 0);
snprintf(text, sizeof text, "%ld %ld %d", got[0], got[1], handled);
say(text);
"""
SA_RESTART = 0x10000000


@pytest.fixture(scope="module")
def signalled(compile_c: CCompiler) -> Path:
    return main_program(compile_c, ASK_TWICE, before=SIGNALS)


def run_signalled(program: Path, flags: int, decide: Callable[[Syscall], Verdict]) -> tuple[int, ...]:
    policy = everything_builder(program).trace("getppid", "decide").build()
    result = Executor(policy, hooks={"decide": decide}, monitor="unotify").run([program, str(flags)])
    assert result.status is Status.OK, result
    return tuple(int(word) for word in result.stdout.split())


@pytest.mark.attack("N5")
@pytest.mark.parametrize("flags", [0, SA_RESTART], ids=["without SA_RESTART", "with SA_RESTART"])
def test_a_signal_after_the_call_was_received_changes_nothing(attack: Attempt, signalled: Path, flags: int) -> None:
    """The program would see the call succeed without a sandbox; it does with one, and the handler runs afterwards."""
    said = unsandboxed(signalled, str(flags)).stdout.split()
    attack.control(said[2] == b"0" and int(said[0]) > 0, "the program does not ask")
    assert seccomp_notify.listener_flags() & SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
    asked: list[int] = []

    def decide(call: Syscall) -> Verdict:
        asked.append(call.args[0])
        signal_thread(call.pid, call.tid, signal.SIGUSR1)
        return Verdict.returning(1000 + call.args[0])

    first, second, handled = run_signalled(signalled, flags, decide)
    assert (first, second) == (1001, 1002)
    assert handled == 2
    assert sorted(asked) == [1, 2]


@pytest.mark.attack("N5")
@pytest.mark.parametrize("flags", [0, SA_RESTART], ids=["without SA_RESTART", "with SA_RESTART"])
def test_a_signal_before_the_call_is_received(attack: Attempt, signalled: Path, flags: int) -> None:
    """With SA_RESTART the call is made again and decided then. Without it fails with EINTR: a known limit."""
    said = unsandboxed(signalled, str(flags)).stdout.split()
    attack.control(said[2] == b"0" and int(said[0]) > 0, "the program does not ask")
    asked: list[int] = []

    def decide(call: Syscall) -> Verdict:
        asked.append(call.args[0])
        if len(asked) == 1:  # while the monitor is here, the other thread waits to be received
            other = other_thread_in_call(call)
            signal_thread(call.pid, other, signal.SIGUSR1)
            handled_by(other)
        return Verdict.returning(1000 + call.args[0])

    *answers, handled = run_signalled(signalled, flags, decide)
    assert handled == 1
    received, interrupted = asked[0], 3 - asked[0]
    assert answers[received - 1] == 1000 + received
    if flags:
        assert answers[interrupted - 1] == 1000 + interrupted
        assert sorted(asked) == [1, 2]
    else:
        assert answers[interrupted - 1] == -errno.EINTR
        assert asked == [received]


def signal_thread(pid: int, tid: int, signo: int) -> None:
    _tgkill(pid, tid, signo)


def other_thread_in_call(call: Syscall) -> int:
    """The thread of the same process that waits in the same call, once it does."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for name in os.listdir(f"/proc/{call.pid}/task"):
            if int(name) != call.tid:
                sleep = sleep_of(int(name))
                if sleep is not None and sleep.number == GETPPID:
                    return int(name)
    raise AssertionError("the other thread never asks")


def handled_by(tid: int) -> None:
    """Wait until no signal is pending for the thread: it has been taken out of its call."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            status = Path(f"/proc/{tid}/status").read_text()
        except OSError:
            return  # it has ended meanwhile
        if next(line for line in status.splitlines() if line.startswith("SigPnd")).split()[1] == "0" * 16:
            return
    raise AssertionError("the signal is never handled")


# --- N6: the monitor dies ---

DYING = """
import os, sys
from pathlib import Path
from stockade import Executor, Verdict
from support.runs import static_builder
program, reader, writer = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
policy = static_builder(program).trace("getppid", "decide").build()
def decide(call):
    return Verdict.returning(7)
process = Executor(policy, hooks={"decide": decide}, monitor="unotify").start([program, str(writer)], pass_fds=[writer])
os.close(writer)
print(process.pid, flush=True)
process.wait()
"""
ASK_FOR_EVER = """
int told = 0;
for (;;) {
    long got = raw(SYS_getppid, 0, 0, 0, 0, 0, 0);
    if (got == 7 && !told) { told = 1; raw(SYS_write, number_of(argv[1]), (long)"7", 1, 0, 0, 0); }
    if (got != 7) raw(SYS_write, number_of(argv[1]), (long)(got == -38 ? "E" : "?"), 1, 0, 0, 0);
}
"""


@pytest.mark.attack("N6")
def test_the_tree_dies_with_its_monitor_and_its_calls_are_refused_meanwhile(
    attack: Attempt, compile_c: CCompiler
) -> None:
    program = main_program(compile_c, ASK_FOR_EVER)
    reader, writer = os.pipe()
    child = subprocess.Popen(
        [sys.executable, "-c", DYING, program, str(reader), str(writer)],
        pass_fds=(writer,),
        stdout=subprocess.PIPE,
        env=python_environment(),
    )
    os.close(writer)
    try:
        assert child.stdout is not None
        pid = int(child.stdout.readline())
        pidfd = os.pidfd_open(pid)
        attack.control(os.read(reader, 1) == b"7", "the monitor does not decide")
        child.kill()
        child.wait()
        said = b""
        while part := os.read(reader, 4096):  # until nobody holds the pipe any more: the program is dead
            said += part
        assert set(said) <= set(b"E")
        signal_is_gone(pidfd)
        os.close(pidfd)
    finally:
        os.close(reader)
        child.kill()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()


def signal_is_gone(pidfd: int) -> None:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    assert poll.poll(PATIENCE * 1000)


# --- N7: somebody else listens already ---

UNDER_ANOTHER = """
import os, struct, sys
from pathlib import Path
from stockade import Executor, UnsupportedError
from stockade.kernel import process, seccomp, seccomp_notify
from support.runs import static_builder
if sys.argv[2] == "listener":
    process.set_no_new_privs()
    allow = struct.pack("<HBBI", 6, 0, 0, 0x7FFF0000)
    assert seccomp.prepare_listener(allow, seccomp_notify.listener_flags())() > 0
program = Path(sys.argv[1])
policy = static_builder(program).build()
try:
    print(Executor(policy, monitor="unotify").run([program]).stdout.decode())
except UnsupportedError as error:
    print(error.layer, "|", error.remedy)
print(Executor(policy, monitor="ptrace").run([program]).stdout.decode())
"""


@pytest.mark.attack("N7")
def test_another_listener_above_is_named_and_nothing_runs(attack: Attempt, compile_c: CCompiler) -> None:
    program = main_program(compile_c, 'say("ran");')
    control = run_script(UNDER_ANOTHER, program, "none").stdout.splitlines()
    attack.control(control == ["ran", "ran"], "the monitor does not work at all")
    refused, other = run_script(UNDER_ANOTHER, program, "listener").stdout.splitlines()
    assert refused.startswith("unotify monitor | ")
    assert 'monitor="ptrace"' in refused
    assert other == "ran"
