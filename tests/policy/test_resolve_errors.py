"""Every error that a policy message can have, with its place and the closest known name."""

from __future__ import annotations

import pytest
from google.protobuf import text_format

from stockade._proto import policy_pb2
from stockade.errors import PolicyError, UnsupportedError
from stockade.kernel.architectures import AARCH64, X86_64, Architecture
from stockade.policy.bpf.compile import compile
from stockade.policy.places import Places
from stockade.policy.resolve import resolve
from stockade.policy.rules import ResolvedPolicy, ResolvedRule
from stockade.policy.selfcheck import check_program


def parsed(text: str) -> policy_pb2.Policy:
    return text_format.Parse(f"schema_version: 1 syscalls {{ {text} }}", policy_pb2.Policy())


def resolved(text: str, architecture: Architecture = X86_64, places: Places | None = None) -> ResolvedPolicy:
    return resolve(parsed(text), architecture, "enforce", places)


def rules_of(policy: ResolvedPolicy, syscall: str) -> list[ResolvedRule]:
    """The rules of one call without the always-refused rows."""
    return [rule for rule in policy.rules if rule.syscall == syscall and not rule.danger]


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
        ("phases", 'phases { name: "serving" begins_with: "listen" }'),
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


def test_a_rule_that_earlier_ones_cover_only_together_is_an_error_naming_all_places() -> None:
    first, second, third = (
        'rules { syscall: "dup3" when { argument: 2 less: "5" } action: ALLOW }',
        'rules { syscall: "dup3" when { argument: 2 greater: "5" } action: ERRNO errno: "EPERM" }',
        'rules { syscall: "dup3" when { argument: 2 %s } action: KILL }',
    )
    # The neighbour: one value is left over.
    for left in ('equal: "5"', 'less: "6"', 'not_equal: "7"'):
        assert resolved(first + second + third % left)
    for nothing in ('equal: "4"', 'not_equal: "5"', 'one_of { value: "6" value: "1" }'):
        with pytest.raises(
            PolicyError, match=r"never reached.*rules\[0\] \(allow\).*rules\[1\] \(errno 1\)|the one at"
        ):
            resolved(first + second + third % nothing)
    with pytest.raises(PolicyError, match="conditions never hold together"):
        resolved(
            'rules { syscall: "dup3" when { argument: 2 less: "5" } when { argument: 2 greater: "5" } action: KILL }'
        )
