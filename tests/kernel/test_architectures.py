"""The tables of system calls agree with the kernel's headers, with libseccomp, and with the running kernel."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import importlib
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from stockade.errors import UnsupportedError
from stockade.kernel import architectures
from stockade.kernel.architectures import AARCH64, ARCHITECTURES, I386, X32, X32_BIT, X86_64, Architecture

EXECUTOR = Path(architectures.__file__).parents[2]

HEADERS = {
    "x86_64": "#include <asm/unistd_64.h>",
    "i386": "#include <asm/unistd_32.h>",
    "x32": "#define __X32_SYSCALL_BIT 0x40000000\n#include <asm/unistd_x32.h>",
    # arm64's own header is these five switches and the generic table.
    "aarch64": "#define __ARCH_WANT_RENAMEAT\n#define __ARCH_WANT_NEW_STAT\n#define __ARCH_WANT_SET_GET_RLIMIT\n"
    "#define __ARCH_WANT_SYS_CLONE3\n#define __ARCH_WANT_MEMFD_SECRET\n#include <asm-generic/unistd.h>",
}
# The two names of the generic header that are counts, not calls.
NOT_CALLS = {"syscalls", "arch_specific_syscall"}


def numbers_of_headers(include: str) -> dict[str, int]:
    """Read the numbers that the installed headers give; empty without gcc or without the header."""
    if shutil.which("gcc") is None:
        return {}
    command = ["gcc", "-E", "-dM", "-x", "c", "-"]
    done = subprocess.run(command, input=include, capture_output=True, text=True, check=False)
    macros = dict(re.findall(r"^#define (__\w+) (\(?[\w +]+\)?)$", done.stdout, re.M))

    def number(text: str) -> int:
        parts = [part.strip() for part in text.strip("()").split("+")]
        return sum(number(macros[part]) if part in macros else int(part, 0) for part in parts)

    calls = {name[5:]: text for name, text in macros.items() if name.startswith("__NR_")}
    return {name: number(text) for name, text in calls.items() if name not in NOT_CALLS}


def numbers_of_libseccomp(name: str) -> dict[str, int]:
    """Ask libseccomp for a sample of calls; where a call does not exist it answers with a negative number."""
    pyseccomp = importlib.import_module("pyseccomp")
    architecture = {"x86_64": pyseccomp.Arch.X86_64, "i386": pyseccomp.Arch.X86, "x32": pyseccomp.Arch.X32}.get(
        name, pyseccomp.Arch.AARCH64
    )
    sample = "read write openat close mmap mprotect clone execve ptrace bpf seccomp futex renameat2 statx getrandom"
    return {call: int(pyseccomp.resolve_syscall(architecture, call)) for call in sample.split()}


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_number_of_the_headers_is_in_the_table(name: str) -> None:
    expected = numbers_of_headers(HEADERS[name]) or numbers_of_libseccomp(name)
    assert len(expected) > 10
    table = ARCHITECTURES[name].syscalls
    assert {call: table.get(call) for call in expected} == expected


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_libseccomp_gives_every_name_that_it_knows_the_same_number(name: str) -> None:
    pyseccomp = importlib.import_module("pyseccomp")
    architecture = ARCHITECTURES[name]
    token = {"x32": pyseccomp.Arch.X32}.get(name, architecture.audit_token)
    theirs = {call: pyseccomp.resolve_syscall(token, call) for call in architecture.syscalls}
    known = {call: number for call, number in theirs.items() if number >= 0}
    assert {call: architecture.number(call) for call in known} == known
    # What it does not know is newer than it is; our tables have that.
    assert len(known) > 250
    # And the other way round: each number that it has a name for.
    base = X32_BIT if name == "x32" else 0
    names = {}
    for number in range(base, base + 600):
        with contextlib.suppress(ValueError):
            names[number] = pyseccomp.resolve_syscall(token, number).decode()
    assert {number: architecture.name_of(number) for number in names} == names


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_a_table_maps_one_to_one_in_order(name: str) -> None:
    architecture = ARCHITECTURES[name]
    assert list(architecture.syscalls.values()) == sorted(set(architecture.syscalls.values()))
    assert len(architecture.names) == len(architecture.syscalls)
    assert all(architecture.number(architecture.name_of(number)) == number for number in architecture.names)


def test_the_newest_calls_are_known_everywhere() -> None:
    newest = {"cachestat": 451, "mseal": 462, "open_tree_attr": 467, "file_setattr": 469, "listns": 470}
    for call, number in newest.items():
        assert [each.number(call) & ~X32_BIT for each in ARCHITECTURES.values()] == [number] * 4
    assert (X86_64.number("uretprobe"), X86_64.number("uprobe")) == (335, 336)


def test_the_architectures_agree_from_424_on() -> None:
    tables = [
        {call: number & ~X32_BIT for call, number in each.syscalls.items() if 424 <= number & ~X32_BIT < 512}
        for each in ARCHITECTURES.values()
    ]
    assert tables.count(tables[0]) == len(tables)


def test_lookup_by_name_and_number() -> None:
    assert X86_64.number("openat") == 257
    assert AARCH64.number("openat") == 56
    assert I386.name_of(11) == "execve"
    assert X86_64.name_of(9999) == "syscall_9999"
    with pytest.raises(LookupError, match="aarch64 has no system call named 'open'"):
        AARCH64.number("open")


def test_a_token_gives_the_architecture() -> None:
    assert architectures.by_token(0xC000003E) is X86_64
    assert architectures.by_token(0xC00000B7) is AARCH64
    assert architectures.by_token(0x40000003) is I386
    assert architectures.by_token(0) is None


def test_a_call_with_bit_30_is_x32() -> None:
    assert architectures.of_call(X86_64.audit_token, 59) is X86_64
    assert architectures.of_call(X86_64.audit_token, X32_BIT | 520) is X32
    assert X32.name_of(X32_BIT | 520) == "execve"
    assert X32.name_of(X32_BIT | 1) == "write"
    assert architectures.of_call(AARCH64.audit_token, X32_BIT) is AARCH64
    assert architectures.of_call(7, 0) is None


def test_native_is_what_the_kernel_answers_to() -> None:
    native = architectures.native()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.syscall(ctypes.c_long(native.number("getppid"))) == os.getppid()
    assert libc.syscall(ctypes.c_long(native.number("close")), ctypes.c_long(-1)) == -1
    assert ctypes.get_errno() == errno.EBADF


@pytest.mark.parametrize("machine", ["riscv64", "i686", "armv7l", ""])
def test_native_refuses_other_machines(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine=machine))
    with pytest.raises(UnsupportedError, match=f"uname says '{machine}'"):
        architectures.native()


def test_native_refuses_a_32_bit_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "maxsize", 2**31 - 1)
    with pytest.raises(UnsupportedError, match="32-bit"):
        architectures.native()


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=list(ARCHITECTURES))
def test_pickling_keeps_identity(architecture: Architecture) -> None:
    assert pickle.loads(pickle.dumps(architecture)) is architecture


def test_native_loads_no_table_and_nothing_heavy() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); before = set(sys.modules)\n"
        "from stockade.kernel import architectures; architectures.native()\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code, str(EXECUTOR)], capture_output=True, check=True)
    loaded = done.stdout.decode().split()
    assert not set(loaded) & {"typing", "dataclasses", "enum", "re", "socket", "signal", "subprocess", "importlib"}
    assert not [name for name in loaded if "syscall_numbers" in name]
