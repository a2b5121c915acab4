"""ptrace(2): the requests that a monitor of seized, seccomp-filtered tasks needs, for x86_64.

python-ptrace knows none of SEIZE, INTERRUPT, LISTEN, GET_SYSCALL_INFO, and its message buffer is too small for
GETEVENTMSG, so the requests are bound here; its names and prototypes are used for decoding instead.
"""

from __future__ import annotations

import ctypes

from stockade.kernel.calls import Address, Long, system_call

PTRACE_CONT = 7
PTRACE_SYSCALL = 24
PTRACE_SETOPTIONS = 0x4200
PTRACE_GETEVENTMSG = 0x4201
PTRACE_GETSIGINFO = 0x4202
PTRACE_GETREGSET = 0x4204
PTRACE_SETREGSET = 0x4205
PTRACE_SEIZE = 0x4206
PTRACE_INTERRUPT = 0x4207
PTRACE_LISTEN = 0x4208
PTRACE_GET_SYSCALL_INFO = 0x420E

PTRACE_O_TRACESYSGOOD = 0x01
PTRACE_O_TRACEFORK = 0x02
PTRACE_O_TRACEVFORK = 0x04
PTRACE_O_TRACECLONE = 0x08
PTRACE_O_TRACEEXEC = 0x10
PTRACE_O_TRACEEXIT = 0x40
PTRACE_O_TRACESECCOMP = 0x80
PTRACE_O_EXITKILL = 0x100000

PTRACE_EVENT_FORK = 1
PTRACE_EVENT_VFORK = 2
PTRACE_EVENT_CLONE = 3
PTRACE_EVENT_EXEC = 4
PTRACE_EVENT_EXIT = 6
PTRACE_EVENT_SECCOMP = 7
PTRACE_EVENT_STOP = 128

PTRACE_SYSCALL_INFO_NONE = 0
PTRACE_SYSCALL_INFO_ENTRY = 1
PTRACE_SYSCALL_INFO_EXIT = 2
PTRACE_SYSCALL_INFO_SECCOMP = 3

WALL = 0x40000000
WNOTHREAD = 0x20000000

_NT_PRSTATUS = 1

_ptrace = system_call("ptrace", Long, Long, Address, Address)


class SyscallInfo(ctypes.Structure):
    """struct ptrace_syscall_info as it stands at a seccomp stop."""

    _fields_ = [
        ("op", ctypes.c_uint8),
        ("padding", ctypes.c_uint8 * 3),
        ("arch", ctypes.c_uint32),
        ("instruction_pointer", ctypes.c_uint64),
        ("stack_pointer", ctypes.c_uint64),
        ("number", ctypes.c_uint64),
        ("arguments", ctypes.c_uint64 * 6),
        ("ret_data", ctypes.c_uint32),
    ]
    op: int
    arch: int
    instruction_pointer: int
    stack_pointer: int
    number: int
    arguments: ctypes.Array[ctypes.c_uint64]
    ret_data: int


class Registers(ctypes.Structure):
    """struct user_regs_struct of x86_64."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            *("r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi"),
            *("orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs"),
        )
    ]
    orig_rax: int
    rax: int
    rdi: int
    rsi: int
    rdx: int
    r10: int
    r8: int
    r9: int
    rbx: int
    rcx: int
    rbp: int
    rip: int
    rsp: int


class SignalInfo:
    """What siginfo_t says of the signal behind a signal-delivery stop."""

    __slots__ = ("address", "code", "signo")

    def __init__(self, raw: bytes) -> None:
        self.signo = int.from_bytes(raw[0:4], "little", signed=True)
        self.code = int.from_bytes(raw[8:12], "little", signed=True)
        self.address = int.from_bytes(raw[16:24], "little")


def seize(pid: int, options: int) -> None:
    """PTRACE_SEIZE: become the tracer of `pid` without stopping it. EPERM: it may not be traced, ESRCH: it is gone."""
    _ptrace(PTRACE_SEIZE, pid, None, options)


def resume(pid: int, signo: int = 0, request: int = PTRACE_CONT) -> None:
    """PTRACE_CONT, PTRACE_SYSCALL or PTRACE_LISTEN. ESRCH when the task was killed while it was stopped."""
    _ptrace(request, pid, None, signo)


def interrupt(pid: int) -> None:
    """PTRACE_INTERRUPT: make a running tracee report a PTRACE_EVENT_STOP."""
    _ptrace(PTRACE_INTERRUPT, pid, None, None)


def event_message(pid: int) -> int:
    """PTRACE_GETEVENTMSG: new pid, former thread id or exit status, by the event."""
    message = ctypes.c_ulong()
    _ptrace(PTRACE_GETEVENTMSG, pid, None, ctypes.addressof(message))
    return message.value


def signal_info(pid: int) -> SignalInfo:
    """PTRACE_GETSIGINFO at a signal-delivery stop."""
    buffer = ctypes.create_string_buffer(128)
    _ptrace(PTRACE_GETSIGINFO, pid, None, ctypes.addressof(buffer))
    return SignalInfo(buffer.raw)


_SYSCALL_INFO_SIZE = ctypes.sizeof(SyscallInfo)


def syscall_info(pid: int) -> SyscallInfo:
    """PTRACE_GET_SYSCALL_INFO: architecture, instruction and stack pointer, and the call at a seccomp stop."""
    info = SyscallInfo()
    _ptrace(PTRACE_GET_SYSCALL_INFO, pid, _SYSCALL_INFO_SIZE, ctypes.addressof(info))
    return info


def _register_vector(registers: Registers) -> ctypes.Array[ctypes.c_uint64]:
    return (ctypes.c_uint64 * 2)(ctypes.addressof(registers), ctypes.sizeof(registers))


def get_registers(pid: int) -> Registers:
    """PTRACE_GETREGSET, general registers."""
    registers = Registers()
    vector = _register_vector(registers)
    _ptrace(PTRACE_GETREGSET, pid, _NT_PRSTATUS, ctypes.addressof(vector))
    return registers


def set_registers(pid: int, registers: Registers) -> None:
    """PTRACE_SETREGSET, general registers."""
    vector = _register_vector(registers)
    _ptrace(PTRACE_SETREGSET, pid, _NT_PRSTATUS, ctypes.addressof(vector))


def answer_syscall(pid: int, value: int) -> None:
    """At a seccomp stop: skip the call and let it return `value` (a negated error number for a failure)."""
    registers = get_registers(pid)
    registers.orig_rax = 0xFFFFFFFFFFFFFFFF
    registers.rax = value & 0xFFFFFFFFFFFFFFFF
    set_registers(pid, registers)
