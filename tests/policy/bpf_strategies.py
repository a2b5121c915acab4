"""Random resolved policies and calls for the property tests of the compiler, and shortcuts to write some by hand."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

from hypothesis import strategies as st

from stockade.kernel.architectures import AARCH64, X32_BIT, X86_64, Architecture
from stockade.kernel.seccomp_constants import FREE_EXEC_COOKIE
from stockade.policy.rules import (
    ARGUMENTS,
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
_LOW = (1 << 32) - 1

# Where comparisons go wrong: the edges of 16, 31, 32, 63 and 64 bits, small numbers, and numbers with high bits set.
BOUNDARIES = (
    *(0, 1, 2, 3, 7, 0xFF, 0x5401, 0x5412),
    *((1 << bits) + delta for bits in (15, 16, 31, 32, 33, 63) for delta in (-1, 0, 1)),
    *(REGISTER, REGISTER - 1, 0xFFFFFFFF00000000, 0xFFFFFFFF80000000, 0x100005412, 0x8000000000005412),
    FREE_EXEC_COOKIE,
)
registers = st.sampled_from(BOUNDARIES) | st.integers(0, REGISTER)
actions = st.one_of(
    st.sampled_from([ALLOW, KILL, Action(Kind.LOG), Action(Kind.TRAP), *(Action(Kind.TRACE, hook=h) for h in HOOKS)]),
    st.builds(Action, st.just(Kind.ERRNO), errno=st.sampled_from([0, 1, 38, 4095])),
)


@st.composite
def conditions(draw: st.DrawFn) -> ResolvedCondition:
    """Any condition that `resolve` or a built-in rule could make."""
    width = draw(st.sampled_from([16, 32, 64]))
    # Equality most often, as in policies that people write; it is what rules of one call can share tests of.
    op = draw(st.sampled_from([*Op, Op.EQUAL, Op.EQUAL, Op.ONE_OF]))
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
                st.sampled_from(["", "", "", "danger"]),
            ),
            max_size=12,
        )
    )
    with_twin = draw(st.lists(st.booleans(), min_size=len(rules), max_size=len(rules)))
    twins = [_twin(draw, rule) for rule, chosen in zip(rules, with_twin, strict=True) if rule.conditions and chosen]
    mode = draw(st.sampled_from(MODES))
    return ResolvedPolicy(architecture, mode, tuple(rules + twins), draw(actions), draw(actions), highest, HOOKS)


def _twin(draw: st.DrawFn, rule: ResolvedRule) -> ResolvedRule:
    """Give the same rule with other values and another action: alternatives, as policies that people write have."""
    changed = []
    for tested in rule.conditions:
        masked = tested.op in (Op.MASKED, Op.NOT_MASKED)
        within = tested.mask if masked else (1 << tested.width) - 1
        changed.append(replace(tested, values=tuple(draw(registers) & within for _ in tested.values)))
    return replace(rule, conditions=tuple(changed), action=draw(actions))


def random_calls(
    policy: ResolvedPolicy, random_: random.Random, count: int
) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """Calls (number, audit token, registers) near to what `policy` talks about: many at little cost."""
    own, others = policy.architecture.audit_token, [X86_64.audit_token, AARCH64.audit_token, 0x40000003, 0, _LOW]
    edges = [0, policy.highest, policy.highest + 1, *(X32_BIT + step for step in (-1, 0, 59)), 1 << 31, _LOW]
    mentioned = [*policy.by_number, *(number + 1 for number in policy.by_number)] or edges
    for _ in range(count):
        token = own if random_.random() < 0.9 else random_.choice(others)
        number = random_.choice([random_.choice(mentioned)] * 8 + [random_.choice(edges), random_.getrandbits(32)])
        registers = [random_.choice((random_.choice(BOUNDARIES), random_.getrandbits(64))) for _ in range(ARGUMENTS)]
        if policy.architecture.names.get(number) == "execveat" and random_.random() < 0.5:
            registers[5] = FREE_EXEC_COOKIE ^ random_.choice((0, 0, 1 << random_.randrange(64)))
        elif number in policy.by_number:
            for tested in random_.choice(policy.by_number[number]).conditions:
                registers[tested.argument] = _near(tested, random_)
            for tested in random_.choice(policy.by_number[number]).conditions if random_.random() < 0.3 else ():
                # One half from one rule, the other from another.
                low = random_.choice(tested.values) & _LOW
                registers[tested.argument] = registers[tested.argument] & ~_LOW | low
        yield number, token, tuple(registers)


def _near(tested: ResolvedCondition, random_: random.Random) -> int:
    """A register about which a condition may hold or just not hold."""
    value = random_.choice(tested.values) | (random_.getrandbits(64) & ~tested.mask if tested.mask else 0)
    value += random_.choice((0, 0, 0, 1, -1, 1 << 16, 1 << 32, -(1 << 32)))
    value ^= random_.choice((0, 0, 0, 1 << random_.randrange(64)))
    if random_.random() < 0.3:
        value ^= random_.getrandbits(64) >> tested.width << tested.width
    return value & REGISTER


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
