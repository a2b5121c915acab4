"""Random resolved policies and calls for the property tests of the compiler, and shortcuts to write some by hand."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from stockade.kernel.architectures import AARCH64, X32_BIT, X86_64, Architecture
from stockade.kernel.seccomp_constants import FREE_EXEC_COOKIE
from stockade.policy.rules import (
    KILL,
    MODES,
    Action,
    Kind,
    Op,
    Origin,
    ResolvedCondition,
    ResolvedPolicy,
    ResolvedRule,
)

ALLOW = Action(Kind.ALLOW)
HOOKS = ("first", "second")
ORIGIN = Origin("test", "")
REGISTER = (1 << 64) - 1

# Where comparisons go wrong: the edges of 16, 31, 32, 63 and 64 bits, small numbers, and numbers with high bits set.
BOUNDARIES = (
    *(0, 1, 2, 3, 7, 0xFF, 0x5401, 0x5412),
    *((1 << bits) + delta for bits in (15, 16, 31, 32, 33, 63) for delta in (-1, 0, 1)),
    *(REGISTER, REGISTER - 1, 0xFFFFFFFF00000000, 0xFFFFFFFF80000000, 0x100005412, 0x8000000000005412),
    FREE_EXEC_COOKIE,
)
registers = st.sampled_from(BOUNDARIES) | st.integers(0, REGISTER)
tokens = st.sampled_from([X86_64.audit_token, AARCH64.audit_token, 0x40000003, 0, 0xFFFFFFFF])
actions = st.one_of(
    st.sampled_from([ALLOW, KILL, Action(Kind.LOG), Action(Kind.TRAP), *(Action(Kind.TRACE, hook=h) for h in HOOKS)]),
    st.builds(Action, st.just(Kind.ERRNO), errno=st.sampled_from([0, 1, 38, 4095])),
)


@st.composite
def conditions(draw: st.DrawFn) -> ResolvedCondition:
    """Any condition that `resolve` or a built-in rule could make."""
    width = draw(st.sampled_from([16, 32, 64]))
    op = draw(st.sampled_from(list(Op)))
    values = registers.map(lambda value: value & ((1 << width) - 1))
    mask = draw(values) if op in (Op.MASKED, Op.NOT_MASKED) else 0
    chosen = draw(st.lists(values, min_size=1, max_size=4 if op is Op.ONE_OF else 1))
    if mask or op in (Op.MASKED, Op.NOT_MASKED):
        chosen = [chosen[0] & mask]
    # Few arguments, so that conditions of one rule and of several meet on the same one.
    return ResolvedCondition(draw(st.sampled_from([0, 0, 1, 1, 5])), width, op, tuple(chosen), mask)


@st.composite
def policies(draw: st.DrawFn) -> ResolvedPolicy:
    """A policy for either architecture, in any mode, with several rules for each of a few neighbouring calls."""
    architecture = draw(st.sampled_from([X86_64, AARCH64]))
    highest = max(architecture.names)
    numbers = [0, 1, 2, 10, 12, architecture.number("execveat"), highest]
    rules = draw(
        st.lists(
            st.builds(
                ResolvedRule,
                st.just("call"),
                st.sampled_from(numbers),
                st.lists(conditions(), max_size=3).map(tuple),
                actions,
                st.just(ORIGIN),
            ),
            max_size=12,
        )
    )
    mode = draw(st.sampled_from(MODES))
    return ResolvedPolicy(architecture, mode, tuple(rules), draw(actions), draw(actions), highest, HOOKS)


@st.composite
def calls(draw: st.DrawFn, policy: ResolvedPolicy) -> tuple[int, int, tuple[int, ...]]:
    """A call (number, audit token, registers) near to what `policy` talks about."""
    token = draw(st.just(policy.architecture.audit_token) | tokens)
    edges = [0, policy.highest + 1, X32_BIT, X32_BIT - 1, X32_BIT + 59, 1 << 31, (1 << 32) - 1]
    near = [number + delta for number in policy.by_number for delta in (0, 0, 0, 1)]
    number = draw(st.sampled_from(near or edges) | st.sampled_from(edges) | st.integers(0, (1 << 32) - 1))
    mentioned = [
        value + delta & REGISTER
        for rule in policy.by_number.get(number, ())
        for condition in rule.conditions
        for value in (*condition.values, condition.mask)
        for delta in (0, 1, -1, 1 << 32, 1 << 16, -(1 << 32))
    ]
    values = st.sampled_from(mentioned) | registers if mentioned else registers
    return number, token, tuple(draw(values) for _ in range(6))


def condition(argument: int, width: int, op: Op, *values: int, mask: int = 0) -> ResolvedCondition:
    """Shorthand for one condition."""
    return ResolvedCondition(argument, width, op, values, mask)


def rule(syscall: str, action: Action, *when: ResolvedCondition, architecture: Architecture = X86_64) -> ResolvedRule:
    """Shorthand for one rule."""
    return ResolvedRule(syscall, architecture.number(syscall), when, action, ORIGIN)


def policy(
    *rules: ResolvedRule,
    architecture: Architecture = X86_64,
    mode: str = "enforce",
    default: Action = KILL,
    unknown: Action = KILL,
    hooks: Sequence[str] = HOOKS,
) -> ResolvedPolicy:
    """Shorthand for a policy of these rules and nothing else: no always-refused rows."""
    return ResolvedPolicy(architecture, mode, rules, default, unknown, max(architecture.names), tuple(hooks))


# Every kind of comparison on the calls and arguments where it matters.
CHECKED = policy(
    rule("ioctl", Action(Kind.ERRNO, errno=13), condition(1, 32, Op.EQUAL, 0x5412)),
    rule("ioctl", ALLOW, condition(1, 32, Op.LESS, 0x5500)),
    rule("mmap", ALLOW, condition(0, 64, Op.LESS, (1 << 32) + 6), condition(2, 64, Op.MASKED, 0, mask=REGISTER ^ 3)),
    rule("lseek", ALLOW, condition(1, 64, Op.GREATER, (1 << 33) + 5)),
    rule("lseek", Action(Kind.TRACE, hook="first"), condition(1, 64, Op.EQUAL, 1 << 33)),
    rule("chmod", ALLOW, condition(1, 16, Op.ONE_OF, 0o644, 0o755)),
    rule("futex", ALLOW, condition(1, 32, Op.MASKED, 0x10009, mask=0x1007F)),
    rule("clone", Action(Kind.LOG), condition(0, 32, Op.NOT_MASKED, 0, mask=0x7E020000)),
    rule("read", ALLOW),
    rule("write", Action(Kind.TRAP)),
    default=Action(Kind.ERRNO, errno=1),
    unknown=Action(Kind.ERRNO, errno=38),
)
