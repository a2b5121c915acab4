"""Leaving out rules of included policies that those of the including ones leave nothing to decide.

They would mean nothing where they are, and once nobody knows any more which file each rule came from, they would be
contradictions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stockade._proto import policy_pb2
from stockade.errors import PolicyError
from stockade.kernel.architectures import Architecture
from stockade.policy.meaning.space import unreachable
from stockade.policy.resolve_rule import resolve_rule
from stockade.policy.rules import ResolvedRule
from stockade.policy.validate import architectures_of


@dataclass(frozen=True, slots=True)
class OwnedRule:
    """A rule, the number of the policy that it comes from, its place, and how to make an error about it."""

    rule: policy_pb2.Rule
    owner: int
    place: str
    error: Callable[[str], PolicyError]


def remaining(rules: Sequence[OwnedRule]) -> list[policy_pb2.Rule | None]:
    """Give each rule with only those of its calls that earlier rules of other policies do not decide altogether.

    None stands for a rule that loses all of its calls. Rules that only others of their own policy leave nothing stay,
    and are an error elsewhere. Raises PolicyError, naming both places, for a rule that is covered on one architecture
    and not on another.
    """
    message = policy_pb2.Policy(syscalls=policy_pb2.SyscallPolicy(rules=[each.rule for each in rules]))
    covered = [_covered(rules, architecture) for architecture in architectures_of(message)]
    found: list[policy_pb2.Rule | None] = []
    for index, each in enumerate(rules):
        lost = set()
        for syscall in each.rule.syscall:
            answers = [answer[index][syscall] for answer in covered if syscall in answer[index]]
            by = next((answer for answer in answers if answer), None)
            if by is not None and not all(answers):
                reason = f"on one architecture the rule at {by} decides all calls that this one does, on another not"
                raise each.error(f"{syscall}: {reason}. Give them the same conditions")
            if by is not None:
                lost.add(syscall)
        found.append(_without(each.rule, lost))
    return found


def _covered(rules: Sequence[OwnedRule], architecture: Architecture) -> list[dict[str, str]]:
    """Say for each call of each rule where the rules are that leave nothing to it, of another policy; "" for none."""
    together: dict[tuple[int, bool], list[tuple[int, ResolvedRule]]] = {}
    found: list[dict[str, str]] = []
    for index, each in enumerate(rules):
        lines = list(resolve_rule(each.rule, architecture, each.place))
        found.append(dict.fromkeys((line.rule.syscall for line in lines), ""))
        for line in lines:
            together.setdefault((line.rule.number, line.overridable), []).append((index, line.rule))
    for entries in together.values():
        owners = [rules[index].owner for index, _ in entries]
        if len(set(owners)) == 1:
            continue
        for hidden in unreachable([rule for _, rule in entries]):
            others = [other for other in hidden.covered_by if owners[other] != owners[hidden.index]]
            if others:
                index, rule = entries[hidden.index]
                found[index][rule.syscall] = " and ".join(entries[other][1].origin.place for other in others)
    return found


def _without(rule: policy_pb2.Rule, lost: set[str]) -> policy_pb2.Rule | None:
    kept = [syscall for syscall in rule.syscall if syscall not in lost]
    if not lost or not kept:
        return rule if not lost else None
    copy = policy_pb2.Rule()
    copy.CopyFrom(rule)
    del copy.syscall[:]
    copy.syscall.extend(kept)
    return copy
