"""The normalised rules: what conditions mean, and when one rule decides all that another could."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.bpf_strategies import ALLOW, ORIGIN, REGISTER, condition, conditions, policy, registers, rule
from stockade.kernel.architectures import X86_64
from stockade.policy.rules import Action, Kind, Op, ResolvedCondition, ResolvedRule, covers, implies

HIGH = 0xDEADBEEF << 32

MEANING = [
    (Op.EQUAL, 32, (5,), 0, {5: True, 4: False, 5 | HIGH: True, 5 | 1 << 31: False}),
    (Op.EQUAL, 64, (5,), 0, {5: True, 5 | 1 << 32: False, 5 | 1 << 63: False}),
    (Op.EQUAL, 16, (5,), 0, {5: True, 5 | 1 << 16: True, 5 | 1 << 15: False}),
    (Op.EQUAL, 32, (0xFFFFFFFF,), 0, {0xFFFFFFFF: True, REGISTER: True, 0xFFFFFFFE: False}),
    (Op.NOT_EQUAL, 32, (5,), 0, {5: False, 6: True, 5 | HIGH: False}),
    (Op.LESS, 32, (5,), 0, {4: True, 5: False, HIGH: True, 0xFFFFFFFF: False}),
    (Op.LESS, 64, (1 << 32,), 0, {0xFFFFFFFF: True, 1 << 32: False, REGISTER: False}),
    (Op.LESS_OR_EQUAL, 64, (1 << 32,), 0, {1 << 32: True, (1 << 32) + 1: False, 2: True}),
    (Op.GREATER, 64, (1 << 32,), 0, {1 << 32: False, (1 << 32) + 1: True, 2: False, 1 << 63: True}),
    (Op.GREATER_OR_EQUAL, 64, (1 << 32,), 0, {1 << 32: True, 2: False, 0xFFFFFFFF: False}),
    (Op.ONE_OF, 32, (1, 7), 0, {1: True, 7: True, 0: False, 7 | HIGH: True}),
    (Op.MASKED, 32, (2,), 6, {2: True, 3: True, 6: False, 4: False, 2 | HIGH: True}),
    (Op.MASKED, 64, (1 << 40,), 1 << 40, {1 << 40: True, 0: False}),
    (Op.NOT_MASKED, 32, (0,), 6, {0: False, 1: False, 2: True, 4: True, HIGH: False}),
]


@pytest.mark.parametrize(("op", "width", "values", "mask", "expected"), MEANING)
def test_a_condition_means(op: Op, width: int, values: tuple[int, ...], mask: int, expected: dict[int, bool]) -> None:
    tested = ResolvedCondition(2, width, op, values, mask)
    for register, answer in expected.items():
        assert tested.admits(register) is answer
        assert tested.holds((0, 0, register, 0, 0, 0)) is answer


WRONG: list[dict[str, object]] = [
    {"argument": 6},
    {"argument": -1},
    {"width": 8},
    {"values": ()},
    {"values": (1, 2)},
    {"values": (1 << 32,)},
    {"values": (-1,)},
    {"mask": 1},
    {"op": Op.MASKED, "values": (3,), "mask": 1},
    {"op": Op.MASKED, "values": (0,), "mask": 1 << 32},
]


@pytest.mark.parametrize("change", WRONG, ids=str)
def test_a_condition_out_of_range_cannot_be_made(change: dict[str, object]) -> None:
    right: dict[str, object] = {"argument": 0, "width": 32, "op": Op.EQUAL, "values": (1,), "mask": 0}
    ResolvedCondition(**right)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"condition|number of values|fit"):
        ResolvedCondition(**(right | change))  # type: ignore[arg-type]


@settings(max_examples=100)
@given(st.lists(conditions(), min_size=8, max_size=8), st.lists(registers, min_size=10, max_size=10))
def test_what_is_implied_holds(tested: list[ResolvedCondition], tried: list[int]) -> None:
    for first, second in itertools.permutations(tested, 2):
        if implies(first, second):
            assert first.argument == second.argument
            values = (*tried, *first.values, *second.values)
            assert all(second.admits(register) for register in values if first.admits(register))


IMPLIED = [
    (condition(0, 32, Op.EQUAL, 5), condition(0, 32, Op.GREATER, 4), True),
    (condition(0, 32, Op.EQUAL, 5), condition(0, 32, Op.GREATER, 5), False),
    (condition(0, 64, Op.EQUAL, 5 | 1 << 32), condition(0, 32, Op.EQUAL, 5), True),
    (condition(0, 32, Op.EQUAL, 5), condition(0, 64, Op.EQUAL, 5), False),
    (condition(0, 32, Op.EQUAL, 5), condition(1, 32, Op.EQUAL, 5), False),
    (condition(0, 32, Op.ONE_OF, 5, 6), condition(0, 32, Op.LESS, 7), True),
    (condition(0, 32, Op.ONE_OF, 5, 7), condition(0, 32, Op.LESS, 7), False),
    (condition(0, 32, Op.MASKED, 6, mask=7), condition(0, 32, Op.MASKED, 2, mask=3), True),
    (condition(0, 32, Op.MASKED, 2, mask=3), condition(0, 32, Op.MASKED, 6, mask=7), False),
    (condition(0, 32, Op.MASKED, 2, mask=2), condition(0, 32, Op.NOT_MASKED, 0, mask=7), True),
    (condition(0, 32, Op.MASKED, 0, mask=2), condition(0, 32, Op.NOT_MASKED, 0, mask=7), False),
]


@pytest.mark.parametrize(("first", "second", "answer"), IMPLIED)
def test_implied_conditions_are_seen(first: ResolvedCondition, second: ResolvedCondition, answer: bool) -> None:
    assert implies(first, second) is answer


def test_a_rule_without_conditions_covers_all_and_is_covered_by_none() -> None:
    only = (condition(0, 32, Op.EQUAL, 5),)
    both = (*only, condition(1, 32, Op.EQUAL, 6))
    assert covers((), only)
    assert covers(only, both)
    assert not covers(only, ())
    assert not covers(both, only)


def test_a_rule_matches_when_all_its_conditions_hold() -> None:
    both = rule("openat", ALLOW, condition(0, 32, Op.EQUAL, 5), condition(1, 64, Op.EQUAL, 6))
    assert both.matches((5, 6, 0, 0, 0, 0))
    assert not both.matches((5, 7, 0, 0, 0, 0))
    assert not both.matches((4, 6, 0, 0, 0, 0))


def test_a_policy_keeps_the_order_of_the_rules_of_one_call() -> None:
    first, other, second = rule("read", ALLOW), rule("openat", ALLOW), rule("read", Action(Kind.TRAP))
    made = policy(first, other, second)
    assert made.by_number == {X86_64.number("read"): (first, second), X86_64.number("openat"): (other,)}
    assert list(made.by_number) == sorted(made.by_number)


def test_a_number_above_the_highest_one_cannot_have_a_rule() -> None:
    beyond = max(X86_64.names) + 1
    with pytest.raises(ValueError, match="above the highest"):
        policy(ResolvedRule("later", beyond, (), ALLOW, ORIGIN))


def test_actions_say_whether_the_call_may_run() -> None:
    permitting = {kind for kind in Kind if kind.permits}
    assert permitting == {Kind.ALLOW, Kind.LOG, Kind.TRACE}
    assert [str(Action(Kind.ERRNO, errno=13)), str(Action(Kind.TRACE, hook="ask")), str(ALLOW)] == [
        "errno 13",
        "trace ask",
        "allow",
    ]
