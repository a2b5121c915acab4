"""ptrace(2): the requests that a monitor of seized, seccomp-filtered tasks needs, for x86_64.

python-ptrace knows none of SEIZE, INTERRUPT, LISTEN, GET_SYSCALL_INFO, and its message buffer is too small for
GETEVENTMSG, so the requests are bound here; its names and prototypes are used for decoding instead.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import resource

from stockade.kernel.calls import Address, Long, system_call

PTRACE_CONT = 7
PTRACE_DETACH = 17
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

# Signals whose siginfo_t has an address when the kernel raises them: ILL, TRAP, BUS, FPE, SEGV, SYS.
FAULT_SIGNALS = frozenset((4, 5, 7, 8, 11, 31))
SIGCHLD = 17
# si_code: USER, QUEUE, TIMER, MESGQ, ASYNCIO, TKILL
SI_USER = 0
CODES_WITH_SENDER = frozenset((SI_USER, -1, -3, -6))
CODES_WITH_VALUE = frozenset((-1, -2, -3, -4))

_NT_PRSTATUS = 1

_ptrace = system_call("ptrace", Long, Long, Address, Address)
# The same without a wrapper around it, for what is done at each single event.
_raw_ptrace = ctypes.PyDLL(None, use_errno=True).ptrace
_raw_ptrace.argtypes, _raw_ptrace.restype = (Long, Long, Address, Address), Long
# The first of these blocks, and so lets other threads run meanwhile. The other never does, and keeps the interpreter's
# lock: to take it again costs up to the switch interval of the interpreter beside a thread that computes.
_blocking_wait4 = ctypes.CDLL(None, use_errno=True).wait4
_quick_wait4 = ctypes.PyDLL(None, use_errno=True).wait4
for _function in (_blocking_wait4, _quick_wait4):
    _function.argtypes = (ctypes.c_int, Address, ctypes.c_int, Address)
_MICROSECOND = 1e-6


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
    """What siginfo_t says of the signal behind a signal-delivery stop. Source: sigaction(2).

    `sender` is the pid as the receiver's namespace numbers it. What a signal does not come with is 0.
    """

    __slots__ = ("address", "code", "sender", "signo", "value")

    def __init__(self, raw: bytes) -> None:
        self.signo = int.from_bytes(raw[0:4], "little", signed=True)
        self.code = int.from_bytes(raw[8:12], "little", signed=True)
        is_fault = self.code > SI_USER and self.signo in FAULT_SIGNALS
        self.address = int.from_bytes(raw[16:24], "little") if is_fault else 0
        has_sender = self.code in CODES_WITH_SENDER or (self.code > SI_USER and self.signo == SIGCHLD)
        self.sender = int.from_bytes(raw[16:20], "little") if has_sender else 0
        self.value = int.from_bytes(raw[24:32], "little") if self.code in CODES_WITH_VALUE else 0


# Pid, wait status, and what a task that has ended has used.
Event = tuple[int, int, resource.struct_rusage | None]
# The lowest byte of a wait status that tells of a stop.
_STOPPED = 0x7F


class Waiter:
    """wait4(2) for any child or tracee of the calling thread, which a signal may end. One thread at a time.

    `os.wait4` would go on waiting after a signal (PEP 475).
    """

    __slots__ = ("_quick", "_status", "_usage", "_wait")

    def __init__(self, options: int) -> None:
        self._status = ctypes.c_int()
        # struct rusage: two times of seconds and microseconds, then 14 counts.
        self._usage = (ctypes.c_long * 18)()
        status, usage = ctypes.addressof(self._status), ctypes.addressof(self._usage)
        self._wait = functools.partial(_blocking_wait4, -1, status, options, usage)
        self._quick = functools.partial(_quick_wait4, -1, status, options | os.WNOHANG, usage)

    def wait(self) -> Event | None:
        """Pid, wait status, and, for a task that has ended, what it used; None when a signal came.

        ChildProcessError: there is nothing to wait for.
        """
        pid: int = self._wait()
        if pid > 0:
            return self._event(pid)
        if (error := ctypes.get_errno()) == errno.EINTR:
            return None
        raise OSError(error, f"wait4: {os.strerror(error)}")

    def look(self) -> Event | None:
        """As `wait`, but only for what is there already; None when nothing is."""
        pid: int = self._quick()
        return self._event(pid) if pid > 0 else None

    def _event(self, pid: int) -> Event:
        status = self._status.value
        return pid, status, None if status & 0xFF == _STOPPED else self._rusage()

    def _rusage(self) -> resource.struct_rusage:
        user, user_fraction, system, system_fraction, *counts = self._usage
        times = user + user_fraction * _MICROSECOND, system + system_fraction * _MICROSECOND
        return resource.struct_rusage((*times, *counts))


def _raise_failure() -> None:
    error = ctypes.get_errno()
    raise OSError(error, f"ptrace: {os.strerror(error)}")


def seize(pid: int, options: int) -> None:
    """PTRACE_SEIZE: become the tracer of `pid` without stopping it. EPERM: it may not be traced, ESRCH: it is gone."""
    _ptrace(PTRACE_SEIZE, pid, None, options)


def resume(pid: int, signo: int = 0, request: int = PTRACE_CONT) -> None:
    """PTRACE_CONT, PTRACE_SYSCALL, PTRACE_LISTEN, PTRACE_DETACH. ESRCH when it was killed while it was stopped."""
    if _raw_ptrace(request, pid, None, signo) == -1:
        _raise_failure()


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
    if _raw_ptrace(PTRACE_GET_SYSCALL_INFO, pid, _SYSCALL_INFO_SIZE, ctypes.addressof(info)) == -1:
        _raise_failure()
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
