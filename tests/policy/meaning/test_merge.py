"""The union of two policies: every call gets the more permissive answer, and nothing more."""

from __future__ import annotations

from functools import cache
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stockade import Policy, PolicyBuilder, arg
from stockade._proto import policy_pb2
from stockade.errors import MonitorError, PolicyError
from stockade.kernel.architectures import AARCH64, X86_64
from stockade.policy.bpf.interpreter import SeccompData, run
from stockade.policy.expected import expected_value
from stockade.policy.meaning import merge as merge_module
from stockade.policy.meaning.diff import diff
from stockade.policy.meaning.merge import merge
from stockade.policy.meaning.merge_rules import wider
from stockade.policy.rules import Action, Kind

_Rule = policy_pb2.Rule
CALLS = ("ioctl", "prctl", "lseek", "unshare", "getpid", "ptrace")
VALUES = ("0", "1", "2", "0x5412", "22", "0x10000")
NUMBERS = (0, 1, 2, 3, 22, 35, 0x5412, 0x10000, 0x10001, 1 << 31, (1 << 64) - 1)


@cache
def ready_made(name: str) -> Policy:
    return Policy.profile(name)


def builder(name: str = "") -> PolicyBuilder:
    return PolicyBuilder(name)


def check_union(first: Policy, second: Policy, merged: Policy) -> None:
    """Compare with the definition on every call of the strategy, by evaluator and by compiled filter."""
    for architecture in (X86_64, AARCH64):
        resolved = merged.resolve(architecture)
        program = merged.compile(architecture)
        for name in (*CALLS, "read", "close"):
            registers = product((0, 1, 0x5412, 0x10000), NUMBERS) if name == "ioctl" else ((n, 1) for n in NUMBERS)
            for each in registers:
                actions = [policy.evaluate(name, each, architecture).action for policy in (first, second)]
                verdict = merged.evaluate(name, each, architecture)
                assert verdict.action == wider(*actions), (name, each)
                data = SeccompData(architecture.number(name), architecture.audit_token, tuple(each))
                assert run(program, data) == expected_value(resolved, verdict)


