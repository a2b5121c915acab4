"""Resolving a policy message: the order of its rules, the widths of its conditions, and every error in it."""

from __future__ import annotations

import pytest
from google.protobuf import text_format

from stockade._proto import policy_pb2
from stockade.errors import PolicyError, UnsupportedError
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


# --- errors ---

ALLOW_READ = 'rules { syscall: "read" action: ALLOW }'


def ioctl(test: str) -> str:
    return f'rules {{ syscall: "ioctl" when {{ argument: 1 {test} }} action: ALLOW }}'


ERRORS = {
    'rules { syscall: "raed" action: ALLOW }': "unknown system call 'raed' .did you mean 'read'",
    'rules { syscall: "" action: ALLOW }': "unknown system call ''",
    "rules { action: ALLOW }": "names no system call",
    'rules { syscall: ["read", "write", "read"] action: ALLOW }': "names read twice",
    'rules { syscall: "read" }': "the action is missing",
    'rules { syscall: "read" action: 17 }': "unknown action 17",
    'rules { syscall: "read" action: ERRNO }': "needs an error number",
    'rules { syscall: "read" action: ERRNO errno: "4096" }': "4096 is out of range",
    'rules { syscall: "read" action: ERRNO errno: "99999999999999999999" }': "out of range",
    'rules { syscall: "read" action: ERRNO errno: "-1" }': "unknown error number '-1'",
    'rules { syscall: "read" action: ERRNO errno: "ENOENTS" }': "did you mean 'ENOENT'",
    'rules { syscall: "read" action: ERRNO errno: "errorcode" }': "unknown error number",
    'rules { syscall: "read" action: ALLOW errno: "EPERM" }': "belongs to the action ERRNO",
    'rules { syscall: "read" action: TRACE }': "needs the name of a hook",
    'rules { syscall: "read" action: TRACE hook: "a b" }': "needs the name of a hook",
    'rules { syscall: "read" action: TRACE hook: "a\\n" }': "needs the name of a hook",
    'rules { syscall: "read" action: KILL hook: "ask" }': "belongs to the action TRACE",
    'rules { syscall: "read" when { argument: 6 equal: "1" } action: ALLOW }': "a system call has the arguments 0 to 5",
    'rules { syscall: "read" when { argument: 3 equal: "1" } action: ALLOW }': "arguments are: 0 fd, 1 buf, 2 count",
    'rules { syscall: "getpid" when { argument: 0 equal: "1" } action: ALLOW }': "its arguments are: none",
    ioctl(""): "argument 1 of ioctl has no test",
    ioctl('equal: ""'): "empty",
    ioctl('equal: "TCGETZ"'): "unknown constant 'TCGETZ' .did you mean",
    ioctl('equal: "TCGETS|"'): "empty, or nothing",
    ioctl('equal: "1e3"'): "neither a symbol nor a number",
    ioctl('equal: "0x100000000"'): "does not fit argument 1 of ioctl, of which the kernel reads 32 bits",
    ioctl('equal: "-2147483649"'): "does not fit",
    ioctl("one_of { }"): "has no value",
    ioctl('one_of { value: "0x100000000" }'): "does not fit",
    ioctl('masked { mask: "1" value: "2" }'): "bits outside the mask",
    ioctl('masked { mask: "0" value: "0" }'): "the mask on argument 1 of ioctl is 0",
    ioctl('masked { mask: "1" }'): "empty",
    ioctl('no_bits_outside: "-1"'): "always holds",
    ioctl('less: "0"'): "never holds",
    ioctl('less: "-1"'): "unsigned; write the number that the register holds, 0xffffffff",
    ioctl('greater: "0xffffffff"'): "never holds",
    ioctl('greater_or_equal: "0"'): "always holds",
    ioctl('less_or_equal: "0xffffffff"'): "always holds",
    ioctl('equal: "1" } when { argument: 1 equal: "2"'): "never hold together",
    ioctl('equal: "1" } when { argument: 1 greater: "1"'): "never hold together",
    'rules { syscall: "chmod" when { argument: 1 equal: "0x10000" } action: ALLOW }': "reads 16 bits",
    f"{ALLOW_READ} {ALLOW_READ}": r"read has this rule already, at syscalls.rules\[0\]",
    f'{ALLOW_READ} rules {{ syscall: "read" action: KILL }}': r"read is kill here and allow at syscalls.rules\[0\]",
    f'{ALLOW_READ} rules {{ syscall: "read" when {{ argument: 0 equal: "1" }} action: KILL }}': "never reached",
    ioctl('less: "9"') + ioctl('equal: "8"'): "never reached",
    'groups { name: "raed" }': "unknown group 'raed'",
    'groups { name: "read" argument: "1" }': "takes no argument",
    "default_action { }": "the action is missing",
    "default_action { action: ALLOW }": "set danger_allow_all",
    "default_action { action: LOG }": "set danger_allow_all",
    "default_action { action: KILL danger_allow_all: true }": "danger_allow_all is set, but",
    "default_action { action: ERRNO }": "needs an error number",
    "default_action { action: TRACE }": "needs the name of a hook",
}


