"""Processes: clone with namespaces, pidfd, exec, process attributes, descriptors, resource limits."""

from __future__ import annotations

import ctypes
import os

from stockade.kernel.calls import Address, Int, Long, Path, Size, library_call, prepared_system_call, system_call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

# clone(2), unshare(2)
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_PIDFD = 0x00001000
SIGCHLD = 17
SIGKILL = 9

# prctl(2)
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
PR_SET_TIMERSLACK = 29
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_SET_SPECULATION_CTRL = 53
PR_SPEC_STORE_BYPASS = 0
PR_SPEC_INDIRECT_BRANCH = 1
PR_SPEC_FORCE_DISABLE = 8

# keyctl(2)
KEYCTL_JOIN_SESSION_KEYRING = 1

# close_range(2)
CLOSE_RANGE_MAX = 0xFFFFFFFF

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000

_clone = system_call("clone", Long, Address, Address, Address, Long)
_unshare = library_call("unshare", Int)
_setns = library_call("setns", Int, Int)
_prctl = library_call("prctl", Int, Long, Long, Long, Long)
_pidfd_open = system_call("pidfd_open", Int, Int)
_pidfd_send_signal = system_call("pidfd_send_signal", Int, Int, Address, Int)
_close_range = system_call("close_range", Int, Int, Int)
_personality = library_call("personality", Long)
_keyctl = system_call("keyctl", Int, Long, Long, Long, Long)
_prlimit = library_call("prlimit", Int, Int, Address, Address)
_wait4 = library_call("wait4", Int, Address, Int, Address)
_process_vm_readv = library_call("process_vm_readv", Long, Address, Long, Address, Long, Long)
_sethostname = library_call("sethostname", Path, Size)
_setdomainname = library_call("setdomainname", Path, Size)

_ResourceLimit = ctypes.c_uint64 * 2
_IoVector = ctypes.c_uint64 * 2
# struct rusage: user and system time, each in seconds and microseconds, then 14 counts; 8 bytes each.
RUSAGE_BYTES = 18 * 8
WNOHANG = 1


def clone(flags: int) -> tuple[int, int]:
    """clone(2) as fork does it, with namespace `flags`; in a process with one thread only.

    Returns (pid, pidfd) in the parent and (0, -1) in the child.
    """
    pidfd = ctypes.c_int(-1)
    pid = _clone(flags | CLONE_PIDFD | SIGCHLD, None, ctypes.addressof(pidfd), None, 0)
    return pid, pidfd.value if pid else -1


def unshare(flags: int) -> None:
    """unshare(2): give the caller new namespaces."""
    _unshare(flags)


def setns(descriptor: int, kind: int) -> None:
    """setns(2): enter the namespace of `kind` (CLONE_NEW…, 0 for any) behind `descriptor`."""
    _setns(descriptor, kind)


def pidfd_open(pid: int) -> int:
    """pidfd_open(2): a close-on-exec descriptor of the process `pid`."""
    return _pidfd_open(pid, 0)


def pidfd_send_signal(pidfd: int, signo: int) -> None:
    """pidfd_send_signal(2). ESRCH when the process is gone."""
    _pidfd_send_signal(pidfd, signo, None, 0)


def reap_one() -> tuple[int, int, bytes]:
    """wait4(2) without waiting: pid (0: none has ended), wait status, struct rusage of what it and its children used.

    Unlike `os.wait4` it imports nothing. ChildProcessError: no child.
    """
    status, usage = ctypes.c_int(), ctypes.create_string_buffer(RUSAGE_BYTES)
    pid = _wait4(-1, ctypes.addressof(status), WNOHANG, ctypes.addressof(usage))
    return pid, status.value, usage.raw


def prctl(option: int, argument: int = 0, argument3: int = 0) -> int:
    """prctl(2) with one or two plain arguments."""
    return _prctl(option, argument, argument3, 0, 0)


def set_name(name: bytes) -> None:
    """PR_SET_NAME: the name (at most 15 bytes) that ps shows for this thread."""
    buffer = ctypes.create_string_buffer(name[:15])
    prctl(PR_SET_NAME, ctypes.addressof(buffer))