def condition(draw: st.DrawFn, name: str) -> policy_pb2.Condition:
    value = draw(st.sampled_from(VALUES))
    made = policy_pb2.Condition(argument=1 if name == "ioctl" else 0)
    match draw(st.sampled_from(["equal", "not_equal", "greater", "one_of", "masked"])):
        case "one_of":
            made.one_of.value.extend({value: 0, "5": 0})
        case "masked":
            made.masked.mask, made.masked.value = "0x10003", "1"
        case test:
            setattr(made, test, value)
    return made


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Policies in which the rules of a few calls overlap with one another and with the always-refused ones."""
    message = policy_pb2.Policy(schema_version=1)
    actions = [_Rule.ALLOW, _Rule.ALLOW, _Rule.ERRNO, _Rule.ERRNO, _Rule.KILL, _Rule.TRACE, _Rule.TRAP]
    for name in draw(st.lists(st.sampled_from(CALLS), max_size=5)):
        action = draw(st.sampled_from(actions))
        when = [condition(draw, name)] if name not in ("getpid", "ptrace") and draw(st.integers(0, 3)) else []
        if name == "ptrace" and action in (_Rule.ALLOW, _Rule.TRACE):
            continue
        rule = _Rule(syscall=[name], when=when, action=action, overridable=draw(st.booleans()))
        rule.errno = draw(st.sampled_from(["EPERM", "ENOSYS"])) if action == _Rule.ERRNO else ""
        rule.hook = "ask" if action == _Rule.TRACE else ""
        message.syscalls.rules.append(rule)
        try:
            Policy.from_message(message)
        except PolicyError:  # the rule is never reached, or refused: another draw will do
            del message.syscalls.rules[-1]
    for name in draw(st.lists(st.sampled_from(["read", "lseek", "prctl_set_name", "tcgets", "get_pids"]), unique=True)):
        message.syscalls.groups.add(name=name)
    if draw(st.integers(0, 3)) == 0:
        message.syscalls.default_action.MergeFrom(
            draw(
                st.sampled_from(
                    [
                        policy_pb2.DefaultAction(action=_Rule.ALLOW, danger_allow_all=True),
                        policy_pb2.DefaultAction(action=_Rule.ERRNO, errno="EACCES"),
                    ]
                )
            )
        )
    return Policy.from_message(message)


@settings(max_examples=20)
@given(policies(), policies())
def test_random_unions(first: Policy, second: Policy) -> None:
    merged = merge(first, second).policy
    check_union(first, second, merged)
    again = Policy.from_text(merged.to_text())
    assert again == merged


@pytest.mark.parametrize(
    ("first", "second"), [("gzip", "default"), ("python3", "jq"), ("default", "python3"), ("jq", "gzip")]
)
def test_ready_made_policies(first: str, second: str) -> None:
    merged = ready_made(first).merge(ready_made(second))
    assert merged.policy.name == f"{first}+{second}"
    assert f'"{first}"' in merged.policy.message.description
    for part in (first, second):
        found = diff(ready_made(part), merged.policy, "x86_64")
        assert not found.of_kind("refused") and not found.undecided
    assert diff(merged.policy, Policy.from_text(merged.policy.to_text()), "aarch64").empty


def test_a_policy_and_itself() -> None:
    gzip = ready_made("gzip")
    merged = gzip.merge(gzip)
    assert diff(gzip, merged.policy).empty
    assert merged.policy.message.syscalls == gzip.message.syscalls
    assert merged.notes == ()


def test_groups_and_rules_stay_as_they_are() -> None:
    first = builder("a").allow_read().allow_syscalls("getcwd", "chdir", reason="needed").build()
    second = builder("b").allow_write().allow_read().allow_syscall("getcwd").build()
    message = merge(first, second).policy.message
    assert [group.name for group in message.syscalls.groups] == ["read", "write"]
    (rule,) = message.syscalls.rules
    assert (list(rule.syscall), rule.reason) == (["getcwd", "chdir"], "needed")
    assert message.name == "a+b"
    assert message.description == 'Everything that "a" allows and everything that "b" allows'


def test_places_are_kept() -> None:
    first = builder().allow_read().build()
    second = Policy.from_text(
        'schema_version: 1\nsyscalls {\n  rules { syscall: "getcwd" action: ALLOW }\n}', "b.textproto"
    )
    rule = merge(first, second).policy.evaluate("getcwd").rule
    assert rule is not None and rule.origin.place == "b.textproto:3"


def test_a_refusal_of_one_gives_way_to_what_the_other_allows_and_to_nothing_else() -> None:
    first = builder().block_syscall_with_errno("socket", "EPERM").build()
    second = builder().allow_syscall("socket", arg(0) == "AF_UNIX").build()
    merged = merge(first, second).policy
    assert [merged.evaluate("socket", (family,)).action for family in ("AF_UNIX", "AF_INET")] == [
        Action(Kind.ALLOW),
        Action(Kind.ERRNO, errno=1),
    ]
    rules = merged.message.syscalls.rules
    assert len(rules) == 2
    assert rules[0].when[0].equal == "AF_UNIX"
    assert "allow_syscall" in rules[0].reason and "block_syscall_with_errno" in rules[0].reason


def test_a_refusal_by_a_rule_gives_way_to_a_group() -> None:
    first, second = builder().kill_syscall("read").build(), builder().allow_read().build()
    for pair in ((first, second), (second, first)):
        assert merge(*pair).policy.evaluate("read").permits


def test_always_refused_calls_stay_refused_and_their_error_numbers_are_kept() -> None:
    first = builder().block_syscall_with_errno("ioctl", "ENOTTY").block_syscall_with_errno("clone", "EAGAIN").build()
    second = builder().allow_syscall("ioctl", arg(1) < 0x6000).allow_syscall("clone").build()
    for pair in ((first, second), (second, first)):
        merged = merge(*pair).policy
        actions = [merged.evaluate("ioctl", (0, request)).action for request in ("TCGETS", "TIOCSTI", 0x7000)]
        assert [str(action) for action in actions] == ["allow", "errno 25", "errno 25"]
        actions = [merged.evaluate("clone", (flags,)).action for flags in (0, "CLONE_NEWUSER", "CLONE_NEWNET", 1 << 63)]
        assert [str(action) for action in actions] == ["allow", "errno 11", "errno 11", "allow"]


def test_error_numbers_for_refused_arguments_that_no_rule_names() -> None:
    first = builder().block_syscall_with_errno("ioctl", "ENOTTY").build()
    second = builder().allow_syscall("ioctl", arg(1).one_of("TCGETS", "FIONREAD")).build()
    for pair in ((first, second), (second, first)):
        merged = merge(*pair).policy
        actions = [merged.evaluate("ioctl", (0, request)).action for request in ("TCGETS", "TIOCSTI", "TCSETS")]
        assert [str(action) for action in actions] == ["allow", "errno 25", "errno 25"]


def test_error_numbers_that_are_given_in_part() -> None:
    first = (
        builder()
        .block_syscall_with_errno("prctl", 5, arg(1) == 1)
        .block_syscall_with_errno("prctl", 6, arg(1) == 2)
        .build()
    )
    second = builder().allow_syscall("prctl", arg(2) == 3).build()
    merged = merge(first, second).policy
    cases = {("PR_SET_SECCOMP", 1): "errno 5", ("PR_SET_SECCOMP", 2): "errno 6", ("PR_SET_SECCOMP", 3): "kill"}
    cases |= {("PR_GET_NAME", 1): "allow", ("PR_GET_NAME", 2): "allow", ("PR_GET_NAME", 3): "allow"}
    for (option, second_argument), expected in cases.items():
        assert str(merged.evaluate("prctl", (option, second_argument, 3)).action) == expected
    assert str(merged.evaluate("prctl", ("PR_GET_NAME", 2, 4)).action) == "errno 6"


def test_an_exception_before_a_refusal_stays() -> None:
    first = (
        builder()
        .allow_syscall("lseek", arg(0) == 1)
        .block_syscall_with_errno("lseek", 5, arg(1) == 2)
        .allow_syscall("lseek")
        .build()
    )
    second = builder().allow_syscall("lseek", arg(2) == 3).build()
    for pair in ((first, second), (second, first)):
        merged = merge(*pair).policy
        actions = [str(merged.evaluate("lseek", each).action) for each in ((1, 2), (0, 2), (0, 2, 3), (0, 1))]
        assert actions == ["allow", "errno 5", "allow", "allow"]


def test_different_answers_are_noted_with_both_places() -> None:
    first = builder().block_syscall_with_errno("socket", "EPERM").trace("getcwd", "one").build()
    second = builder().block_syscall_with_errno("socket", "EACCES").trace("getcwd", "two").build()
    merged = merge(first, second)
    assert [str(merged.policy.evaluate(name).action) for name in ("socket", "getcwd")] == ["errno 1", "trace one"]
    assert sorted(note.split(":")[0] for note in merged.notes) == ["getcwd", "socket"]
    note = next(note for note in merged.notes if note.startswith("socket"))
    assert 'block_syscall_with_errno("socket", "EPERM")' in note
    assert 'block_syscall_with_errno("socket", "EACCES")' in note


def test_default_actions() -> None:
    kill, errno = builder().allow_read().build(), builder().default_errno("ENOSYS").build()
    everything = builder().danger_default_allow_all().block_syscall_with_errno("getcwd", 1).build()
    assert str(merge(kill, errno).policy.evaluate("getcwd").action) == "errno 38"
    merged = merge(everything, kill).policy
    assert merged.evaluate("chdir").permits
    assert not merged.evaluate("getcwd").permits and not merged.evaluate("ptrace").permits
    # What one of them allows by default the other cannot refuse.
    assert merge(everything, builder().danger_default_allow_all().build()).policy.evaluate("getcwd").permits
    assert not merge(everything, errno).policy.evaluate(9999).permits


def test_unknown_numbers() -> None:
    eperm, everything = builder().default_errno("EPERM").build(), builder().danger_default_allow_all().build()
    merged = merge(eperm, everything)
    assert str(merged.policy.evaluate(9999).action) == "errno 38"
    assert any("ENOSYS" in note for note in merged.notes)
    with pytest.raises(PolicyError, match="numbers above"):
        merge(builder().default_trace("ask").build(), everything)


def message(text: str) -> Policy:
    return Policy.from_text(f"schema_version: 1\n{text}")


FILES = "filesystem {{ mounts {{ target: '/d' bind {{ source: '{}' kind: DIRECTORY {} }} }} }}"


def test_writable_wins_over_read_only() -> None:
    merged = merge(message(FILES.format("/srv", "")), message(FILES.format("/srv", "writable: true")))
    (mount,) = merged.policy.message.filesystem.mounts
    assert mount.bind.writable and not mount.bind.danger_executable
    (note,) = merged.notes
    assert '"/d"' in note and "nothing can be executed" in note


def test_different_things_at_one_place() -> None:
    with pytest.raises(PolicyError, match=r"/srv.*/opt"):
        merge(message(FILES.format("/srv", "")), message(FILES.format("/opt", "")))
    with pytest.raises(PolicyError, match="no directory"):
        merge(builder().add_file("/srv").build(), builder().add_file("/srv/x").build())


def test_mounts_inside_mounts() -> None:
    writable, read_only = builder().add_directory("/srv", writable=True), builder().add_directory("/srv/data")
    merged = merge(read_only.build(), writable.build())
    assert [mount.target for mount in merged.policy.message.filesystem.mounts] == ["/srv"]
    assert "left out" in merged.notes[0]
    merged = merge(builder().add_tmpfs("/srv/data").build(), builder().add_directory("/srv").build())
    assert [mount.target for mount in merged.policy.message.filesystem.mounts] == ["/srv", "/srv/data"]
    assert "hides a part" in merged.notes[0]


def test_sizes_of_tmpfs() -> None:
    merged = merge(builder().add_tmpfs("/tmp", "1M").build(), builder().add_tmpfs("/tmp", "2M").build())
    assert merged.policy.message.filesystem.mounts[0].tmpfs.size == "2M"
    with pytest.raises(PolicyError, match="/tmp"):
        merge(builder().add_tmpfs("/tmp", mode=0o700).build(), builder().add_tmpfs("/tmp").build())


UNIONS = [
    ("limits { wall_time: '5s' processes: 3 }", "limits { wall_time: '1m' }", "limits { wall_time: '1m' }"),
    ("limits { open_files: 512 }", "", ""),
    ("limits { open_files: 4096 }", "", "limits { open_files: 4096 }"),
    ("limits { nice: 4 }", "limits { nice: 2 }", "limits { nice: 2 }"),
    ("network { mode: LOOPBACK }", "", "network { mode: LOOPBACK }"),
    ("network { mode: LOOPBACK }", "network { mode: DANGER_HOST }", "network { mode: DANGER_HOST }"),
    ("options { hostname: 'x' }", "", "options { hostname: 'x' }"),
    ("options { danger_speculation: true }", "", "options { danger_speculation: true }"),
    ("syscalls { danger_reopened: 'bpf' }", "", "syscalls { danger_reopened: 'bpf' }"),
    ("filesystem { python: '/usr/bin/python3' }", "", "filesystem { python: '/usr/bin/python3' }"),
    ("", "", ""),
]


@pytest.mark.parametrize(("first", "second", "union"), UNIONS)
def test_the_rest(first: str, second: str, union: str) -> None:
    for pair in ((first, second), (second, first)):
        found = merge(message(pair[0]), message(pair[1])).policy.message
        found.ClearField("name")
        found.ClearField("description")
        assert found == message(union).message


NO_UNION = [
    ("options { hostname: 'x' }", "options { hostname: 'y' }", "hostname"),
    ("options { fake_root: true }", "", "identities"),
    ("options { without_init: true }", "", "without_init"),
    ("options { apparmor_profile: 'x' }", "", "apparmor_profile"),
    ("network { mode: LOOPBACK }", "network { mode: BROKERED }", "LOOPBACK and BROKERED"),
    ("filesystem { root { source: '/srv' } }", "filesystem { root { source: '/opt' } }", "root trees"),
]


@pytest.mark.parametrize(("first", "second", "words"), NO_UNION)
def test_what_has_no_union(first: str, second: str, words: str) -> None:
    for pair in ((first, second), (second, first)):
        if pair == (second, first) and " and " in words:
            words = " and ".join(reversed(words.split(" and ")))
        with pytest.raises(PolicyError, match=words):
            merge(message(pair[0]), message(pair[1]))


RAW = "syscalls { groups { name: 'write' } raw_filters { syscall: 'read' assembly: 'ret kill' } }"


def test_raw_filters() -> None:
    filtered, others = message(RAW), builder().allow_write().build()
    assert len(merge(filtered, others).policy.message.syscalls.raw_filters) == 1
    assert len(merge(filtered, filtered).policy.message.syscalls.raw_filters) == 1
    for pair in ((filtered, builder().allow_read().build()), (builder().allow_read().build(), filtered)):
        with pytest.raises(PolicyError, match="filters read"):
            merge(*pair)


def test_a_policy_that_is_tied_to_one_architecture_ties_the_union() -> None:
    intel = builder().allow_syscall("mmap", arg(3) == "MAP_PRIVATE|MAP_32BIT").build()
    merged = merge(intel, builder().allow_read().build()).policy
    assert merged.resolve("x86_64")
    with pytest.raises(PolicyError, match="MAP_32BIT"):
        merged.resolve("aarch64")


def test_policies_for_different_architectures(monkeypatch: pytest.MonkeyPatch) -> None:
    each = iter([[X86_64], [AARCH64]])
    monkeypatch.setattr(merge_module, "architectures_of", lambda message: next(each))
    with pytest.raises(PolicyError, match="architectures"):
        merge(builder().build(), builder().build())


def test_a_union_that_loses_something_is_never_given_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def forget(*parts: object) -> Policy:
        return builder().build()

    monkeypatch.setattr(merge_module, "_with_rules", forget)
    with pytest.raises(MonitorError, match="read"):
        merge(builder().allow_read().build(), builder().build())


def test_a_union_that_allows_too_much_is_never_given_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: of two actions the stronger one would do."""
    from stockade.policy.meaning import merge_rules

    monkeypatch.setattr(merge_rules, "wider", lambda first, second: Action(Kind.ALLOW))
    first = builder().block_syscall_with_errno("socket", "EPERM").build()
    with pytest.raises(PolicyError, match="socket"):
        merge(first, builder().allow_syscall("socket", arg(0) == "AF_UNIX").build())


