"""The fixed filter of init, run in the interpreter for both architectures."""

from __future__ import annotations

import pytest

from stockade.kernel.architectures import AARCH64, I386, X32_BIT, X86_64, Architecture
from stockade.policy.bpf.instructions import decode
from stockade.policy.bpf.interpreter import SeccompData, run
from stockade.policy.bpf.validate import validate
from stockade.sandboxee.init_filter import init_filter

ALLOWED = {
    "rt_sigtimedwait",
    "wait4",
    "kill",
    "exit_group",
    "close",
    "rt_sigreturn",
    "brk",
    "munmap",
    "mremap",
    "futex",
}
ALLOW, KILL_PROCESS = 0x7FFF0000, 0x80000000
BOTH = pytest.mark.parametrize("architecture", [X86_64, AARCH64], ids=lambda architecture: architecture.name)


@BOTH
def test_it_is_a_program_that_the_kernel_takes(architecture: Architecture) -> None:
    validate(decode(init_filter(architecture.name)))


@BOTH
def test_it_allows_what_init_does_and_nothing_else(architecture: Architecture) -> None:
    program = init_filter(architecture.name)
    for name, number in architecture.syscalls.items():
        expected = ALLOW if name in ALLOWED | {"mmap"} else KILL_PROCESS
        assert run(program, SeccompData(number, architecture.audit_token)) == expected, name
    for number in (9999, 0xFFFFFFFF, 0x7FFFFFFF):
        assert run(program, SeccompData(number, architecture.audit_token)) == KILL_PROCESS


@BOTH
def test_nothing_becomes_executable(architecture: Architecture) -> None:
    program = init_filter(architecture.name)
    number = architecture.number("mmap")
    for protection in range(16):
        data = SeccompData(number, architecture.audit_token, args=(0, 4096, protection, 0x22, 0, 0))
        assert run(program, data) == (KILL_PROCESS if protection & 4 else ALLOW)


@BOTH
def test_no_other_entry_of_the_kernel_counts(architecture: Architecture) -> None:
    program = init_filter(architecture.name)
    for other in (X86_64, AARCH64, I386):
        if other is not architecture:
            for number in range(512):
                assert run(program, SeccompData(number, other.audit_token)) == KILL_PROCESS
    if architecture is X86_64:
        for number in architecture.syscalls.values():
            assert run(program, SeccompData(number | X32_BIT, X86_64.audit_token)) == KILL_PROCESS


@BOTH
def test_an_init_that_reports_may_write_to_its_pipe_alone(architecture: Architecture) -> None:
    program = init_filter(architecture.name, 9)
    validate(decode(program))
    for name, number in architecture.syscalls.items():
        if name != "write":
            expected = ALLOW if name in ALLOWED | {"mmap"} else KILL_PROCESS
            for args in ((0,) * 6, (9,) * 6):
                if name != "mmap" or args[2] & 4 == 0:
                    assert run(program, SeccompData(number, architecture.audit_token, args)) == expected, name
    writing = architecture.number("write")
    for descriptor, expected in (
        (9, ALLOW),
        (8, KILL_PROCESS),
        (10, KILL_PROCESS),
        (0, KILL_PROCESS),
        (1, KILL_PROCESS),
    ):
        data = SeccompData(writing, architecture.audit_token, (descriptor, 4096, 1, 0, 0, 0))
        assert run(program, data) == expected
    number = architecture.number("mmap")
    for protection in range(16):
        data = SeccompData(number, architecture.audit_token, args=(9, 4096, protection, 0x22, 0, 0))
        assert run(program, data) == (KILL_PROCESS if protection & 4 else ALLOW)
