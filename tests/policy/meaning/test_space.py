"""Exact reasoning about conditions: compared with trying every number, and with trying every number that can matter."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.bpf_strategies import ALLOW, REGISTER, condition, rule
from stockade.policy.meaning.space import TooHardError, Unreachable, satisfy, unreachable
from stockade.policy.rules import ARGUMENTS, Op, ResolvedCondition

Conditions = Sequence[ResolvedCondition]
_OPS = list(Op)


@st.composite
def narrow_conditions(draw: st.DrawFn, argument: int = 0, bits: int = 4) -> ResolvedCondition:
    """Conditions of 16 bits about the lowest `bits` of an argument, and now and then about its other bits."""
    op = draw(st.sampled_from(_OPS))
    values = st.integers(0, (1 << bits) - 1) | st.sampled_from([0x7FFF, 0x8000, 0xFFFE, 0xFFFF, 0xFFF0])
    mask = draw(values) if op in (Op.MASKED, Op.NOT_MASKED) else 0
    chosen = draw(st.lists(values, min_size=1, max_size=4 if op is Op.ONE_OF else 1))
    if op in (Op.MASKED, Op.NOT_MASKED):
        chosen = [chosen[0] & mask]
    return ResolvedCondition(argument, 16, op, tuple(chosen), mask)


def holds(conditions: Conditions, none_of: Sequence[Conditions], registers: Sequence[int]) -> bool:
    """Say by definition whether registers are an answer."""
    matched = (all(each.holds(registers) for each in part) for part in none_of)
    return all(each.holds(registers) for each in conditions) and not any(matched)


def interesting(conditions: Conditions) -> list[int]:
    """Numbers of 16 bits of which one stands for every kind of number that conditions can tell apart.

    Between two neighbouring edges of comparisons only bits that are in some mask matter, and those are few here.
    """
    edges = {value + delta for each in conditions for value in each.values for delta in (-1, 0, 1)} | {0, 0xFFFF}
    return sorted({number & 0xFFFF for edge in edges for low in range(16) for number in (edge, edge & ~15 | low)})


@settings(max_examples=60)
@given(st.lists(narrow_conditions(), max_size=3), st.lists(st.lists(narrow_conditions(), max_size=3), max_size=5))
def test_one_argument_as_if_every_number_were_tried(
    conditions: list[ResolvedCondition], none_of: list[Conditions]
) -> None:
    found = satisfy(conditions, none_of)
    if found is not None:
        assert holds(conditions, none_of, found)
        assert all(0 <= value < 1 << 16 for value in found)
        return
    mentioned = [*conditions, *(each for part in none_of for each in part)]
    likely = interesting(mentioned)
    assert not [
        number for number in itertools.chain(likely, range(0, 1 << 16, 211)) if holds(conditions, none_of, (number,))
    ]


@settings(max_examples=2)
@given(
    st.lists(narrow_conditions(bits=16), max_size=2), st.lists(st.lists(narrow_conditions(), max_size=2), max_size=3)
)
def test_one_argument_with_every_number_tried(conditions: list[ResolvedCondition], none_of: list[Conditions]) -> None:
    found = satisfy(conditions, none_of)
    assert (found is None) == (not any(holds(conditions, none_of, (number,)) for number in range(1 << 16)))


@given(
    st.lists(narrow_conditions(0, 2) | narrow_conditions(3, 2), max_size=3),
    st.lists(st.lists(narrow_conditions(0, 2) | narrow_conditions(3, 2), max_size=3), max_size=6),
)
def test_two_arguments(conditions: list[ResolvedCondition], none_of: list[Conditions]) -> None:
    found = satisfy(conditions, none_of)
    if found is not None:
        assert holds(conditions, none_of, found)
        return
    mentioned = [*conditions, *(each for part in none_of for each in part)]
    likely = [
        sorted({*range(8), *interesting([each for each in mentioned if each.argument == index])}) for index in (0, 3)
    ]
    smaller = [numbers[:: max(len(numbers) // 20, 1)] for numbers in likely]
    for first, second in itertools.product(*smaller):
        assert not holds(conditions, none_of, (first, 0, 0, second, 0, 0))


# Every kind of test of the lowest four bits.
SMALL = [
    *(condition(0, 16, op, value) for op in _OPS[:6] for value in (0, 5, 10, 15) if (op, value) != (Op.LESS, 0)),
    *(condition(0, 16, Op.ONE_OF, *values) for values in ((0, 1), (3, 6, 9), (5, 15))),
    *(
        condition(0, 16, op, value, mask=mask)
        for op in (Op.MASKED, Op.NOT_MASKED)
        for mask, value in ((1, 1), (8, 0), (6, 2), (6, 4), (9, 8), (5, 0), (12, 4))
    ),
]
BOUND = condition(0, 16, Op.LESS_OR_EQUAL, 15)


def passing(tested: ResolvedCondition) -> int:
    """The numbers of four bits that pass, as a set of bits."""
    return sum(1 << number for number in range(16) if tested.admits(number))


def test_every_combination_of_two_tests_and_one_that_must_not_hold() -> None:
    sets = [passing(each) for each in SMALL]
    for first, second in itertools.combinations(range(len(SMALL)), 2):
        both = [BOUND, SMALL[first], SMALL[second]]
        for third in range(first % 3, len(SMALL), 3):
            left = sets[first] & sets[second] & ~sets[third]
            found = satisfy(both, [[SMALL[third]]])
            assert left >> found[0] & 1 if found else not left, (both, SMALL[third])


def test_many_combinations_of_pairs_that_must_not_hold() -> None:
    """Two arguments of two bits: all numbers are either in one of three rules, or a call is found that is in none."""
    tests = [
        condition(0, 16, Op.EQUAL, 0),
        condition(0, 16, Op.ONE_OF, 1, 2),
        condition(0, 16, Op.GREATER, 1),
        condition(0, 16, Op.MASKED, 1, mask=1),
        condition(0, 16, Op.NOT_MASKED, 0, mask=3),
    ]
    pairs = [(one, ResolvedCondition(3, 16, other.op, other.values, other.mask)) for one in tests for other in tests]
    grid: list[tuple[int, ...]] = [(first, 0, 0, second, 0, 0) for first in range(4) for second in range(4)]
    sets = [sum(1 << n for n, call in enumerate(grid) if all(each.holds(call) for each in pair)) for pair in pairs]
    bounds = [condition(0, 16, Op.LESS, 4), condition(3, 16, Op.LESS, 4)]
    for chosen in [*itertools.combinations(range(len(pairs)), 3), *itertools.combinations(range(0, len(pairs), 3), 5)]:
        covered = 0
        for index in chosen:
            covered |= sets[index]
        found = satisfy(bounds, [pairs[index] for index in chosen])
        assert not covered >> grid.index(found) & 1 if found else covered == (1 << 16) - 1, chosen


@pytest.mark.parametrize("op", _OPS)
def test_a_narrow_test_of_a_wide_argument(op: Op) -> None:
    edges = (0, 1, 2, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF)
    for value in edges:
        narrow = condition(0, 16, op, value, mask=0xFFFF if op in (Op.MASKED, Op.NOT_MASKED) else 0)
        for low, high in itertools.product(edges, (0, 1, 0xFFFFFFFFFFFF)):
            number = low | high << 16
            pinned = condition(0, 64, Op.EQUAL, number)
            assert (satisfy([pinned, narrow]) is not None) is narrow.admits(number)
            assert (satisfy([pinned], [[narrow]]) is not None) is not narrow.admits(number)
            # Not one number, but an interval around it that the low bits cannot tell apart.
            near = [condition(0, 64, Op.GREATER_OR_EQUAL, number), condition(0, 64, Op.LESS_OR_EQUAL, number)]
            assert (satisfy([*near, narrow]) is not None) is narrow.admits(number)
            assert (satisfy(near, [[narrow]]) is not None) is not narrow.admits(number)


@st.composite
def mixed(draw: st.DrawFn) -> ResolvedCondition:
    """Conditions of any width on one argument, near the edges of the widths."""
    width = draw(st.sampled_from([16, 32, 64]))
    op = draw(st.sampled_from(_OPS))
    values = st.sampled_from([0, 1, 2, 0xFFFF, 0x10000, 0x10001, 0xFFFFFFFF, 1 << 32, (1 << 32) + 1, REGISTER])
    number = draw(values) & (1 << width) - 1
    mask = draw(values) & (1 << width) - 1 if op in (Op.MASKED, Op.NOT_MASKED) else 0
    return ResolvedCondition(1, width, op, (number & mask if op in (Op.MASKED, Op.NOT_MASKED) else number,), mask)


@given(st.lists(mixed(), max_size=3), st.lists(st.lists(mixed(), max_size=2), max_size=3))
def test_different_widths_on_one_argument(conditions: list[ResolvedCondition], none_of: list[Conditions]) -> None:
    found = satisfy(conditions, none_of)
    if found is not None:
        assert holds(conditions, none_of, found)
        return
    parts = (0, 1, 2, 3, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF)
    for low, middle, high in itertools.product(parts, (0, 1, 0xFFFF), (0, 1, 2, 0xFFFFFFFF)):
        assert not holds(conditions, none_of, (0, low | middle << 16 | high << 32, 0, 0, 0, 0))


def test_numbers_are_small_or_the_preferred_ones() -> None:
    assert satisfy([]) == (0,) * ARGUMENTS
    assert satisfy([condition(1, 32, Op.GREATER, 5), condition(1, 32, Op.MASKED, 4, mask=7)]) == (0, 12, 0, 0, 0, 0)
    assert satisfy([condition(1, 32, Op.GREATER, 5)], prefer=(7, 9)) == (7, 9, 0, 0, 0, 0)
    assert satisfy([condition(1, 32, Op.GREATER, 5)], prefer=(7, 2)) == (7, 6, 0, 0, 0, 0)
    assert satisfy([condition(2, 64, Op.NOT_MASKED, 0, mask=6)]) == (0, 0, 2, 0, 0, 0)
    assert satisfy([condition(2, 64, Op.NOT_EQUAL, 0)], [[condition(2, 64, Op.ONE_OF, 1, 2, 3)]]) == (0, 0, 4, 0, 0, 0)


def test_a_conjunction_of_nothing_is_always_matched() -> None:
    assert satisfy([], [[]]) is None


def test_many_patterns_that_leave_nothing() -> None:
    each = [[condition(0, 32, Op.MASKED, value, mask=0xFF)] for value in range(256)]
    assert satisfy([], each) is None
    assert satisfy([], each[:-1]) == (255, 0, 0, 0, 0, 0)


def test_a_question_that_is_too_hard_is_no_answer() -> None:
    """Pigeons and holes: bits that say which of 8 pigeons sits in which of 7 holes, no two in one."""

    def seat(pigeon: int, hole: int) -> int:
        return 1 << pigeon * 7 + hole

    homeless = [
        [condition(0, 64, Op.MASKED, 0, mask=sum(seat(pigeon, hole) for hole in range(7)))] for pigeon in range(8)
    ]
    together = [
        [condition(0, 64, Op.MASKED, both, mask=both)]
        for hole in range(7)
        for one, other in itertools.combinations(range(8), 2)
        for both in [seat(one, hole) | seat(other, hole)]
    ]
    with pytest.raises(TooHardError):
        satisfy([], homeless + together, steps=2000)
    assert satisfy([], homeless[1:] + together) is not None
    rules = [rule("read", ALLOW, *part) for part in homeless + together]
    assert unreachable([*rules, rule("read", ALLOW)]) == ()


def test_a_rule_covered_by_two_others_together() -> None:
    below, above = condition(2, 64, Op.LESS, 10), condition(2, 64, Op.GREATER, 4)
    other = condition(0, 32, Op.EQUAL, 3)
    rules = [
        rule("read", ALLOW, other),
        rule("read", ALLOW, below),
        rule("read", ALLOW, above),
        rule("read", ALLOW, other),
    ]
    rules.append(rule("read", ALLOW, condition(2, 64, Op.NOT_EQUAL, 7)))
    rules.append(rule("read", ALLOW))
    assert unreachable(rules) == (Unreachable(3, (0,)), Unreachable(4, (1, 2)), Unreachable(5, (1, 2)))
    # The neighbour: one number is left between the two.
    apart = [rule("read", ALLOW, condition(2, 64, Op.LESS, 4)), rule("read", ALLOW, above), rule("read", ALLOW)]
    assert unreachable(apart) == ()


def test_a_cover_has_no_needless_rule() -> None:
    zero, low, high = (condition(2, 64, op, value) for op, value in ((Op.EQUAL, 0), (Op.LESS, 6), (Op.GREATER, 4)))
    rules = [rule("read", ALLOW, each) for each in (zero, low, high, condition(2, 64, Op.LESS, 10))]
    assert unreachable(rules) == (Unreachable(3, (1, 2)),)


def test_a_rule_that_contradicts_itself_needs_no_cover() -> None:
    never = rule("read", ALLOW, condition(2, 64, Op.LESS, 4), condition(2, 64, Op.GREATER, 3))
    assert unreachable([never]) == (Unreachable(0, ()),)


def test_many_rules_that_name_one_number_each() -> None:
    rules = [rule("ioctl", ALLOW, condition(1, 32, Op.EQUAL, value)) for value in range(60)]
    assert unreachable(rules) == ()
    last = rule("ioctl", ALLOW, condition(1, 32, Op.LESS, 60))
    assert unreachable([*rules, last]) == (Unreachable(60, tuple(range(60))),)
    assert unreachable([*rules, rule("ioctl", ALLOW, condition(1, 32, Op.LESS, 61))]) == ()


@given(st.lists(st.lists(narrow_conditions(0, 2), max_size=2), max_size=6))
def test_unreachable_rules_are_covered_and_reachable_ones_are_not(lists: list[list[ResolvedCondition]]) -> None:
    rules = [rule("read", ALLOW, *part) for part in lists]
    found = {each.index: each.covered_by for each in unreachable(rules)}
    for index, each in enumerate(rules):
        others = [other.conditions for other in rules[:index]]
        if index not in found:
            call = satisfy(each.conditions, others)
            assert call is not None and holds(each.conditions, others, call)
            continue
        cover = [rules[other].conditions for other in found[index]]
        assert satisfy(each.conditions, cover) is None
        for needless in range(len(cover)):
            assert satisfy(each.conditions, cover[:needless] + cover[needless + 1 :]) is not None


def test_a_number_in_32_bits_says_nothing_about_the_others() -> None:
    pinned, above = condition(0, 32, Op.EQUAL, 5), condition(0, 64, Op.GREATER_OR_EQUAL, 1 << 32)
    bit = condition(0, 64, Op.MASKED, 1 << 32, mask=1 << 32)
    found = satisfy([pinned, above], [[bit]])
    assert found is not None and found[0] & 0xFFFFFFFF == 5
    assert found[0] >= 1 << 32 and not found[0] >> 32 & 1
    everywhere = [condition(0, 64, Op.GREATER_OR_EQUAL, 6)]
    assert satisfy([pinned, above], [everywhere]) is None
    assert satisfy([pinned, condition(0, 32, Op.NOT_EQUAL, 5)]) is None