def test_policies_that_would_take_minutes_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = builder("a"), builder("b")
    for bit in range(12):
        first.allow_syscall("ioctl", arg(2).masked(3 << bit, 1 << bit))
        second.block_syscall_with_errno("ioctl", "EPERM", arg(2).masked(5 << bit, 1 << bit))
    assert merge(first.build(), second.build()).policy
    monkeypatch.setattr(merge_module, "TOTAL_STEPS", 2000)
    with pytest.raises(PolicyError, match="too entangled to be merged"):
        merge(first.build(), second.build())


def test_a_comparison_that_would_take_minutes_says_what_is_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    first = builder().allow_syscall("ioctl", arg(1).one_of(1, 2, 3)).allow_syscall("ioctl", arg(1) > 10).build()
    second = builder().allow_syscall("ioctl", arg(1) < 4).allow_syscall("getcwd").build()
    assert not diff(first, second).undecided
    monkeypatch.setattr("stockade.policy.meaning.diff.TOTAL_STEPS", 2)
    found = diff(first, second)
    assert {"ioctl", "getcwd"} & set(found.undecided) and not found.empty


def test_three_hundred_rules_and_a_ready_made_policy_are_merged() -> None:
    many = builder("many")
    for number in range(300):
        many.allow_syscall("ioctl", arg(1) == 2 * number)
    both = merge(ready_made("gzip"), many.build()).policy
    assert both.evaluate("ioctl", (0, 598)).permits and both.evaluate("ioctl", (0, "TCGETS")).permits
    assert not both.evaluate("ioctl", (0, 599)).permits
