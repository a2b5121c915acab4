"""The calls that each rule of a policy really decides: those that it matches and no earlier rule of the call does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stockade.kernel.architectures import Architecture
from stockade.kernel.seccomp_constants import DETECTION_CALL, DETECTION_ERRNO, FREE_EXEC_COOKIE
from stockade.policy.meaning.space import Budget, Registers, satisfy
from stockade.policy.rules import Action, Kind, Op, ResolvedCondition, ResolvedPolicy, ResolvedRule
from stockade.policy.verdicts import FREE_EXEC_ARGUMENT, FREE_EXEC_CALL

Conditions = tuple[ResolvedCondition, ...]

# The one execution that starts the program belongs to the monitor: no policy decides it.
_FREE_EXEC = (ResolvedCondition(FREE_EXEC_ARGUMENT, 64, Op.EQUAL, (FREE_EXEC_COOKIE,)),)


@dataclass(frozen=True, slots=True)
class Region:
    """Calls of one number that get one answer: `conditions` hold, and of each of `none_of` at least one does not.

    `rule` decides; None stands for the default action.
    """

    action: Action
    conditions: Conditions
    none_of: tuple[Conditions, ...]
    rule: ResolvedRule | None

    @property
    def arguments(self) -> frozenset[int]:
        """The arguments on which it hangs whether a call belongs to the region."""
        parts = [part for part in (self.conditions, *self.none_of) if part is not _FREE_EXEC]
        return frozenset(each.argument for part in parts for each in part)


def regions(resolved: ResolvedPolicy, number: int) -> tuple[Region, ...]:
    """Give the regions of a call in the order in which its rules are tried. Raw filters are not looked at.

    Every call but the free exec is in exactly one; a region can be empty. Rules behind one without conditions decide
    nothing and have no region.
    """
    if number == DETECTION_CALL:
        return (Region(Action(Kind.ERRNO, DETECTION_ERRNO), (), (), None),)
    tried: list[Conditions] = [_FREE_EXEC] if resolved.architecture.names.get(number) == FREE_EXEC_CALL else []
    found = []
    for rule in resolved.by_number.get(number, ()):
        found.append(Region(rule.action, rule.conditions, tuple(tried), rule))
        if not rule.conditions:
            return tuple(found)
        tried.append(rule.conditions)
    rest = resolved.unknown if number > resolved.highest else resolved.default
    return (*found, Region(rest, (), tuple(tried), None))


def same_meaning(first: Sequence[Region], second: Sequence[Region]) -> bool:
    """Say whether two lists of regions are written the same, so that no search is needed. False says nothing."""
    return [(each.conditions, each.action) for each in first] == [(each.conditions, each.action) for each in second]


def common_call(
    *parts: Region, fixed: Conditions = (), prefer: Sequence[int] = (), total: Budget | None = None
) -> Registers | None:
    """Find a call that is in all the regions and for which `fixed` holds; None when there is none.

    Raises TooHardError as `satisfy` does.
    """
    conditions = [*fixed, *(each for part in parts for each in part.conditions)]
    none_of = dict.fromkeys(each for part in parts for each in part.none_of)
    return satisfy(conditions, none_of, prefer, total=total)


def numbers_to_compare(architecture: Architecture) -> Iterator[int]:
    """Give every number of the table, one that the table leaves out if there is any, and one above all of them.

    Policies cannot tell the numbers of these last two kinds apart among themselves.
    """
    yield from sorted(architecture.names)
    highest = max(architecture.names)
    gap = next((number for number in range(highest) if number not in architecture.names), None)
    if gap is not None:
        yield gap
    yield highest + 1
