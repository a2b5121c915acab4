"""The constants agree with the system's headers and with Python; reading is strict, showing never fails."""

from __future__ import annotations

import errno
import fcntl
import importlib
import mmap
import os
import re
import resource
import select
import shutil
import signal
import socket
import stat
import subprocess
import termios
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stockade.kernel import constant_tables, constants
from stockade.kernel.architectures import native
from stockade.kernel.constants import UnknownSymbolError, format_enum, format_flags, format_value, parse, value

# Headers that can be read together. Those of the C library and of the kernel cannot: both define the same structures.
HEADER_GROUPS = (
    """fcntl.h unistd.h sys/stat.h sys/mman.h sys/socket.h netinet/in.h netinet/tcp.h netinet/udp.h sys/wait.h signal.h
    errno.h sys/epoll.h poll.h sys/eventfd.h sys/signalfd.h sys/timerfd.h sys/inotify.h sys/fanotify.h sys/msg.h
    sys/sem.h sys/shm.h sched.h sys/resource.h time.h sys/random.h sys/file.h sys/mount.h sys/swap.h sys/xattr.h
    sys/personality.h sys/prctl.h sys/ptrace.h sys/ioctl.h netpacket/packet.h linux/netlink.h linux/securebits.h""",
    """linux/fcntl.h linux/openat2.h linux/stat.h linux/mount.h linux/falloc.h linux/fadvise.h linux/close_range.h
    linux/fanotify.h linux/mman.h linux/mempolicy.h linux/memfd.h linux/sched.h linux/wait.h linux/pidfd.h
    linux/prctl.h linux/futex.h linux/ioprio.h linux/kcmp.h linux/membarrier.h linux/rseq.h linux/seccomp.h
    linux/landlock.h linux/capability.h asm/socket.h linux/reboot.h linux/module.h linux/kexec.h linux/perf_event.h
    linux/bpf.h linux/keyctl.h linux/io_uring.h linux/watch_queue.h linux/nsfs.h asm/ptrace.h linux/lsm.h""",
    """stddef.h time.h linux/fs.h linux/sockios.h linux/loop.h linux/if_tun.h linux/random.h linux/kd.h linux/vt.h
    linux/tiocl.h linux/fuse.h linux/kvm.h linux/watchdog.h linux/vhost.h linux/fscrypt.h linux/fsverity.h
    linux/rtc.h linux/hdreg.h linux/dm-ioctl.h linux/btrfs.h linux/blkzoned.h linux/userfaultfd.h linux/serial.h
    linux/blkpg.h linux/blktrace_api.h linux/fiemap.h asm/termbits.h asm/ioctls.h linux/eventpoll.h linux/cdrom.h""",
    "linux/in.h linux/in6.h linux/tcp.h linux/udp.h linux/net.h linux/uinput.h",
)
# Headers are older than the tables, so not every symbol is in one; but most are.
LEAST_FOUND = 2000
# O_LARGEFILE is 0 in glibc, but not in the kernel; SIGRTMIN is the one of glibc; Linux 7 has more flags of futex.
DISAGREEING = {"O_LARGEFILE", "SIGRTMIN", "FUTEX_CMD_MASK"}

PYTHON_MODULES = (os, socket, signal, mmap, fcntl, errno, select, resource, termios, stat)

ARCHITECTURES = constants.ARCHITECTURES
words = st.integers(min_value=0, max_value=2**64 - 1)
families = st.sampled_from(constants.families())


def gcc(*arguments: str, source: str) -> subprocess.CompletedProcess[str]:
    command = ["gcc", "-w", "-O0", "-fmax-errors=0", "-x", "c", *arguments, "-"]
    return subprocess.run(command, input=source, capture_output=True, text=True, check=False)


