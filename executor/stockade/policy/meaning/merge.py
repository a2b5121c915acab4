"""The union of two policies: every call gets the more permissive of the two answers, and every file the wider access.

Groups and rules stay as they are written where putting one list behind the other means just that. For the calls for
which it does not, rules are made that combine those of both. The result is proven before it is given out: each call has
the wanted answer, and nothing that one of the policies permits is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stockade._proto import policy_pb2
from stockade.errors import MonitorError, PolicyError
from stockade.kernel.architectures import AARCH64, X86_64, Architecture
from stockade.policy.meaning.diff import diff
from stockade.policy.meaning.merge_fields import merge_fields
from stockade.policy.meaning.merge_lists import Lists, concatenate
from stockade.policy.meaning.merge_rules import combined_rules, wider
from stockade.policy.meaning.regions import common_call, numbers_to_compare, regions
from stockade.policy.meaning.space import TOTAL_STEPS, Budget, TooHardError
from stockade.policy.meaning.words import action_words
from stockade.policy.policy import Policy
from stockade.policy.resolve import resolve
from stockade.policy.rules import Kind, ResolvedPolicy
from stockade.policy.validate import MAX_NAME, SCHEMA_VERSION, architectures_of
from stockade.text import quote

__all__ = ["Merged", "merge"]


@dataclass(frozen=True, slots=True)
class Merged:
    """A union. `notes` say, one sentence each, where the two policies disagreed in a way that one should know of."""

    policy: Policy
    notes: tuple[str, ...]


def merge(first: Policy, second: Policy) -> Merged:
    """Give the policy that permits what either policy permits, named "first+second".

    Where both answer a call with different error numbers, or by different hooks, `first` wins, and a note says so.
    Raises PolicyError for what has no union: different things at one place, different host names, policies for
    different architectures, raw filters of which only one policy has some for a call that both allow.
    """
    architectures = _common_architectures(first, second)
    message, notes = merge_fields(first, second)
    total = Budget(TOTAL_STEPS)
    message.schema_version = SCHEMA_VERSION
    message.name = f"{first.name}+{second.name}"[:MAX_NAME]
    names = [quote(policy.name) if policy.name else "a policy without a name" for policy in (first, second)]
    message.description = f"Everything that {names[0]} allows and everything that {names[1]} allows"
    try:
        lists = concatenate(first, second, architectures)
        notes += _errno_notes(first, second, architectures, total)
        policy = _with_rules(message, lists, first, second, architectures, total)
        _prove(first, second, policy, architectures)
    except TooHardError:
        reason = "the rules of the two policies are too entangled to be merged; merge the rules of their calls by hand"
        raise PolicyError(reason) from None
    return Merged(policy, tuple(dict.fromkeys(notes)))


def _common_architectures(first: Policy, second: Policy) -> list[Architecture]:
    possible = [architectures_of(policy.message) for policy in (first, second)]
    found = [each for each in (X86_64, AARCH64) if all(each in some for some in possible)]
    if not found:
        raise PolicyError("the policies have constants of different architectures, so that neither has both")
    return found


def _with_rules(
    message: policy_pb2.Policy,
    lists: Lists,
    first: Policy,
    second: Policy,
    architectures: Sequence[Architecture],
    total: Budget,
) -> Policy:
    """Put the rules in, one list behind the other; combine those of the calls for which that means something else."""
    wrong = set(lists.entangled)
    for architecture in architectures:
        # Calls that `concatenate` knows to be entangled cannot be resolved as they are.
        probe = lists.without(wrong)
        resolved = _resolved(message, probe, architecture)
        parts = first.resolve(architecture), second.resolve(architecture)
        wrong |= {name for name in _wrong_calls(*parts, resolved, total) if not name.startswith("syscall_")}
    careful: set[str] = set()
    for _ in range(2):
        combined = lists.without(wrong)
        for name in sorted(wrong, reverse=True):
            rules = combined_rules(name, first, second, lists, architectures, total, careful=name in careful)
            combined = combined.before(rules)
        problems = _problems(message, combined, first, second, architectures, total)
        if not problems:
            return Policy(_filled(message, combined), combined.places())
        careful |= problems.keys()
    name, problem = next(iter(problems.items()))
    raise PolicyError(f"the policies cannot be merged: no list of rules means both of theirs for {name} ({problem})")


def _problems(
    message: policy_pb2.Policy,
    lists: Lists,
    first: Policy,
    second: Policy,
    architectures: Sequence[Architecture],
    total: Budget,
) -> dict[str, str]:
    """Give the calls for which the merged rules are not the union, each with where, or what is wrong."""
    found: dict[str, str] = {}
    for architecture in architectures:
        try:
            resolved = _resolved(message, lists, architecture)
        except PolicyError as error:
            found[error.syscall or "some call"] = error.message
            continue
        parts = first.resolve(architecture), second.resolve(architecture)
        found.update(dict.fromkeys(_wrong_calls(*parts, resolved, total), f"on {architecture.name}"))
    return found


def _filled(message: policy_pb2.Policy, lists: Lists) -> policy_pb2.Policy:
    filled = policy_pb2.Policy()
    filled.CopyFrom(message)
    for name in ("rules", "groups"):
        filled.syscalls.ClearField(name)
    filled.syscalls.MergeFrom(lists.message())
    if not filled.syscalls.ListFields():
        filled.ClearField("syscalls")
    return filled


def _resolved(message: policy_pb2.Policy, lists: Lists, architecture: Architecture) -> ResolvedPolicy:
    return resolve(_filled(message, lists), architecture, places=lists.places())


def _wrong_calls(first: ResolvedPolicy, second: ResolvedPolicy, merged: ResolvedPolicy, total: Budget) -> Iterator[str]:
    """Give the names of the calls for which `merged` is not the union."""
    for number in numbers_to_compare(merged.architecture):
        if not _is_union(first, second, merged, number, total):
            yield merged.architecture.name_of(number)


def _is_union(
    first: ResolvedPolicy, second: ResolvedPolicy, merged: ResolvedPolicy, number: int, total: Budget
) -> bool:
    parts = regions(merged, number)
    for one in regions(first, number):
        for other in regions(second, number):
            if common_call(one, other, total=total) is None:
                continue
            wanted = wider(one.action, other.action)
            if number > merged.highest and wanted.kind is merged.unknown.kind is Kind.ERRNO:
                continue  # numbers above the table get ENOSYS or the default; `merge_fields` notes the difference
            for part in parts:
                if part.action != wanted and common_call(one, other, part, total=total) is not None:
                    return False
    return True


def _errno_notes(first: Policy, second: Policy, architectures: Sequence[Architecture], total: Budget) -> Iterator[str]:
    """Say where the policies answer differently in the same way: with other error numbers, by other hooks."""
    for architecture in architectures:
        parts = first.resolve(architecture), second.resolve(architecture)
        for number in parts[0].by_number.keys() | parts[1].by_number.keys():
            for one in regions(parts[0], number):
                for other in regions(parts[1], number):
                    if one.action.kind is not other.action.kind or one.action == other.action:
                        continue
                    if common_call(one, other, total=total) is not None:
                        name = architecture.name_of(number)
                        places = [
                            part.rule.origin.place if part.rule else "the default action" for part in (one, other)
                        ]
                        yield (
                            f"{name}: {places[0]} says {action_words(one.action)}, {places[1]} says "
                            f"{action_words(other.action)}; the first one holds"
                        )


def _prove(first: Policy, second: Policy, merged: Policy, architectures: Sequence[Architecture]) -> None:
    """Raise MonitorError if anything that one of the policies gives is not given by their union.

    Raises TooHardError where that cannot be decided.
    """
    for architecture in architectures:
        for policy in (first, second):
            found = diff(policy, merged, architecture)
            lost = found.of_kind("refused")
            if found.undecided and not lost:
                raise TooHardError(found.undecided[0])
            if lost:
                raise MonitorError(
                    f"the union of {quote(first.name)} and {quote(second.name)} would not allow all that "
                    f"{quote(policy.name)} allows: {lost[0].text}. Please report this with "
                    "both policies"
                )
