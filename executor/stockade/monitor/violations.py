"""Violations as data, taken from a stopped task and kept in bounded memory."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from stockade._proto import report_pb2
from stockade.kernel.architectures import X86_64, of_call
from stockade.kernel.ptrace import Registers, SyscallInfo

if TYPE_CHECKING:
    from stockade.monitor.describe import Surroundings

MAXIMUM_KEPT = 1000
# Further places, for calls of which nothing is kept.
RESERVED = 500
# So many have a stack: walking one costs more than all else that is read.
MAXIMUM_STACKS = 100

Kind = report_pb2.Violation


class Call(NamedTuple):
    """A system call as it was made."""

    name: str
    number: int
    architecture: str
    args: tuple[int, ...]
    instruction_pointer: int
    # 0: not told.
    stack_pointer: int
    # Audit token of the ABI it came through.
    token: int = X86_64.audit_token

    @property
    def is_foreign(self) -> bool:
        """Whether it came through another ABI than the machine's own."""
        return self.architecture != X86_64.name


# Stands for "no call".
NO_CALL = Call("", 0, X86_64.name, (0,) * 6, 0, 0)


@functools.lru_cache(maxsize=1024)  # numbers may be hostile
def _name_call(token: int, number: int) -> tuple[str, str]:
    """(architecture, name of the call)."""
    architecture = of_call(token, number)
    if architecture is None:
        return f"arch_{token:#x}", f"syscall_{number}"
    return architecture.name, architecture.name_of(number)


def call_of_stop(info: SyscallInfo) -> Call:
    """The call at a seccomp stop."""
    architecture, name = _name_call(info.arch, info.number)
    pointers = info.instruction_pointer, info.stack_pointer
    return Call(name, info.number, architecture, tuple(info.arguments), *pointers, info.arch)


def call_of_notification(token: int, number: int, args: tuple[int, ...], instruction_pointer: int) -> Call:
    """The call of a notification, which does not tell the stack pointer: that is 0."""
    architecture, name = _name_call(token, number)
    return Call(name, number, architecture, args, instruction_pointer, 0, token)


def call_of_registers(registers: Registers, token: int) -> Call:
    """The call of a task that the kernel has killed for it, at its exit stop: the registers still hold it."""
    number = registers.orig_rax
    architecture, name = _name_call(token, number)
    if architecture == "i386":
        names = (registers.rbx, registers.rcx, registers.rdx, registers.rsi, registers.rdi, registers.rbp)
        args = tuple(value & 0xFFFFFFFF for value in names)
    else:
        args = (registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9)
    return Call(name, number, architecture, args, registers.rip, registers.rsp, token)


class ViolationLog:
    """The violations of one run: the first of each kind in full, repetitions counted, the number bounded."""

    def __init__(self, started_at: float, program_pid: Callable[[], int] = int) -> None:
        """`program_pid` gives the pid of the program that was started, 0 while it is not known."""
        self._program_pid = program_pid
        # Tasks that have made others since their process began to run its program.
        self.makers: set[int] = set()
        self._around: dict[int, Surroundings] = {}
        self.violations: list[report_pb2.Violation] = []
        self.dropped = 0
        self._started_at = started_at
        self._by_key: dict[tuple[object, ...], report_pb2.Violation] = {}
        self._kept_calls: set[tuple[str, str]] = set()

    def look_around(self, tid: int) -> None:
        """See what is there beside a task, whose violation will be recorded when much of that has been killed."""
        from stockade.monitor.describe import look_around

        self._around[tid] = look_around(tid, self._program_pid())

    def record(
        self,
        tid: int,
        call: Call | None,
        kind: report_pb2.Violation.Kind,
        layer: str,
        *,
        hook: str = "",
        message: str = "",
        allowed: bool = False,
    ) -> report_pb2.Violation | None:
        """Record the call of the stopped task `tid`, reading its memory. Never raises for what the task did.

        Returns the new violation, None when it is only counted. `call` is None when the user's code ended the run at
        another event. `allowed`: the call is made all the same. Of a repetition nothing is read: a program can make
        many thousands in a second.
        """
        now = int((time.monotonic() - self._started_at) * 1e9)
        call = NO_CALL if call is None else call
        selecting = tuple([call.args[index] for index in _selecting(call.name)])
        key = (kind, call.number, call.architecture, call.instruction_pointer, selecting, hook, message, allowed)
        known = self._by_key.get(key)
        if known is not None:
            known.count += 1
            known.last_at = now
            return None
        if len(self.violations) >= MAXIMUM_KEPT and not self._is_first_of_its_call(call):
            self.dropped += 1
            return None
        from stockade.monitor.describe import describe, look_around  # here, because most runs have no violation

        with_stack = len(self.violations) < MAXIMUM_STACKS
        around = self._around.pop(tid, None) or look_around(tid, self._program_pid())
        violation = describe(
            tid,
            call,
            kind,
            layer,
            hook=hook,
            message=message,
            around=around,
            has_made_tasks=tid in self.makers,
            with_stack=with_stack,
        )
        violation.count = 1
        violation.first_at = violation.last_at = now
        violation.allowed = allowed
        self._by_key[key] = violation
        self._kept_calls.add((call.name, call.architecture))
        self.violations.append(violation)
        return violation

    def _is_first_of_its_call(self, call: Call) -> bool:
        """Whether the call has a name of which nothing is kept yet: a flood of one call does not hide the others."""
        is_named = not call.name.startswith("syscall_") and not call.architecture.startswith("arch_")
        has_room = len(self.violations) < MAXIMUM_KEPT + RESERVED
        return is_named and has_room and (call.name, call.architecture) not in self._kept_calls


@functools.lru_cache(maxsize=1024)  # names may be hostile
def _selecting(name: str) -> tuple[int, ...]:
    """The positions of the arguments that say what the call does (flags, commands), for telling repetitions apart."""
    from stockade.kernel.signatures import signature

    return tuple(index for index, parameter in enumerate(signature(name)) if parameter.discriminating)