def values_in(group: str, program: Path) -> dict[str, int]:
    """Let a compiled program print the symbols that the headers of a group define here, as far as they exist."""
    guards = "".join(f"#if __has_include(<{name}>)\n#include <{name}>\n#endif\n" for name in group.split())
    head = "#define _GNU_SOURCE\n#include <stdio.h>\n" + guards + "int main(void) {\n"
    names = sorted(constants.ALL_SYMBOLS & set(re.findall(r"\w+", gcc("-E", "-dD", source=head).stdout)))
    while True:
        lines = [f'printf("%s %lld\\n", "{name}", (long long)({name}));\n' for name in names]
        done = gcc("-o", str(program), source=head + "".join(lines) + "return 0; }\n")
        if done.returncode == 0:
            break
        # A macro that needs a structure of another header: leave it out.
        refused = {int(line) for line in re.findall(r"^<stdin>:(\d+):\d+: error", done.stderr, re.M)}
        first = head.count("\n") + 1
        assert refused and min(refused) >= first, done.stderr
        names = [name for line, name in enumerate(names, first) if line not in refused]
    printed = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    return {name: int(number) for name, number in (line.split() for line in printed.splitlines())}


def python_values() -> dict[str, int]:
    return {
        name: int(getattr(module, name))
        for module in PYTHON_MODULES
        for name in constants.ALL_SYMBOLS
        if isinstance(getattr(module, name, None), int)
    }


def same(left: int, right: int) -> bool:
    """Compare as C does: a negative int and an unsigned one of the same bits are equal."""
    return (left - right) % 2**32 == 0 if -(2**31) <= min(left, right) < 0 else left == right


def test_constants_agree_with_the_headers(tmp_path: Path) -> None:
    if shutil.which("gcc") is None or not Path("/usr/include/linux/fs.h").exists():
        assert len(python_values()) > 300  # the next test compares these
        return
    found: set[str] = set()
    architecture = native().name
    for group in HEADER_GROUPS:
        defined = values_in(group, tmp_path / "values")
        for name in DISAGREEING & set(defined):
            del defined[name]
        known = {name: number for name, number in defined.items() if architecture in architectures_of(name)}
        assert {name: number for name, number in known.items() if not same(number, value(name, architecture))} == {}
        found |= set(known)
    assert len(found) >= LEAST_FOUND, sorted(constants.ALL_SYMBOLS - found)


def test_constants_agree_with_python() -> None:
    expected = python_values()
    assert len(expected) > 300
    del expected["O_LARGEFILE"]
    assert {name: number for name, number in expected.items() if value(name, native().name) != number} == {}


def architectures_of(symbol: str) -> tuple[str, ...]:
    return tuple(each for each in ARCHITECTURES if _has(symbol, each))


def _has(symbol: str, architecture: str) -> bool:
    try:
        value(symbol, architecture)
    except UnknownSymbolError:
        return False
    return True


def test_where_the_architectures_differ() -> None:
    differing = {
        name for name in constants.ALL_SYMBOLS if len({value(name, each) for each in architectures_of(name)}) > 1
    }
    assert {name for name in differing if not name.startswith("KVM_")} == {
        "O_DIRECTORY",
        "O_NOFOLLOW",
        "O_DIRECT",
        "O_LARGEFILE",
        "O_TMPFILE",
    }
    assert [value("O_DIRECTORY", each) for each in ARCHITECTURES] == [0o200000, 0o40000]
    assert [value("O_NOFOLLOW", each) for each in ARCHITECTURES] == [0o400000, 0o100000]
    assert [value("O_DIRECT", each) for each in ARCHITECTURES] == [0o40000, 0o200000]
    assert [value("O_LARGEFILE", each) for each in ARCHITECTURES] == [0o100000, 0o400000]


def test_symbols_of_one_architecture() -> None:
    assert value("MAP_32BIT", "x86_64") == 0x40
    assert value("PROT_MTE", "aarch64") == 0x20
    with pytest.raises(LookupError, match="MAP_32BIT does not exist on aarch64, only on x86_64") as caught:
        value("MAP_32BIT", "aarch64")
    assert isinstance(caught.value, UnknownSymbolError)
    assert caught.value.architectures == ("x86_64",)
    with pytest.raises(LookupError):
        value("O_CLOEXEC", "i386")


