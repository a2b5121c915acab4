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

from stockade.kernel import constants
from stockade.kernel.architectures import AARCH64, I386, X32, X86_64
from stockade.kernel.signatures import known_calls, signature
from stockade.monitor.decode import decode_arguments, format_call
from stockade.monitor.decode_structures import SPECIAL
from stockade.monitor.prototypes import prototype
from stockade.monitor.structures import all_uses, layouts

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


def packed(layout: str, *values: object) -> bytes:
    return struct.pack("<" + layout, *values)


SELF = object()  # stands for the address of the structure that a row places
STRUCTURES = [
    ("openat2", packed("QQQ", 0o102, 0o640, 8), (LONG_FDCWD, 0, SELF, 24),
     "{flags=O_RDWR|O_CREAT, mode=0o640, resolve=RESOLVE_BENEATH}"),
    ("openat2", packed("QQQ", 0, 0, 8), (LONG_FDCWD, 0, SELF, 16), "{flags=O_RDONLY, mode=0}"),
    ("clone3", packed("8Q", 0x10000000, 0, 0, 0, 17, 0, 0, 0), (SELF, 64),
     "{flags=CLONE_NEWUSER, exit_signal=SIGCHLD}"),
    ("epoll_ctl", packed("IQ", 0x80000001, 5), (999, 1, 998, SELF), "{events=EPOLLIN|EPOLLET, data=0x5}"),
    ("poll", packed("ihhihh", 999, 1, 0, 998, 4, 0), (SELF, 2, 5),
     "[{fd=999, events=POLLIN}, {fd=998, events=POLLOUT}]"),
    ("rt_sigaction", packed("QQQQ", 1, 0x14000000, 0x77, 1 << 1), (2, SELF, 0, 8),
     "rt_sigaction(SIGINT, {handler=SIG_IGN, flags=SA_RESTORER|SA_RESTART, mask=[SIGINT]}, NULL, 8)"),
    ("rt_sigprocmask", packed("Q", 1 << 16 | 1 << 1), (0, SELF, 0, 8), "SIG_BLOCK, [SIGINT SIGCHLD], NULL"),
    ("rt_sigprocmask", packed("Q", 3 << 31), (1, SELF, 0, 8), "SIG_UNBLOCK, [32 33], NULL"),
    ("rt_sigprocmask", packed("Q", 2**64 - 1 - (1 << 8)), (2, SELF, 0, 8), "~[SIGKILL]"),
    ("sched_setattr", packed("IIQiIQQQ", 48, 0, 0, 5, 0, 0, 0, 0), (0, SELF, 0),
     "{size=48, policy=SCHED_OTHER, nice=5}"),
    ("sched_setaffinity", packed("Q", 0b101), (0, 8, SELF), "[0 2]"),
    ("select", packed("Q", 0b1001), (4, SELF, 0, 0, 0), "select(4, [0 3], NULL, NULL, NULL)"),
    ("mount_setattr", packed("QQQQ", 1, 2, 0, 0), (LONG_FDCWD, 0, 0, SELF, 32),
     "{attr_set=MOUNT_ATTR_RELATIME|MOUNT_ATTR_RDONLY, attr_clr="),
    ("landlock_create_ruleset", packed("QQQ", 1, 2, 1), (SELF, 24, 0),
     "handled_access_net=LANDLOCK_ACCESS_NET_CONNECT_TCP, scoped=LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET}"),
    ("landlock_create_ruleset", packed("QQQ", 1, 2, 1), (SELF, 8, 0),
     "({handled_access_fs=LANDLOCK_ACCESS_FS_EXECUTE}, 8"),
    ("landlock_add_rule", packed("Qi", 4, 999), (998, 1, SELF, 0),
     "{allowed_access=LANDLOCK_ACCESS_FS_READ_FILE, parent_fd=999}"),
    ("landlock_add_rule", packed("QQ", 1, 443), (998, 2, SELF, 0),
     "{allowed_access=LANDLOCK_ACCESS_NET_BIND_TCP, port=443}"),
    ("fcntl", packed("hhxxxxqqi", 1, 0, 5, 6, 0), (999, 6, SELF),
     "F_SETLK, {type=F_WRLCK, whence=SEEK_SET, start=5, len=6, pid=0})"),
    ("fcntl", b"", (999, 1033, 3), "F_ADD_SEALS, F_SEAL_SEAL|F_SEAL_SHRINK)"),
    ("ioctl", packed("HH", 24, 80), (999, 0x5414, SELF), "TIOCSWINSZ, {rows=24, columns=80})"),
    ("ioctl", b"l", (999, 0x5412, SELF), 'TIOCSTI, "l")'),
    ("ioctl", packed("i", 1), (999, 0x5421, SELF), "FIONBIO, [1])"),
    ("prctl", b"name\x1b\0", (15, SELF), 'prctl(PR_SET_NAME, "name\\x1b"'),
    ("seccomp", packed("HxxxxxxQ", 5, 0x1000), (1, 0, SELF), "SECCOMP_SET_MODE_FILTER, 0, {len=5, filter=0x1000})"),
    ("bpf", packed("IIIIII", 1, 4, 8, 16, 0, 0), (0, SELF, 24),
     "BPF_MAP_CREATE, {map_type=BPF_MAP_TYPE_HASH, key_size=4, value_size=8, max_entries=16}"),
    ("bpf", packed("IIQQI", 2, 5, 0, 0, 0), (5, SELF, 28),
     "BPF_PROG_LOAD, {prog_type=BPF_PROG_TYPE_KPROBE, insn_cnt=5, insns=0, license=NULL}"),
    ("perf_event_open", packed("IIQQQQQ", 0, 128, 3, 0, 0, 0, 0), (SELF, 0, 2**64 - 1, 2**64 - 1, 0),
     "{type=PERF_TYPE_HARDWARE, size=128, config=0x3, bits=0}"),
    ("futex", packed("qq", 1, 5), (0x1000, 128, 7, SELF, 0, 0), "FUTEX_PRIVATE_FLAG, 7, {1 s, 5 ns}"),
    ("futex", b"", (0x1000, 131, 7, 5, 0x2000, 0), ", 7, 5, 0x2000, 0)"),
    ("futex_waitv", packed("QQII", 5, 0x1000, 2, 0), (SELF, 1, 0, 0, 0),
     "[{val=5, uaddr=0x1000, flags=FUTEX2_SIZE_U32}]"),
    ("setsockopt", packed("i", 1), (999, 1, 2, SELF, 4), "SOL_SOCKET, SO_REUSEADDR, [1], 4)"),
    ("setsockopt", packed("qq", 2, 5), (999, 1, 20, SELF, 16), "{2 s, 5 us}, 16)"),
    ("setsockopt", packed("ii", 1, 9), (999, 1, 13, SELF, 8), "SO_LINGER, {onoff=1, linger=9}, 8)"),
    ("setsockopt", b"eth0", (999, 1, 25, SELF, 4), 'SO_BINDTODEVICE, "eth0", 4)'),
    ("setgroups", packed("II", 5, 6), (2, SELF), "setgroups(2, [5, 6])"),
    ("timer_create", packed("Qii", 7, 14, 0), (0, SELF, 0), "{value=0x7, signo=SIGALRM, notify=SIGEV_SIGNAL}"),
    ("rt_sigqueueinfo", packed("iiiiiIQ", 10, 0, -1, 0, 5, 6, 7), (5, 10, SELF),
     "{signo=SIGUSR1, code=SI_QUEUE, pid=5, uid=6, value=0x7}"),
    ("semop", packed("HhH", 0, -1, 0), (5, SELF, 1), "[{num=0, op=-1, flags=0}]"),
    ("sigaltstack", packed("QixxxxQ", 0x1000, 2, 8192), (SELF, 0), "{sp=0x1000, flags=SS_DISABLE, size=0x2000}"),
    ("io_uring_setup", packed("III", 0, 0, 2), (8, SELF), "{sq_entries=0, cq_entries=0, flags=IORING_SETUP_SQPOLL}"),
    ("sendfile", packed("q", 4096), (999, 998, SELF, 5), "sendfile(999, 998, [4096], 5)"),
    ("mount", b"size=1m\0", (0, 0, 0, 0, SELF), 'mount(NULL, NULL, NULL, 0, "size=1m")'),
    ("capset", packed("6I", 1, 2, 3, 4, 5, 6), (0, SELF),
     "[{effective=0x1, permitted=0x2, inheritable=0x3}, {effective=0x4, permitted=0x5, inheritable=0x6}]"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "data", "arguments", "text"), STRUCTURES, ids=[f"{row[0]} {place}" for place, row in enumerate(STRUCTURES)]
)
def test_structures(memory: OwnMemory, call: str, data: bytes, arguments: tuple[object, ...], text: str) -> None:
    address = memory.place(data + bytes(128))
    raw = [address if argument is SELF else argument for argument in arguments]
    assert all(isinstance(value, int) for value in raw)
    assert text in shown(memory, call, *(int(str(value)) for value in raw))


