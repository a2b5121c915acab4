"""Decoding of system-call arguments, with this process's own memory and descriptors."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockade.kernel.architectures import AARCH64, I386, X86_64
from stockade.kernel.signatures import known_calls, signature
from stockade.monitor.decode import decode_arguments, format_call
from stockade.monitor.prototypes import prototype

AT_FDCWD = -100 & 0xFFFFFFFF
LONG_FDCWD = -100 & 0xFFFFFFFFFFFFFFFF


class OwnMemory:
    """Reads this process as the monitor reads a stopped one."""

    def __init__(self) -> None:
        self.descriptor = os.open("/proc/self/mem", os.O_RDONLY)
        self.kept: list[object] = []

    def read_memory(self, address: int, size: int) -> bytes:
        if not 0 <= address < 1 << 63:
            raise OSError(errno.EFAULT, "outside of user space")
        return os.pread(self.descriptor, size, address)

    def describe_fd(self, descriptor: int) -> str | None:
        try:
            return os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:
            return None

    def place(self, data: bytes) -> int:
        buffer = ctypes.create_string_buffer(data, len(data))
        self.kept.append(buffer)
        return ctypes.addressof(buffer)

    def string(self, text: str) -> int:
        return self.place(os.fsencode(text) + b"\0")

    def words(self, *values: int) -> int:
        return self.place(struct.pack(f"<{len(values)}Q", *values))


@pytest.fixture
def memory() -> Iterator[OwnMemory]:
    reader = OwnMemory()
    yield reader
    os.close(reader.descriptor)


def shown(reader: OwnMemory, name: str, *args: int, architecture: str = "x86_64") -> str:
    return format_call(name, decode_arguments(name, architecture, args, reader))


def test_the_parts_of_an_argument(memory: OwnMemory) -> None:
    address = memory.string("/etc/passwd")
    arguments = decode_arguments("openat", "x86_64", [AT_FDCWD, address, os.O_CLOEXEC, 0], memory)
    assert [(a.name, a.type, a.value, a.text) for a in arguments] == [
        ("dirfd", "int", AT_FDCWD, "AT_FDCWD"),
        ("path", "const char *", address, '"/etc/passwd"'),
        ("flags", "int", os.O_CLOEXEC, "O_RDONLY|O_CLOEXEC"),
    ]
    assert format_call("openat", arguments) == 'openat(AT_FDCWD, "/etc/passwd", O_RDONLY|O_CLOEXEC)'


def test_what_only_some_calls_read_is_shown_for_those_alone(memory: OwnMemory) -> None:
    path = memory.string("x")
    assert shown(memory, "openat", LONG_FDCWD, path, 0o101, 0o640) == 'openat(AT_FDCWD, "x", O_WRONLY|O_CREAT, 0o640)'
    assert shown(memory, "open", path, 0o200000, 0o640) == 'open("x", O_RDONLY|O_DIRECTORY)'
    assert shown(memory, "open", path, 0o20200002, 0o600) == 'open("x", O_RDWR|O_TMPFILE, 0o600)'
    assert shown(memory, "fcntl", 1000, 3, 77) == "fcntl(1000, F_GETFL)"
    assert shown(memory, "fcntl", 1000, 4, 0o2000) == "fcntl(1000, F_SETFL, O_RDONLY|O_APPEND)"


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (("mprotect", 0x7F0000000000, 4096, 7), "mprotect(0x7f0000000000, 4096, PROT_READ|PROT_WRITE|PROT_EXEC)"),
        (("mmap", 0, 4096, 5, 0x22, 2**64 - 1, 0), "MAP_PRIVATE|MAP_ANONYMOUS, -1, 0)"),
        (("socket", 2, 0o2000001, 0), "socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC"),
        (("ioctl", 1000, 0x5412, 0), "ioctl(1000, TIOCSTI"),
        (("clone", 0x10000011, 0, 0, 0, 0), "CLONE_NEWUSER"),
        (("kill", 0xFFFFFFFF, 9), "kill(-1, SIGKILL)"),
        (("kill", 2**64 - 1, 64), "kill(-1, "),
        (("chmod", 0, 0o4755), "chmod(NULL, S_ISUID|0o755)"),
        (("lseek", 1000, 2**64 - 5, 2), "lseek(1000, -5, SEEK_END)"),
        (("setuid", 2**32 - 1), "setuid(-1)"),
        (("ptrace", 16, 5, 0, 0), "ptrace(PTRACE_ATTACH, 5, NULL"),
        (("prctl", 1, 9), "prctl(PR_SET_PDEATHSIG, SIGKILL"),
        (("close", 2**64 - 1), "close(-1)"),
        (("openat", 1000 | 1 << 32, 0, 0), "openat(1000, NULL"),
        (("getpid",), "getpid()"),
        (("read", 1000, 0x1234, 10), "read(1000, 0x1234, 10)"),
        (("syscall_9999", 1, 2, 2**63, 4, 5, 6), "syscall_9999(1, 2, 0x8000000000000000, 4, 5, 6)"),
    ],
)
def test_numbers_and_symbols(memory: OwnMemory, call: tuple[str, int], text: str) -> None:
    assert text in shown(memory, *call)


def test_descriptors_have_their_targets(memory: OwnMemory, tmp_path: Path) -> None:
    path = tmp_path / "odd\x1b[31m\nname"
    path.write_text("")
    with open(path) as file:
        number = file.fileno()
        text = shown(memory, "fstat", number, 0x1000)
    assert text == f"fstat({number}<{tmp_path}/odd\\x1b[31m\\nname>, 0x1000)"
    assert shown(memory, "close", 999_999) == "close(999999)"


def test_a_reader_without_descriptors_will_do() -> None:
    class Nothing:
        def read_memory(self, address: int, size: int) -> bytes:
            raise OSError(errno.EFAULT, "nothing here")

    arguments = decode_arguments("openat", "x86_64", [3, 0x1000, 0], Nothing())
    assert format_call("openat", arguments) == "openat(3, 0x1000 (unreadable), O_RDONLY)"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"plain\0after", '"plain"'),
        (b"\0", '""'),
        (b'\x1b]0;title\x07\n\xff"\\\0', '"\\x1b]0;title\\x07\\n\\xff\\"\\\\"'),
        ("\u202egnp.exe\0".encode(), '"\\u202egnp.exe"'),
        (b"x" * 256 + b"\0", f'"{"x" * 256}"…'),
        (b"x" * 255 + b"\0", f'"{"x" * 255}"'),
    ],
)
def test_strings(memory: OwnMemory, raw: bytes, text: str) -> None:
    assert shown(memory, "chdir", memory.place(raw)) == f"chdir({text})"


def test_a_string_that_ends_at_a_hole(memory: OwnMemory) -> None:
    """Two pages, of which the second is not readable: what is before it is shown."""
    library = ctypes.CDLL(None, use_errno=True)
    library.mmap.restype = ctypes.c_void_p
    library.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    library.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    start = library.mmap(None, 8192, 3, 0x22, -1, 0)
    library.munmap(start + 4096, 4096)
    ctypes.memmove(start + 4096 - 5, b"hello", 5)
    assert shown(memory, "chdir", start + 4096 - 5) == 'chdir("hello"…)'
    assert shown(memory, "chdir", start + 4096) == f"chdir({start + 4096:#x} (unreadable))"
    library.munmap(start, 4096)


@pytest.mark.parametrize("address", [1, 0xDEAD0000, 2**47, 2**63, 2**64 - 1])
def test_bogus_pointers(memory: OwnMemory, address: int) -> None:
    for call in ("chdir", "execve", "nanosleep"):
        assert shown(memory, call, address).startswith(f"{call}({address:#x} (unreadable)")
    assert shown(memory, "connect", 999, address, 16) == f"connect(999, {address:#x} (unreadable), 16)"


def test_argument_arrays(memory: OwnMemory) -> None:
    strings = [memory.string(text) for text in ("sh", "-c", "echo\n")]
    path = memory.string("/bin/sh")
    text = shown(memory, "execve", path, memory.words(*strings, 0), 0)
    assert text == 'execve("/bin/sh", ["sh", "-c", "echo\\n"], NULL)'
    endless = memory.words(*[strings[0]] * 5000)
    text = shown(memory, "execve", path, endless, memory.words(0x10, 0))
    assert text == 'execve("/bin/sh", [' + '"sh", ' * 16 + "…], [0x10 (unreadable)])"


def address_bytes(family: int, address: tuple[str, int] | str) -> bytes:
    """The bytes that the kernel would see: made by libc, read back from a real socket's own name."""
    with socket.socket(family, socket.SOCK_DGRAM) as bound:
        bound.bind(address)
        buffer, length = ctypes.create_string_buffer(128), ctypes.c_uint32(128)
        assert ctypes.CDLL(None).getsockname(bound.fileno(), buffer, ctypes.byref(length)) == 0
        return buffer.raw[: length.value]