def test_each_symbol_is_defined_once() -> None:
    defined: list[str] = []
    for name in ("files", "ioctls", "memory", "network", "processes", "structures", "system"):
        table: str = importlib.import_module(f"{constant_tables.__name__}.{name}").TEXT
        defined += [entry.split("=")[0] for entry in table.split() if "=" in entry]
    assert len(defined) == len(set(defined))
    assert {entry.split("@")[0] for entry in defined} == constants.ALL_SYMBOLS
    assert not {entry for entry in defined if "@" in entry and entry.split("@")[0] in defined}


def test_every_family_is_known_by_its_symbols() -> None:
    for family in constants.families():
        assert constants.style(family) in {"enum", "flags", "octal", "names"}
        assert constants.symbols(family) or family == "arch_prctl_option", family
    assert constants.symbols("arch_prctl_option", "aarch64") == {}
    assert constants.symbols("no_such_family") == {}
    with pytest.raises(LookupError, match="no_such_family"):
        constants.style("no_such_family")


@pytest.mark.parametrize(
    ("expression", "number"),
    [
        ("O_RDONLY|O_CLOEXEC", 0o2000000),
        (" O_WRONLY | O_CREAT|0x40000000 ", 0x40000041),
        ("0x5401", 0x5401),
        ("TCGETS", 0x5401),
        ("-1", -1),
        ("0o755", 0o755),
        ("0b101", 5),
        ("0", 0),
        ("S_IFREG|0o644", 0o100644),
        ("AT_FDCWD", -100),
        ("18446744073709551615", 2**64 - 1),
        ("-9223372036854775808", -(2**63)),
    ],
)
def test_expressions(expression: str, number: int) -> None:
    assert parse(expression) == number


def test_expressions_depend_on_the_architecture() -> None:
    assert parse("O_DIRECTORY|O_CLOEXEC", "aarch64") == 0o2040000


@pytest.mark.parametrize(
    "expression",
    [
        "",
        " ",
        "|",
        "O_RDONLY|",
        "|O_RDONLY",
        "O_RDONLY||O_CLOEXEC",
        "O_RDONLY O_CLOEXEC",
        "O_RDONLY,O_CLOEXEC",
        "O_RDONLY&O_CLOEXEC",
        "~O_CLOEXEC",
        "-O_CLOEXEC",
        "0755",
        "-01",
        "0x",
        "0xg",
        "1_000",
        "1.0",
        "1e3",
        "+1",
        "- 1",
        "-1|O_CLOEXEC",
        "AT_FDCWD|O_CLOEXEC",
        "18446744073709551616",
        "-9223372036854775809",
        "9" * 5000,
        "O_RDONLY;rm",
        "\u0661",
        "O_RDONLY\0",
    ],
)
def test_malformed_expressions(expression: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(expression)


def test_a_c_octal_number_is_explained() -> None:
    with pytest.raises(ValueError, match="0o755"):
        parse("0755")


@pytest.mark.parametrize(
    ("expression", "symbol", "suggestion"),
    [
        ("O_CLOEXC", "O_CLOEXC", "O_CLOEXEC"),
        ("O_RDONLY|o_append", "o_append", "O_APPEND"),
        ("SO_REUSEADR", "SO_REUSEADR", "SO_REUSEADDR"),
        ("SIGKIL", "SIGKIL", "SIGKILL"),
        ("qqqqqqqqqqqq", "qqqqqqqqqqqq", None),
        ("O" * 100_000, "O" * 100_000, None),
    ],
)
def test_unknown_symbols_come_with_a_suggestion(expression: str, symbol: str, suggestion: str | None) -> None:
    with pytest.raises(LookupError) as caught:
        parse(expression)
    assert isinstance(caught.value, UnknownSymbolError)
    assert (caught.value.symbol, caught.value.suggestion) == (symbol, suggestion)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("family", "number", "shown"),
    [
        ("open_flags", 0o2000000, "O_RDONLY|O_CLOEXEC"),
        ("open_flags", 0x40080001, "O_WRONLY|O_CLOEXEC|0x40000000"),
        ("open_flags", 0o4010000, "O_RDONLY|O_SYNC"),
        ("open_flags", 3, "0x3"),
        ("prot", 0, "PROT_NONE"),
        ("prot", 7, "PROT_READ|PROT_WRITE|PROT_EXEC"),
        ("map_flags", 0x22, "MAP_PRIVATE|MAP_ANONYMOUS"),
        ("map_flags", 0x40022 | 21 << 26, "MAP_PRIVATE|MAP_HUGE_2MB|MAP_ANONYMOUS|MAP_HUGETLB"),
        ("file_mode", 0o100644, "S_IFREG|0o644"),
        ("file_mode", 0o755, "0o755"),
        ("clone_flags", 0x11, "SIGCHLD"),
        ("clone_flags", 0x4111, "SIGCHLD|CLONE_VM|CLONE_VFORK"),
        ("futex_op", 0x80, "FUTEX_WAIT|FUTEX_PRIVATE_FLAG"),
        ("socket_type", 0x80001, "SOCK_STREAM|SOCK_CLOEXEC"),
        ("at_flags", 0, "0"),
        ("ipc_flags", 0o1600, "IPC_CREAT|0o600"),
        ("no_such_family", 5, "0x5"),
    ],
)
def test_flags_are_shown(family: str, number: int, shown: str) -> None:
    assert format_flags(family, number) == format_value(family, number) == shown


