"""The rules and groups of two policies in one list, still as they were written, with their places."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from stockade._proto import policy_pb2
from stockade.kernel.architectures import Architecture
from stockade.policy.groups import expand
from stockade.policy.meaning.space import unreachable
from stockade.policy.places import Places
from stockade.policy.policy import Policy
from stockade.policy.resolve_rule import resolve_rule
from stockade.policy.rules import ResolvedRule

Placed = tuple[policy_pb2.Rule, str]


@dataclass(frozen=True, slots=True)
class Lists:
    """Rules, groups and raw filters of a policy in the making, each with the place where it was written.

    `entangled` are calls of which a rule can be left out on one architecture only.
    """

    rules: tuple[Placed, ...]
    groups: tuple[tuple[policy_pb2.Group, str], ...]
    entangled: frozenset[str] = frozenset()

    def message(self) -> policy_pb2.SyscallPolicy:
        """Give rules and groups as a message."""
        return policy_pb2.SyscallPolicy(
            rules=[rule for rule, _ in self.rules], groups=[group for group, _ in self.groups]
        )

    def places(self) -> Places:
        """Give the places of rules and groups."""
        return Places(tuple(place for _, place in self.rules), tuple(place for _, place in self.groups))

    def without(self, names: Iterable[str]) -> Lists:
        """Leave some calls out of the rules; groups stay whole."""
        dropped = frozenset(names)
        return replace(self, rules=tuple(_only(self.rules, lambda index, name: name not in dropped)))

    def before(self, rules: Sequence[Placed]) -> Lists:
        """Put rules before all others."""
        return replace(self, rules=(*rules, *self.rules))

    @property
    def grouped(self) -> frozenset[str]:
        """Names of the calls that a group decides something about."""
        return frozenset(
            name
            for group, _ in self.groups
            for rule in expand(group.name, tuple(group.argument))
            for name in rule.syscall
        )


def concatenate(first: Policy, second: Policy, architectures: Sequence[Architecture]) -> Lists:
    """Put the rules of `second` behind those of `first`, without those that could never decide anything there."""
    before, after = _placed_rules(first), _placed_rules(second)
    rules = [*before, *after]
    useless: dict[tuple[int, str], list[bool]] = {}
    for architecture in architectures:
        for key, dead in _unreachable(rules, architecture).items():
            useless.setdefault(key, []).append(dead)
    entangled = frozenset(name for (_, name), dead in useless.items() if len(set(dead)) > 1)
    kept = _only(rules, lambda index, name: not all(useless.get((index, name), [False])))
    groups = [(group, first.places.group(index)) for index, group in enumerate(first.message.syscalls.groups)]
    known = [group for group, _ in groups]
    for index, group in enumerate(second.message.syscalls.groups):
        if group not in known:
            groups.append((group, second.places.group(index)))
    return Lists(tuple(kept), tuple(groups), entangled)


def _placed_rules(policy: Policy) -> list[Placed]:
    return [(rule, policy.places.rule(index)) for index, rule in enumerate(policy.message.syscalls.rules)]


def _unreachable(rules: Sequence[Placed], architecture: Architecture) -> dict[tuple[int, str], bool]:
    """Say of each call of each rule (its index, the call's name) whether the rules before it leave it nothing."""
    by_call: dict[tuple[str, bool], list[tuple[int, ResolvedRule]]] = {}
    for index, (rule, place) in enumerate(rules):
        for line in resolve_rule(rule, architecture, place):
            by_call.setdefault((line.rule.syscall, line.overridable), []).append((index, line.rule))
    found = {}
    for (name, _), lines in by_call.items():
        dead = {each.index for each in unreachable([rule for _, rule in lines])}
        found.update({(index, name): position in dead for position, (index, _) in enumerate(lines)})
    return found


def _only(rules: Iterable[Placed], keep: Callable[[int, str], bool]) -> list[Placed]:
    """Give the rules with those of their calls for which `keep(index, name)` holds, and no rule that has none left."""
    found = []
    for index, (rule, place) in enumerate(rules):
        names = [name for name in rule.syscall if keep(index, name)]
        if len(names) == len(rule.syscall):
            found.append((rule, place))
        elif names:
            shorter = policy_pb2.Rule()
            shorter.CopyFrom(rule)
            del shorter.syscall[:]
            shorter.syscall.extend(names)
            found.append((shorter, place))
    return found