def test_socket_addresses_of_the_kernel(memory: OwnMemory, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    cases: list[tuple[int, tuple[str, int] | str, str]] = [
        (socket.AF_INET, ("127.0.0.1", 0), "{AF_INET, 127.0.0.1 port "),
        (socket.AF_UNIX, path, f'{{AF_UNIX, "{path}"}}'),
        (socket.AF_UNIX, f"\0stockade-test-{os.getpid()}\n", f'{{AF_UNIX, abstract "stockade-test-{os.getpid()}\\n"}}'),
    ]
    for family, address, text in cases:
        raw = address_bytes(family, address)
        assert f"bind(999, {text}" in shown(memory, "bind", 999, memory.place(raw), len(raw))


@pytest.mark.parametrize(
    ("raw", "length", "text"),
    [
        (struct.pack("<HH4s8x", 2, socket.htons(443), bytes([192, 0, 2, 1])), 16, "{AF_INET, 192.0.2.1 port 443}"),
        (
            struct.pack("<HHI16sI", 10, socket.htons(53), 0, bytes(15) + b"\1", 0),
            28,
            "{AF_INET6, ::1 port 53}",
        ),
        (struct.pack("<HHI16sI", 10, 0, 0, b"\xfe\x80" + bytes(13) + b"\1", 3), 28, "{AF_INET6, fe80::1%3 port 0}"),
        (struct.pack("<HHII", 16, 0, 5, 3), 12, "{AF_NETLINK, port 5, groups 0x3}"),
        (b"\1\0", 2, "{AF_UNIX, unnamed}"),
        (b"\2\0\0\0", 4, '{AF_INET, "\\x00\\x00"}'),
        (b"\x63\0ab", 4, '{family 99, "ab"}'),
        (b"\2", 1, "{1 bytes}"),
        (b"\2", 0, "{0 bytes}"),
        (b"\2", -1, "{-1 bytes}"),
        (b"\1\0/x" + bytes(200), 2**31 - 1, '{AF_UNIX, "/x"}'),
    ],
)
def test_socket_addresses(memory: OwnMemory, raw: bytes, length: int, text: str) -> None:
    call = shown(memory, "connect", 999, memory.place(raw), length & 0xFFFFFFFF)
    assert call == f"connect(999, {text}, {length})"


def test_an_address_that_the_kernel_writes_is_not_read(memory: OwnMemory) -> None:
    assert shown(memory, "accept", 999, memory.place(bytes(16)), 0).startswith("accept(999, 0x")


def test_times_vectors_limits_and_data(memory: OwnMemory) -> None:
    five = memory.place(struct.pack("<qq", 5, 10))
    assert shown(memory, "nanosleep", five, 0) == "nanosleep({5 s, 10 ns}, NULL)"
    assert shown(memory, "nanosleep", 0, five) == f"nanosleep(NULL, {five:#x})"
    omit = memory.place(struct.pack("<qqqq", 5, 10, 0, (1 << 30) - 2))
    assert "[{5 s, 10 ns}, UTIME_OMIT]" in shown(memory, "utimensat", LONG_FDCWD, 0, omit, 0)
    vector = memory.words(0x1000, 5, 0, 3)
    assert shown(memory, "readv", 999, vector, 2) == "readv(999, [{0x1000, 5}, {0x0, 3}], 2)"
    assert shown(memory, "readv", 999, vector, 2**32 - 1).startswith("readv(999, [")
    limit = memory.words(1024, 2**64 - 1)
    assert shown(memory, "setrlimit", 7, limit) == "setrlimit(RLIMIT_NOFILE, {soft 1024, hard unlimited})"
    assert shown(memory, "getrlimit", 7, limit) == f"getrlimit(RLIMIT_NOFILE, {limit:#x})"
    data = memory.place(b"a\n" + b"b" * 98)
    assert shown(memory, "write", 999, data, 2) == 'write(999, "a\\n", 2)'
    assert shown(memory, "write", 999, data, 100) == f'write(999, "a\\n{"b" * 62}"…, 100)'
    assert shown(memory, "write", 999, data, 2**63).startswith("write(999, ")


def test_other_architectures(memory: OwnMemory) -> None:
    assert shown(memory, "openat", AT_FDCWD, memory.string("x"), 0o200000, architecture="aarch64").endswith("O_DIRECT)")
    # i386 has calls that the others do not: their names come from python-ptrace.
    arguments = decode_arguments("socketcall", "i386", [1, 0x1000], memory)
    assert [argument.value for argument in arguments] == [1, 0x1000]
    assert shown(memory, "mmap2", 0, 1, 2, 3, 999, 5, architecture="i386") == "mmap2(0, 1, 2, 3, 999, 5)"


REGISTER = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1])