@pytest.mark.parametrize(
    ("family", "number", "shown"),
    [
        ("ioctl", 0x5401, "TCGETS"),
        ("ioctl", 0xDEADBEEF, "0xdeadbeef"),
        ("signal", 9, "SIGKILL"),
        ("signal", 0, "0"),
        ("errno", 11, "EAGAIN"),
        ("dirfd", 2**32 - 100, "AT_FDCWD"),
        ("dirfd", 2**64 - 100, "AT_FDCWD"),
        ("dirfd", -100, "AT_FDCWD"),
        ("dirfd", 3, "0x3"),
        ("socket_domain", 1, "AF_UNIX"),
        ("reboot_cmd", 0xCDEF0123, "LINUX_REBOOT_CMD_HALT"),
    ],
)
def test_single_values_are_shown(family: str, number: int, shown: str) -> None:
    assert format_enum(family, number) == format_value(family, number) == shown


def test_values_of_foreign_architectures_are_shown() -> None:
    assert format_flags("open_flags", 0o200000, "aarch64") == "O_RDONLY|O_DIRECT"
    assert format_flags("open_flags", 0o200000, "i386") == "O_RDONLY|O_DIRECTORY"
    assert format_value(None, 77) == "0x4d"


@given(family=families, number=words | st.integers(), architecture=st.sampled_from([*ARCHITECTURES, "i386", "?"]))
def test_showing_never_fails_and_reads_back(family: str, number: int, architecture: str) -> None:
    shown = format_value(family, number, architecture)
    assert format_flags(family, number, architecture)
    assert format_enum(family, number, architecture)
    if architecture in ARCHITECTURES:
        back = parse(shown, architecture)
        assert (back - number) % (2**32 if back < 0 else 2**64) == 0


@given(family=families, architecture=st.sampled_from(ARCHITECTURES), data=st.data())
def test_symbols_joined_and_shown_read_back(family: str, architecture: str, data: st.DataObject) -> None:
    names = sorted(name for name, number in constants.symbols(family, architecture).items() if number >= 0)
    if names:
        chosen = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=5))
        number = parse("|".join(chosen), architecture)
        assert parse(format_flags(family, number, architecture), architecture) == number
