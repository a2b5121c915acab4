"""Class A, filters: jumps further than one instruction can say, and as many instructions as the kernel takes."""

from __future__ import annotations

import errno
import itertools
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from policy.bpf_kernel import natural, run_under
from policy.bpf_strategies import random_calls
from stockade import Executor, PolicyBuilder, PolicyError, Status, arg
from stockade._proto import policy_pb2
from stockade.kernel.architectures import ARCHITECTURES, native
from stockade.kernel.seccomp_constants import INSTRUCTION_SIZE
from stockade.kernel.signatures import signature
from stockade.policy.bpf.compile import compile as compile_rules
from stockade.policy.bpf.instructions import JMP, MAX_JUMP, Instruction, decode, encode
from stockade.policy.bpf.interpreter import Interpreter, SeccompData
from stockade.policy.evaluate import evaluate
from stockade.policy.expected import expected_value
from stockade.policy.policy import Policy
from stockade.policy.refused import rules_for
from stockade.policy.rules import Op
from stockade.policy.selfcheck import cases
from support.attacks import Attempt, open_wide
from support.runs import run_python

LIMIT = 4096


# --- A14: more than 255 instructions between a jump and its target ---


def rules_for_every_call(architecture: str, rules: int) -> Policy:
    """A policy of `rules` rules with arguments, at least one for each call that has any, with different answers."""
    machine = ARCHITECTURES[architecture]
    refused = rules_for(machine)
    names = [
        name
        for name in machine.syscalls
        if name not in refused and name != "execveat" and signature(name, architecture)
    ]
    message = policy_pb2.Policy(schema_version=1)
    for index, name in zip(range(rules), itertools.cycle(names), strict=False):
        parameters = signature(name, architecture)
        argument = index % len(parameters)
        rule = message.syscalls.rules.add(syscall=[name])
        rule.action, rule.errno = policy_pb2.Rule.ERRNO, str(1 + index % 100)
        rule.when.add(argument=argument, equal=str(3 + index % 0x7000))
    return Policy.from_message(message)


def differences(policy: Policy, program: Interpreter, architecture: str) -> int:
    """How many of many calls the program decides otherwise than the policy: every number, and boundary arguments."""
    resolved = policy.resolve(architecture)
    token = resolved.architecture.audit_token
    every = [(number, token, (value,) * 6) for number in range(resolved.highest + 3) for value in (0, 3, 1 << 32 | 3)]
    wrong = 0
    for number, of, arguments in (*every, *cases(resolved), *random_calls(resolved, random.Random(0), 3000)):
        wanted = expected_value(resolved, evaluate(resolved, number, arguments, of))
        wrong += program.run(SeccompData(number, of, arguments)) != wanted
    return wrong


def as_eight_bit_jumps(program: bytes) -> Interpreter:
    """The program as a compiler would write it that has eight bits for every jump."""
    jumps = [
        each._replace(k=each.k & MAX_JUMP) if each.code == JMP and each.k > MAX_JUMP else each
        for each in decode(program)
    ]
    return Interpreter(encode(jumps))


@pytest.mark.attack("A14")
@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_long_filters_decide_exactly_what_the_policy_says(attack: Attempt, architecture: str) -> None:
    policy = rules_for_every_call(architecture, 400)
    assert len(policy.message.syscalls.rules) == 400
    program = policy.compile(architecture)
    assert len(decode(program)) > 4 * MAX_JUMP
    attack.control(differences(policy, as_eight_bit_jumps(program), architecture), "no jump is long")
    assert differences(policy, Interpreter(program), architecture) == 0


# --- A15: the limits of the kernel ---


def long_filter(values: int) -> bytes:
    """A filter with one instruction for each value of an argument. Raises PolicyError when it is too long."""
    resolved = PolicyBuilder().allow_exit().allow_syscall("ioctl", arg(1) == 0).build().resolve()
    every = tuple(range(0, 2 * values, 2))
    rules = [
        replace(rule, conditions=(replace(rule.conditions[0], op=Op.ONE_OF, values=every),))
        if rule.syscall == "ioctl" and not rule.danger
        else rule
        for rule in resolved.rules
    ]
    return compile_rules(replace(resolved, rules=tuple(rules)))


