"""The argument table agrees with the kernel: with its declarations, and with what it does to the upper bits."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stockade.kernel import constants, signatures
from stockade.kernel.architectures import AARCH64, X86_64, native
from stockade.kernel.signatures import kinds, signature, width

RECORD = Path(__file__).with_name("syscall_widths_6.18.txt")

# Declared as long, but narrowed before the kernel looks: (call, argument).
NARROWED = {
    *((call, index) for call in ("readv", "writev", "preadv", "pwritev", "preadv2", "pwritev2") for index in (0, 2)),
    *((call, 2) for call in ("process_vm_readv", "process_vm_writev", "process_madvise", "vmsplice", "mbind")),
    ("mmap", 4),
    ("clone", 0),
    ("ptrace", 1),
}
# Not in the recorded kernel (left out of its build, or newer); from their SYSCALL_DEFINE lines.
UNRECORDED = {
    "delete_module": [64, 32],
    "finit_module": [32, 64, 32],
    "init_module": [64, 64, 64],
    "kexec_file_load": [32, 32, 64, 64, 64],
    "kexec_load": [64, 64, 64, 64],
    "listns": [64, 64, 64, 32],
    "lookup_dcookie": [64, 64, 64],
    "map_shadow_stack": [64, 64, 32],
    "uselib": [64],
}
HIGH = 1 << 32


def recorded_widths() -> dict[str, list[int]]:
    lines = [line.split() for line in RECORD.read_text().splitlines() if not line.startswith("#")]
    return {call: [int(bits) for bits in widths] for call, *widths in lines}


def widths_of(call: str) -> list[int]:
    return [parameter.kind.width for parameter in signature(call)]


def test_widths_are_those_that_the_kernel_declares() -> None:
    recorded = recorded_widths()
    assert len(recorded) > 340
    expected = {
        call: [32 if (call, index) in NARROWED else bits for index, bits in enumerate(widths)]
        for call, widths in recorded.items()
    }
    assert {call: widths_of(call) for call in recorded} == expected


def test_calls_that_the_record_lacks() -> None:
    assert {call: widths_of(call) for call in UNRECORDED} == UNRECORDED
    rest = set(signatures.known_calls()) - set(recorded_widths()) - set(UNRECORDED)
    assert {call for call in rest if signature(call)} == set()


def test_every_call_of_both_architectures_has_a_line() -> None:
    assert set(signatures.known_calls()) == set(X86_64.syscalls) | set(AARCH64.syscalls)


def test_every_kind_is_used_and_every_family_exists() -> None:
    defined = {line.split()[0] for line in kinds.TEXT.strip().splitlines()}
    used = {parameter.kind.name for call in signatures.known_calls() for parameter in signature(call)}
    assert defined == {name for name in used if not name.startswith("*")}
    families = {signatures.kind(name).symbols for name in defined} - {None}
    assert families <= set(constants.families())
    assert {signatures.kind(name).width for name in defined} == {16, 32, 64}


def test_parameters_are_at_most_six_and_named_apart() -> None:
    for call in signatures.known_calls():
        names = [parameter.name for parameter in signature(call)]
        assert len(names) == len(set(names)) <= 6, call


def test_widths_beyond_what_is_known() -> None:
    assert width("no_such_call", 0) == 64
    assert signature("no_such_call") == ()
    assert width("close", 0) == 32
    assert [width("close", index) for index in (-1, 1, 5, 6)] == [64] * 4


@pytest.mark.parametrize(
    ("call", "index"),
    [
        ("ioctl", 1),
        ("fcntl", 1),
        ("prctl", 0),
        *(("socket", index) for index in range(3)),
        ("futex", 1),
        ("mmap", 2),
        ("mmap", 3),
        ("madvise", 2),
        ("clone", 0),
        ("openat", 2),
        ("kill", 1),
    ],
)
def test_arguments_that_select_what_a_call_does(call: str, index: int) -> None:
    assert signature(call)[index].discriminating


@pytest.mark.parametrize(
    ("call", "index"),
    [("ioctl", 0), ("ioctl", 2), ("openat", 0), ("openat", 1), ("mmap", 1), ("kill", 0), ("lseek", 1), ("openat", 3)],
)
def test_arguments_that_do_not(call: str, index: int) -> None:
    assert not signature(call)[index].discriminating


def test_clone_orders_its_arguments_by_architecture() -> None:
    assert [parameter.name for parameter in signature("clone")][3:] == ["child_tid", "tls"]
    assert [parameter.name for parameter in signature("clone", "aarch64")][3:] == ["tls", "child_tid"]
    assert [parameter.kind.width for parameter in signature("clone", "aarch64")] == widths_of("clone")


def test_kinds_say_what_an_argument_is() -> None:
    roles = {parameter.name: (parameter.kind.role, parameter.kind.c_type) for parameter in signature("openat")}
    assert roles == {
        "dirfd": ("dirfd", "int"),
        "path": ("path", "const char *"),
        "flags": ("flags", "int"),
        "mode": ("mode", "umode_t"),
    }
    assert signature("connect")[1].kind.role == "sockaddr"
    assert signature("nanosleep")[0].kind.c_type == "struct timespec *"
    assert signature("execve")[1].kind.c_type == "char **"
    with pytest.raises(KeyError):
        signatures.kind("no_such_kind")


@pytest.mark.parametrize(
    ("call", "index", "arguments", "family"),
    [
        ("openat", 2, (), "open_flags"),
        ("setsockopt", 2, (), "socket_option"),
        ("setsockopt", 2, (3, 1), "socket_option"),
        ("setsockopt", 2, (3, 6), "tcp_option"),
        ("setsockopt", 2, (3, HIGH | 6), "tcp_option"),
        ("setsockopt", 2, (3, 12345), None),
        ("socket", 2, (2, 1, 0), "socket_protocol"),
        ("socket", 2, (16, 3, 0), "netlink_protocol"),
        ("socket", 2, (1, 1, 0), None),
        ("fcntl", 2, (0, 4, 0), "status_flags"),
        ("fcntl", 2, (0, 0, 0), None),
        ("prctl", 1, (1, 9), "signal"),
        ("no_such_call", 0, (1,), None),
        ("close", 7, (1,), None),
    ],
)
def test_symbols_may_hang_on_another_argument(
    call: str, index: int, arguments: tuple[int, ...], family: str | None
) -> None:
    assert signatures.symbols(call, index, arguments) == family


# What the running kernel does with the upper bits


def raw(call: str, *arguments: int) -> int:
    """Make a system call with 64-bit arguments; give its result, or the negative error number."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    result: int = libc.syscall(ctypes.c_long(native().number(call)), *(ctypes.c_ulong(each) for each in arguments))
    return -ctypes.get_errno() if result == -1 else result


