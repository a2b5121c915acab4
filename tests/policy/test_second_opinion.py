"""A second opinion on our programs: libseccomp's, on the subset in which it was never seen wrong.

That is rules of one answer for each call, with == and masked == in 64 bits. For anything else its programs can be
weaker than what was asked for, which is why the compiler is ours.
"""

from __future__ import annotations

import random
import tempfile

import pyseccomp
import pytest

from policy.bpf_strategies import ALLOW, BOUNDARIES, REGISTER, condition, policy, rule
from stockade.kernel.architectures import AARCH64, X32_BIT, X86_64, Architecture
from stockade.policy.bpf.compile import compile
from stockade.policy.bpf.interpreter import Interpreter, SeccompData
from stockade.policy.rules import Action, Kind, Op, ResolvedCondition, ResolvedRule

ARCHITECTURES = {"x86_64": pyseccomp.Arch.X86_64, "aarch64": pyseccomp.Arch.AARCH64}
EPERM = Action(Kind.ERRNO, errno=1)
CALLS = ["read", "close", "lseek", "ioctl", "openat", "mmap", "futex", "socket", "kill", "getpid"]


def theirs(architecture: Architecture, rules: list[ResolvedRule]) -> Interpreter:
    """Let libseccomp compile the rules; everything else is killed, like the calls of other architectures."""
    compiled = pyseccomp.SyscallFilter(pyseccomp.KILL_PROCESS)
    compiled.set_attr(pyseccomp.Attr.ACT_BADARCH, pyseccomp.KILL_PROCESS)
    compiled.remove_arch(pyseccomp.Arch.NATIVE)
    compiled.add_arch(ARCHITECTURES[architecture.name])
    for each in rules:
        action = pyseccomp.ALLOW if each.action == ALLOW else pyseccomp.ERRNO(each.action.errno)
        compiled.add_rule(action, each.syscall, *(_argument(condition) for condition in each.conditions))
    with tempfile.TemporaryFile() as file:
        compiled.export_bpf(file)
        file.seek(0)
        return Interpreter(file.read())


def _argument(condition: ResolvedCondition) -> pyseccomp.Arg:
    if condition.op is Op.EQUAL:
        return pyseccomp.Arg(condition.argument, pyseccomp.EQ, condition.values[0])
    assert condition.op is Op.MASKED
    return pyseccomp.Arg(condition.argument, pyseccomp.MASKED_EQ, condition.mask, condition.values[0])


def random_rules(random_: random.Random, architecture: Architecture, values: list[int]) -> list[ResolvedRule]:
    made = []
    for name in random_.sample(CALLS, 6):
        action = random_.choice([ALLOW, EPERM])
        for _ in range(random_.randrange(1, 4)):
            arguments = random_.sample(range(6), random_.randrange(1, 4))
            conditions = [random_condition(random_, argument, values) for argument in arguments]
            made.append(rule(name, action, *conditions, architecture=architecture))
    made.append(rule("write", ALLOW, architecture=architecture))
    return made


def random_condition(random_: random.Random, argument: int, values: list[int]) -> ResolvedCondition:
    value = random_.choice(values)
    if random_.random() < 0.5:
        return condition(argument, 64, Op.EQUAL, value)
    mask = random_.choice(values) or REGISTER
    return condition(argument, 64, Op.MASKED, value & mask, mask=mask)


@pytest.mark.parametrize("architecture", [X86_64, AARCH64], ids=lambda each: each.name)
@pytest.mark.parametrize("seed", range(8))
def test_libseccomp_agrees(architecture: Architecture, seed: int) -> None:
    random_ = random.Random(seed)
    values = random_.sample(BOUNDARIES, 5)
    rules = random_rules(random_, architecture, values)
    ours, other = Interpreter(compile(policy(*rules, architecture=architecture))), theirs(architecture, rules)
    numbers = [architecture.number(name) for name in (*CALLS, "write", "execve")]
    answers = set()
    for _ in range(1500):
        number = random_.choice([*numbers, *numbers, 9999, X32_BIT | 1])
        token = random_.choice([architecture.audit_token] * 9 + [0x40000003])
        registers = tuple(random_.choice(values) ^ random_.choice((0, 0, 0, 1, 1 << 32)) for _ in range(6))
        data = SeccompData(number, token, registers)
        answer = ours.run(data)
        assert answer == other.run(data), data
        answers.add(answer)
    assert {0x7FFF0000, 0x80000000} <= answers


def test_numbers_and_tokens_agree() -> None:
    for architecture in (X86_64, AARCH64):
        for name in CALLS:
            assert pyseccomp.resolve_syscall(ARCHITECTURES[architecture.name], name) == architecture.number(name)


def test_a_difference_would_be_seen() -> None:
    right = [rule("lseek", ALLOW, condition(1, 64, Op.EQUAL, 1 << 32))]
    wrong = policy(rule("lseek", ALLOW, condition(1, 32, Op.EQUAL, 0)))
    data = SeccompData(X86_64.number("lseek"), X86_64.audit_token, (0, 0))
    assert Interpreter(compile(wrong)).run(data) != theirs(X86_64, right).run(data)
    assert Interpreter(compile(policy(*right))).run(data) == theirs(X86_64, right).run(data)
