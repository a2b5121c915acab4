"""Compares a compiled program with the meaning of its policy, before the program is used.

Every number up to a little above the highest one known is tried, with other architectures, and every rule at the
boundaries of its conditions, where a wrong comparison would show. A difference is an error of ours: nothing is started.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from stockade.errors import MonitorError
from stockade.kernel.architectures import ARCHITECTURES, X32_BIT
from stockade.kernel.seccomp_constants import DETECTION_CALL, FREE_EXEC_COOKIE
from stockade.policy.bpf.instructions import ALU, JMP
from stockade.policy.bpf.interpreter import Interpreter, SeccompData
from stockade.policy.evaluate import evaluate
from stockade.policy.expected import expected_value
from stockade.policy.raw_filters import RawFilter
from stockade.policy.rules import ARGUMENTS, LENIENT_MODES, Kind, Op, ResolvedCondition, ResolvedPolicy, ResolvedRule
from stockade.policy.verdicts import FREE_EXEC_ARGUMENT, FREE_EXEC_CALL

# Constants of one raw filter that are tried around; more would make the check of a long program slow.
MAX_RAW_VALUES = 256
# Numbers of a list around which the upper bits are tried as well; of the others only their neighbours.
MAX_LISTED_VALUES = 64
# Cases that the raw filters of a policy may have in all. With many filters there are fewer values for each.
MAX_RAW_CASES = 200_000

_REGISTER = (1 << 64) - 1
_LOW = (1 << 32) - 1
_UPPER_BITS = (1 << 16, 1 << 31, 1 << 32, 1 << 63)
_ZEROS, _ONES = (0,) * ARGUMENTS, (_REGISTER,) * ARGUMENTS

Registers: TypeAlias = tuple[int, ...]
# (number, audit token, six registers)
Case: TypeAlias = tuple[int, int, Registers]


def check_program(resolved: ResolvedPolicy, program: bytes) -> int:
    """Run `program` on the boundary cases of `resolved` and give how many were compared.

    Raises MonitorError with the first case in which the program does not do what the policy says, and PolicyError when
    the kernel would refuse the program.
    """
    interpreter = Interpreter(program)
    token = resolved.architecture.audit_token
    checked = 0
    for number in range(resolved.highest + 3):
        if _decided_by_number(resolved, number):
            actual = interpreter.run_number(number, token)
            _compare(resolved, (number, token, _ZEROS), actual)
            checked += 1
    for case in cases(resolved):
        _compare(resolved, case, interpreter.run(SeccompData(case[0], case[1], case[2])))
        checked += 1
    return checked


def _compare(resolved: ResolvedPolicy, case: Case, actual: int | None) -> None:
    """Raise MonitorError unless `actual`, what the program returns, is what the policy says; None: it depends."""
    number, token, registers = case
    verdict = evaluate(resolved, number, registers, token)
    expected = expected_value(resolved, verdict)
    if actual == expected:
        return
    shown = ", ".join(hex(value) for value in registers)
    found = "depends on more than the number" if actual is None else f"gives {actual:#010x}"
    raise MonitorError(
        f"the compiled filter does not do what the policy says, so nothing was started: call {number} "
        f"({resolved.architecture.name_of(number)}) with ({shown}) and architecture {token:#x} {found} instead of "
        f"{expected:#010x} ({verdict.reason}). Please report this with the policy"
    )


def _decided_by_number(resolved: ResolvedPolicy, number: int) -> bool:
    """Say whether no argument can matter for a call: it has no rule, or its first one has no condition."""
    if number in resolved.raw_by_number or resolved.architecture.names.get(number) == FREE_EXEC_CALL:
        return False
    rules = resolved.by_number.get(number)
    if not rules or rules[0].conditions:
        return not rules
    # A mode that lets violations happen asks the always-refused rows about calls that an earlier rule kills.
    killed = resolved.mode in LENIENT_MODES and rules[0].action.kind is Kind.KILL
    return not (killed and any(rule.danger and rule.conditions for rule in rules))


def cases(resolved: ResolvedPolicy) -> Iterator[Case]:
    """Give the cases beyond those that hang on the number alone, always the same ones."""
    token = resolved.architecture.audit_token
    for number in (1 << 16, X32_BIT - 1, X32_BIT, X32_BIT | 1, X32_BIT | resolved.highest, 1 << 31, (1 << 32) - 1):
        yield number, token, _ZEROS
    for number in (DETECTION_CALL - 1, DETECTION_CALL, DETECTION_CALL + 1, X32_BIT | DETECTION_CALL):
        yield number, token, _ZEROS
        yield number, token, _ONES
    tokens = {each.audit_token for each in ARCHITECTURES.values()} | {0, token ^ 1, token ^ 1 << 31}
    for other in sorted(tokens - {token}):
        for number in (0, DETECTION_CALL, *list(resolved.by_number)[:3]):
            yield number, other, _ZEROS
    for cookie in _around(FREE_EXEC_COOKIE, 64):
        yield resolved.architecture.number(FREE_EXEC_CALL), token, _with(_ZEROS, FREE_EXEC_ARGUMENT, cookie)
    for number, rules in resolved.by_number.items():
        if not _decided_by_number(resolved, number):
            distinct = {registers: None for rule in rules for registers in _registers_for(rule)}
            for registers in (_ZEROS, _ONES, *distinct):
                yield number, token, registers
    for number, filters in resolved.raw_by_number.items():
        # For each value of a filter both halves of each argument are tried.
        share = MAX_RAW_CASES // len(resolved.raw_by_number) // (2 * ARGUMENTS * len(filters))
        rules = resolved.by_number.get(number, ())[: max(share // 8, 1)]
        starts = [_ZEROS, *(next(_matching(rule.conditions)) for rule in rules)]
        for registers in starts:
            yield number, token, registers
            for raw in filters:
                most = min(max(share // len(starts), 4), MAX_RAW_VALUES)
                yield from ((number, token, each) for each in _around_constants(raw, registers, most))


def _around_constants(raw: RawFilter, registers: Registers, most: int) -> Iterator[Registers]:
    """Give `registers` with each half of each argument replaced by values around the constants of a raw filter."""
    constants = {instruction.k for instruction in raw.instructions if instruction.code & 7 in (JMP, ALU)}
    near = sorted({constant + step & _LOW for constant in constants for step in (-1, 0, 1)})[:most]
    for argument, value in enumerate(registers):
        for half in near:
            yield _with(registers, argument, value & ~_LOW | half)
            yield _with(registers, argument, value & _LOW | half << 32)


def _registers_for(rule: ResolvedRule) -> Iterator[Registers]:
    """Give registers that match a rule, and for each of its conditions registers at the boundary of that condition."""
    matching = list(_matching(rule.conditions))
    yield from matching
    for condition in rule.conditions:
        for value in _boundary(condition):
            yield _with(matching[0], condition.argument, value)


def _matching(conditions: Sequence[ResolvedCondition]) -> Iterator[Registers]:
    """Give registers for which the conditions hold where that is easily found, with the rest of the bits 0 and 1."""
    registers = [0] * ARGUMENTS
    for argument in range(ARGUMENTS):
        about = [condition for condition in conditions if condition.argument == argument]
        candidates = [value for condition in about for value in _boundary(condition)]
        chosen = [value for value in candidates if all(condition.admits(value) for condition in about)]
        registers[argument] = (chosen or [0])[0]
    yield tuple(registers)
    narrow = {condition.argument: condition.width for condition in conditions}
    yield tuple(value | _REGISTER & ~((1 << narrow.get(argument, 0)) - 1) for argument, value in enumerate(registers))


def _boundary(condition: ResolvedCondition) -> list[int]:
    """Give 64-bit registers around the values of a condition, those that should hold first."""
    width, top = condition.width, (1 << condition.width) - 1
    if condition.op in (Op.MASKED, Op.NOT_MASKED):
        value, mask = condition.values[0], condition.mask
        found = [value, value | top & ~mask, *(value ^ bit for bit in _ends(mask)), value ^ mask, 0, top]
        return [*found, *(value | upper for upper in _UPPER_BITS if upper > top)]
    around = [each for value in condition.values[:MAX_LISTED_VALUES] for each in _around(value, width)]
    return [*around, *(near for value in condition.values[MAX_LISTED_VALUES:] for near in (value, value + 1 & top))]


def _ends(mask: int) -> Iterator[int]:
    """Give the lowest and the highest bit of each 32-bit half of a mask."""
    for half in (mask & _LOW, mask & ~_LOW):
        if half:
            yield half & -half
            yield 1 << half.bit_length() - 1


def _around(value: int, width: int) -> list[int]:
    """Give registers near `value` in `width` bits, and with single upper bits changed."""
    top = (1 << width) - 1
    near = [value, value + 1 & top, value - 1 & top, 0, top, value ^ 1 << width - 1]
    return [*near, *(value ^ upper for upper in _UPPER_BITS)]


def _with(registers: Registers, argument: int, value: int) -> Registers:
    return (*registers[:argument], value, *registers[argument + 1 :])
