"""The compiler: what its programs decide, compared with the evaluator, and what they look like."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.bpf_strategies import ALLOW, BOUNDARIES, CHECKED, HOOKS, condition, policies, policy, random_calls, rule
from policy.policy_strategies import policies as messages
from stockade._proto import policy_pb2
from stockade.errors import PolicyError
from stockade.kernel.architectures import AARCH64, X32_BIT, X86_64, Architecture
from stockade.kernel.seccomp_constants import FREE_EXEC_COOKIE
from stockade.policy.bpf.compile import compile, compile_instructions
from stockade.policy.bpf.instructions import ALU, AND, JA, JMP, JSET, LOAD_WORD, RET_K, Instruction, encode
from stockade.policy.bpf.interpreter import Interpreter, SeccompData, run
from stockade.policy.evaluate import evaluate
from stockade.policy.expected import expected_value
from stockade.policy.policy import Policy
from stockade.policy.rules import KILL, LENIENT_MODES, MODES, Action, Kind, Op, ResolvedPolicy
from stockade.policy.selfcheck import check_program
from stockade.policy.verdicts import filter_value

ALLOWED, KILLED = 0x7FFF0000, 0x80000000


def decide(resolved: ResolvedPolicy, syscall: str | int, *arguments: int, token: int | None = None) -> int:
    """Compile a policy and give what its program returns for a call."""
    number = syscall if isinstance(syscall, int) else resolved.architecture.number(syscall)
    data = SeccompData(number, token or resolved.architecture.audit_token, arguments)
    return run(compile(resolved), data)


# --- the compiler and the evaluator agree ---


@settings(max_examples=150)
@given(policies(), st.integers(0, 1 << 32))
def test_program_and_evaluator_agree(resolved: ResolvedPolicy, seed: int) -> None:
    program = Interpreter(compile(resolved))
    for number, token, arguments in random_calls(resolved, random.Random(seed), 100):
        verdict = evaluate(resolved, number, arguments, token)
        call = SeccompData(number, token, arguments)
        assert program.run(call) == expected_value(resolved, verdict), call


@settings(max_examples=30)
@given(policies(), st.integers(0, 1 << 32))
def test_they_agree_on_every_number(resolved: ResolvedPolicy, seed: int) -> None:
    program = Interpreter(compile(resolved))
    random_ = random.Random(seed)
    for number in [*range(resolved.highest + 3), *range(X32_BIT, X32_BIT + resolved.highest + 3)]:
        arguments = tuple(random_.choice(BOUNDARIES) for _ in range(6))
        for token in (resolved.architecture.audit_token, 0x40000003):
            verdict = evaluate(resolved, number, arguments, token)
            call = SeccompData(number, token, arguments)
            assert program.run(call) == expected_value(resolved, verdict), call


@settings(max_examples=30)
@given(messages(), st.sampled_from(["x86_64", "aarch64"]), st.sampled_from(MODES), st.integers(0, 1 << 32))
def test_they_agree_on_policies_as_they_are_written(
    message: policy_pb2.Policy, architecture: str, mode: str, seed: int
) -> None:
    written = Policy.from_message(message)
    resolved, program = written.resolve(architecture, mode), Interpreter(written.compile(architecture, mode))
    for number, token, arguments in random_calls(resolved, random.Random(seed), 300):
        verdict = evaluate(resolved, number, arguments, token)
        call = SeccompData(number, token, arguments)
        assert program.run(call) == expected_value(resolved, verdict), call


@settings(max_examples=40)
@given(policies())
def test_every_compiled_policy_passes_its_self_check(resolved: ResolvedPolicy) -> None:
    program = compile(resolved)
    assert check_program(resolved, program) > len(resolved.architecture.names)
    assert compile(resolved) == program


# --- what a program decides, in plain numbers ---

VALUES = [
    (ALLOW, 0x7FFF0000, 0x7FFF0000),
    (KILL, 0x80000000, 0x7FF00002),
    (Action(Kind.ERRNO, errno=0), 0x00050000, 0x00050000),
    (Action(Kind.ERRNO, errno=4095), 0x00050FFF, 0x00050FFF),
    (Action(Kind.TRAP), 0x00030000, 0x00030000),
    (Action(Kind.LOG), 0x7FF00003, 0x7FF00003),
    (Action(Kind.TRACE, hook="first"), 0x7FF00100, 0x7FF00100),
    (Action(Kind.TRACE, hook="second"), 0x7FF00101, 0x7FF00101),
]


@pytest.mark.parametrize(("action", "enforced", "continuing"), VALUES, ids=lambda value: str(value))
def test_an_action_becomes_this_filter_value(action: Action, enforced: int, continuing: int) -> None:
    for mode in MODES:
        expected = enforced if mode == "enforce" else continuing
        assert filter_value(action, mode, HOOKS) == expected
        stays_refused = action is KILL and mode in LENIENT_MODES
        assert filter_value(action, mode, HOOKS, refused=True) == (0x7FF00004 if stays_refused else expected)
        assert decide(policy(rule("read", action), mode=mode), "read") == expected
        assert decide(policy(default=action, mode=mode), "read") == expected


def test_an_unknown_hook_is_an_error() -> None:
    with pytest.raises(PolicyError, match="'other'"):
        filter_value(Action(Kind.TRACE, hook="other"), "enforce", HOOKS)


@pytest.mark.parametrize("architecture", [X86_64, AARCH64], ids=lambda each: each.name)
@pytest.mark.parametrize("mode", MODES)
def test_other_architectures_are_killed_in_every_mode(architecture: Architecture, mode: str) -> None:
    everything = policy(architecture=architecture, mode=mode, default=ALLOW, unknown=ALLOW)
    assert decide(everything, 0) == ALLOWED
    for token in {0x40000003, 0x40000028, 0xC000003E, 0xC00000B7, 0xC00000B6} - {architecture.audit_token}:
        assert decide(everything, 0, token=token) == KILLED


@pytest.mark.parametrize("mode", MODES)
def test_x32_numbers_are_killed_on_x86_64_only(mode: str) -> None:
    everything = policy(mode=mode, default=ALLOW, unknown=ALLOW)
    for number in (X32_BIT, X32_BIT | 59, X32_BIT | 512, (1 << 32) - 1):
        assert decide(everything, number) == KILLED
        assert decide(replace(everything, architecture=AARCH64), number) == ALLOWED
    assert decide(everything, X32_BIT - 1) == ALLOWED


@pytest.mark.parametrize("architecture", [X86_64, AARCH64], ids=lambda each: each.name)
@pytest.mark.parametrize("mode", MODES)
def test_the_free_exec_goes_to_the_monitor_and_no_other(architecture: Architecture, mode: str) -> None:
    closed = policy(architecture=architecture, mode=mode)
    refused = KILLED if mode == "enforce" else 0x7FF00002
    assert decide(closed, "execveat", 0, 0, 0, 0, 0, FREE_EXEC_COOKIE) == 0x7FF00001
    assert decide(closed, "execveat", 0, 0, 0, 0, 0, FREE_EXEC_COOKIE & 0xFFFFFFFF) == refused
    assert decide(closed, "execveat", 0, 0, 0, 0, 0, FREE_EXEC_COOKIE ^ 1 << 63) == refused
    assert decide(closed, "execveat", FREE_EXEC_COOKIE) == refused
    assert decide(closed, "execve", 0, 0, 0, 0, 0, FREE_EXEC_COOKIE) == refused
    opened = policy(rule("execveat", ALLOW, architecture=architecture), architecture=architecture, mode=mode)
    assert decide(opened, "execveat", 0, 0, 0, 0, 0, FREE_EXEC_COOKIE) == 0x7FF00001
    assert decide(opened, "execveat") == ALLOWED


def test_numbers_above_the_table_get_their_own_answer() -> None:
    compatible = policy(rule("read", ALLOW), unknown=Action(Kind.ERRNO, errno=38))
    highest = max(X86_64.names)
    assert decide(compatible, highest) == KILLED
    # Nobody knows what such a call does: no mode lets it happen.
    assert decide(policy(mode="permissive"), highest + 1) == 0x7FF00004
    assert decide(policy(mode="permissive"), highest) == decide(policy(mode="refuse"), highest + 1) == 0x7FF00002
    assert decide(compatible, highest + 1) == 0x00050000 | 38
    assert decide(compatible, 9999) == 0x00050000 | 38
    assert decide(compatible, X32_BIT | 9999) == KILLED


# --- what a program looks like ---


def test_the_same_policy_gives_the_same_bytes() -> None:
    again = replace(CHECKED, rules=tuple(replace(each) for each in CHECKED.rules))
    assert compile(again) == compile(CHECKED)


def test_equal_leaves_and_neighbouring_numbers_are_merged() -> None:
    names = [X86_64.names[number] for number in range(40)]
    merged = compile_instructions(policy(*(rule(name, ALLOW) for name in names)))
    fewer = compile_instructions(policy(*(rule(name, ALLOW) for name in names[:2])))
    assert len(merged) == len(fewer)
    returns = [instruction.k for instruction in merged if instruction.code == RET_K]
    assert sorted(returns) == sorted(set(returns))


def test_the_path_to_a_call_is_short() -> None:
    # Every second call: no two numbers can be merged.
    names = [X86_64.names[number] for number in range(0, 330, 2) if X86_64.names[number] != "execveat"]
    program = Interpreter(compile(policy(*(rule(name, ALLOW) for name in names))))
    longest = max(program.count(SeccompData(number, X86_64.audit_token)) for number in range(400))
    assert longest <= 16


def test_calls_without_conditions_are_decided_by_number_alone() -> None:
    # The kernel then answers from its cache and does not run the program.
    program = Interpreter(compile(CHECKED))
    for number in range(max(X86_64.names) + 2):
        rules = CHECKED.by_number.get(number, ())
        conditional = number == X86_64.number("execveat") or any(each.conditions for each in rules)
        assert (program.run_number(number, X86_64.audit_token) is None) == conditional


def test_an_argument_is_loaded_once_for_several_tests() -> None:
    requests = [rule("ioctl", ALLOW, condition(1, 32, Op.EQUAL, 0x5400 + 2 * index)) for index in range(20)]
    loads = [each for each in compile_instructions(policy(*requests)) if each == Instruction(LOAD_WORD, k=16 + 8)]
    assert len(loads) == 1


def test_bits_of_several_rules_with_the_same_answer_are_tested_at_once() -> None:
    flags = [rule("clone", KILL, condition(0, 32, Op.MASKED, 1 << bit, mask=1 << bit)) for bit in range(20, 30)]
    program = compile_instructions(policy(*flags, rule("clone", ALLOW)))
    tests = [each.k for each in program if each.code == JMP | JSET]
    assert tests == [X32_BIT, 0x3FF00000]


def test_narrow_arguments_are_masked() -> None:
    program = compile_instructions(policy(rule("chmod", ALLOW, condition(1, 16, Op.ONE_OF, 0o644, 0o755))))
    assert [each for each in program if each.code == ALU | AND] == [Instruction(ALU | AND, k=0xFFFF)]


def test_rules_that_are_never_reached_cost_nothing() -> None:
    first = rule("ioctl", ALLOW, condition(1, 32, Op.LESS, 10), condition(0, 32, Op.GREATER, 2))
    again = rule("ioctl", KILL, *first.conditions[::-1])
    assert compile(policy(first, again)) == compile(policy(first))
    assert compile(policy(rule("read", ALLOW), rule("read", KILL))) == compile(policy(rule("read", ALLOW)))


# --- long programs ---


def _long_policy(rules: int, actions: int = 40) -> ResolvedPolicy:
    """Many rules that share nothing: each compares other 64-bit values and has one of many actions."""
    made = []
    for index, number in zip(range(1, rules + 1), itertools.cycle(range(100)), strict=False):
        name = X86_64.names[number]
        pinned = condition(index % 6, 64, Op.EQUAL, (index << 33) + index)
        bounded = condition((index + 1) % 6, 64, Op.LESS, (index << 32) + 7 * index + 1)
        made.append(rule(name, Action(Kind.ERRNO, errno=1 + index % actions), pinned, bounded))
    return policy(*made)


@pytest.mark.parametrize("rules", [60, 150, 400])
def test_jumps_beyond_255_instructions(rules: int) -> None:
    resolved = _long_policy(rules)
    instructions = compile_instructions(resolved)
    assert len(instructions) > 4 * rules
    if rules > 100:
        assert any(each.code == JMP | JA for each in instructions)
    assert check_program(resolved, encode(instructions)) > 1000
    program = Interpreter(encode(instructions))
    for each in resolved.rules:
        matching = [0] * 6
        matching[each.conditions[0].argument] = each.conditions[0].values[0]
        actual = program.run(SeccompData(each.number, X86_64.audit_token, tuple(matching)))
        assert actual == 0x00050000 | each.action.errno


def test_a_chain_on_one_call_longer_than_any_jump() -> None:
    values = [rule("ioctl", ALLOW, condition(1, 32, Op.EQUAL, 2 * index)) for index in range(1500)]
    resolved = policy(*values, rule("ioctl", Action(Kind.ERRNO, errno=1)), rule("openat", ALLOW))
    program = Interpreter(compile(resolved))
    for request, expected in [(0, ALLOWED), (2 * 1499, ALLOWED), (3001, 0x50001), (3000, 0x50001), (1001, 0x50001)]:
        data = SeccompData(X86_64.number("ioctl"), X86_64.audit_token, (0, request))
        assert program.run(data) == expected
    assert program.run(SeccompData(X86_64.number("openat"), X86_64.audit_token)) == ALLOWED


def test_the_limit_of_the_kernel_is_an_error_that_names_the_call() -> None:
    fits = policy(rule("ioctl", ALLOW, condition(1, 32, Op.ONE_OF, *range(0, 8000, 2))))
    assert 4000 < len(compile_instructions(fits)) <= 4096
    longer = policy(rule("ioctl", ALLOW, condition(1, 32, Op.ONE_OF, *range(0, 8400, 2))))
    with pytest.raises(PolicyError, match=r"at most 4096.*ioctl has 4200"):
        compile(longer)
