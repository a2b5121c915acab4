"""Conditions of different widths on one argument, rewritten so that all of them have the widest.

Conditions of a policy have the width that the kernel reads of an argument, always the same one. This is for those that
come from elsewhere: a whole register that somebody gives beside rules about its low 32 bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import TypeAlias

from stockade.policy.meaning.domain import Literal
from stockade.policy.rules import Op, ResolvedCondition

# A disjunction: at least one of its literals holds.
Clause: TypeAlias = tuple[Literal, ...]


def widest(conditions: Iterable[ResolvedCondition]) -> dict[int, int]:
    """Give the largest width of the conditions on each argument."""
    found: dict[int, int] = {}
    for condition in conditions:
        found[condition.argument] = max(found.get(condition.argument, 0), condition.width)
    return found


def clauses_of(literals: Sequence[Literal], widths: dict[int, int]) -> Iterator[Clause]:
    """Give clauses that together say the same as the disjunction of `literals`, in the widths of `widths`."""
    parts = [_forms(literal, widths[literal.condition.argument]) for literal in literals]
    for chosen in product(*parts):
        yield tuple(literal for clause in chosen for literal in clause)


def _forms(literal: Literal, width: int) -> list[Clause]:
    """Give one literal as a conjunction of clauses of literals of `width` bits."""
    condition, top = literal.condition, (1 << literal.condition.width) - 1
    if condition.width == width:
        return [(literal,)]

    def bits(mask: int, value: int, positive: bool) -> Literal:
        return Literal(ResolvedCondition(condition.argument, width, Op.MASKED, (value,), mask), positive)

    match condition.op:
        case Op.EQUAL | Op.NOT_EQUAL:
            return [(bits(top, condition.values[0], (condition.op is Op.EQUAL) is literal.positive),)]
        case Op.MASKED | Op.NOT_MASKED:
            positive = (condition.op is Op.MASKED) is literal.positive
            return [(bits(condition.mask, condition.values[0], positive),)]
        case Op.ONE_OF:
            each = [bits(top, value, literal.positive) for value in condition.values]
            return [tuple(each)] if literal.positive else [(one,) for one in each]
    return [tuple(bits(mask, value, True) for mask, value in _prefixes(literal))]


def _prefixes(literal: Literal) -> Iterator[tuple[int, int]]:
    """Give (mask, value) of the patterns of bits that together match what a comparison by size lets through."""
    condition, number = literal.condition, literal.condition.values[0]
    below = (condition.op in (Op.LESS, Op.LESS_OR_EQUAL)) is literal.positive
    # `<= n` and `> n` have their edge behind n; the others before it.
    edge = number + (condition.op in (Op.LESS_OR_EQUAL, Op.GREATER))
    if edge >> condition.width:
        # Everything is below the edge.
        yield from [(0, 0)] * below
        return
    for position in range(condition.width):
        bit = 1 << position
        if bool(edge & bit) is below:
            above = (1 << condition.width) - bit
            yield above, edge & above ^ bit
    if not below:
        yield (1 << condition.width) - 1, edge
