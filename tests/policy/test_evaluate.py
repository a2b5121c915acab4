"""The evaluator: what a policy means, said in words and by hand, without the compiler."""

from __future__ import annotations

import pytest

from policy.bpf_strategies import ALLOW, condition, policy, rule
from stockade.kernel.architectures import AARCH64, X32_BIT, X86_64, Architecture
from stockade.kernel.seccomp_constants import FREE_EXEC_COOKIE
from stockade.policy.evaluate import DecidedBy, evaluate
from stockade.policy.rules import KILL, Action, Kind, Op, Origin, ResolvedPolicy, ResolvedRule

EPERM = Action(Kind.ERRNO, errno=1)
TIOCSTI = 0x5412
NUMBER = X86_64.number


def example() -> ResolvedPolicy:
    return policy(
        rule("ioctl", EPERM, condition(1, 32, Op.EQUAL, TIOCSTI)),
        rule("ioctl", ALLOW, condition(1, 32, Op.LESS, 0x6000)),
        rule("read", ALLOW),
        rule("read", KILL),
        rule("execveat", ALLOW, condition(4, 32, Op.EQUAL, 1)),
    )


def test_the_first_rule_whose_conditions_hold_decides() -> None:
    resolved = example()
    first, second = resolved.by_number[NUMBER("ioctl")]
    assert evaluate(resolved, NUMBER("ioctl"), (0, TIOCSTI)).rule is first
    assert evaluate(resolved, NUMBER("ioctl"), (0, 0x5401)).rule is second
    assert evaluate(resolved, NUMBER("ioctl"), (0, 0x6000)).rule is None
    verdict = evaluate(resolved, NUMBER("read"))
    assert (verdict.action, verdict.decided_by, verdict.permits) == (ALLOW, DecidedBy.RULE, True)
    assert verdict.reason == "decided by test"


def test_upper_bits_of_narrow_arguments_do_not_count() -> None:
    resolved = example()
    assert evaluate(resolved, NUMBER("ioctl"), (0, TIOCSTI | 1 << 32)).action == EPERM
    assert evaluate(resolved, NUMBER("ioctl"), (0, TIOCSTI - (1 << 32))).action == EPERM


def test_what_no_rule_decides_gets_the_default() -> None:
    verdict = evaluate(example(), NUMBER("openat"))
    assert (verdict.action, verdict.rule, verdict.decided_by) == (KILL, None, DecidedBy.DEFAULT)
    assert not verdict.permits
    opened = policy(default=ALLOW)
    assert evaluate(opened, NUMBER("openat")).action == ALLOW


def test_numbers_above_the_table_get_their_own_action() -> None:
    enosys = Action(Kind.ERRNO, errno=38)
    resolved = policy(unknown=enosys)
    for number in (resolved.highest + 1, 9999, 1 << 31):
        verdict = evaluate(resolved, number)
        assert (verdict.action, verdict.decided_by) == (enosys, DecidedBy.UNKNOWN_NUMBER)
    assert evaluate(resolved, resolved.highest).decided_by is DecidedBy.DEFAULT


def test_foreign_calls_are_killed() -> None:
    resolved = policy(default=ALLOW, unknown=ALLOW)
    assert evaluate(resolved, 3, (), X86_64.audit_token).action == ALLOW
    for token in (0x40000003, AARCH64.audit_token, 0):
        verdict = evaluate(resolved, 3, (), token)
        assert (verdict.action, verdict.decided_by) == (KILL, DecidedBy.FOREIGN_ARCHITECTURE)
    for number in (X32_BIT, X32_BIT | 1, -1):
        assert evaluate(resolved, number).decided_by is DecidedBy.X32
    arm = policy(architecture=AARCH64, default=ALLOW, unknown=ALLOW)
    assert evaluate(arm, X32_BIT | 1).action == ALLOW


@pytest.mark.parametrize("architecture", [X86_64, AARCH64], ids=lambda each: each.name)
def test_the_cookie_marks_the_free_exec(architecture: Architecture) -> None:
    resolved = policy(architecture=architecture)
    arguments = (0, 0, 0, 0, 0, FREE_EXEC_COOKIE)
    verdict = evaluate(resolved, architecture.number("execveat"), arguments)
    assert verdict.decided_by is DecidedBy.FREE_EXEC
    other = evaluate(resolved, architecture.number("execve"), arguments)
    assert other.decided_by is DecidedBy.DEFAULT


def test_without_the_cookie_execveat_is_a_call_like_any_other() -> None:
    assert evaluate(example(), NUMBER("execveat"), (0, 0, 0, 0, 1)).decided_by is DecidedBy.RULE
    assert evaluate(example(), NUMBER("execveat")).decided_by is DecidedBy.DEFAULT


def test_an_always_refused_row_says_why() -> None:
    origin = Origin("always refused", "ptrace is always refused: because")
    row = ResolvedRule("ptrace", NUMBER("ptrace"), (), KILL, origin, danger="ptrace")
    verdict = evaluate(policy(row), NUMBER("ptrace"))
    assert (verdict.decided_by, verdict.reason) == (DecidedBy.REFUSED, origin.text)