def set_no_new_privs() -> None:
    """PR_SET_NO_NEW_PRIVS: no exec gains privileges from here on; needed for a filter without CAP_SYS_ADMIN."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def disable_speculation() -> None:
    """Force-disable speculative store bypass and indirect branch speculation where the CPU offers the control."""
    for feature in (PR_SPEC_STORE_BYPASS, PR_SPEC_INDIRECT_BRANCH):
        try:
            prctl(PR_SET_SPECULATION_CTRL, feature, PR_SPEC_FORCE_DISABLE)
        except OSError as error:
            if error.errno not in (1, 6, 19, 22):  # EPERM, ENXIO, ENODEV, EINVAL: not controllable on this CPU
                raise


def close_range(first: int, last: int = CLOSE_RANGE_MAX) -> None:
    """close_range(2): close all descriptors from `first` to `last`."""
    _close_range(first, ctypes.c_int(last).value, 0)


def close_all_but(keep: Iterable[int]) -> None:
    """Close every descriptor that is not listed."""
    first = 0
    for descriptor in sorted(set(keep)):
        if descriptor > first:
            close_range(first, descriptor - 1)
        first = descriptor + 1
    close_range(first)


def personality(persona: int) -> None:
    """personality(2)."""
    _personality(persona)


def join_new_session_keyring() -> None:
    """keyctl(2): an anonymous session keyring, so that the caller's keys are out of reach. A kernel without is fine."""
    try:
        _keyctl(KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0)
    except OSError as error:
        if error.errno != 38:  # ENOSYS: this kernel has no keyrings at all
            raise


def sethostname(name: bytes) -> None:
    """sethostname(2) in the caller's uts namespace."""
    _sethostname(name, len(name))


def setdomainname(name: bytes) -> None:
    """setdomainname(2) in the caller's uts namespace."""
    _setdomainname(name, len(name))


def set_resource_limit(resource: int, soft: int, hard: int) -> None:
    """prlimit(2) on the caller: set both limits of `resource`."""
    new = _ResourceLimit(soft, hard)
    _prlimit(0, resource, ctypes.addressof(new), None)


def get_resource_limit(pid: int, resource: int) -> tuple[int, int]:
    """prlimit(2): (soft, hard) of `resource` of the process `pid`."""
    old = _ResourceLimit()
    _prlimit(pid, resource, None, ctypes.addressof(old))
    return old[0], old[1]


def process_vm_readv(pid: int, address: int, size: int) -> bytes:
    """process_vm_readv(2): up to `size` bytes at `address`; fewer where the mapping ends. EFAULT for none."""
    buffer = ctypes.create_string_buffer(size)
    local = _IoVector(ctypes.addressof(buffer), size)
    remote = _IoVector(address, size)
    count = _process_vm_readv(pid, ctypes.addressof(local), 1, ctypes.addressof(remote), 1, 0)
    return buffer.raw[:count]


def prepare_execveat(
    descriptor: int, path: bytes, argv: Sequence[bytes], env: Sequence[bytes], flags: int, cookie: int
) -> Callable[[], int]:
    """Lay out an execveat(2) so that calling the result makes that one system call and no other.

    `cookie` travels as a sixth argument, which the kernel ignores and a filter can see. The callable only returns when
    the exec failed, with the error number, and nobody followed it; the caller must then leave.
    """
    function, number = prepared_system_call("execveat", Int, Path, Address, Address, Int, ctypes.c_uint64)
    arguments = (ctypes.c_char_p * (len(argv) + 1))(*argv, None)
    environment = (ctypes.c_char_p * (len(env) + 1))(*env, None)
    call = (
        number,
        descriptor,
        path,
        ctypes.cast(arguments, Address),
        ctypes.cast(environment, Address),
        flags,
        cookie,
    )

    def execute() -> int:
        return ctypes.get_errno() if function(*call) else 0

    return execute


def read_small_file(path: str, directory: int | None = None, size: int = 65536) -> bytes:
    """Read a file of the kernel's (proc, sys) in one read. `directory` is a descriptor to start at."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        return os.read(descriptor, size)
    finally:
        os.close(descriptor)


def write_small_file(path: str, data: bytes, directory: int | None = None) -> None:
    """Write a file of the kernel's (proc, sys) in one write. `directory` is a descriptor to start at."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
