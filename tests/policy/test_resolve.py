"""Resolving a policy message: the order of its rules, the widths of its conditions, and every error in it."""

from __future__ import annotations

import pytest
from google.protobuf import text_format

from stockade._proto import policy_pb2
from stockade.errors import PolicyError
from stockade.kernel.architectures import AARCH64, I386, X32, X86_64, Architecture
from stockade.policy import groups
from stockade.policy.bpf.compile import compile
from stockade.policy.places import Places
from stockade.policy.resolve import resolve
from stockade.policy.rule_text import rule_text
from stockade.policy.rules import KILL, MODES, Action, Kind, Op, ResolvedCondition, ResolvedPolicy, ResolvedRule
from stockade.policy.selfcheck import check_program


def parsed(text: str) -> policy_pb2.Policy:
    return text_format.Parse(f"schema_version: 1 syscalls {{ {text} }}", policy_pb2.Policy())


def resolved(text: str, architecture: Architecture = X86_64, places: Places | None = None) -> ResolvedPolicy:
    return resolve(parsed(text), architecture, "enforce", places)


def rules_of(policy: ResolvedPolicy, syscall: str) -> list[ResolvedRule]:
    """The rules of one call without the always-refused rows."""
    return [rule for rule in policy.rules if rule.syscall == syscall and not rule.danger]


def only_condition(test: str, syscall: str = "ioctl", argument: int = 1) -> ResolvedCondition:
    policy = resolved(f'rules {{ syscall: "{syscall}" when {{ argument: {argument} {test} }} action: ALLOW }}')
    (rule,) = rules_of(policy, syscall)
    (condition,) = rule.conditions
    return condition


# --- order ---


def test_explicit_rules_then_groups_then_overridable_ones() -> None:
    policy = resolved(
        """
        rules { syscall: "read" when { argument: 2 equal: "1" } action: LOG }
        rules { syscall: "read" action: ERRNO errno: "ENOENT" overridable: true }
        rules { syscall: "read" when { argument: 2 equal: "2" } action: TRAP }
        groups { name: "read" }
        """
    )
    found = [(rule.action.kind, rule.origin.place) for rule in rules_of(policy, "read")]
    assert found == [
        (Kind.LOG, "syscalls.rules[0]"),
        (Kind.TRAP, "syscalls.rules[2]"),
        (Kind.ALLOW, "syscalls.groups[0] (read)"),
        (Kind.ERRNO, "syscalls.rules[1]"),
    ]


def test_refused_rows_stand_before_the_first_rule_that_permits() -> None:
    policy = resolved(
        """
        rules { syscall: "ioctl" when { argument: 0 equal: "9" } action: ERRNO errno: "1" }
        rules { syscall: "ioctl" when { argument: 1 equal: "TCGETS" } action: ALLOW }
        """
    )
    order = [bool(rule.danger) for rule in policy.by_number[X86_64.number("ioctl")]]
    assert order == [False, *[True] * 5, False]


def test_a_policy_without_rules_refuses_everything() -> None:
    policy = resolved("")
    assert policy.default == policy.unknown == KILL
    assert all(rule.danger for rule in policy.rules)
    assert policy.highest == max(X86_64.names)


def test_hooks_are_counted_in_the_order_of_the_rules() -> None:
    policy = resolved(
        """
        rules { syscall: ["openat", "open"] action: TRACE hook: "files" }
        rules { syscall: "connect" action: TRACE hook: "network" }
        rules { syscall: "stat" action: TRACE hook: "files" }
        default_action { action: TRACE hook: "rest" }
        """
    )
    assert policy.hooks == ("files", "network", "rest")
    assert policy.default == Action(Kind.TRACE, hook="rest")


# --- architectures and numbers ---


def test_calls_that_only_another_architecture_has_get_no_rule() -> None:
    text = 'rules { syscall: ["open", "openat", "renameat", "waitpid"] action: ALLOW }'
    assert {rule.syscall for rule in resolved(text).rules if not rule.danger} == {"open", "openat", "renameat"}
    on_arm = {rule.syscall: rule.number for rule in resolved(text, AARCH64).rules if not rule.danger}
    assert on_arm == {"openat": 56, "renameat": 38}


def test_a_rule_is_checked_on_the_architecture_that_has_the_call() -> None:
    text = 'rules { syscall: "arch_prctl" when { argument: 0 equal: "%s" } action: ALLOW }'
    assert rules_of(resolved(text % "ARCH_SET_FS", AARCH64), "arch_prctl") == []
    with pytest.raises(PolicyError, match="ARCH_SET_XX"):
        resolved(text % "ARCH_SET_XX", AARCH64)


def test_symbols_have_the_value_of_the_architecture() -> None:
    text = 'rules { syscall: "openat" when { argument: 2 equal: "O_DIRECTORY" } action: ALLOW }'
    values = [rules_of(resolved(text, each), "openat")[0].conditions[0].values for each in (X86_64, AARCH64)]
    assert values == [(0o200000,), (0o40000,)]