@pytest.mark.parametrize("text", ERRORS)
def test_what_is_wrong_is_an_error(text: str) -> None:
    with pytest.raises(PolicyError, match=ERRORS[text]):
        resolved(text)


@pytest.mark.parametrize("architecture", [X86_64, AARCH64], ids=lambda each: each.name)
def test_what_is_right_is_none(architecture: Architecture) -> None:
    policy = resolved(
        """
        rules { syscall: ["read", "write"] when { argument: 0 less: "3" } action: ALLOW }
        rules { syscall: "read" when { argument: 0 equal: "3" } action: ERRNO errno: "0" }
        rules { syscall: "read" action: ERRNO errno: "4095" }
        rules { syscall: "close" action: ALLOW }
        rules { syscall: "close" action: KILL overridable: true }
        groups { name: "read" }
        groups { name: "read" }
        default_action { action: ERRNO errno: "EPERM" }
        """,
        architecture,
    )
    check_program(policy, compile(policy))


def test_errors_say_where() -> None:
    places = Places(rules=("a.textproto:3", "a.textproto:7", 'allow_syscall("x")'), groups=("a.textproto:9",))
    good = ALLOW_READ + 'rules { syscall: "write" action: ALLOW }'
    with pytest.raises(PolicyError, match=r"^a\.textproto:7: the action is missing$") as caught:
        resolved(ALLOW_READ + 'rules { syscall: "write" }', places=places)
    assert (caught.value.source, caught.value.line) == ("a.textproto", 7)
    with pytest.raises(PolicyError, match=r"a\.textproto:7: read has this rule already, at a\.textproto:3"):
        resolved(ALLOW_READ * 2, places=places)
    with pytest.raises(PolicyError, match=r'^allow_syscall\("x"\): unknown system call') as caught:
        resolved(good + 'rules { syscall: "opne" action: ALLOW }', places=places)
    assert (caught.value.suggestion, caught.value.syscall) == ("open", "opne")
    with pytest.raises(PolicyError, match=r"^a\.textproto:9: unknown group"):
        resolved('groups { name: "rea" }', places=places)
    with pytest.raises(PolicyError, match=r"^b\.textproto:1: the action is missing"):
        resolved("default_action { }", places=Places(default="b.textproto:1"))


def test_a_rule_of_an_included_policy_may_be_overridden() -> None:
    text = ALLOW_READ + 'rules { syscall: "read" action: KILL }'
    policy = resolved(text, places=Places(rules=("own.textproto:3", "included.textproto:5")))
    assert [str(rule.action) for rule in rules_of(policy, "read")] == ["allow", "kill"]


def test_the_frame_is_checked() -> None:
    for version in (0, 2):
        with pytest.raises(PolicyError, match=f"schema_version is {version} and must be 1"):
            resolve(policy_pb2.Policy(schema_version=version), X86_64)
    with pytest.raises(PolicyError, match=r"unknown mode 'enforced'.*did you mean 'enforce'"):
        resolve(parsed(""), X86_64, "enforced")
    included = parsed("")
    included.include.append("base")
    with pytest.raises(PolicyError, match="include of 'base' was not expanded"):
        resolve(included, X86_64)


@pytest.mark.parametrize("message", ["policy", "rule", "options"])
def test_fields_of_a_newer_version_are_an_error(message: str) -> None:
    policy = parsed(ALLOW_READ)
    policy.options.hostname = "box"
    unknown = b"\xf8\x3f\x01"  # field 1023, varint 1
    part = {"policy": policy, "rule": policy.syscalls.rules[0], "options": policy.options}[message]
    resolve(policy, X86_64)
    part.MergeFromString(unknown)
    with pytest.raises(PolicyError, match="fields that this version does not know"):
        resolve(policy, X86_64)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("raw_filters", 'raw_filters { syscall: "read" architecture: "x86_64" }'),
        ("phases", 'phases { name: "serving" begins_with: "listen" }'),
        ("danger_reopened", 'danger_reopened: "ptrace"'),
    ],
)
def test_what_is_not_enforced_is_an_error(field: str, text: str) -> None:
    with pytest.raises(UnsupportedError, match=f"syscalls.{field}"):
        resolved(text)


def test_too_many_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stockade.policy.resolve.MAX_HOOKS", 2)
    text = "".join(f'rules {{ syscall: "{name}" action: TRACE hook: "{name}" }}' for name in ("read", "write", "open"))
    assert len(resolved(text.replace('hook: "open"', 'hook: "read"')).hooks) == 2
    with pytest.raises(PolicyError, match="has 3 hooks and a filter can tell 2 apart"):
        resolved(text)


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
