"""Comparing policies in meaning: witnesses are real, and what is only written differently is no difference."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy import policy_strategies
from policy.bpf_strategies import condition
from stockade import Policy, PolicyBuilder, arg
from stockade._proto import policy_pb2
from stockade.errors import MonitorError, PolicyError
from stockade.kernel.architectures import AARCH64, X86_64
from stockade.kernel.seccomp_constants import FREE_EXEC_COOKIE, SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_PROCESS
from stockade.policy import profiles
from stockade.policy.bpf.interpreter import SeccompData, run
from stockade.policy.expected import expected_value
from stockade.policy.meaning import diff as diff_module
from stockade.policy.meaning.diff import PolicyDiff, diff
from stockade.policy.meaning.domain import TooHardError
from stockade.policy.meaning.regions import common_call, numbers_to_compare, regions
from stockade.policy.rules import Op

MAP = "MAP_PRIVATE|MAP_ANONYMOUS"


@cache
def ready_made(name: str) -> Policy:
    return Policy.profile(name)


def builder() -> PolicyBuilder:
    return PolicyBuilder("a").allow_read().allow_exit()


def check_witnesses(found: PolicyDiff, old: Policy, new: Policy) -> None:
    """Each witness gets the verdicts that are claimed, from the evaluator and from the compiled filters."""
    for change in found.changes:
        call = change.call
        assert change.old.action != change.new.action
        for policy, verdict in ((old, change.old), (new, change.new)):
            assert policy.evaluate(call.number, call.args, call.architecture) == verdict
            resolved = policy.resolve(call.architecture)
            data = SeccompData(call.number, resolved.architecture.audit_token, call.args)
            assert run(policy.compile(call.architecture), data) == expected_value(resolved, verdict)
        permits = (change.old.permits, change.new.permits)
        assert change.kind == {(False, True): "allowed", (True, False): "refused"}.get(permits, "changed")


def one(found: PolicyDiff) -> diff_module.Change:
    (change,) = found.changes
    return change


def test_a_new_rule_is_found_with_a_call_that_shows_it() -> None:
    old, new = builder().build(), builder().allow_syscall("ioctl", arg(1) == "TCGETS").build()
    found = old.diff(new, "x86_64")
    change = one(found)
    assert (change.kind, change.syscall, change.call.args) == ("allowed", "ioctl", (0, 0x5401, 0, 0, 0, 0))
    assert change.text == "ioctl(fd=…, request=TCGETS, arg=…)"
    assert change.old.rule is None
    assert change.new.rule is not None
    assert change.new.rule.origin.place == 'allow_syscall("ioctl", arg(1) == "TCGETS")'
    assert not change.any_arguments
    assert not found.fields
    check_witnesses(found, old, new)
    back = new.diff(old, "x86_64")
    assert one(back).kind == "refused"
    check_witnesses(back, new, old)


def test_a_whole_call() -> None:
    change = one(builder().build().diff(builder().allow_syscall("getcwd").build()))
    assert change.any_arguments
    assert change.text == "getcwd(buf=…, size=…)"


SAME: dict[str, tuple[Callable[[], PolicyBuilder], Callable[[], PolicyBuilder]]] = {
    "order of calls": (
        lambda: builder().allow_syscall("getcwd").allow_syscall("chdir"),
        lambda: PolicyBuilder().allow_exit().allow_syscall("chdir").allow_read().allow_syscall("getcwd"),
    ),
    "order of rules that do not meet": (
        lambda: builder().allow_syscall("ioctl", arg(1) == 1).block_syscall_with_errno("ioctl", 5, arg(1) == 2),
        lambda: builder().block_syscall_with_errno("ioctl", "EIO", arg(1) == 2).allow_syscall("ioctl", arg(1) == 1),
    ),
    "masked against listed": (
        lambda: builder().allow_syscall("ioctl", arg(1).masked(0xFFFFFFFE, 0x10)),
        lambda: builder().allow_syscall("ioctl", arg(1).one_of(0x10, 0x11)),
    ),
    "compared against listed": (
        lambda: builder().allow_syscall("lseek", arg(2) < 3),
        lambda: builder().allow_syscall("lseek", arg(2).one_of("SEEK_SET", "SEEK_CUR", "SEEK_END")),
    ),
    "two rules against one": (
        lambda: builder().allow_syscall("lseek", arg(2) < 3).allow_syscall("lseek", arg(2) >= 3),
        lambda: builder().allow_syscall("lseek"),
    ),
    "only bits against none of the others": (
        lambda: builder().allow_syscall("mmap", arg(2).only_bits("PROT_READ|PROT_WRITE")),
        lambda: builder().allow_syscall("mmap", arg(2) < 4),
    ),
    "group against rules": (
        lambda: PolicyBuilder().allow_exit(),
        lambda: PolicyBuilder().allow_syscalls("exit", "exit_group"),
    ),
    "reasons and names": (
        lambda: PolicyBuilder("x", "text").allow_syscall("getcwd", reason="because").add_tested_program("/bin/x", "1"),
        lambda: PolicyBuilder("y").allow_syscall("getcwd"),
    ),
    "errno by name and number": (
        lambda: builder().block_syscall_with_errno("socket", "EPERM"),
        lambda: builder().block_syscalls_with_errno(["socket"], 1),
    ),
    "defaults written out": (
        lambda: builder().add_tmpfs("/tmp", "64M").set_hostname("stockade"),
        lambda: builder().add_tmpfs("/tmp", 64 << 20, mode=0o1777),
    ),
    "order of mounts": (
        lambda: builder().add_file("/etc/hosts").add_directory("/usr"),
        lambda: builder().add_directory("/usr").add_file("/etc/hosts"),
    ),
}


@pytest.mark.parametrize("name", SAME)
@pytest.mark.parametrize("architecture", [X86_64, AARCH64], ids=lambda each: each.name)
def test_written_differently_is_no_difference(name: str, architecture: object) -> None:
    first, second = (make().build() for make in SAME[name])
    assert diff(first, second, architecture.name).empty  # type: ignore[attr-defined]
    assert diff(second, first, architecture.name).empty  # type: ignore[attr-defined]


ALMOST: dict[str, tuple[Callable[[], PolicyBuilder], Callable[[], PolicyBuilder], int]] = {
    "masked": (
        lambda: builder().allow_syscall("ioctl", arg(1).masked(0xFFFFFFFE, 0x10)),
        lambda: builder().allow_syscall("ioctl", arg(1).one_of(0x10, 0x12)),
        2,
    ),
    "compared": (
        lambda: builder().allow_syscall("lseek", arg(2) < 4),
        lambda: builder().allow_syscall("lseek", arg(2).one_of("SEEK_SET", "SEEK_CUR", "SEEK_END")),
        1,
    ),
    "order of rules that meet": (
        lambda: builder().allow_syscall("lseek", arg(1) < 9).block_syscall_with_errno("lseek", 5, arg(0) == 2),
        lambda: builder().block_syscall_with_errno("lseek", 5, arg(0) == 2).allow_syscall("lseek", arg(1) < 9),
        1,
    ),
    "upper half of a register": (
        lambda: builder().allow_syscall("mmap", arg(0) <= 0xFFFFFFFF),
        lambda: builder().allow_syscall("mmap"),
        1,
    ),
    "error numbers": (
        lambda: builder().block_syscall_with_errno("socket", "EPERM"),
        lambda: builder().block_syscall_with_errno("socket", "EACCES"),
        1,
    ),
    "hooks": (lambda: builder().trace("openat", "one"), lambda: builder().trace("openat", "two"), 1),
}


@pytest.mark.parametrize("name", ALMOST)
def test_nearly_the_same_is_a_difference(name: str) -> None:
    first, second = (make().build() for make in ALMOST[name][:2])
    found = first.diff(second, "x86_64")
    assert len(found.changes) == ALMOST[name][2]
    check_witnesses(found, first, second)


@pytest.mark.parametrize("name", profiles.names())
def test_a_ready_made_policy_does_not_differ_from_itself(name: str) -> None:
    assert diff(ready_made(name), Policy.from_text(ready_made(name).to_text()), "x86_64").empty


@pytest.mark.parametrize(("old", "new"), [("gzip", "default"), ("default", "python3"), ("jq", "gzip")])
def test_differences_of_ready_made_policies_are_real(old: str, new: str) -> None:
    found = diff(ready_made(old), ready_made(new), "x86_64")
    assert found.changes and not found.undecided
    check_witnesses(found, ready_made(old), ready_made(new))


@settings(max_examples=12)
@given(policy_strategies.policies(), policy_strategies.policies(), st.sampled_from(["x86_64", "aarch64"]))
def test_random_policies(first: policy_pb2.Policy, second: policy_pb2.Policy, architecture: str) -> None:
    for message in (first, second):
        message.limits.Clear()
        message.syscalls.ClearField("raw_filters")  # those are compared as programs
    policies = Policy.from_message(first), Policy.from_message(second)
    found = diff(*policies, architecture)
    check_witnesses(found, *policies)
    # What no change speaks about is the same for every call that the conditions of the strategy can tell apart.
    changed = {change.call.number for change in found.changes}
    for number in numbers_to_compare(policies[0].resolve(architecture).architecture):
        if number not in changed:
            for registers in ((0, 0), (1, 5), (5, 0x10), (0o755, 1), (REGISTER, REGISTER)):
                actions = [policy.evaluate(number, registers, architecture).action for policy in policies]
                assert actions[0] == actions[1]


REGISTER = (1 << 64) - 1


def test_the_default_action_is_one_line() -> None:
    found = builder().build().diff(builder().default_errno("ENOSYS").build(), "x86_64")
    assert [(each.kind, each.what) for each in found.fields] == [("changed", "syscalls.default_action")]
    numbers = {change.call.number for change in found.changes}
    gap = next(number for number in range(1000) if number not in X86_64.names)
    assert {X86_64.number("getcwd"), gap, max(X86_64.names) + 1} <= numbers
    text = found.to_text(60)
    assert text.count("all calls that neither policy names") == 1
    assert "getcwd" not in text
    assert all(len(line) <= 60 for line in text.splitlines())


def test_unknown_numbers() -> None:
    change = one(builder().build().diff(builder().enosys_for_unknown_syscalls().build(), "x86_64"))
    assert change.call.number == max(X86_64.names) + 1
    assert (change.kind, change.new.action.errno) == ("changed", 38)


def test_the_exec_that_starts_the_program_is_no_difference() -> None:
    found = builder().build().diff(builder().allow_syscall("execveat").build(), "x86_64")
    assert one(found).call.args[5] == 0
    resolved = builder().allow_syscall("execveat").build().resolve("x86_64")
    cookie = (condition(5, 64, Op.EQUAL, FREE_EXEC_COOKIE),)
    parts = regions(resolved, X86_64.number("execveat"))
    assert [common_call(part, fixed=cookie) for part in parts] == [None] * len(parts)


def test_allow_all_leaves_the_always_refused_calls_alone() -> None:
    old, new = builder().build(), builder().danger_default_allow_all().build()
    found = old.diff(new, "x86_64")
    names = {change.syscall for change in found.changes}
    assert {"getcwd", "ioctl", "clone"} <= names
    assert not {"ptrace", "bpf", "mount", "read"} & names
    check_witnesses(found, old, new)


FIELDS: dict[str, tuple[Callable[[PolicyBuilder], object], list[tuple[str, str]]]] = {
    "mount": (lambda b: b.add_file("/etc/hosts"), [("allowed", 'filesystem.mounts ("/etc/hosts")')]),
    "libraries": (lambda b: b.add_libraries_for_binary("/bin/true"), [("allowed", "filesystem.libraries_for_binary")]),
    "loopback": (lambda b: b.allow_loopback(), [("allowed", "network.mode")]),
    "hostname": (lambda b: b.set_hostname("box"), [("changed", "options.hostname")]),
    "domainname": (lambda b: b.set_domainname("box"), [("changed", "options.domainname")]),
    "speculation": (lambda b: b.danger_allow_speculation(), [("allowed", "options.danger_speculation")]),
}


@pytest.mark.parametrize("name", FIELDS)
def test_what_is_not_about_calls(name: str) -> None:
    change, expected = FIELDS[name]
    new = builder()
    change(new)
    found = builder().build().diff(new.build())
    assert [(each.kind, each.what) for each in found.fields] == expected
    back = new.build().diff(builder().build())
    opposite = {"allowed": "refused"}
    assert [(each.kind, each.what) for each in back.fields] == [
        (opposite.get(kind, kind), what) for kind, what in expected
    ]


def message(text: str) -> Policy:
    return Policy.from_text(f"schema_version: 1\n{text}")


MESSAGES = [
    ("limits { wall_time: '5s' }", "limits { wall_time: '5000ms' }", None),
    ("limits { wall_time: '5s' }", "", "allowed"),
    ("limits { wall_time: '5s' }", "limits { wall_time: '1m' }", "allowed"),
    ("limits { processes: 5 }", "limits { processes: 4 }", "refused"),
    ("", "limits { open_files: 1024 output: '64M' }", None),
    ("", "limits { open_files: 4096 }", "allowed"),
    ("limits { nice: 3 }", "limits { nice: 5 }", "refused"),
    ("network { mode: BROKERED allow { address: '::1' } }", "network { mode: BROKERED }", "refused"),
    ("network { mode: LOOPBACK }", "network { mode: BROKERED }", "changed"),
    ("network { mode: BROKERED }", "network { mode: BROKERED refuse_quietly: true }", "changed"),
    ("network {}", "", None),
    ("options { uid: 1000 }", "", None),
    ("options { uid: 5 }", "", "changed"),
    ("options { fake_root: true uid: 5 }", "options { fake_root: true }", None),
    ("options { without_init: true }", "", "changed"),
    ("options { apparmor_profile: 'x' }", "", "changed"),
    ("", "options { danger_share_namespace: 'ipc' }", "allowed"),
    (
        "options { optional_layer: 'a' optional_layer: 'b' }",
        "options { optional_layer: 'b' optional_layer: 'a' }",
        None,
    ),
    ("", "filesystem { writable_root: true }", "allowed"),
    ("", "filesystem { root { source: '/srv' } }", "changed"),
    ("filesystem { root { source: '/srv' } }", "filesystem { root { source: '/opt' } }", "changed"),
    ("", "filesystem { python: '/usr/bin/python3' }", "allowed"),
]
BIND = "filesystem { mounts { target: '/d' bind { source: '/srv' kind: DIRECTORY %s } } %s }"
TMPFS = "filesystem { mounts { target: '/t' tmpfs { %s } } }"
MESSAGES += [
    (BIND % ("", ""), BIND % ("writable: true", ""), "allowed"),
    (BIND % ("writable: true", ""), BIND % ("writable: true danger_executable: true", ""), "allowed"),
    (BIND % ("", ""), BIND % ("if_exists: true", ""), "changed"),
    (BIND % ("", ""), (BIND % ("", "")).replace("/srv", "/opt"), "changed"),
    (BIND % ("", ""), BIND % ("", "mounts { target: '/d/x' tmpfs {} }"), "changed"),
    (BIND % ("", ""), "", "refused"),
    (TMPFS % "size: '1M'", TMPFS % "size: '1024K'", None),
    (TMPFS % "size: '1M'", TMPFS % "size: '2M'", "allowed"),
    (TMPFS % "mode: 448", TMPFS % "", "changed"),
    (TMPFS % "inodes: 16384", TMPFS % "", None),
]


@pytest.mark.parametrize(("old", "new", "kind"), MESSAGES)
def test_fields_of_messages(old: str, new: str, kind: str | None) -> None:
    found = message(old).diff(message(new))
    assert not found.changes
    assert [each.kind for each in found.fields] == ([kind] if kind else [])


def test_a_field_that_nobody_knows_is_no_equality(monkeypatch: pytest.MonkeyPatch) -> None:
    from stockade.policy.meaning import diff_fields

    old, new = message(""), message("limits { wall_time: '5s' } options { hostname: 'x' }")
    monkeypatch.setattr(diff_fields, "_COMPARED", ())
    assert {each.what for each in old.diff(new).fields} == {"limits.wall_time", "options.hostname"}


def test_reopened_dangers_and_raw_filters() -> None:
    old = message("syscalls { groups { name: 'read' } }")
    new = message("syscalls { groups { name: 'read' } danger_reopened: 'ptrace' }")
    assert [each.what for each in old.diff(new).fields] == ["syscalls.danger_reopened"]
    raw = "raw_filters { syscall: 'read' assembly: 'ret %s' }"
    filtered = [
        message(f"syscalls {{ groups {{ name: 'read' }} {raw % action} }}") for action in ("allow", "kill", "kill")
    ]
    assert not filtered[1].diff(filtered[2]).fields
    pairs = [(old, filtered[0], "added"), (filtered[0], old, "removed"), (filtered[0], filtered[1], "changed")]
    for first, second, what in pairs:
        (field,) = first.diff(second, "x86_64").fields
        assert field.kind == "changed" and f"read {what}" in field.text


def test_equal_raw_filters_do_not_hide_what_the_rules_say() -> None:
    raw = "raw_filters { syscall: 'read' assembly: 'ret kill' }"
    old, new = message(f"syscalls {{ {raw} }}"), message(f"syscalls {{ groups {{ name: 'read' }} {raw} }}")
    assert "read" in {change.syscall for change in old.diff(new).changes}


def test_rules_that_are_too_entangled_are_never_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    def give_up(*parts: object, total: object) -> None:
        raise TooHardError("no")

    monkeypatch.setattr(diff_module, "common_call", give_up)
    found = builder().build().diff(builder().allow_syscall("getcwd").build())
    assert found.undecided == ("getcwd",)
    assert not found.changes and not found.empty
    assert "getcwd" in found.to_text()


def test_a_witness_that_the_evaluator_denies_is_our_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diff_module, "common_call", lambda *parts, total: (0,) * 6)
    with pytest.raises(MonitorError, match="ioctl"):
        builder().build().diff(builder().allow_syscall("ioctl", arg(1) == "TCGETS").build())


def test_an_architecture_on_which_a_policy_means_nothing() -> None:
    tied = builder().allow_syscall("mmap", arg(3) == "MAP_PRIVATE|MAP_32BIT").build()
    with pytest.raises(PolicyError, match="MAP_32BIT"):
        builder().build().diff(tied, "aarch64")


def test_text_is_grouped_and_safe() -> None:
    old = builder().build()
    new = (
        builder().allow_syscalls("getcwd", "chdir").allow_syscall("ioctl", arg(1) == "TCGETS").add_file("/srv/\x1b[1m")
    )
    text = old.diff(new.build(), "x86_64").to_text(70)
    assert "getcwd, chdir: were a violation, now allowed" in text
    assert "now: allowed when request is TCGETS, by" in text
    assert "\x1b" not in text and "\\x1b[1m" in text
    assert old.diff(old).to_text().startswith('"a" → "a": the policies mean the same')


def test_the_filters_agree_that_something_changed() -> None:
    """The numbers that the test of witnesses compares are not the same by accident."""
    old, new = builder().build(), builder().allow_syscall("getcwd").build()
    data = SeccompData(X86_64.number("getcwd"), X86_64.audit_token)
    values = [run(policy.compile("x86_64"), data) for policy in (old, new)]
    assert values == [SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_ALLOW]