@pytest.mark.parametrize("call", sorted({row[0] for row in STRUCTURES}))
def test_bogus_structures(memory: OwnMemory, call: str) -> None:
    for row in STRUCTURES:
        if row[0] == call and SELF in row[2]:
            raw = [0xDEAD0000 if argument is SELF else argument for argument in row[2]]
            assert "0xdead0000 (unreadable)" in shown(memory, call, *(int(str(value)) for value in raw))


def test_messages(memory: OwnMemory) -> None:
    name = memory.place(struct.pack("<HH4s8x", 2, socket.htons(53), bytes([192, 0, 2, 1])))
    vector = memory.words(memory.place(b"query"), 5)
    control = memory.place(struct.pack("<Qiii", 20, 1, 1, 7))
    message = struct.pack("<QI4xQQQQi4x", name, 16, vector, 1, control, 24, 0)
    wanted = '{name={AF_INET, 192.0.2.1 port 53}, iov=[{"query", 5}], control={level=SOL_SOCKET, type=SCM_RIGHTS}'
    for call in ("sendmsg", "sendmmsg"):
        assert wanted in shown(memory, call, 999, memory.place(message), 0, 0)
    # What a receiving call will be given is not there yet.
    assert "query" not in shown(memory, "recvmsg", 999, memory.place(message), 0)
    bad = struct.pack("<QI4xQQQQi4x", 0x10, 16, 0x20, 1, 0x30, 24, 0)
    text = shown(memory, "sendmsg", 999, memory.place(bad), 0)
    assert text.count("(unreadable)") == 3
    assert shown(memory, "writev", 999, memory.words(memory.place(b"a\n"), 2, 0x10, 3), 2).startswith(
        'writev(999, [{"a\\n", 2}, {0x10 (unreadable), 3}], 2)'
    )


