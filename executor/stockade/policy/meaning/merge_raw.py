"""The union of the raw filters of two policies. One is kept where it takes nothing from the other policy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from stockade._proto import policy_pb2
from stockade.errors import PolicyError
from stockade.kernel.architectures import AARCH64, X86_64
from stockade.policy.meaning.regions import regions
from stockade.policy.policy import Policy
from stockade.policy.rules import Kind
from stockade.policy.validate import architectures_of

_Raw = policy_pb2.RawFilter


def merge_raw_filters(first: Policy, second: Policy) -> list[_Raw]:
    """Give the filters of both policies.

    One that both have stays; one of a single policy stays if the other policy lets none of its calls pass or answers
    them. Raises PolicyError for any other one, which would have to be tightened for one half of the union only.
    """
    one, other = (list(policy.message.syscalls.raw_filters) for policy in (first, second))
    if one == other:
        return one
    _check(first, one, second, other)
    _check(second, other, first, one)
    return [*one, *(raw for raw in other if raw not in one)]


def _check(policy: Policy, own: list[_Raw], other: Policy, others: list[_Raw]) -> None:
    for index, raw in enumerate(own):
        for name in raw.syscall:
            if _of_call(own, name) != _of_call(others, name) and not _always_killed(other, name):
                raise PolicyError(
                    f"{policy.places.raw_filter(index)} filters {name}, which the other policy does not filter in the "
                    "same way and does not refuse: no policy is the union of the two",
                    syscall=name,
                )


def _of_call(filters: Iterable[_Raw], name: str) -> list[tuple[str, bytes, str]]:
    return [(raw.architecture, raw.program, raw.assembly) for raw in filters if name in raw.syscall]


def _always_killed(policy: Policy, name: str) -> bool:
    """Say whether a policy makes every call of `name` a violation, on each architecture that has it."""
    return all(_killed(policy, name))


def _killed(policy: Policy, name: str) -> Iterator[bool]:
    possible = architectures_of(policy.message)
    for architecture in (X86_64, AARCH64):
        if name in architecture.syscalls and architecture in possible:
            parts = regions(policy.resolve(architecture), architecture.number(name))
            yield all(part.action.kind is Kind.KILL for part in parts)
