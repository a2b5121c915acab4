"""Calls through another ABI than the machine's own are violations named as such, in every mode."""

from __future__ import annotations

from pathlib import Path

import pytest

from stockade import Executor, Status, Violation
from support.compiler import CCompiler
from support.runs import everything_builder, file_offset_of, main_program

# Number 20 is getpid of i386 and writev of x86_64.
INT80 = """
long back;
__asm__ volatile("mov $20,%%eax\\n mov $0x11,%%ebx\\n mov $0x22,%%ecx\\n"
    "int $0x80\\n .globl after_int80\\nafter_int80:\\n"
    : "=a"(back) : : "rbx", "rcx", "r8", "r9", "r10", "r11", "memory");
say(back > 0 ? "made it" : "failed");
"""
X32 = 'say(raw(0x40000000 + 39, 1, 2, 3, 4, 5, 6) > 0 ? "made it" : "failed");'


@pytest.mark.parametrize("mode", ["enforce", "refuse", "permissive"])
def test_int_0x80(compile_c: CCompiler, mode: str) -> None:
    program = main_program(compile_c, INT80)
    result = Executor(everything_builder(program).build(), mode=mode).run([program])
    assert result.status is Status.VIOLATION
    assert result.stdout == b""
    (violation,) = result.violations
    assert violation.kind == Violation.ARCHITECTURE
    assert (violation.architecture, violation.syscall, violation.number) == ("i386", "getpid", 20)
    assert list(violation.raw_arguments)[:2] == [0x11, 0x22]
    assert violation.module == str(program)
    assert violation.module_offset == file_offset_of(program, "after_int80")
    assert "i386" in violation.summary
    assert "64-bit" in violation.patch.refused_because
    assert not violation.patch.builder_call
    assert result.reason.violation == Violation.ARCHITECTURE


@pytest.mark.parametrize("mode", ["enforce", "refuse", "permissive"])
def test_x32(compile_c: CCompiler, mode: str) -> None:
    program = main_program(compile_c, X32)
    result = Executor(everything_builder(program).build(), mode=mode).run([program])
    assert (result.status, result.stdout) == (Status.VIOLATION, b"")
    (violation,) = result.violations
    assert violation.kind == Violation.ARCHITECTURE
    assert (violation.architecture, violation.syscall) == ("x32", "getpid")
    assert list(violation.raw_arguments) == [1, 2, 3, 4, 5, 6]
    assert violation.patch.refused_because
    assert not violation.patch.builder_call


def test_the_same_call_through_the_own_abi_runs(compile_c: CCompiler) -> None:
    program = main_program(compile_c, X32.replace("0x40000000 + ", ""))
    result = Executor(everything_builder(program).build()).run([program])
    assert (result.status, result.stdout) == (Status.OK, b"made it")


def test_int_0x80_works_outside_of_the_box(compile_c: CCompiler) -> None:
    """Positive control: it is the policy, not the kernel, that refuses."""
    import subprocess

    program: Path = main_program(compile_c, INT80)
    assert subprocess.run([program], capture_output=True, check=True).stdout == b"made it"


def test_a_child_that_goes_foreign_ends_the_run(compile_c: CCompiler) -> None:
    program = main_program(compile_c, f"if (fork()) {{ wait(0); pause(); }} {INT80}")
    result = Executor(everything_builder(program).build()).run([program])
    assert (result.status, result.stdout) == (Status.VIOLATION, b"")
    assert result.violations[0].kind == Violation.ARCHITECTURE
    assert result.violations[0].pid != result.pid