@pytest.mark.attack("A15")
def test_a_filter_of_4096_instructions_is_taken_and_one_more_is_an_error(attack: Attempt) -> None:
    # How many jumps need a stepping stone is the compiler's business: look for the longest filter.
    values = 3900
    while LIMIT - len(long_filter(values)) // INSTRUCTION_SIZE > 3:
        values += (LIMIT - len(long_filter(values)) // INSTRUCTION_SIZE) // 2
    whole = long_filter(values)
    # The kernel refuses one instruction more than it takes; a compiler that cut it off would run a filter without end.
    padding = [Instruction(JMP)] * (LIMIT + 1 - len(whole) // INSTRUCTION_SIZE)
    with pytest.raises(OSError, match="seccomp") as refused:
        run_under([encode(padding) + whole], [])
    attack.control(refused.value.errno == errno.EINVAL, "the kernel takes longer filters")
    ioctl, last = native().number("ioctl"), 2 * (values - 1)
    calls = [(ioctl, (0xFFFFFFFF, request, 0)) for request in (0, last)]
    assert run_under([encode(padding[1:]) + whole], calls).results == natural(calls)
    assert run_under([whole], [(ioctl, (0xFFFFFFFF, last + 2, 0))]).killed_by
    with pytest.raises(PolicyError, match=r"at most 4096.*ioctl has \d{4}"):
        long_filter(values + 10)


@pytest.mark.attack("A15")
def test_nothing_is_started_under_a_policy_that_is_too_long(attack: Attempt, compile_c: Callable[..., Path]) -> None:
    static_true = compile_c("int main(void) { return 0; }", name="ends")

    def policy(values: int) -> Policy:
        refusing = open_wide(static_true).block_syscall_with_errno("ioctl", "EPERM", arg(1).one_of(*range(values)))
        return refusing.build()

    attack.control(Executor(policy(300)).run([static_true]).status is Status.OK, "the shorter policy does not work")
    with pytest.raises(PolicyError, match="use fewer argument conditions"):
        Executor(policy(4200))


INSIDE_OTHER_FILTERS = """
import sys
from stockade import Executor, PolicyBuilder, SandboxError, arg
from stockade.kernel import process, seccomp
from stockade.policy.bpf.instructions import LOAD_WORD, RET_K, Instruction, encode

count, length, values = map(int, sys.argv[1:4])
process.set_no_new_privs()
program = encode([Instruction(LOAD_WORD)] * (length - 1) + [Instruction(RET_K, k=0x7FFF0000)])
for _ in range(count):
    seccomp.install_filter(program)
builder = PolicyBuilder().danger_default_allow_all().add_file(sys.argv[4])
builder.block_syscall_with_errno("ioctl", "EPERM", arg(1).one_of(*range(values)))
try:
    result = Executor(builder.build()).run([sys.argv[4]])
    print(result.status.name, next(layer.detail for layer in result.layers if layer.name == "seccomp").split()[0])
except SandboxError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.attack("A15")
def test_what_does_not_fit_under_the_filters_that_are_there_is_an_error(
    attack: Attempt, compile_c: Callable[..., Path]
) -> None:
    """The kernel takes 32768 instructions in all filters of a task together, each counting 4 more."""
    ends = str(compile_c("int main(void) { return 0; }", name="ends"))

    def run(count: int, values: int) -> str:
        return run_python(INSIDE_OTHER_FILTERS, str(count), "4050", str(values), ends).stdout

    # Both forms fit alone, the short one beside eight long filters as well.
    attack.control(run(0, 2000).split() == ["OK", "1"] and run(8, 5).split() == ["OK", "9"], "they fit or never fit")
    refused = run(8, 2000)
    assert refused.startswith("UnsupportedError")
    assert "32768 instructions" in refused
    assert "5.17" not in refused