@pytest.mark.parametrize("architecture", [I386, X32], ids=lambda each: each.name)
def test_no_policy_for_a_foreign_architecture(architecture: Architecture) -> None:
    with pytest.raises(PolicyError, match=f"not for {architecture.name}"):
        resolved("", architecture)


def test_unknown_numbers_answer_enosys_in_the_compatible_mode() -> None:
    message = parsed("")
    message.options.unknown_syscalls_enosys = True
    assert resolve(message, X86_64).unknown == Action(Kind.ERRNO, errno=38)
    assert resolve(message, X86_64).default == KILL


@pytest.mark.parametrize("action", ["ALLOW", "LOG"])
def test_unknown_numbers_are_not_allowed_by_a_default_that_allows(action: str) -> None:
    policy = resolved(f"default_action {{ action: {action} danger_allow_all: true }}")
    assert policy.default.kind.permits
    assert policy.unknown == KILL
    answered = resolved('default_action { action: ERRNO errno: "EPERM" }')
    assert answered.unknown == answered.default == Action(Kind.ERRNO, errno=1)


@pytest.mark.parametrize("mode", MODES)
def test_the_mode_is_kept(mode: str) -> None:
    assert resolve(parsed(""), X86_64, mode).mode == mode


# --- conditions ---

WIDTHS = [("ioctl", 1, 32), ("mmap", 0, 64), ("mmap", 2, 64), ("chmod", 1, 16), ("openat", 2, 32), ("socket", 0, 32)]


@pytest.mark.parametrize(("syscall", "argument", "width"), WIDTHS)
def test_a_condition_has_the_width_of_the_kernel(syscall: str, argument: int, width: int) -> None:
    condition = only_condition('equal: "1"', syscall, argument)
    assert (condition.argument, condition.width, condition.op) == (argument, width, Op.EQUAL)


TESTS = [
    ('equal: "TCGETS"', Op.EQUAL, (0x5401,), 0),
    ('equal: "-1"', Op.EQUAL, (0xFFFFFFFF,), 0),
    ('not_equal: "3"', Op.NOT_EQUAL, (3,), 0),
    ('less: "3"', Op.LESS, (3,), 0),
    ('less_or_equal: "3"', Op.LESS_OR_EQUAL, (3,), 0),
    ('greater: "3"', Op.GREATER, (3,), 0),
    ('greater_or_equal: "0x10"', Op.GREATER_OR_EQUAL, (16,), 0),
    ('one_of { value: ["3", "1", "0x3"] }', Op.ONE_OF, (3, 1), 0),
    ('masked { mask: "6" value: "2" }', Op.MASKED, (2,), 6),
    ('no_bits_outside: "0xff"', Op.MASKED, (0,), 0xFFFFFF00),
]


@pytest.mark.parametrize(("test", "op", "values", "mask"), TESTS)
def test_conditions_are_normalised(test: str, op: Op, values: tuple[int, ...], mask: int) -> None:
    assert only_condition(test) == ResolvedCondition(1, 32, op, values, mask)


def test_negative_numbers_take_the_width_of_the_argument() -> None:
    assert only_condition('equal: "AT_FDCWD"', "openat", 0).values == ((1 << 32) - 100,)
    assert only_condition('equal: "-1"', "mmap", 0).values == ((1 << 64) - 1,)
    assert only_condition('no_bits_outside: "0xfff"', "mmap", 0).mask == (1 << 64) - 4096


# --- text of rules, and the group table ---

TEXTS = [
    'syscall: "read" action: ALLOW',
    'syscall: "read" syscall: "write" action: ERRNO errno: "ENOENT" overridable: true',
    'syscall: "ioctl" when { argument: 1 equal: "TCGETS" } when { argument: 0 less: "3" } action: TRACE hook: "ask"',
    'syscall: "ioctl" when { argument: 1 one_of { value: "1" value: "2" } } action: LOG',
    'syscall: "ioctl" when { argument: 1 masked { mask: "6" value: "2" } } action: TRAP',
    'syscall: "ioctl" when { argument: 1 no_bits_outside: "6" } action: KILL',
]


@pytest.mark.parametrize("text", TEXTS)
def test_the_text_of_a_rule_can_be_read_back(text: str) -> None:
    rule = text_format.Parse(text, policy_pb2.Rule())
    assert rule_text(rule) == text
    assert text_format.Parse(rule_text(rule), policy_pb2.Rule()) == rule


def test_the_text_of_a_rule_quotes_what_it_must() -> None:
    rule = policy_pb2.Rule(syscall=['a"b\\c\n\x7f'], action=policy_pb2.Rule.ALLOW)
    assert text_format.Parse(rule_text(rule), policy_pb2.Rule()) == rule
    assert rule_text(rule).isprintable()


@pytest.mark.parametrize("architecture", [X86_64, AARCH64], ids=lambda each: each.name)
def test_every_group_resolves_compiles_and_passes_its_check(architecture: Architecture) -> None:
    for name, group in groups.GROUPS.items():
        message = policy_pb2.Policy(schema_version=1)
        example = [group.parameter.example] if group.parameter else []
        message.syscalls.groups.add(name=name, argument=example)
        policy = resolve(message, architecture)
        check_program(policy, compile(policy))
