"""The ptrace requests that a monitor makes, and the layouts that they fill."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from stockade.kernel import ptrace
from support.attacks import run_script

LAYOUT = r"""
#include <linux/ptrace.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/user.h>
#define S(field) printf("info " #field " %zu\n", offsetof(struct ptrace_syscall_info, field))
#define R(field) printf("registers " #field " %zu\n", offsetof(struct user_regs_struct, field))
#define N(name) printf("number " #name " %lu\n", (unsigned long)name)
int main(void) {
    printf("info size %zu\nregisters size %zu\n", sizeof(struct ptrace_syscall_info), sizeof(struct user_regs_struct));
    S(op); S(arch); S(instruction_pointer); S(stack_pointer); S(seccomp.nr); S(seccomp.args); S(seccomp.ret_data);
    R(orig_rax); R(rax); R(rdi); R(rsi); R(rdx); R(r10); R(r8); R(r9); R(rip); R(rsp); R(rbx); R(rcx); R(rbp); R(gs);
    N(PTRACE_CONT); N(PTRACE_SYSCALL); N(PTRACE_SETOPTIONS); N(PTRACE_GETEVENTMSG); N(PTRACE_GETSIGINFO);
    N(PTRACE_GETREGSET); N(PTRACE_SETREGSET); N(PTRACE_SEIZE); N(PTRACE_INTERRUPT); N(PTRACE_LISTEN);
    N(PTRACE_GET_SYSCALL_INFO); N(PTRACE_O_TRACESYSGOOD); N(PTRACE_O_TRACEFORK); N(PTRACE_O_TRACEVFORK);
    N(PTRACE_O_TRACECLONE); N(PTRACE_O_TRACEEXEC); N(PTRACE_O_TRACEEXIT); N(PTRACE_O_TRACESECCOMP);
    N(PTRACE_O_EXITKILL); N(PTRACE_EVENT_FORK); N(PTRACE_EVENT_VFORK); N(PTRACE_EVENT_CLONE); N(PTRACE_EVENT_EXEC);
    N(PTRACE_EVENT_EXIT); N(PTRACE_EVENT_SECCOMP); N(PTRACE_EVENT_STOP); N(PTRACE_SYSCALL_INFO_SECCOMP);
    return 0;
}
"""
NAMES = {"seccomp.nr": "number", "seccomp.args": "arguments", "seccomp.ret_data": "ret_data"}


def test_layouts_and_numbers_are_those_of_the_headers(compile_c: Callable[..., Path]) -> None:
    said = subprocess.run([compile_c(LAYOUT, name="layout")], capture_output=True, text=True, check=True).stdout
    structures = {"info": ptrace.SyscallInfo, "registers": ptrace.Registers}
    compared = 0
    for line in said.splitlines():
        kind, name, value = line.split()
        if kind == "number":
            found = getattr(ptrace, name, None)
        elif name == "size":
            found = ctypes.sizeof(structures[kind])
        else:
            found = getattr(structures[kind], NAMES.get(name, name)).offset
        if found is not None:
            assert found == int(value), line
            compared += 1
    assert compared > 40


TRACE = """
import os, signal
from stockade.kernel import process, ptrace, seccomp
from stockade.kernel.architectures import native
import struct

def wait(pid):
    return os.wait4(pid, ptrace.WALL)[1]

number = native().number("getppid")
TRACED = b"".join(struct.pack("<HBBI", *each) for each in (
    (0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x7FF00000 | 0x123), (0x06, 0, 0, 0x7FFF0000)))
gate, open_gate = os.pipe()
pid = os.fork()
if pid == 0:
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    call = libc.syscall
    call.restype = ctypes.c_long
    os.read(gate, 1)
    process.set_no_new_privs()
    seccomp.install_filter(TRACED)
    first = call(number, *map(ctypes.c_long, (11, 22, 33, 44, 55, 66)))
    second = call(number)
    os._exit(10 * (first == 1234) + (second == -1 and ctypes.get_errno() == 7))
ptrace.seize(pid, ptrace.PTRACE_O_TRACESECCOMP | ptrace.PTRACE_O_TRACEEXIT | ptrace.PTRACE_O_EXITKILL)
os.write(open_gate, b"x")
status = wait(pid)
assert status >> 16 == ptrace.PTRACE_EVENT_SECCOMP, hex(status)
info = ptrace.syscall_info(pid)
assert (info.op, info.arch, info.number, info.ret_data) == (3, native().audit_token, number, 0x123)
assert tuple(info.arguments) == (11, 22, 33, 44, 55, 66)
registers = ptrace.get_registers(pid)
assert (registers.orig_rax, registers.rdi, registers.r9) == (number, 11, 66)
assert (info.instruction_pointer, info.stack_pointer) == (registers.rip, registers.rsp)
assert ptrace.event_message(pid) == 0x123
ptrace.answer_syscall(pid, 1234)
ptrace.resume(pid)
assert wait(pid) >> 16 == ptrace.PTRACE_EVENT_SECCOMP
ptrace.answer_syscall(pid, -7)
ptrace.resume(pid)
status = wait(pid)
assert status >> 16 == ptrace.PTRACE_EVENT_EXIT
assert ptrace.event_message(pid) == 11 << 8
ptrace.resume(pid)
assert os.WEXITSTATUS(wait(pid)) == 11
print("fine")
"""


def test_a_traced_call_is_seen_and_answered() -> None:
    assert run_script(TRACE).stdout == "fine\n"


INTERRUPTED = """
import os, signal
from stockade.kernel import ptrace
pid = os.fork()
if pid == 0:
    while True:
        signal.pause()
ptrace.seize(pid, ptrace.PTRACE_O_EXITKILL)
ptrace.interrupt(pid)
status = os.wait4(pid, ptrace.WALL)[1]
assert status >> 16 == ptrace.PTRACE_EVENT_STOP and os.WSTOPSIG(status) == signal.SIGTRAP
ptrace.resume(pid)
os.kill(pid, signal.SIGUSR1)
status = os.wait4(pid, ptrace.WALL)[1]
info = ptrace.signal_info(pid)
assert (os.WSTOPSIG(status), status >> 16) == (signal.SIGUSR1, 0)
assert (info.signo, info.code) == (signal.SIGUSR1, 0)
ptrace.resume(pid, signal.SIGKILL)
assert os.WTERMSIG(os.wait4(pid, ptrace.WALL)[1]) == signal.SIGKILL
print("fine")
"""


def test_a_running_task_is_interrupted_and_its_signals_are_seen() -> None:
    assert run_script(INTERRUPTED).stdout == "fine\n"


def test_a_process_that_is_gone_or_not_ours_is_an_error() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    with pytest.raises(ProcessLookupError, match="ptrace"):
        ptrace.seize(child, 0)
    with pytest.raises(ProcessLookupError, match="ptrace"):
        ptrace.resume(os.getppid())
    with pytest.raises(OSError, match="ptrace") as caught:
        ptrace.seize(os.getpid(), 0)
    assert caught.value.errno == errno.EPERM
