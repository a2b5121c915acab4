"""A second opinion on our programs: libseccomp's, on the subset in which it was never seen wrong.

That is rules of one answer for each call, with == and masked == in 64 bits. For anything else its programs can be
weaker than what was asked for, which is why the compiler is ours.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

import pyseccomp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.bpf_strategies import ALLOW, BOUNDARIES, REGISTER, condition, policy, rule
from policy.policy_strategies import policies as messages
from stockade import PolicyBuilder, arg
from stockade._proto import policy_pb2
from stockade.errors import UnsupportedError
from stockade.kernel.architectures import AARCH64, X32_BIT, X86_64, Architecture
from stockade.policy import profiles
from stockade.policy.bpf.compile import compile
from stockade.policy.bpf.interpreter import Interpreter, SeccompData
from stockade.policy.policy import Policy
from stockade.policy.rules import MODES, Action, Kind, Op, ResolvedCondition, ResolvedRule
from stockade.policy.second_opinion import compare, to_pfc

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


# --- what `stockade policy check` asks ---


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
@pytest.mark.parametrize("name", profiles.names())
def test_it_agrees_on_ready_made_policies(name: str, architecture: str) -> None:
    opinion = compare(Policy.profile(name), architecture)
    assert opinion.agrees, [str(each) for each in opinion.differences]
    assert opinion.architecture == architecture
    # Most calls of every policy can be compared; each of the others has its reason.
    assert len(opinion.compared) > 30
    assert opinion.by_default + len(opinion.compared) > 5 * len(opinion.left_out)
    assert not {each.syscall for each in opinion.left_out} & set(opinion.compared)
    assert opinion.cases > 500


@settings(max_examples=25)
@given(messages(), st.sampled_from(["x86_64", "aarch64"]), st.sampled_from(MODES))
def test_it_agrees_on_random_policies(message: policy_pb2.Policy, architecture: str, mode: str) -> None:
    opinion = compare(Policy.from_message(message), architecture, mode)
    assert opinion.agrees, [str(each) for each in opinion.differences]


def with_reasons() -> Policy:
    builder = PolicyBuilder().allow_syscall("read").allow_syscall("ioctl", arg(1) == "TCGETS")
    builder.allow_syscall("lseek", arg(2).one_of(0, 1, 2)).allow_syscall("futex", arg(1).masked(0x7F, 1), arg(0) == 0)
    builder.allow_syscall("fchmod", arg(1) == 0o600).allow_syscall("dup").block_syscall_with_errno("dup2", "EPERM")
    builder.allow_syscall("fcntl", arg(1) < 5).allow_syscall("kill", arg(1) != 9)
    builder.allow_syscall("getpriority", arg(0) == 1).block_syscall_with_errno("getpriority", "EPERM")
    builder.allow_syscall("munlockall").allow_syscall("mseal").kill_syscall("getpgid", arg(0) == 7)
    builder.allow_syscall("mlock2", arg(2).masked(1, 1), arg(2).masked(6, 2))
    builder.allow_syscall("socket", arg(0).one_of(*range(20)), arg(1).one_of(*range(20)))
    return builder.build()


def test_each_call_that_is_left_out_has_its_reason() -> None:
    opinion = compare(with_reasons(), "x86_64")
    reasons = {each.syscall: each.reason for each in opinion.left_out}
    assert "order of rules" in reasons["getpriority"]
    assert "not relied on" in reasons["fcntl"]
    assert "not relied on" in reasons["kill"]
    assert "does not know it" in reasons["mseal"]
    assert "two conditions on one argument" in reasons["mlock2"]
    assert "256 combinations" in reasons["socket"]
    assert {"read", "ioctl", "lseek", "futex", "fchmod", "dup", "dup2", "execveat", "ptrace"} <= set(opinion.compared)
    assert opinion.agrees


def test_a_raw_filter_leaves_its_calls_out() -> None:
    message = with_reasons().message
    message.syscalls.raw_filters.add(syscall=["read"], assembly="ret kill")
    opinion = compare(Policy.from_message(message))
    assert {each.syscall: each.reason for each in opinion.left_out}["read"] == "it has a raw filter"
    assert opinion.agrees


class Mistaken:
    """A policy whose program is that of another policy."""

    def __init__(self, meant: Policy, compiled: Policy) -> None:
        self.resolve, self.compile = meant.resolve, compiled.compile


@pytest.mark.parametrize(
    ("call", "change"),
    [
        ("read", PolicyBuilder().block_syscall_with_errno("read", "EPERM")),
        ("ioctl", PolicyBuilder().allow_syscall("ioctl", arg(1) == "TCSETS")),
        ("ioctl", PolicyBuilder().allow_syscall("ioctl")),
        ("futex", PolicyBuilder().allow_syscall("futex", arg(1).masked(0x7F, 1))),
        ("lseek", PolicyBuilder().allow_syscall("lseek", arg(2).one_of(0, 1))),
        ("getppid", PolicyBuilder().allow_syscall("getppid")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_difference_is_shown_with_a_call(call: str, change: PolicyBuilder) -> None:
    meant = with_reasons()
    message = meant.message
    rules = [rule for rule in message.syscalls.rules if list(rule.syscall) != [call]]
    del message.syscalls.rules[:]
    message.syscalls.rules.extend([*rules, *change.build().message.syscalls.rules])
    mistaken = Mistaken(meant, Policy.from_message(message))
    opinion = compare(mistaken)  # type: ignore[arg-type]
    assert not opinion.agrees
    assert {each.syscall for each in opinion.differences} == {call}
    (difference,) = opinion.differences
    data = SeccompData(difference.number, difference.audit_token, difference.registers)
    assert Interpreter(mistaken.compile()).run(data) == difference.ours != difference.theirs
    assert str(difference).startswith(f"{call}(0x")


def test_the_description_names_what_it_leaves_out() -> None:
    text = to_pfc(with_reasons(), "x86_64")
    assert text == to_pfc(with_reasons(), "x86_64")
    assert "# left out: fcntl: libseccomp's < is not relied on\n" in text
    assert '# filter for syscall "read" (0)' in text
    assert '"fcntl"' not in text
    assert "# filter for arch aarch64" in to_pfc(with_reasons(), "aarch64")


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("raise ImportError('no such module')", "pip install pyseccomp"),
        ("raise RuntimeError('Unable to find libseccomp')", "libseccomp2"),
        ("import ctypes; ctypes.CDLL(None).seccomp_nothing", "libseccomp2"),
    ],
)
def test_without_the_library_it_says_how_to_get_it(
    code: str, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyseccomp.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "pyseccomp")
    for ask in (compare, to_pfc):
        with pytest.raises(UnsupportedError, match=remedy):
            ask(with_reasons())