@contextmanager
def open_null() -> Iterator[int]:
    descriptor = os.open("/dev/null", os.O_RDWR)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def one_iovec() -> tuple[ctypes.Array[ctypes.c_ulong], ctypes.Array[ctypes.c_char]]:
    """Give an array of one iovec and the 8-byte buffer that it describes (keep both)."""
    buffer = ctypes.create_string_buffer(8)
    return (ctypes.c_ulong * 2)(ctypes.addressof(buffer), 8), buffer


@pytest.mark.parametrize("call", ["readv", "writev", "preadv", "pwritev", "preadv2", "pwritev2"])
def test_vectored_calls_ignore_the_upper_half_of_descriptor_and_count(call: str) -> None:
    vector, _buffer = one_iovec()
    address = ctypes.addressof(vector)
    with open_null() as fd:
        plain = raw(call, fd, address, 1, 0, 0, 0)
        assert plain == (0 if "read" in call else 8)
        assert raw(call, fd | HIGH, address, 1 | HIGH, 0, 0, 0) == plain
        assert raw(call, fd + 1000, address, 1, 0, 0, 0) == -errno.EBADF


def test_process_vm_readv_ignores_the_upper_half_of_its_first_count_only() -> None:
    vector, _buffer = one_iovec()
    address = ctypes.addressof(vector)
    plain = raw("process_vm_readv", os.getpid(), address, 1, address, 1, 0)
    assert plain == 8
    assert raw("process_vm_readv", os.getpid(), address, 1 | HIGH, address, 1, 0) == plain
    assert raw("process_vm_readv", os.getpid(), address, 1, address, 1 | HIGH, 0) == -errno.EINVAL


