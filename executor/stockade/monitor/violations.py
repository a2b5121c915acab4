"""Violations as data, taken from a stopped task and kept in bounded memory."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from typing import NamedTuple

from stockade._proto import report_pb2
from stockade.kernel.architectures import X86_64, of_call
from stockade.kernel.ptrace import Registers, SyscallInfo
from stockade.monitor.memory import TaskMemory
from stockade.text import escape

MAXIMUM_KEPT = 1000

Kind = report_pb2.Violation


class Call(NamedTuple):
    """A system call as it was made."""

    name: str
    number: int
    architecture: str
    args: tuple[int, ...]
    instruction_pointer: int
    stack_pointer: int
    # Audit token of the ABI it came through.
    token: int = X86_64.audit_token

    @property
    def is_foreign(self) -> bool:
        """Whether it came through another ABI than the machine's own."""
        return self.architecture != X86_64.name


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

    def __init__(self, started_at: float) -> None:
        self.violations: list[report_pb2.Violation] = []
        self.dropped = 0
        self._started_at = started_at
        self._by_key: dict[tuple[object, ...], report_pb2.Violation] = {}

    def record(
        self, tid: int, call: Call, kind: report_pb2.Violation.Kind, layer: str, *, hook: str = "", message: str = ""
    ) -> None:
        """Record the call of the stopped task `tid`, reading its memory. Never raises for what the task did."""
        now = int((time.monotonic() - self._started_at) * 1e9)
        key = (kind, call.number, call.architecture, call.instruction_pointer, _selecting(call), hook, message)
        known = self._by_key.get(key)
        if known is not None:
            known.count += 1
            known.last_at = now
            return
        if len(self.violations) >= MAXIMUM_KEPT:
            self.dropped += 1
            return
        violation = _describe(tid, call, kind, layer, hook, message)
        violation.count = 1
        violation.first_at = violation.last_at = now
        self._by_key[key] = violation
        self.violations.append(violation)


def _selecting(call: Call) -> tuple[int, ...]:
    """The arguments that say what the call does (flags, commands), for telling repetitions apart."""
    from stockade.kernel.signatures import signature

    pairs = zip(signature(call.name), call.args, strict=False)
    return tuple(value for parameter, value in pairs if parameter.discriminating)


def _describe(
    tid: int, call: Call, kind: report_pb2.Violation.Kind, layer: str, hook: str, message: str
) -> report_pb2.Violation:
    from stockade.monitor.decode import decode_arguments, format_call
    from stockade.monitor.maps import find

    task = TaskMemory(tid)
    status = task.status()
    arguments: Sequence[report_pb2.Argument] = decode_arguments(call.name, call.architecture, call.args, task)
    module, offset = find(task.maps(), call.instruction_pointer)
    text = format_call(call.name, arguments)
    if kind == Kind.ARCHITECTURE:
        summary = f"{text} came through the foreign ABI {call.architecture}"
    elif kind == Kind.HOOK:
        summary = f"{text} was refused by the hook {hook!r}" + (f": {escape(message)}" if message else "")
    elif kind == Kind.HOOK_TIMEOUT:
        summary = f"the hook {hook!r} did not decide about {text} in time"
    else:
        summary = f"{text} is not allowed by the policy"
    return report_pb2.Violation(
        kind=kind,
        syscall=call.name,
        number=call.number,
        architecture=call.architecture,
        raw_arguments=call.args,
        arguments=arguments,
        pid=int(status.get("Tgid", tid)),
        tid=tid,
        inner_pid=int(status.get("NStgid", "0").split()[-1]),
        program=escape(task.program()),
        instruction_pointer=call.instruction_pointer,
        stack_pointer=call.stack_pointer,
        module=escape(module),
        module_offset=offset,
        layer=layer,
        summary=summary,
        command_line=[escape(part) for part in task.command_line()],
        hook=hook,
        hook_message=escape(message),
    )
