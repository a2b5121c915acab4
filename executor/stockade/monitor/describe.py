"""A violation as data: the call with its arguments, who made it, from where in the code, and how it came there.

Everything is read from a task that is stopped at the call (or blocked in it) and may be hostile. What cannot be had is
left out: a violation is never lost because some of it cannot be told.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from stockade._proto import report_pb2
from stockade.monitor.blocked import sleep_of
from stockade.monitor.decode import decode_arguments, format_call
from stockade.monitor.memory import TaskMemory
from stockade.monitor.phase import phase
from stockade.monitor.picture import Picture
from stockade.monitor.violations import Call
from stockade.text import escape

# Processes above the one that made the call.
MAXIMUM_PARENTS = 16
MAXIMUM_PARENT_ARGUMENTS = 16
# Which registers hold a call's number and arguments. syscall(2)
CALL_REGISTERS = ("orig_rax", "rdi", "rsi", "rdx", "r10", "r8", "r9")
CALL_REGISTERS_I386 = ("orig_rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp")

Kind = report_pb2.Violation


class Surroundings(NamedTuple):
    """What is there beside a task: processes above its own, nearest first, and how many threads its own has."""

    parents: list[report_pb2.ProcessInfo]
    threads: int


def look_around(tid: int, program_pid: int) -> Surroundings:
    """Return what is there beside a task. `program_pid` is the program that was started: the parents end there."""
    status = TaskMemory(tid).status()
    return Surroundings(parents(status, program_pid), int(status.get("Threads", "1")))


def describe(
    tid: int,
    call: Call,
    kind: report_pb2.Violation.Kind,
    layer: str,
    *,
    hook: str = "",
    message: str = "",
    around: Surroundings | None = None,
    has_made_tasks: bool = False,
    with_stack: bool = True,
) -> report_pb2.Violation:
    """Return the violation that the task `tid` is about to commit with `call`. Never raises for what the task did.

    `around` is what was there beside the task before anything was killed (default: what is there now).
    `has_made_tasks`: the process is known to have made a child or a thread. `with_stack`: walk the stack, which costs
    most and without which the phase cannot be told.
    """
    picture = Picture(tid)
    stopped = "rip" in picture.registers
    if not call.stack_pointer and call.name:  # a notification does not tell it
        call = call._replace(stack_pointer=picture.registers["rsp"] if stopped else _stack_pointer_of(tid))
    if not stopped:  # what the call itself says is all that is known
        picture = Picture(tid, registers_of(call))
    if around is None:
        around = look_around(tid, 0)
    task = picture.memory
    arguments: Sequence[report_pb2.Argument] = ()
    if call.name:
        arguments = decode_arguments(call.name, call.architecture, call.args, task)
    else:  # an event that is no call
        call = call._replace(instruction_pointer=picture.registers["rip"], stack_pointer=picture.registers["rsp"])
    module, offset = picture.module(call.instruction_pointer)
    violation = report_pb2.Violation(
        kind=kind,
        syscall=call.name,
        number=call.number,
        architecture=call.architecture,
        raw_arguments=call.args,
        arguments=arguments,
        pid=picture.pid,
        tid=tid,
        inner_pid=inner_pid(picture.status),
        program=escape(task.program()),
        instruction_pointer=call.instruction_pointer,
        stack_pointer=call.stack_pointer,
        module=module,
        module_offset=offset,
        layer=layer,
        summary=_summary(format_call(call.name, arguments), call, kind, hook, message),
        command_line=[escape(part) for part in task.command_line()],
        hook=hook,
        hook_message=escape(message),
        registers=picture.registers,
        mapping=picture.mapping(call.instruction_pointer),
        parents=around.parents,
    )
    if with_stack:
        # These look at much that a program can forge; nothing in it may cost us the rest.
        with contextlib.suppress(OSError, ValueError, LookupError, struct.error, OverflowError):
            violation.stack.extend(picture.frames)
            violation.phase = phase(picture, has_company=has_made_tasks or around.threads > 1)
    return violation


def _stack_pointer_of(tid: int) -> int:
    sleep = sleep_of(tid)
    return sleep.stack_pointer if sleep is not None else 0


def registers_of(call: Call) -> Mapping[str, int]:
    """Return the registers, by name, that a call tells of by itself."""
    names = CALL_REGISTERS_I386 if call.architecture == "i386" else CALL_REGISTERS
    values = (call.number, *call.args, call.instruction_pointer, call.stack_pointer)
    return {name: value & 0xFFFFFFFFFFFFFFFF for name, value in zip((*names, "rip", "rsp"), values, strict=True)}


def parents(status: Mapping[str, str], program_pid: int) -> list[report_pb2.ProcessInfo]:
    """Return the processes above a task, nearest first, up to the program that was started; `status` is the task's.

    A process whose parent has ended is a child of the box's init, which is not shown.
    """
    found: list[report_pb2.ProcessInfo] = []
    while len(found) < MAXIMUM_PARENTS and int(status.get("Tgid", "0")) not in (0, program_pid):
        memory = TaskMemory(int(status.get("PPid", "0")))
        status = memory.status()
        inner = inner_pid(status)
        if inner <= 1:  # init, a process outside of the box, or one that has gone
            break
        command_line = [escape(part) for part in memory.command_line()[:MAXIMUM_PARENT_ARGUMENTS]]
        program = escape(memory.program())
        found.append(
            report_pb2.ProcessInfo(pid=memory.tid, inner_pid=inner, program=program, command_line=command_line)
        )
    return found


def inner_pid(status: Mapping[str, str]) -> int:
    """Return the pid of a task's thread group inside the box; 0 when it is not in one."""
    pids = status.get("NStgid", "").split()
    return int(pids[1]) if len(pids) > 1 else 0


def _summary(text: str, call: Call, kind: report_pb2.Violation.Kind, hook: str, message: str) -> str:
    if not call.name:
        text = "the run"
    if kind == Kind.ARCHITECTURE:
        return f"{text} came through the foreign ABI {call.architecture}"
    if not call.name:
        what = "did not come back in time" if kind == Kind.HOOK_TIMEOUT else "ended the run"
        return f"the callback {hook!r} {what}" + (f": {escape(message)}" if message else "")
    if kind == Kind.HOOK:
        return f"{text} was refused by the hook {hook!r}" + (f": {escape(message)}" if message else "")
    if kind == Kind.HOOK_TIMEOUT:
        return f"the hook {hook!r} did not decide about {text} in time"
    return f"{text} is not allowed by the policy"
