"""What a policy says about the violations of a run: the rule that decided or came nearest, what would allow each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from stockade._proto import report_pb2
from stockade.policy.policy import Policy
from stockade.policy.suggest import Call, nearest_rule, patch, wider_patch

# Different calls for which suggestions are worked out, which takes milliseconds each: a program can make any number.
# The first violation of each system call gets them beyond that number too.
MAXIMUM_EXPLAINED = 300
_OF_RULES = (report_pb2.Violation.SYSCALL, report_pb2.Violation.ARCHITECTURE)


class _Explanation(NamedTuple):
    """What is added to violations of the same call."""

    nearest: report_pb2.NearestRule
    patch: report_pb2.Patch
    wider: report_pb2.Patch | None


def add_suggestions(policy: Policy, violations: Iterable[report_pb2.Violation]) -> None:
    """Put the nearest rule and the smallest changes of `policy` into each violation, or why there are none."""
    known: dict[Call, _Explanation] = {}
    syscalls: set[tuple[str, str]] = set()
    for violation in violations:
        if violation.kind not in _OF_RULES:
            violation.patch.refused_because = f"the hook {violation.hook!r} decides this call, not a rule"
            continue
        call = Call(violation.syscall, violation.number, violation.architecture, tuple(violation.raw_arguments))
        syscall = (call.syscall, call.architecture)
        if call not in known and (len(known) < MAXIMUM_EXPLAINED or _is_first(syscall, syscalls)):
            known[call] = _Explanation(nearest_rule(policy, call), patch(policy, call), wider_patch(policy, call))
            syscalls.add(syscall)
        _add(violation, known.get(call))


def _is_first(syscall: tuple[str, str], syscalls: set[tuple[str, str]]) -> bool:
    return syscall not in syscalls and not syscall[0].startswith("syscall_")


def _add(violation: report_pb2.Violation, explanation: _Explanation | None) -> None:
    if explanation is None:
        said = f"{MAXIMUM_EXPLAINED} other calls have suggestions already: take those that fit, and run it again"
        violation.patch.refused_because = said
        return
    violation.nearest_rule.CopyFrom(explanation.nearest)
    violation.patch.CopyFrom(explanation.patch)
    if explanation.wider is not None:
        violation.wider_patch.CopyFrom(explanation.wider)
