"""The self-check of compiled programs: a wrong compiler is noticed before its program is used."""

from __future__ import annotations

from dataclasses import replace

import pytest

from policy.bpf_strategies import CHECKED
from stockade.errors import MonitorError, PolicyError
from stockade.policy.bpf.compile import compile, compile_instructions
from stockade.policy.bpf.instructions import LOAD_WORD, encode
from stockade.policy.rules import Op, ResolvedRule
from stockade.policy.selfcheck import check_program


def _with_conditions(changed_rules: tuple[ResolvedRule, ...]) -> bytes:
    return compile(replace(CHECKED, rules=changed_rules))


def _narrowed(tested: ResolvedRule, width: int) -> ResolvedRule:
    top = (1 << width) - 1
    changed = tuple(
        replace(each, width=width, values=tuple(value & top for value in each.values), mask=each.mask & top)
        for each in tested.conditions
    )
    return replace(tested, conditions=changed)


@pytest.mark.parametrize("syscall", ["mmap", "lseek"])
def test_a_64_bit_comparison_compiled_in_32_bits_is_noticed(syscall: str) -> None:
    check_program(CHECKED, compile(CHECKED))
    wrong = tuple(_narrowed(each, 32) if each.syscall == syscall else each for each in CHECKED.rules)
    with pytest.raises(MonitorError, match=f"nothing was started.*{syscall}"):
        check_program(CHECKED, _with_conditions(wrong))


@pytest.mark.parametrize(
    ("syscall", "width"), [("ioctl", 64), ("ioctl", 16), ("futex", 16), ("chmod", 32), ("chmod", 64)]
)
def test_a_comparison_of_too_many_or_too_few_bits_is_noticed(syscall: str, width: int) -> None:
    wrong = tuple(_narrowed(each, width) if each.syscall == syscall else each for each in CHECKED.rules)
    with pytest.raises(MonitorError, match=syscall):
        check_program(CHECKED, _with_conditions(wrong))


@pytest.mark.parametrize(
    ("syscall", "op"), [("ioctl", Op.LESS_OR_EQUAL), ("lseek", Op.GREATER_OR_EQUAL), ("mmap", Op.LESS_OR_EQUAL)]
)
def test_a_comparison_that_is_off_by_one_is_noticed(syscall: str, op: Op) -> None:
    wrong = [
        replace(each, conditions=(replace(each.conditions[0], op=op), *each.conditions[1:]))
        if each.syscall == syscall and each.conditions[0].op in (Op.LESS, Op.GREATER)
        else each
        for each in CHECKED.rules
    ]
    with pytest.raises(MonitorError, match=syscall):
        check_program(CHECKED, _with_conditions(tuple(wrong)))


def test_rules_in_the_wrong_order_are_noticed() -> None:
    with pytest.raises(MonitorError, match="ioctl"):
        check_program(CHECKED, _with_conditions(CHECKED.rules[::-1]))


def test_any_change_of_one_instruction_is_noticed() -> None:
    instructions = compile_instructions(CHECKED)
    unnoticed = []
    for index, instruction in enumerate(instructions):
        code, jt, jf, k = instruction
        changes = [
            instruction._replace(k=k ^ 1),
            instruction._replace(k=k ^ 1 << 31),
            instruction._replace(jt=jf, jf=jt),
        ]
        if code == LOAD_WORD:
            changes = [instruction._replace(k=(k + 4) % 64), instruction._replace(k=(k - 4) % 64)]
        for changed in changes:
            if changed == instruction:
                continue
            program = encode([*instructions[:index], changed, *instructions[index + 1 :]])
            try:
                check_program(CHECKED, program)
            except (MonitorError, PolicyError):
                continue
            unnoticed.append(f"{index}: {instruction} -> {changed}")
    assert not unnoticed, "\n".join(unnoticed)


def test_the_last_of_a_long_list_is_compared_too() -> None:
    rule = next(each for each in CHECKED.rules if each.syscall == "ioctl" and each.conditions)
    listed = replace(rule.conditions[0], op=Op.ONE_OF, values=tuple(range(0, 2000, 2)), mask=0)
    policy = replace(CHECKED, rules=(replace(rule, conditions=(listed,)),))
    check_program(policy, compile(policy))
    short = replace(listed, values=listed.values[:-1])
    wrong = compile(replace(policy, rules=(replace(rule, conditions=(short,)),)))
    with pytest.raises(MonitorError, match="nothing was started"):
        check_program(policy, wrong)
