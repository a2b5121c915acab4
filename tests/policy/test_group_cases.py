"""Each group permits what it says and refuses the neighbours, by its meaning and by the compiled program."""

from __future__ import annotations

import pytest

from policy.calls import BOTH, Call, calls, mistakes, permits
from policy.group_cases import CASES
from stockade._proto import policy_pb2
from stockade.kernel.architectures import ARCHITECTURES
from stockade.policy.groups import GROUPS, expand
from stockade.policy.policy import Policy
from stockade.policy.refused import DANGERS
from stockade.policy.resolve import resolve
from stockade.policy.rules import Kind
from stockade.policy.selfcheck import cases


def group_message(name: str) -> policy_pb2.Policy:
    """A policy with this group, with its example arguments, and nothing else."""
    parameter = GROUPS[name].parameter
    message = policy_pb2.Policy(schema_version=1)
    message.syscalls.groups.add(name=name, argument=[parameter.example] if parameter else [])
    return message


def group_policy(name: str) -> Policy:
    return Policy.from_message(group_message(name))


def named_by(name: str) -> set[str]:
    """The calls that some rule of the group allows."""
    parameter = GROUPS[name].parameter
    rules = expand(name, (parameter.example,) if parameter else ())
    return {call for rule in rules if rule.action == policy_pb2.Rule.ALLOW for call in rule.syscall}


def test_every_group_has_a_row_with_both_halves() -> None:
    assert set(GROUPS) - set(CASES) == set(), "write what these permit, and what they refuse"
    assert set(CASES) - set(GROUPS) == set(), "no such group"
    assert [name for name, (allowed, refused) in CASES.items() if not allowed.strip() or not refused.strip()] == []


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_permits_what_it_says_and_refuses_the_neighbours(name: str) -> None:
    assert mistakes(group_policy(name), *CASES[name]) == []


@pytest.mark.parametrize("name", GROUPS)
def test_a_row_names_each_call_that_the_group_allows(name: str) -> None:
    own = {call for row in GROUPS[name].rows if not row.errno for call in row.syscalls}
    parameter = GROUPS[name].parameter
    own |= set(parameter.row(parameter.example).syscalls) if parameter else set()
    assert own - {call.name for call in calls(CASES[name][0])} == set()


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_permits_no_call_that_its_rules_do_not_name(name: str) -> None:
    policy = group_policy(name)
    named = named_by(name)
    for architecture in BOTH:
        for syscall in ARCHITECTURES[architecture].syscalls:
            if syscall not in named:
                for call in (Call(syscall), Call(syscall, ("-1",) * 6)):
                    assert not permits(policy, call, architecture), (architecture, str(call))


@pytest.mark.parametrize("name", [name for name in GROUPS if GROUPS[name].reopens])
def test_a_group_that_reopens_permits_no_more_when_the_default_allows_everything(name: str) -> None:
    """The rest of the family stays refused: a group does not hand it to the default action."""
    assert name.startswith("danger_")
    assert set(GROUPS[name].reopens) <= set(DANGERS)
    message = group_message(name)
    message.syscalls.default_action.action = policy_pb2.Rule.ALLOW
    message.syscalls.default_action.danger_allow_all = True
    allowed, refused = CASES[name]
    of_family = "; ".join(str(call) for call in calls(refused) if call.name in named_by(name))
    assert of_family
    assert mistakes(Policy.from_message(message), allowed, of_family) == []


@pytest.mark.parametrize("name", GROUPS)
def test_only_a_dangerous_group_reopens_what_is_always_refused(name: str) -> None:
    """No group lets an always-refused call through at any boundary of its conditions, unless its name says so."""
    assert bool(GROUPS[name].reopens) <= name.startswith("danger_")
    if GROUPS[name].reopens:
        return
    everything = policy_pb2.Policy(schema_version=1)
    everything.syscalls.default_action.action = policy_pb2.Rule.ALLOW
    everything.syscalls.default_action.danger_allow_all = True
    for architecture in BOTH:
        machine = ARCHITECTURES[architecture]
        resolved, reference = resolve(group_message(name), machine), Policy.from_message(everything)
        for number, token, registers in cases(resolved):
            rules = resolved.by_number.get(number, ())
            deciding = next((rule for rule in rules if rule.matches(registers)), None)
            if token == machine.audit_token and deciding is not None and deciding.action.kind is Kind.ALLOW:
                verdict = reference.evaluate(number, registers, machine)
                assert verdict.permits, (architecture, deciding.syscall, registers)
