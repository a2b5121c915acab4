"""PolicyBuilder with other policies: going on from one, and taking others in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from policy.policy_strategies import policies
from stockade._proto import policy_pb2
from stockade.errors import PolicyError
from stockade.kernel.architectures import X86_64
from stockade.policy.builder import PolicyBuilder, arg
from stockade.policy.evaluate import evaluate
from stockade.policy.places import Places
from stockade.policy.policy import Policy
from stockade.policy.resolve import resolve

TEXT = """\
schema_version: 1
name: "base"
syscalls {
  rules { syscall: "read" action: ALLOW }
  rules { syscall: "write" when { argument: 0 equal: "1" } action: ALLOW }
  groups { name: "exit" }
  default_action { action: ERRNO errno: "EPERM" }
}
filesystem {
  mounts { target: "/a/b" tmpfs {} }
  libraries_for_binary: "/bin/true"
}
limits { wall_time: "5s" }
"""


def base() -> Policy:
    return Policy.from_text(TEXT, "base.textproto")


def place_of(policy: Policy, call: str, *args: int) -> str:
    rule = policy.evaluate(call, args).rule
    assert rule is not None
    return rule.origin.place


# --- going on from a policy ---


@given(policies())
def test_a_builder_that_goes_on_from_a_policy_gives_it_back(message: policy_pb2.Policy) -> None:
    policy = Policy.from_message(message)
    assert PolicyBuilder.from_policy(policy).build() == policy


def test_going_on_keeps_places_and_adds_to_the_end() -> None:
    policy = PolicyBuilder.from_policy(base()).allow_syscall("getcwd").allow_read().add_directory("/a").build()
    assert policy.name == "base"
    assert policy.places.rules == ("base.textproto:4", "base.textproto:5", 'allow_syscall("getcwd")')
    assert policy.places.groups == ("base.textproto:6", "allow_read()")
    assert policy.places.default == "base.textproto:7"
    assert policy.places.field("filesystem.mounts[1]") == "base.textproto:10"
    assert [mount.target for mount in policy.message.filesystem.mounts] == ["/a", "/a/b"]
    assert policy.message.limits.wall_time == "5s"
    assert policy.evaluate("getcwd").permits
    plain = PolicyBuilder.from_policy(base()).build()
    assert plain == base()
    assert plain.places.rules == base().places.rules
    assert not plain.evaluate("getcwd").permits


@pytest.mark.parametrize(
    "add",
    [
        lambda b: b.kill_syscall("read"),
        lambda b: b.allow_syscall("read"),
        lambda b: b.block_syscall_with_errno("read", "EIO", arg(0) == 3),
        lambda b: b.kill_syscall("write", arg(0) == 1),
    ],
)
def test_a_rule_that_the_policy_leaves_nothing_is_an_error(add: Callable[[PolicyBuilder], PolicyBuilder]) -> None:
    with pytest.raises(PolicyError, match=r"never reached: .* by base\.textproto:[45] .* include") as caught:
        add(PolicyBuilder.from_policy(base())).build()
    assert caught.value.source == add(PolicyBuilder())._rule_calls[0]
    # Made here or there, such a rule is an error either way.
    builder = PolicyBuilder().allow_syscall("read").allow_syscall("write", arg(0) == 1).build()
    with pytest.raises(PolicyError):
        add(PolicyBuilder.from_policy(builder)).build()


def test_rules_that_only_together_leave_nothing_are_found_too() -> None:
    small = Policy.from_text(
        'schema_version: 1 syscalls { rules { syscall: "read" when { argument: 0 less: "3" } action: ALLOW }\n'
        'rules { syscall: "read" when { argument: 0 greater: "2" } action: ALLOW } }',
        "small.textproto",
    )
    with pytest.raises(PolicyError, match=r"small\.textproto:1 \(allow\) and small\.textproto:2 \(allow\)"):
        PolicyBuilder.from_policy(small).kill_syscall("read").build()
    joined = PolicyBuilder().include(small).include(base()).build()
    assert [place for place in joined.places.rules if "base" in place] == ["base.textproto:5"]


def test_what_contradicts_itself_stays_an_error_though_all_of_it_is_overridden(tmp_path: Path) -> None:
    twice = 'rules { syscall: "read" action: ALLOW }\nrules { syscall: "read" action: KILL }'
    (tmp_path / "b.textproto").write_text(f"schema_version: 1\nsyscalls {{ {twice} }}")
    own = 'include: "./b.textproto" syscalls { rules { syscall: "read" action: LOG } }'
    (tmp_path / "a.textproto").write_text(f"schema_version: 1\n{own}")
    with pytest.raises(PolicyError, match=r"b\.textproto:3: read is kill here and allow at"):
        Policy.load(tmp_path / "a.textproto")


def test_a_rule_that_the_policy_leaves_something_is_none() -> None:
    policy = PolicyBuilder.from_policy(base()).kill_syscall("write").build()
    assert policy.evaluate("write", (1,)).permits
    assert place_of(policy, "write", 2) == 'kill_syscall("write")'
    assert not policy.evaluate("write", (2,)).permits


def test_what_was_set_cannot_be_set_otherwise() -> None:
    with pytest.raises(PolicyError, match=r"set already, by base\.textproto:7"):
        PolicyBuilder.from_policy(base()).default_errno("EIO")
    with pytest.raises(PolicyError, match=r"mounted there already, by base\.textproto:10"):
        PolicyBuilder.from_policy(base()).add_proc("/a/b")
    assert PolicyBuilder.from_policy(base()).default_errno("EPERM").add_tmpfs("/c").build()


# --- taking policies in ---


def test_own_rules_come_before_included_ones_in_whatever_order_the_calls_are() -> None:
    early = PolicyBuilder("own").include(base()).kill_syscall("read").allow_exit().build()
    late = PolicyBuilder("own").kill_syscall("read").allow_exit().include(base()).build()
    assert early == late
    assert early.places == late.places
    assert early.name == "own"
    assert not early.evaluate("read").permits
    assert place_of(early, "read") == 'kill_syscall("read")'
    assert early.evaluate("write", (1,)).permits
    assert place_of(early, "write", 1) == "base.textproto:5"
    assert [group.name for group in early.message.syscalls.groups] == ["exit"]
    assert early.places.default == "base.textproto:7"
    assert early.message.limits.wall_time == "5s"
    assert list(early.message.filesystem.libraries_for_binary) == ["/bin/true"]


def test_the_policy_that_is_included_first_comes_first() -> None:
    refusing = Policy.from_text('schema_version: 1 syscalls { rules { syscall: "read" action: KILL } }', "no.textproto")
    assert not PolicyBuilder().include(refusing).include(base()).build().evaluate("read").permits
    assert PolicyBuilder().include(base()).include(refusing).build().evaluate("read").permits


def test_ready_made_policies_are_included_by_name() -> None:
    policy = PolicyBuilder().kill_syscall("fsync").include("gzip").build()
    assert not policy.evaluate("fsync").permits
    assert policy.evaluate("unlink").permits
    assert Policy.profile("gzip").evaluate("fsync").permits
    assert PolicyBuilder().include("gzip").build().message.syscalls == Policy.profile("gzip").message.syscalls
    with pytest.raises(PolicyError, match="no ready-made policy") as caught:
        PolicyBuilder().include("gzipp")
    assert (caught.value.source, caught.value.suggestion) == ('include("gzipp")', "gzip")
    with pytest.raises(PolicyError, match="5 is no policy"):
        PolicyBuilder().include(5)  # type: ignore[arg-type]


def test_the_same_policy_counts_once_and_so_do_rules_that_came_twice() -> None:
    once = PolicyBuilder().include(base()).build()
    assert PolicyBuilder().include(base()).include(base()).build() == once
    # What "derived" took from base is recognised by its place.
    derived = PolicyBuilder("derived").allow_syscall("getcwd").include(base()).build()
    both = PolicyBuilder().include(derived).include(base()).build()
    assert [rule.syscall[0] for rule in both.message.syscalls.rules] == ["getcwd", "read", "write"]


def test_calls_of_other_builders_are_told_apart() -> None:
    other = PolicyBuilder("other").allow_syscall("read").allow_write().build()
    third = PolicyBuilder("third").kill_syscall("read").build()
    policy = PolicyBuilder().allow_syscall("getcwd").include(other).include(third).build()
    assert policy.places.rules[1] == f'include({other!r}): allow_syscall("read")'
    assert policy.evaluate("read").permits
    # So are lines of texts without names.
    texts = [
        Policy.from_text(f'schema_version: 1 syscalls {{ rules {{ syscall: "read" action: {action} }} }}')
        for action in ("ALLOW", "KILL")
    ]
    policy = PolicyBuilder().include(texts[1]).include(texts[0]).build()
    assert not policy.evaluate("read").permits


def test_contradictions_name_the_calls() -> None:
    other = PolicyBuilder("other").default_errno("EIO").add_proc("/a/b").build()
    with pytest.raises(PolicyError, match="mounted differently at base") as caught:
        PolicyBuilder().include(base()).include(other).build()
    assert caught.value.source == f"include({other!r})"
    with pytest.raises(PolicyError, match=r"mounted differently at add_tmpfs\(\"/a/b\", \"1M\"\)"):
        PolicyBuilder().include(base()).add_tmpfs("/a/b", "1M").build()
    other = PolicyBuilder("other").default_errno("EIO").build()
    with pytest.raises(PolicyError, match=r"differ in syscalls\.default_action") as caught:
        PolicyBuilder().include(base()).include(other).build()
    assert "base.textproto:7" in str(caught.value)
    assert 'default_errno("EIO")' in str(caught.value)
    decided = PolicyBuilder().include(base()).include(other).default_errno("ENOSYS").build()
    assert decided.message.syscalls.default_action.errno == "ENOSYS"


def test_contradictions_between_own_calls_stay_errors() -> None:
    with pytest.raises(PolicyError, match="read is kill here and allow at"):
        PolicyBuilder().allow_syscall("read").kill_syscall("read").include("gzip").build()


def test_a_danger_of_an_included_policy_is_taken_in_with_its_place() -> None:
    opened = Policy.from_text(
        'schema_version: 1 syscalls { danger_reopened: "bpf" rules { syscall: "bpf" action: ALLOW } }', "d.textproto"
    )
    policy = PolicyBuilder().allow_read().include(opened).build()
    assert policy.places.reopened == ("d.textproto:1",)
    assert policy.evaluate("bpf").permits
    assert not PolicyBuilder().allow_read().build().evaluate("bpf").permits


# --- what is left out does not matter ---


@st.composite
def small_policies(draw: st.DrawFn, name: str) -> Policy:
    """A policy with several rules for the same two calls, which do not contradict one another."""
    rules = []
    for _ in range(draw(st.integers(0, 4))):
        calls = draw(st.sampled_from(["read", "write", 'read" syscall: "write']))
        number, test = draw(st.integers(1, 3)), draw(st.sampled_from(["", "equal", "less_or_equal", "not_equal"]))
        when = f'when {{ argument: 0 {test}: "{number}" }}' if test else ""
        action = draw(st.sampled_from(["ALLOW", "KILL", 'ERRNO errno: "EPERM"']))
        later = draw(st.sampled_from(["", "overridable: true"]))
        rules.append(f'rules {{ syscall: "{calls}" {when} action: {action} {later} }}')
    try:
        return Policy.from_text(f"schema_version: 1\nsyscalls {{ {chr(10).join(rules)} }}", f"{name}.textproto")
    except PolicyError:
        reject()


@given(small_policies("a"), small_policies("b"), small_policies("c"))
def test_the_rules_of_all_are_tried_in_order(first: Policy, second: Policy, third: Policy) -> None:
    joined = PolicyBuilder.from_policy(first).include(second).include(third).build()
    # Reading it back would fail if a rule were left that can never decide.
    assert Policy.from_text(joined.to_text()) == joined
    everything = policy_pb2.Policy(schema_version=1)
    places: list[str] = []
    for policy in (first, second, third):
        everything.syscalls.rules.extend(policy.message.syscalls.rules)
        places += policy.places.rules
    resolved = resolve(everything, X86_64, places=Places(tuple(places)))
    for call in ("read", "write"):
        for value in range(5):
            verdict = joined.evaluate(call, (value,), "x86_64")
            expected = evaluate(resolved, X86_64.number(call), (value,))
            assert verdict.action == expected.action
            assert (verdict.rule and verdict.rule.origin.place) == (expected.rule and expected.rule.origin.place)
