"""Rules that give much away and do not say why."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from stockade._proto import policy_pb2
from stockade.kernel.signatures import width
from stockade.policy.policy import Policy
from stockade.policy.risk import HIGH, LEVELS, Risk, risk
from stockade.policy.rules import ARGUMENTS, Op, ResolvedCondition, ResolvedPolicy, ResolvedRule

_PERMITTING = (policy_pb2.Rule.ALLOW, policy_pb2.Rule.LOG)
# Calls that are judged for one rule; a rule with more possibilities is judged by the call alone.
_MAX_CALLS = 4096
_BOUNDARIES = (Op.LESS, Op.LESS_OR_EQUAL, Op.GREATER, Op.GREATER_OR_EQUAL, Op.NOT_EQUAL)


def rule_risks(policy: Policy, resolved: ResolvedPolicy) -> Iterator[tuple[str, str]]:
    """Give (place, message) for each explicit rule that allows something of high risk without a `reason`."""
    by_place: dict[str, list[ResolvedRule]] = {}
    for rule in resolved.rules:
        by_place.setdefault(rule.origin.place, []).append(rule)
    for index, written in enumerate(policy.message.syscalls.rules):
        if written.reason or written.action not in _PERMITTING:
            continue
        place = policy.places.rule(index)
        found: dict[str, list[str]] = {}
        for rule in by_place.get(place, ()):
            judged = worst(rule)
            if judged.level == HIGH and rule.syscall in written.syscall:
                found.setdefault(judged.reason, []).append(rule.syscall)
        for reason, names in found.items():
            yield place, f"this rule allows {', '.join(names)} without a reason: of high risk. {reason}"


def worst(rule: ResolvedRule) -> Risk:
    """Judge the most dangerous of the calls that a rule matches, as far as the judgement looks at arguments."""
    choices = [_values(rule, index) for index in range(ARGUMENTS)]
    count = 1
    for values in choices:
        count *= len(values)
    if count > _MAX_CALLS:
        return risk(rule.syscall)
    judged = [risk(rule.syscall, call) for call in itertools.product(*choices) if rule.matches(call)]
    return max(judged, key=lambda each: LEVELS.index(each.level), default=risk(rule.syscall))


def _values(rule: ResolvedRule, argument: int) -> Sequence[int]:
    """Give values of an argument that are worth a try: those that conditions name, their neighbours, and both ends."""
    ones = (1 << width(rule.syscall, argument)) - 1
    own = [condition for condition in rule.conditions if condition.argument == argument]
    pinned = next((condition for condition in own if condition.op in (Op.EQUAL, Op.ONE_OF)), None)
    if pinned is not None:
        return pinned.values
    found = {0, ones, *(value for condition in own for value in _named(condition, ones))}
    return sorted(value for value in found if 0 <= value <= ones)


def _named(condition: ResolvedCondition, ones: int) -> Iterator[int]:
    value = condition.values[0]
    if condition.op in _BOUNDARIES:
        yield from (value - 1, value, value + 1)
    elif condition.op is Op.MASKED:
        free = ones & ~condition.mask
        yield from (value, value | free)
        # Each of the bits that are left open, when they are few.
        yield from (value | 1 << bit for bit in range(64) if free >> bit & 1 and free.bit_count() <= 8)