class Hostile:
    """A task whose memory is whatever harms most."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data

    def read_memory(self, address: int, size: int) -> bytes:
        assert size <= 4096
        if self._data.draw(st.booleans()):
            raise OSError(errno.EFAULT, "bad address")
        return self._data.draw(st.binary(max_size=min(size, 64)))

    def describe_fd(self, descriptor: int) -> str | None:
        return self._data.draw(st.none() | st.text(st.characters(codec=None), max_size=400))


@given(st.data())
def test_nothing_that_a_task_does_breaks_the_decoder(data: st.DataObject) -> None:
    architecture = data.draw(st.sampled_from([X86_64, AARCH64, I386]))
    name = data.draw(st.sampled_from(sorted(architecture.syscalls)))
    args = data.draw(st.lists(REGISTER, min_size=6, max_size=6))
    arguments = decode_arguments(name, architecture.name, args, Hostile(data))
    text = format_call(name, arguments)
    assert text.isprintable()
    assert len(text) < 100_000
    assert all(argument.value in args for argument in arguments)


def test_the_second_source_agrees_with_our_table() -> None:
    """Number of arguments and which of them are pointers, as python-ptrace has them, but for its known slips."""
    slips = {"capget", "capset", "membarrier", "pipe", "pipe2", "shmat", "shmdt"}
    compared = 0
    for name in set(known_calls()) - slips:
        ours, theirs = signature(name), prototype(name)
        if theirs is None or not ours:
            continue
        compared += 1
        pointers = [[p.kind.c_type.endswith("*") for p in parameters] for parameters in (ours, theirs)]
        assert pointers[0] == pointers[1], name
    assert compared > 250


def test_a_call_that_the_second_source_does_not_know() -> None:
    assert prototype("no_such_call") is None
