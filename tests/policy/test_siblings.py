"""What is not allowed cannot be had by a sibling of the call: over the kernel's whole list, and all groups together."""

from __future__ import annotations

import pytest

from policy.abilities import ABILITIES, ELSEWHERE, NEVER, WORDS
from policy.calls import BOTH, calls, mistakes, permits
from stockade._proto import policy_pb2
from stockade.kernel.architectures import ARCHITECTURES
from stockade.policy.families import FAMILIES
from stockade.policy.groups import GROUPS
from stockade.policy.policy import Policy

KERNEL = sorted({name for each in BOTH for name in ARCHITECTURES[each].syscalls})


def with_groups(*names: str) -> Policy:
    message = policy_pb2.Policy(schema_version=1)
    for name in names:
        parameter = GROUPS[name].parameter
        message.syscalls.groups.add(name=name, argument=[parameter.example] if parameter else [])
    return Policy.from_message(message)


HARMLESS = [name for name in GROUPS if not name.startswith("danger_")]


@pytest.mark.parametrize("name", ABILITIES)
def test_a_group_that_grants_an_ability_grants_it_by_every_form(name: str) -> None:
    ability = ABILITIES[name]
    wanted = "; ".join(str(call) for call in calls(ability.calls) if call.name not in NEVER)
    for group in ability.groups:
        assert mistakes(with_groups(group), wanted, "") == []


@pytest.mark.parametrize("name", ABILITIES)
def test_all_other_groups_together_do_not_grant_any_form_of_it(name: str) -> None:
    ability = ABILITIES[name]
    others = [group for group in HARMLESS if group not in (*ability.groups, *ability.parts)]
    assert len(others) > 50
    assert mistakes(with_groups(*others), "", ability.calls) == []


@pytest.mark.parametrize("name", ABILITIES)
def test_a_group_that_grants_a_part_does_so(name: str) -> None:
    """No group stands in the table without need: it would hide what it lets through."""
    ability = ABILITIES[name]
    for group in ability.parts:
        policy = with_groups(group)
        assert any(
            permits(policy, call, each) for each in BOTH for call in calls(ability.calls) if call.exists_on(each)
        ), group


@pytest.mark.parametrize("name", ABILITIES)
def test_an_ability_names_every_member_of_its_families(name: str) -> None:
    named = {call.name for call in calls(ABILITIES[name].calls)}
    members = {call for family in ABILITIES[name].families for call in FAMILIES[family]}
    assert members - named == set(), "a new form: decide whether its group grants it"


@pytest.mark.parametrize("word", WORDS)
def test_every_call_of_the_kernel_with_such_a_name_belongs_to_an_ability(word: str) -> None:
    named = {call.name for ability in ABILITIES.values() for call in calls(ability.calls)}
    found = {call for call in KERNEL if word in call}
    assert found - named - set(ELSEWHERE) == set(), "put it into an ability, or say why it is none"


def test_exceptions_exist() -> None:
    assert set(ELSEWHERE) - set(KERNEL) == set()
