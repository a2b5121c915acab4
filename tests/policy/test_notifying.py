"""The form of a filter that notifies: the same decisions, with kills and traces turned into notifications."""

from __future__ import annotations

import pytest
from hypothesis import given

from policy.bpf_strategies import policies
from stockade import Executor, Policy, PolicyBuilder, PolicyError
from stockade.kernel.seccomp_constants import (
    SECCOMP_RET_ACTION_FULL,
    SECCOMP_RET_ALLOW,
    SECCOMP_RET_KILL_PROCESS,
    SECCOMP_RET_TRACE,
    SECCOMP_RET_USER_NOTIF,
)
from stockade.policy.bpf.compile import compile
from stockade.policy.bpf.instructions import (
    ALU,
    DIV,
    LOAD_WORD,
    MISC,
    RET_A,
    RET_K,
    TAX,
    Instruction,
    X,
    encode,
    low_word,
)
from stockade.policy.bpf.interpreter import Interpreter, SeccompData
from stockade.policy.bpf.notify import notifying
from stockade.policy.rules import ResolvedPolicy
from stockade.policy.selfcheck import cases


@given(policies())
def test_it_decides_as_the_original_does(policy: ResolvedPolicy) -> None:
    program = compile(policy)
    exchanged = notifying(program)
    assert len(exchanged) == len(program)
    original, other = Interpreter(program), Interpreter(exchanged)
    for number, token, registers in cases(policy):
        data = SeccompData(number, token, registers)
        value = original.run(data)
        notified = value & SECCOMP_RET_ACTION_FULL in (SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_TRACE)
        assert other.run(data) == (SECCOMP_RET_USER_NOTIF if notified else value)


def with_raw_filter(*instructions: Instruction) -> Policy:
    message = PolicyBuilder().allow_static_startup().allow_syscall("getppid").build().message
    message.syscalls.raw_filters.add(syscall=["getppid"], architecture="x86_64", program=encode(instructions))
    return Policy.from_message(message)


def test_a_filter_whose_end_cannot_be_exchanged_is_refused() -> None:
    """A division by a register that is 0 ends a program with a kill of the thread, which nobody would be told."""
    load, end = Instruction(LOAD_WORD, k=low_word(0)), Instruction(RET_K, k=SECCOMP_RET_ALLOW)
    by_register = with_raw_filter(load, Instruction(MISC | TAX), Instruction(ALU | DIV | X), end)
    by_constant = with_raw_filter(load, Instruction(ALU | DIV, k=4), end)
    with pytest.raises(PolicyError, match="divides by the register"):
        Executor(by_register, monitor="unotify")
    assert Executor(by_constant, monitor="unotify").monitor == "unotify"
    assert Executor(by_register).monitor == "ptrace"


def test_what_no_compiler_of_ours_makes_is_refused() -> None:
    for instruction in (Instruction(RET_A), Instruction(RET_K, k=0x7FFC0000), Instruction(RET_K, k=0x12340000)):
        with pytest.raises(PolicyError, match="the filter returns"):
            notifying(encode([instruction]))
