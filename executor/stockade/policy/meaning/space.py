"""Exact reasoning about conditions: is there a call that some rules match and others do not, and which?

Used to find rules that can never decide anything, to compare policies, and to merge them. An answer is a call that can
be checked, or None, which is certain; a question that would take too long is an error, never an answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from stockade.policy.meaning.domain import Budget, Domain, Literal, TooHardError, narrowed, whole
from stockade.policy.meaning.widths import Clause, clauses_of, widest
from stockade.policy.rules import ARGUMENTS, Op, ResolvedCondition, ResolvedRule

__all__ = ["STEPS", "TOTAL_STEPS", "Budget", "TooHardError", "Unreachable", "satisfy", "unreachable"]

# Steps that one question may take: some tenths of a second. Questions about real policies take a few dozen. All those
# about unreachable rules of one call share as many, because a policy can have thousands of rules.
STEPS = 100_000
# Steps for all questions about two policies together: some seconds. Ready-made policies take a fiftieth of it.
TOTAL_STEPS = 2_000_000
# Covers up to this length are made as short as they can be.
_MINIMISED = 20
# Lists of numbers up to this length are compared with other conditions before a search begins.
_FEW = 8

Registers: TypeAlias = tuple[int, ...]
Conditions: TypeAlias = Sequence[ResolvedCondition]


@dataclass(frozen=True, slots=True)
class Unreachable:
    """A rule that can never decide: its `index`, and those of the earlier rules that together match all its calls.

    `covered_by` is empty when the rule's own conditions never hold together. Up to 20 of them are none too many.
    """

    index: int
    covered_by: tuple[int, ...]


def satisfy(
    conditions: Conditions,
    none_of: Iterable[Conditions] = (),
    prefer: Sequence[int] = (),
    steps: int = STEPS,
    total: Budget | None = None,
) -> Registers | None:
    """Find six registers for which all `conditions` hold, and of each conjunction in `none_of` at least one does not.

    Gives None when there are none: that is certain. Numbers are those of `prefer` (up to six registers) where they can
    be, else small; bits above the width of an argument are 0. Raises TooHardError after `steps` steps, or when `total`,
    the budget of several questions, is used up.
    """
    budget, negated = Budget(steps), list(none_of)
    try:
        return _satisfy(conditions, negated, prefer, budget, total)
    finally:
        if total is not None:
            total.step(1 + len(negated) // 8 + steps - budget.left)


def _satisfy(
    conditions: Conditions,
    none_of: Iterable[Conditions],
    prefer: Sequence[int],
    budget: Budget,
    total: Budget | None = None,
) -> Registers | None:
    pinned = _pinned(conditions)
    if any(not values for _, values in pinned.values()):
        return None
    negated = [each for each in none_of if not _excluded(each, pinned)]
    widths = widest(condition for conjunction in (conditions, *negated) for condition in conjunction)
    clauses = [clause for each in conditions for clause in clauses_of([Literal(each)], widths)]
    for conjunction in negated:
        clauses += clauses_of([Literal(each, positive=False) for each in conjunction], widths)
    if total is not None:
        total.step(len(clauses))
    domains = {argument: whole(width, *prefer[argument : argument + 1]) for argument, width in widths.items()}
    for clause in clauses:
        if len(clause) == 1 and not _narrow(domains, clause[0], budget):
            return None
    found = _search(domains, [clause for clause in clauses if len(clause) != 1], budget)
    if found is None:
        return None
    rest = dict(enumerate(value & (1 << 64) - 1 for value in prefer))
    return tuple(found[index].witness if index in found else rest.get(index, 0) for index in range(ARGUMENTS))


def _pinned(conditions: Conditions) -> dict[int, tuple[int, list[int]]]:
    """Give the arguments that conditions hold to a few numbers: the width, and which of these all of them admit."""
    found: dict[int, tuple[int, list[int]]] = {}
    for pin in conditions:
        if pin.op in (Op.EQUAL, Op.ONE_OF) and len(pin.values) <= _FEW and pin.argument not in found:
            others = [each for each in conditions if each.argument == pin.argument and each.width <= pin.width]
            values = [value for value in pin.values if all(each.admits(value) for each in others)]
            found[pin.argument] = pin.width, values
    return found


def _excluded(conjunction: Conditions, pinned: dict[int, tuple[int, list[int]]]) -> bool:
    """Say whether a conjunction cannot hold for the numbers that are `pinned`. False says nothing."""
    for each in conjunction:
        pin = pinned.get(each.argument)
        if pin is not None and each.width <= pin[0] and not any(each.admits(value) for value in pin[1]):
            return True
    return False


def _narrow(domains: dict[int, Domain], literal: Literal, budget: Budget) -> bool:
    """Add a literal to the domains. False when nothing is left."""
    argument = literal.condition.argument
    smaller = narrowed(domains[argument], literal, budget)
    if smaller is None:
        return False
    domains[argument] = smaller
    return True


def _search(domains: dict[int, Domain], clauses: list[Clause], budget: Budget) -> dict[int, Domain] | None:
    """Narrow the domains until their witnesses pass all clauses; None when that cannot be.

    Every domain has a witness, so that only clauses that the witnesses fail are looked at. The one with the fewest
    literals that are still possible is made true: by the first of them, or else by the second …
    """
    waiting = [(domains, clauses)]
    while waiting:
        here, left = waiting.pop()
        budget.step(1 + len(left) // 4)
        chosen = _choose(here, left, budget)
        if chosen is None:
            return here
        clause, possible = chosen
        left = [each for each in left if each is not clause]
        branches = []
        here = dict(here)
        for literal in possible:
            branch = dict(here)
            if _narrow(branch, literal, budget):
                branches.append((branch, left))
            if not _narrow(here, literal.opposite, budget):
                break
        waiting += reversed(branches)
    return None


def _choose(domains: dict[int, Domain], clauses: list[Clause], budget: Budget) -> tuple[Clause, list[Literal]] | None:
    """Give the clause that the witnesses fail and that leaves the fewest possibilities, with these; None: all pass."""
    best: tuple[Clause, list[Literal]] | None = None
    for clause in clauses:
        if any(literal.admits(domains[literal.condition.argument].witness) for literal in clause):
            continue
        possible = [each for each in clause if narrowed(domains[each.condition.argument], each, budget) is not None]
        if best is None or len(possible) < len(best[1]):
            best = clause, possible
        if len(possible) < 2:
            break
    return best


def unreachable(rules: Sequence[ResolvedRule]) -> tuple[Unreachable, ...]:
    """Find the rules that can never decide, among the rules of one call in the order in which they are tried.

    Certain for those that it names. Where that is too hard to tell, a rule is not named.
    """
    found: list[Unreachable] = []
    earlier, budget = _Earlier(), Budget(STEPS + 10 * len(rules))
    for index, rule in enumerate(rules):
        try:
            covered_by = _cover(rules, index, earlier, budget)
        except TooHardError:
            return tuple(found)
        if covered_by is not None:
            found.append(Unreachable(index, covered_by))
        earlier.add(index, rule)
    return tuple(found)


def _cover(rules: Sequence[ResolvedRule], index: int, earlier: _Earlier, budget: Budget) -> tuple[int, ...] | None:
    """Give the earlier rules that leave nothing to rule `index`; None when it can decide a call."""
    conditions = rules[index].conditions
    call = _satisfy(conditions, (), (), budget)
    cover: list[int] = []
    while call is not None:
        matching = [other for other in earlier.near(call) if rules[other].matches(call)]
        if not matching:
            return None
        # One rule that matches everything is the shortest explanation, and the most usual one.
        alone = [other for other in matching if _satisfy(conditions, [rules[other].conditions], (), budget) is None]
        if alone:
            return (min(alone),)
        cover.append(min(matching))
        call = _satisfy(conditions, [rules[other].conditions for other in cover], (), budget)
    for other in cover[:-1] if len(cover) <= _MINIMISED else ():
        fewer = [each for each in cover if each != other]
        if _satisfy(conditions, [rules[each].conditions for each in fewer], (), budget) is None:
            cover = fewer
    return tuple(sorted(cover))


class _Earlier:
    """The rules before one, found by a number that an argument must have: most rules of a long list name one."""

    def __init__(self) -> None:
        self._pinned: dict[tuple[int, int], dict[int, list[int]]] = {}
        self._others: list[int] = []

    def add(self, index: int, rule: ResolvedRule) -> None:
        """Add the rule `index`."""
        pin = next((condition for condition in rule.conditions if condition.op in (Op.EQUAL, Op.ONE_OF)), None)
        if pin is None:
            self._others.append(index)
            return
        by_value = self._pinned.setdefault((pin.argument, pin.width), {})
        for value in pin.values:
            by_value.setdefault(value, []).append(index)

    def near(self, registers: Registers) -> list[int]:
        """Give the rules that may match a call; all that do are among them."""
        found = list(self._others)
        for (argument, width), by_value in self._pinned.items():
            found += by_value.get(registers[argument] & (1 << width) - 1, ())
        return found
