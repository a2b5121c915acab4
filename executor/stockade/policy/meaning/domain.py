"""The numbers that one argument can still be, as a search for witnesses narrows them down. Exact.

A domain is a conjunction of tests of one argument: bits that are known, an interval, numbers and patterns of bits that
are excluded; or, once a test named its numbers, the list of those that are left. It always holds a witness: a number
that passes. A domain without one does not exist (`narrowed` gives None).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from stockade.policy.rules import Op, ResolvedCondition

# What each test becomes when it must not hold.
_OPPOSITE = {
    Op.EQUAL: Op.NOT_EQUAL,
    Op.NOT_EQUAL: Op.EQUAL,
    Op.LESS: Op.GREATER_OR_EQUAL,
    Op.GREATER_OR_EQUAL: Op.LESS,
    Op.LESS_OR_EQUAL: Op.GREATER,
    Op.GREATER: Op.LESS_OR_EQUAL,
    Op.ONE_OF: Op.NOT_EQUAL,
    Op.MASKED: Op.NOT_MASKED,
    Op.NOT_MASKED: Op.MASKED,
}


class TooHardError(Exception):
    """A question about conditions takes more steps than it may: the answer is unknown, neither yes nor no."""


class Budget:
    """Counts the steps of one search. Raises TooHardError when they are used up."""

    __slots__ = ("left",)

    def __init__(self, steps: int) -> None:
        self.left = steps

    def step(self, amount: int = 1) -> None:
        """Take `amount` steps."""
        self.left -= amount
        if self.left < 0:
            raise TooHardError("the conditions are too entangled to be compared within the permitted number of steps")


@dataclass(frozen=True, slots=True)
class Literal:
    """A condition that must hold, or with `positive` False must not. All literals of an argument have one width."""

    condition: ResolvedCondition
    positive: bool = True

    def admits(self, number: int) -> bool:
        """Say whether `number`, as the register, passes."""
        return self.condition.admits(number) is self.positive

    @property
    def opposite(self) -> Literal:
        """The literal that passes exactly the other numbers."""
        return Literal(self.condition, not self.positive)


@dataclass(frozen=True, slots=True)
class Domain:
    """The numbers from `low` to `high` of which the bits of `mask` are `value`, but for those that are excluded.

    `excluded` are single numbers, `patterns` pairs (mask, value) of bits that may not be so. When `candidates` is set,
    it alone counts: they have passed everything else. `wish` is the number that is the witness if it can be.
    """

    width: int
    low: int
    high: int
    witness: int
    mask: int = 0
    value: int = 0
    excluded: frozenset[int] = frozenset()
    patterns: frozenset[tuple[int, int]] = frozenset()
    candidates: tuple[int, ...] | None = None
    wish: int | None = None

    def admits(self, number: int) -> bool:
        """Say whether a number is in the domain."""
        if self.candidates is not None:
            return number in self.candidates
        return (
            self.low <= number <= self.high
            and number & self.mask == self.value
            and number not in self.excluded
            and all(number & mask != value for mask, value in self.patterns)
        )


def whole(width: int, wish: int | None = None) -> Domain:
    """Give the domain of all numbers of `width` bits."""
    top = (1 << width) - 1
    return Domain(width, 0, top, 0 if wish is None else wish & top, wish=None if wish is None else wish & top)


def narrowed(domain: Domain, literal: Literal, budget: Budget) -> Domain | None:
    """Give the part of a domain that passes `literal`; None when nothing does."""
    budget.step()
    condition = literal.condition
    op = condition.op if literal.positive else _OPPOSITE[condition.op]
    if domain.candidates is not None:
        return _of_candidates(domain, tuple(number for number in domain.candidates if literal.admits(number)))
    if op in (Op.EQUAL, Op.ONE_OF):
        return _of_candidates(domain, tuple(number for number in condition.values if domain.admits(number)))
    smaller = _constrained(domain, op, condition)
    if smaller is None or literal.admits(domain.witness):
        return smaller
    witness = smaller.wish if smaller.wish is not None and smaller.admits(smaller.wish) else _least(smaller, budget)
    return None if witness is None else replace(smaller, witness=witness)


def _of_candidates(domain: Domain, left: tuple[int, ...]) -> Domain | None:
    if not left:
        return None
    return replace(domain, candidates=left, witness=domain.witness if domain.witness in left else left[0])


def _constrained(domain: Domain, op: Op, condition: ResolvedCondition) -> Domain | None:
    """Add one test to a domain without looking for a witness; None when that alone shows that nothing is left."""
    number, mask = condition.values[0], condition.mask
    match op:
        case Op.NOT_EQUAL:
            return replace(domain, excluded=domain.excluded.union(condition.values))
        case Op.LESS:
            return replace(domain, high=min(domain.high, number - 1))
        case Op.LESS_OR_EQUAL:
            return replace(domain, high=min(domain.high, number))
        case Op.GREATER:
            return replace(domain, low=max(domain.low, number + 1))
        case Op.GREATER_OR_EQUAL:
            return replace(domain, low=max(domain.low, number))
        case Op.NOT_MASKED:
            return replace(domain, patterns=domain.patterns | {(mask, number)}) if mask else None
        case _:
            if domain.mask & mask & (domain.value ^ number):
                return None
            return replace(domain, mask=domain.mask | mask, value=domain.value | number)


def _least(domain: Domain, budget: Budget) -> int | None:
    """Find a number of a domain without candidates; the least one when no pattern is excluded."""
    waiting = [(domain.mask, domain.value, tuple(sorted(domain.patterns)))]
    while waiting:
        mask, value, patterns = waiting.pop()
        budget.step(1 + len(patterns))
        still_open = _open_patterns(patterns, mask, value)
        number = None if still_open is None else _in_interval(domain, mask, value)
        if still_open is None or number is None:
            continue
        if all(number & bits != wrong for bits, wrong in still_open):
            return number
        bits, wrong = min(still_open, key=lambda pattern: pattern[0].bit_count())
        # The number differs from the pattern in one of the bits: in the first one, or else in the second one …
        branches = []
        for bit in _bits(bits):
            branches.append((mask | bit, value | bit & ~wrong, still_open))
            mask, value = mask | bit, value | bit & wrong
        waiting += reversed(branches)
    return None


def _open_patterns(patterns: tuple[tuple[int, int], ...], mask: int, value: int) -> tuple[tuple[int, int], ...] | None:
    """Give what the known bits leave of patterns that may not match; None when one of them matches."""
    left = []
    for bits, wrong in patterns:
        if mask & bits & (value ^ wrong):
            continue
        free = bits & ~mask
        if not free:
            return None
        left.append((free, wrong & free))
    return tuple(left)


def _in_interval(domain: Domain, mask: int, value: int) -> int | None:
    """Give the least number in the interval of a domain that is not excluded and of which the bits of `mask` fit."""
    number = _first(domain.low, mask, value, domain.width)
    while number is not None and number in domain.excluded:
        number = _first(number + 1, mask, value, domain.width)
    return None if number is None or number > domain.high else number


def _first(low: int, mask: int, value: int, width: int) -> int | None:
    """Give the least number of `width` bits, from `low` on, of which the bits of `mask` are `value`."""
    if low >> width:
        return None
    wrong = (low ^ value) & mask
    if not wrong:
        return low
    top = wrong.bit_length() - 1
    if not value >> top & 1:
        # Only a larger number in the bits above can do: the lowest one there that is free and still 0 becomes 1.
        free = ~(low | mask) & ((1 << width) - 1) & ~((1 << top + 1) - 1)
        if not free:
            return None
        top = (free & -free).bit_length() - 1
    return low >> top + 1 << top + 1 | (0 if mask >> top & 1 else 1 << top) | value & (1 << top + 1) - 1


def _bits(mask: int) -> Iterator[int]:
    """Give the single bits of a mask, the lowest first."""
    while mask:
        lowest = mask & -mask
        yield lowest
        mask ^= lowest