def test_vmsplice_ignores_the_upper_half_of_its_count() -> None:
    vector, _buffer = one_iovec()
    ends = os.pipe()
    try:
        assert raw("vmsplice", ends[1], ctypes.addressof(vector), 1 | HIGH, 0) == 8
    finally:
        for end in ends:
            os.close(end)


def test_mmap_ignores_the_upper_half_of_its_descriptor(tmp_path: Path) -> None:
    path = tmp_path / "mapped"
    path.write_bytes(b"x" * mmap.PAGESIZE)
    with path.open("rb") as file:
        address = raw("mmap", 0, mmap.PAGESIZE, mmap.PROT_READ, mmap.MAP_PRIVATE, file.fileno() | HIGH, 0)
    assert address > 0
    assert ctypes.string_at(address, 1) == b"x"
    assert raw("munmap", address, mmap.PAGESIZE) == 0


def test_clone_ignores_the_upper_half_of_its_flags() -> None:
    pid = raw("clone", signal.SIGCHLD | HIGH, 0, 0, 0, 0)
    if pid == 0:
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_ptrace_ignores_the_upper_half_of_the_pid() -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    try:
        seize = constants.value("PTRACE_SEIZE")
        assert raw("ptrace", seize | HIGH, pid, 0, 0) == -errno.ESRCH  # an unknown request needs a tracee
        assert raw("ptrace", seize, pid | HIGH, 0, 0) == 0
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize(
    ("call", "arguments", "index"),
    [
        ("mbind", (0, 0, 0, 0, 0, 0), 2),
        ("process_madvise", (-1 % 2**64, 0, 0, 0, 0), 2),
        ("lseek", (0, 0, 99), 2),
        ("madvise", (0, 0, 0), 2),
        ("fcntl", (0, 1, 0), 1),
        ("fcntl", (0, 1, 0), 0),
        ("personality", (0xFFFFFFFF,), 0),
        ("umask", (0o022,), 0),
        ("getpriority", (0, 0), 0),
        ("kill", (os.getpid(), 0), 1),
    ],
)
def test_the_upper_half_of_32_bit_arguments_changes_nothing(call: str, arguments: tuple[int, ...], index: int) -> None:
    assert width(call, index) == 32
    mask = os.umask(0o022)
    try:
        plain = raw(call, *arguments)
        changed = [value | HIGH if place == index else value for place, value in enumerate(arguments)]
        assert raw(call, *changed) == plain
    finally:
        os.umask(mask)


def test_a_mode_counts_in_16_bits(tmp_path: Path) -> None:
    assert width("fchmodat", 2) == 16
    path = tmp_path / "file"
    path.touch()
    name = ctypes.create_string_buffer(os.fsencode(path))
    at_fdcwd = constants.value("AT_FDCWD") % 2**64
    assert raw("fchmodat", at_fdcwd, ctypes.addressof(name), 0o640 | 1 << 16 | HIGH) == 0
    assert path.stat().st_mode & 0o7777 == 0o640


def page() -> int:
    anonymous = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    return raw("mmap", 0, mmap.PAGESIZE, mmap.PROT_READ, anonymous, 2**64 - 1, 0)


@pytest.mark.parametrize(
    ("call", "arguments", "index"),
    [
        ("mprotect", lambda address: (address, mmap.PAGESIZE, mmap.PROT_READ), 2),
        ("mremap", lambda address: (address, mmap.PAGESIZE, mmap.PAGESIZE, 0), 3),
        ("unshare", lambda _address: (0,), 0),
    ],
)
def test_the_upper_half_of_64_bit_arguments_counts(
    call: str, arguments: Callable[[int], tuple[int, ...]], index: int
) -> None:
    assert width(call, index) == 64
    address = page()
    plain = arguments(address)
    assert raw(call, *plain) >= 0
    changed = [value | 1 << 62 if place == index else value for place, value in enumerate(plain)]
    assert raw(call, *changed) < 0
    assert raw("munmap", address, mmap.PAGESIZE) == 0
