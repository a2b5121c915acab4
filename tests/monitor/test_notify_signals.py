"""Notify.signal: what is told of a signal, and what becomes of it."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from stockade import (
    Executor,
    Notify,
    Result,
    SignalEvent,
    SignalVerdict,
    Status,
    Verdict,
)
from support.compiler import CCompiler
from support.notified import processes_builder
from support.runs import main_program, static_builder

# Signals.

SIGNALS = r"""
struct sigaction action = {.sa_sigaction = on, .sa_flags = SA_SIGINFO};
sigaction(SIGUSR1, &action, 0);
sigaction(SIGUSR2, &action, 0);
union sigval value = {.sival_ptr = (void *)0x123456789abcdef0};
sigqueue(getpid(), SIGUSR1, value);
say("end");
"""
ON_SIGNAL = r"""
static void on(int signo, siginfo_t *info, void *context) {
    char text[128];
    snprintf(text, sizeof text, "%d %d %lx;", signo, info->si_code, (long)info->si_value.sival_ptr);
    say(text);
}
"""


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        (None, f"{int(signal.SIGUSR1)} -1 123456789abcdef0;end"),
        (SignalVerdict.DELIVER, f"{int(signal.SIGUSR1)} -1 123456789abcdef0;end"),
        (SignalVerdict.replace(signal.SIGUSR1), f"{int(signal.SIGUSR1)} -1 123456789abcdef0;end"),
        (SignalVerdict.SUPPRESS, "end"),
        (SignalVerdict.replace(signal.SIGUSR2), f"{int(signal.SIGUSR2)} 0 0;end"),
    ],
    ids=repr,
)
def test_what_becomes_of_a_signal(compile_c: CCompiler, answer: SignalVerdict | None, seen: str) -> None:
    program = main_program(compile_c, SIGNALS, before=ON_SIGNAL)
    events: list[SignalEvent] = []

    class Signals(Notify):
        def signal(self, event: SignalEvent) -> SignalVerdict | Verdict | None:
            events.append(event)
            return answer

    policy = processes_builder(program).build()
    result = Executor(policy, notify=Signals()).run([program], text=True)
    assert result.status is Status.OK, result.violations
    assert result.stdout.split(" 1234")[0].split(" 0 ")[0] == seen.split(" 1234")[0].split(" 0 ")[0]
    if "1234" in seen or seen == "end":
        assert result.stdout == seen
    (event,) = events
    assert (event.pid, event.tid) == (result.pid, result.pid)
    assert (event.signo, event.code, event.value) == (signal.SIGUSR1, -1, 0x123456789ABCDEF0)
    assert event.sender == 2  # the program itself, as the box numbers it: init is 1
    assert event.address == 0


def test_a_fault_that_is_told_and_delivered_kills_as_ever(compile_c: CCompiler) -> None:
    program = main_program(compile_c, "*(volatile char *)0x1234 = 1;")
    events: list[SignalEvent] = []

    class Signals(Notify):
        def signal(self, event: SignalEvent) -> SignalVerdict | Verdict | None:
            events.append(event)
            return SignalVerdict.DELIVER

    result = Executor(static_builder(program).build(), notify=Signals()).run([program])
    assert (result.status, result.signal) == (Status.SIGNALED, signal.SIGSEGV)
    assert (result.reason.si_code, result.reason.fault_address) == (1, 0x1234)
    (event,) = events
    assert (event.signo, event.code, event.address, event.sender) == (signal.SIGSEGV, 1, 0x1234, 0)


def test_a_fatal_signal_that_is_suppressed_or_replaced(compile_c: CCompiler) -> None:
    program = main_program(compile_c, 'kill(getpid(), SIGTERM); say("alive");')

    def run(answer: SignalVerdict) -> Result:
        class Signals(Notify):
            def signal(self, event: SignalEvent) -> SignalVerdict | Verdict | None:
                return answer

        return Executor(processes_builder(program).build(), notify=Signals()).run([program])

    suppressed = run(SignalVerdict.SUPPRESS)
    assert (suppressed.status, suppressed.stdout) == (Status.OK, b"alive")
    replaced = run(SignalVerdict.replace(signal.SIGQUIT))
    assert (replaced.status, replaced.signal, replaced.stdout) == (Status.SIGNALED, signal.SIGQUIT, b"")
    assert run(SignalVerdict.DELIVER).signal == signal.SIGTERM


@pytest.mark.parametrize("signo", [0, -1, 65, "SIGTERM", None, 1.5])
def test_a_signal_that_is_none(signo: Any) -> None:
    with pytest.raises(ValueError, match="64"):
        SignalVerdict.replace(signo)
