"""Notify objects and a policy that the tests of the monitor share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from stockade import (
    Notify,
    PolicyBuilder,
    ProcessEvent,
    QuotaEvent,
    Result,
    SignalEvent,
    SignalVerdict,
    Syscall,
    Verdict,
    Violation,
    hook,
)
from support.runs import everything_builder


class Recorder(Notify):
    """Keeps the names of the events, and what is worth comparing of each."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []

    def started(self, event: ProcessEvent) -> Verdict | None:
        self.events.append(("started", (event.pid, event.tid, event.program)))
        return None

    def syscall(self, call: Syscall) -> Verdict | None:
        self.events.append(("syscall", (call.hook, call.name)))
        return Verdict.ALLOW

    def violation(self, violation: Violation) -> Verdict | None:
        self.events.append(("violation", violation.syscall))
        return None

    def exec(self, event: ProcessEvent) -> Verdict | None:
        self.events.append(("exec", (event.pid, event.program)))
        return None

    def fork(self, event: ProcessEvent) -> Verdict | None:
        self.events.append(("fork", (event.pid, event.child, event.is_thread)))
        return None

    def exit(self, event: ProcessEvent) -> Verdict | None:
        self.events.append(("exit", (event.pid, os.waitstatus_to_exitcode(event.status))))
        return None

    def signal(self, event: SignalEvent) -> SignalVerdict | Verdict | None:
        self.events.append(("signal", (event.pid, event.signo)))
        return None

    def quota(self, event: QuotaEvent) -> Verdict | None:
        self.events.append(("quota", event.name))
        return None

    def finished(self, result: Result) -> None:
        self.events.append(("finished", (result.status, result.stdout)))

    def names(self) -> list[str]:
        return [name for name, _ in self.events]

    def of(self, name: str) -> list[Any]:
        return [value for each, value in self.events if each == name]


class Returns(Notify):
    """Has the returns of all calls that come to its hook told, and keeps them."""

    def __init__(self) -> None:
        self.returned: list[tuple[str, int]] = []

    @hook(inspects=True)
    def syscall(self, call: Syscall) -> Verdict | None:
        return Verdict.INSPECT

    def syscall_return(self, call: Syscall, value: int) -> Verdict | None:
        self.returned.append((call.name, value))
        return None


def processes_builder(program: Path) -> PolicyBuilder:
    """A policy for programs that make threads and processes, handle signals and execute themselves."""
    return everything_builder(program).add_file(program)