def test_more_socket_addresses(memory: OwnMemory) -> None:
    vsock = struct.pack("<HHII4x", 40, 0, 1024, 2)
    assert "{AF_VSOCK, cid 2 port 1024}" in shown(memory, "connect", 999, memory.place(vsock), 16)
    algorithm = struct.pack("<H14sII64s", 38, b"hash", 0, 0, b"sha256")
    assert '{AF_ALG, "hash", "sha256"}' in shown(memory, "bind", 999, memory.place(algorithm), 88)
    packet = struct.pack("<HHi8x", 17, socket.htons(3), 2)
    assert "{AF_PACKET, protocol 0x3, interface 2}" in shown(memory, "bind", 999, memory.place(packet), 20)


def test_the_tables_of_structures_are_whole() -> None:
    for name, layout in layouts().items():
        for field in layout.fields:
            assert field.family == "" or field.family in constants.families(), (name, field.name)
    for (call, index), uses in all_uses().items():
        parameters = signature(call)
        assert index < len(parameters), call
        for use in uses:
            assert use.structure in layouts() or use.structure in SPECIAL, (call, use.structure)
            assert max(use.size_argument, use.count_argument, use.decider) < len(parameters)
            if use.decider < 0:
                assert len(uses) == 1


# Calls of Linux 5.9 and later: names that python-ptrace's table does not have.
NEW_CALLS = """
close_range openat2 pidfd_getfd faccessat2 process_madvise epoll_pwait2 mount_setattr quotactl_fd
landlock_create_ruleset landlock_add_rule landlock_restrict_self memfd_secret process_mrelease futex_waitv
set_mempolicy_home_node cachestat fchmodat2 map_shadow_stack futex_wake futex_wait futex_requeue statmount listmount
lsm_get_self_attr lsm_set_self_attr lsm_list_modules mseal setxattrat getxattrat listxattrat removexattrat
open_tree_attr file_getattr file_setattr
"""


@pytest.mark.parametrize("name", NEW_CALLS.split())
def test_new_calls_are_in_the_tables(memory: OwnMemory, name: str) -> None:
    for architecture in (X86_64, AARCH64):
        if name in architecture.syscalls:
            text = shown(memory, name, *range(1, 7), architecture=architecture.name)
            assert "arg0" not in text
            assert signature(name, architecture.name), name


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

    def look_up_fd(self, descriptor: int) -> tuple[str, str]:
        return self._data.draw(st.sampled_from(["", "file", "\x1b"])), self.describe_fd(descriptor) or ""

    def describe_fd(self, descriptor: int) -> str | None:
        return self._data.draw(st.none() | st.text(st.characters(codec=None), max_size=400))


@given(st.data())
def test_nothing_that_a_task_does_breaks_the_decoder(data: st.DataObject) -> None:
    architecture = data.draw(st.sampled_from([X86_64, AARCH64, I386, X32]))
    with_structures = sorted({call for call, _ in all_uses()} & architecture.syscalls.keys())
    name = data.draw(st.sampled_from(sorted(architecture.syscalls)) | st.sampled_from(with_structures))
    deciding = sorted({value for uses in all_uses().values() for use in uses for value in use.values})
    args = data.draw(st.lists(REGISTER | st.sampled_from(deciding), min_size=6, max_size=6))
    arguments = decode_arguments(name, architecture.name, args, Hostile(data))
    text = format_call(name, arguments)
    assert text.isprintable()
    assert len(text) < 100_000
    assert all(argument.value in args for argument in arguments)
    assert all(argument.descriptor_kind.isprintable() for argument in arguments)


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
