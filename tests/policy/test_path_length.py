"""The mean path to an allowed call is no longer than in libseccomp's programs with their binary search."""

from __future__ import annotations

import os
import statistics

import pyseccomp
import pytest

from policy.bpf_strategies import ALLOW, condition, policy, rule
from stockade.kernel.architectures import ARCHITECTURES, Architecture
from stockade.policy import profiles
from stockade.policy.bpf.compile import compile
from stockade.policy.bpf.interpreter import Interpreter, SeccompData
from stockade.policy.policy import Policy
from stockade.policy.rules import Op, ResolvedRule

BINARY_TREE = 2
ALLOWED = 0x7FFF0000


def libseccomp(architecture: Architecture, rules: list[ResolvedRule]) -> Interpreter:
    """The program that libseccomp makes of rules with one == each or none, optimised to a binary tree."""
    compiled = pyseccomp.SyscallFilter(pyseccomp.KILL_PROCESS)
    compiled.set_attr(pyseccomp.Attr.ACT_BADARCH, pyseccomp.KILL_PROCESS)
    compiled.set_attr(pyseccomp.Attr.CTL_OPTIMIZE, BINARY_TREE)
    if pyseccomp.system_arch() != architecture.audit_token:
        compiled.remove_arch(pyseccomp.Arch.NATIVE)
        compiled.add_arch(architecture.audit_token)
    for each in rules:
        arguments = [pyseccomp.Arg(test.argument, pyseccomp.EQ, test.values[0]) for test in each.conditions]
        compiled.add_rule(pyseccomp.ALLOW, each.syscall, *arguments)
    with os.fdopen(os.memfd_create("filter"), "w+b") as file:
        compiled.export_bpf(file)
        file.seek(0)
        return Interpreter(file.read())


def mean_paths(architecture: Architecture, rules: list[ResolvedRule]) -> tuple[float, float]:
    """The mean number of instructions for the calls that the rules allow, each once: ours and libseccomp's."""
    known = [rule for rule in rules if pyseccomp.resolve_syscall(architecture.audit_token, rule.syscall) == rule.number]
    ours = Interpreter(compile(policy(*known, architecture=architecture)))
    theirs = libseccomp(architecture, known)
    calls = []
    for each in known:
        registers = [0] * 6
        for test in each.conditions:
            registers[test.argument] = test.values[0]
        calls.append(SeccompData(each.number, architecture.audit_token, tuple(registers)))
    assert len(calls) > 10
    assert {program.run(call) for program in (ours, theirs) for call in calls} == {ALLOWED}
    return (
        statistics.mean(ours.count(call) for call in calls),
        statistics.mean(theirs.count(call) for call in calls),
    )


# Those that say what is refused, and allow the rest, have no list of allowed calls.
ALLOW_LISTS = [
    name for name in profiles.names() if not Policy.profile(name).message.syscalls.default_action.danger_allow_all
]


@pytest.mark.parametrize("name", ALLOW_LISTS)
@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_ready_made_policies(architecture: str, name: str) -> None:
    resolved = Policy.profile(name).resolve(architecture)
    first = [rules[0] for rules in resolved.by_number.values()]
    plain = [rule for rule in first if rule.action == ALLOW and not rule.conditions]
    ours, theirs = mean_paths(ARCHITECTURES[architecture], plain)
    assert ours <= theirs


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
@pytest.mark.parametrize("values", [1, 5])
def test_a_policy_with_conditions(architecture: str, values: int) -> None:
    machine = ARCHITECTURES[architecture]
    names = [name for name in machine.syscalls if name != "execveat"][::3]
    rules = [
        rule(name, ALLOW, condition(1, 64, Op.EQUAL, 0x5400 + 3 * number), architecture=machine)
        if index % 4 == 0
        else rule(name, ALLOW, architecture=machine)
        for index, name in enumerate(names)
        for number in range(values if index % 4 == 0 else 1)
    ]
    ours, theirs = mean_paths(machine, rules)
    assert ours <= theirs


def test_steps_are_counted() -> None:
    program = Interpreter(compile(policy(rule("read", ALLOW))))
    call = SeccompData(0, ARCHITECTURES["x86_64"].audit_token)
    # The architecture is loaded and compared, then the number is: with bit 30 and with 0 or execveat's, and returned.
    assert program.run(call) == ALLOWED
    assert program.count(call) == 6
    assert program.count(SeccompData(0, 0)) == 3
