"""Rules for one call that mean the more permissive of what two lists of rules say.

For each pair of a rule of the first policy and one of the second there is a rule with the conditions of both. Tried in
the order of the pairs, the first one that matches is the pair of those that decide in the two policies. Pairs that no
call belongs to are left out, and so are those that a later one says as well.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

from google.protobuf import text_format as protobuf_text

from stockade._proto import policy_pb2
from stockade.errors import PolicyError
from stockade.kernel.architectures import Architecture
from stockade.kernel.signatures import width
from stockade.policy.meaning.merge_lists import Lists, Placed
from stockade.policy.meaning.regions import Region, common_call, regions
from stockade.policy.meaning.space import Budget, satisfy, unreachable
from stockade.policy.policy import Policy
from stockade.policy.rules import Action, Kind, Op, Origin, ResolvedCondition, ResolvedRule, implies

_Rule = policy_pb2.Rule
_Condition = policy_pb2.Condition

_COMPARISONS = {
    Op.EQUAL: "equal",
    Op.NOT_EQUAL: "not_equal",
    Op.LESS: "less",
    Op.LESS_OR_EQUAL: "less_or_equal",
    Op.GREATER: "greater",
    Op.GREATER_OR_EQUAL: "greater_or_equal",
}


@dataclass(frozen=True, slots=True)
class _Row:
    """One rule in the making: each condition normalised, beside its form in the policy."""

    conditions: tuple[ResolvedCondition, ...]
    when: tuple[policy_pb2.Condition, ...]
    action: Action
    place: str
    # Decided by the always-refused rows in both policies.
    refused: bool = False
    # About arguments that are refused unless a rule says otherwise.
    careful: bool = False


def wider(first: Action, second: Action) -> Action:
    """Give the more permissive of two actions; the first of two that are equally so."""
    return second if second.strength < first.strength else first


def combined_rules(
    name: str,
    first: Policy,
    second: Policy,
    lists: Lists,
    architectures: Sequence[Architecture],
    total: Budget,
    *,
    careful: bool,
) -> list[Placed]:
    """Give rules that decide every call of `name` as the more permissive of both policies does.

    `careful`: first say separately what holds for the arguments that are always refused. That is needed when a policy
    answers some of them with an error number and others not.
    """
    architecture = next(each for each in architectures if name in each.syscalls)
    number = architecture.number(name)
    resolved = [policy.resolve(architecture) for policy in (first, second)]
    parts = [regions(each, number) for each in resolved]
    rows = [row for row in _pairs(name, parts[0], parts[1], total) if not row.refused]
    if careful:
        refused = [{rule for rule in each.by_number.get(number, ()) if rule.danger} for each in resolved]
        kept = [rule for rule in resolved[0].by_number.get(number, ()) if rule in refused[0] & refused[1]]
        rows = [*_about_refused(name, parts[0], parts[1], kept, total), *rows]
    rows = _useful(name, architecture, rows, total)
    default = wider(resolved[0].default, resolved[1].default)
    if name not in lists.grouped:
        while rows and rows[-1].action == default and not rows[-1].careful:
            rows.pop()
    return [(_rule(name, row), row.place) for row in rows]


def _pairs(
    name: str,
    first: Sequence[Region],
    second: Sequence[Region],
    total: Budget,
    fixed: tuple[ResolvedCondition, ...] = (),
) -> Iterator[_Row]:
    for one in first:
        for other in second:
            if common_call(one, other, fixed=fixed, total=total) is None:
                continue
            action = wider(one.action, other.action)
            refused = all(part.rule is not None and part.rule.danger for part in (one, other))
            for left, right in product(_forms(name, one.rule), _forms(name, other.rule)):
                yield _row((*left, *right), action, f"{_place(one)} | {_place(other)}", refused=refused)


def _about_refused(
    name: str, first: Sequence[Region], second: Sequence[Region], refused: Sequence[ResolvedRule], total: Budget
) -> Iterator[_Row]:
    """Give rows for the arguments that stay refused, for which a rule of one policy may have an answer nevertheless."""
    for rule in refused:
        for form in _forms(name, rule):
            fixed = tuple(condition for condition, _ in form)
            for row in _pairs(name, first, second, total, fixed):
                both = [*form, *zip(row.conditions, row.when, strict=True)]
                yield replace(_row(both, row.action, row.place), careful=True)


def _place(part: Region) -> str:
    return part.rule.origin.place if part.rule is not None else "the default action"


def _row(
    pairs: Sequence[tuple[ResolvedCondition, policy_pb2.Condition]],
    action: Action,
    place: str,
    *,
    refused: bool = False,
) -> _Row:
    """Make a row of conditions, without those that others imply."""
    kept: list[tuple[ResolvedCondition, policy_pb2.Condition]] = []
    for condition, when in pairs:
        if any(implies(other, condition) for other, _ in kept):
            continue
        kept = [(other, text) for other, text in kept if not implies(condition, other)]
        kept.append((condition, when))
    return _Row(tuple(each for each, _ in kept), tuple(each for _, each in kept), action, place, refused)


def _forms(name: str, rule: ResolvedRule | None) -> list[list[tuple[ResolvedCondition, policy_pb2.Condition]]]:
    """Give the conditions of a rule as a policy can write them: alternatives of conjunctions. None: the default."""
    if rule is None:
        return [[]]
    if not rule.danger:
        written = protobuf_text.Parse(rule.origin.text, _Rule())
        return [list(zip(rule.conditions, written.when, strict=True))]
    alternatives = [list(_of_refused(name, condition)) for condition in rule.conditions]
    return [list(chosen) for chosen in product(*alternatives)]


def _of_refused(name: str, condition: ResolvedCondition) -> Iterator[tuple[ResolvedCondition, policy_pb2.Condition]]:
    """Write a condition of an always-refused row, which has no symbols, as conditions of which one must hold."""
    argument, bits = condition.argument, condition.width
    if bits != width(name, argument):
        raise PolicyError(f"{name} is always refused by a part of argument {argument}, which no rule can name")
    if condition.op in _COMPARISONS:
        message = _Condition(argument=argument)
        setattr(message, _COMPARISONS[condition.op], hex(condition.values[0]))
        yield condition, message
        return
    if condition.op is not Op.NOT_MASKED or condition.values[0]:
        raise PolicyError(f"{name} is always refused by a condition on argument {argument}, which no rule can have")
    harmless = ~condition.mask & (1 << bits) - 1
    # Any number above the sum of the harmless bits has another bit; below it, each bit is asked for.
    if harmless and harmless < (1 << bits) - 1:
        above = ResolvedCondition(argument, bits, Op.GREATER, (harmless,))
        yield above, _Condition(argument=argument, greater=hex(harmless))
    for position in range(harmless.bit_length() if harmless else bits):
        bit = 1 << position
        if condition.mask & bit:
            one = ResolvedCondition(argument, bits, Op.MASKED, (bit,), bit)
            yield one, _Condition(argument=argument, masked=policy_pb2.Masked(mask=hex(bit), value=hex(bit)))


def _useful(name: str, architecture: Architecture, rows: list[_Row], total: Budget) -> list[_Row]:
    """Leave out rows that never decide, and those of which a later one says the same."""
    number = architecture.number(name)
    resolved = [ResolvedRule(name, number, row.conditions, row.action, Origin(row.place, "")) for row in rows]
    dead = {each.index for each in unreachable(resolved)}
    left = [row for index, row in enumerate(rows) if index not in dead]
    for index in range(len(left) - 1, -1, -1):
        # The refused rows stand between the careful rows and the others.
        if not left[index].careful and _said_later(left[index], left[index + 1 :], total):
            del left[index]
    return left


def _said_later(row: _Row, later: Sequence[_Row], total: Budget) -> bool:
    for other in later:
        if other.action == row.action and set(other.conditions) <= set(row.conditions):
            return True
        if other.action != row.action and satisfy((*row.conditions, *other.conditions), total=total) is not None:
            return False
    return False


def _rule(name: str, row: _Row) -> policy_pb2.Rule:
    action = row.action
    return _Rule(
        syscall=[name],
        when=row.when,
        action=action.kind.name,
        errno=errno.errorcode.get(action.errno, str(action.errno)) if action.kind is Kind.ERRNO else "",
        hook=action.hook,
        reason=f"the more permissive of: {row.place}",
    )
