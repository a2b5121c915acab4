"""The fixed filter of init: what a pid 1 that reaps and forwards signals needs, and nothing else."""

from __future__ import annotations

import os
import struct

from stockade.kernel.seccomp_constants import SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_PROCESS

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# Waiting, reaping, forwarding, leaving; then what the interpreter's allocator and locks use.
_NAMES = ("rt_sigtimedwait", "wait4", "kill", "exit_group", "close", "rt_sigreturn", "brk", "munmap", "mremap", "futex")
_NUMBERS = {
    "x86_64": (128, 61, 62, 231, 3, 15, 12, 11, 25, 202),
    "aarch64": (137, 260, 129, 94, 57, 139, 214, 215, 216, 98),
}
_MMAP = {"x86_64": 9, "aarch64": 222}
_WRITE = {"x86_64": 1, "aarch64": 64}
PROT_EXEC = 4

_LOAD_NUMBER, _LOAD_ARCH, _LOAD_DESCRIPTOR, _LOAD_PROT = 0, 4, 16, 16 + 2 * 8
_LD_W_ABS, _JEQ_K, _JSET_K, _RET_K = 0x20, 0x15, 0x45, 0x06


def _instruction(code: int, k: int, jump_true: int = 0, jump_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, jump_true, jump_false, k)


def init_filter(machine: str = "", report: int = -1) -> bytes:
    """struct sock_filter array for `machine` (this one by default). Everything else kills init, and so the box.

    `report` is the one descriptor to which init may write, -1 for none.
    """
    machine = machine or os.uname().machine
    numbers = _NUMBERS[machine]
    assert len(numbers) == len(_NAMES)
    count = len(numbers)
    program = [
        _instruction(_LD_W_ABS, _LOAD_ARCH),
        _instruction(_JEQ_K, AUDIT_ARCH[machine], 1, 0),
        _instruction(_RET_K, SECCOMP_RET_KILL_PROCESS),
        _instruction(_LD_W_ABS, _LOAD_NUMBER),
    ]
    writing = [] if report < 0 else _only_to(machine, report)
    # Distance from each comparison to the final ALLOW: the rest of the list, and the instructions about write and mmap.
    end = count + len(writing) + 3
    program += [_instruction(_JEQ_K, number, end - index, 0) for index, number in enumerate(numbers)]
    program += [
        *writing,
        _instruction(_JEQ_K, _MMAP[machine], 0, 2),
        _instruction(_LD_W_ABS, _LOAD_PROT),
        _instruction(_JSET_K, PROT_EXEC, 0, 1),
        _instruction(_RET_K, SECCOMP_RET_KILL_PROCESS),
        _instruction(_RET_K, SECCOMP_RET_ALLOW),
    ]
    return b"".join(program)


def _only_to(machine: str, descriptor: int) -> list[bytes]:
    """The instructions that decide about write(2), and leave any other call to those that follow."""
    return [
        _instruction(_JEQ_K, _WRITE[machine], 0, 4),
        _instruction(_LD_W_ABS, _LOAD_DESCRIPTOR),
        _instruction(_JEQ_K, descriptor, 0, 1),
        _instruction(_RET_K, SECCOMP_RET_ALLOW),
        _instruction(_RET_K, SECCOMP_RET_KILL_PROCESS),
    ]
