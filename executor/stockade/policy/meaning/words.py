"""Rules, conditions and calls in words, for explanations. Values are shown in the kernel's own symbols.

Names of hooks, which a policy chose, are escaped by whoever puts the words on a terminal.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable, Sequence

from stockade.kernel.signatures import signature
from stockade.policy.call import Call
from stockade.policy.evaluate import DecidedBy, Verdict
from stockade.policy.rules import ARGUMENTS, Action, Kind, Op, ResolvedCondition
from stockade.policy.symbols import value_expression
from stockade.text import escape

_PLAIN_ACTIONS = {
    Kind.ALLOW: "allowed",
    Kind.LOG: "allowed and recorded",
    Kind.TRAP: "answered with SIGSYS",
    Kind.KILL: "a violation",
}


def action_words(action: Action) -> str:
    """Say what happens to a call, to follow "is": "allowed", "answered with EPERM", "decided by the hook ask"."""
    if action.kind is Kind.ERRNO:
        return f"answered with {errno_name(action.errno)}" if action.errno else "not run, and pretended to succeed"
    if action.kind is Kind.TRACE:
        return f"decided by the hook {action.hook}" if action.hook else "decided by the monitor"
    return _PLAIN_ACTIONS[action.kind]


def verdict_words(verdict: Verdict, architecture: str) -> str:
    """Say what a verdict is and what decides it, safe to print: "allowed when fd is 0, by allow_syscall(…)"."""
    what, rule = escape(action_words(verdict.action)), verdict.rule
    if rule is None:
        return f"{what}: {escape(verdict.reason)}"
    if verdict.decided_by is DecidedBy.REFUSED:
        return f"{what}: {rule.origin.text}"
    when = f" when {conditions_words(rule.conditions, rule.syscall, architecture)}" if rule.conditions else ""
    return f"{what}{when}, by {escape(rule.origin.place)}"


def errno_name(number: int) -> str:
    """Give "EPERM" for 1, "error 4095" for a number without a name."""
    return errno.errorcode.get(number, f"error {number}")


def parameter_name(syscall: str, index: int, architecture: str) -> str:
    """Name an argument as the kernel's own prototype does: "request"; "argument 5" beyond it."""
    parameters = signature(syscall, architecture)
    return parameters[index].name if index < len(parameters) else f"argument {index}"


def conditions_words(conditions: Sequence[ResolvedCondition], syscall: str, architecture: str) -> str:
    """Say when all conditions hold: "request is TCGETS and fd is 0"; empty for no conditions."""
    registers = _pinned(conditions)
    return " and ".join(condition_words(each, syscall, architecture, registers) for each in conditions)


def condition_words(
    condition: ResolvedCondition, syscall: str, architecture: str, registers: Sequence[int] = (0,) * ARGUMENTS
) -> str:
    """Say when a condition holds: "request is TCGETS". `registers` may decide which symbols its values have."""
    name = parameter_name(syscall, condition.argument, architecture)
    text = wanted(condition, syscall, architecture, registers)
    if condition.op in (Op.EQUAL, Op.NOT_EQUAL, Op.ONE_OF):
        return f"{name} is {text}"
    if condition.op in (Op.MASKED, Op.NOT_MASKED):
        return f"{name} has {text}"
    return f"{name} {text}"


def wanted(condition: ResolvedCondition, syscall: str, architecture: str, registers: Sequence[int]) -> str:
    """Say what a condition wants of its argument: "TCGETS", "A, B or C", "no bits but O_CLOEXEC", "< 5"."""
    values = [
        value_expression(syscall, condition.argument, registers, architecture, value) for value in condition.values
    ]
    match condition.op:
        case Op.EQUAL:
            return values[0]
        case Op.NOT_EQUAL:
            return f"anything but {values[0]}"
        case Op.ONE_OF:
            return values[0] if len(values) == 1 else f"{', '.join(values[:-1])} or {values[-1]}"
        case Op.MASKED | Op.NOT_MASKED:
            return _wanted_bits(condition, syscall, architecture, registers)
        case _:
            return f"{condition.op.value} {values[0]}"


def _wanted_bits(condition: ResolvedCondition, syscall: str, architecture: str, registers: Sequence[int]) -> str:
    def bits(value: int) -> str:
        return value_expression(syscall, condition.argument, registers, architecture, value)

    mask, value = condition.mask, condition.values[0]
    inverted = ~mask & (1 << condition.width) - 1
    if condition.op is Op.NOT_MASKED:
        if value:
            return f"anything but {bits(value)} in the bits {mask:#x}"
        return f"a bit besides {bits(inverted)}" if inverted.bit_count() < mask.bit_count() else f"any of {bits(mask)}"
    if value == 0 and inverted.bit_count() < mask.bit_count():
        return f"no bits but {bits(inverted)}"
    if value == 0:
        return f"none of {bits(mask)}"
    if value == mask:
        return f"all of {bits(mask)}"
    if inverted.bit_count() < mask.bit_count():
        return f"{bits(value)}, whatever {inverted:#x} is"
    return f"{bits(value)} in the bits {mask:#x}"


def call_words(call: Call, shown: Collection[int]) -> str:
    """Write a call with the arguments that matter: "ioctl(fd=…, request=TCGETS, arg=…)"; "…" stands for any value."""
    count = max([len(signature(call.syscall, call.architecture)), *(index + 1 for index in shown)])
    parts = []
    for index in range(count):
        name = parameter_name(call.syscall, index, call.architecture)
        value = value_expression(call.syscall, index, call.registers, call.architecture) if index in shown else "…"
        parts.append(f"{name}={value}")
    return f"{call.syscall}({', '.join(parts)})"


def names_words(names: Iterable[str], most: int = 0) -> str:
    """List names: "close, dup and read"; beyond `most` (0: no limit) the rest is counted."""
    listed = list(names)
    if most and len(listed) > most + 1:
        listed = [*listed[:most], f"{len(listed) - most} more"]
    return listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} and {listed[-1]}"


def _pinned(conditions: Iterable[ResolvedCondition]) -> list[int]:
    """Give registers in which the arguments that are pinned to one value have it: they may name other values."""
    registers = [0] * ARGUMENTS
    for condition in conditions:
        if len(condition.values) == 1 and condition.op in (Op.EQUAL, Op.ONE_OF, Op.MASKED):
            registers[condition.argument] = condition.values[0]
    return registers
