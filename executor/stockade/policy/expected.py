"""What the filter of a policy has to return for a call, concluded from what the policy means."""

from __future__ import annotations

from collections.abc import Sequence

from stockade.kernel.seccomp_constants import SECCOMP_RET_ACTION_FULL, SECCOMP_RET_DATA, SECCOMP_RET_TRACE
from stockade.policy.evaluate import DecidedBy, Verdict, evaluate
from stockade.policy.rules import ResolvedPolicy
from stockade.policy.verdicts import FOREIGN_VALUE, FREE_EXEC_VALUE, filter_value


def expected_value(resolved: ResolvedPolicy, verdict: Verdict) -> int:
    """Give the 32-bit filter value that stands for a verdict of the evaluator."""
    if verdict.decided_by in (DecidedBy.FOREIGN_ARCHITECTURE, DecidedBy.X32):
        return FOREIGN_VALUE
    if verdict.decided_by is DecidedBy.FREE_EXEC:
        return FREE_EXEC_VALUE
    refused = verdict.decided_by in (DecidedBy.REFUSED, DecidedBy.UNKNOWN_NUMBER)
    return filter_value(verdict.action, resolved.mode, resolved.hooks, refused=refused)


def trace_data(resolved: ResolvedPolicy, number: int, registers: Sequence[int]) -> int | None:
    """Give the data with which the filter hands a call to the monitor; None when it does not.

    For a program that may install filters: of several that return SECCOMP_RET_TRACE the kernel reports the data of the
    one installed last, so that what it reports is no evidence (seccomp(2)).
    """
    value = expected_value(resolved, evaluate(resolved, number, registers))
    return value & SECCOMP_RET_DATA if value & SECCOMP_RET_ACTION_FULL == SECCOMP_RET_TRACE else None
