"""The change of policy that a violation offers: applied to the letter, it allows exactly that call."""

from __future__ import annotations

from pathlib import Path

import pytest

from stockade import Executor, Policy, PolicyBuilder, Result, Status, Violation, arg
from support.compiler import CCompiler
from support.runs import main_program, static_builder

# name of a case → (system call that is refused, what the program does)
CASES = {
    "socket": ("socket", "socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, 0)"),
    "socket of another family": ("socket", "socket(AF_UNIX, SOCK_DGRAM, 0)"),
    "socketpair": ("socketpair", "int p[2]; socketpair(AF_UNIX, SOCK_STREAM, 0, p)"),
    "getcwd": ("getcwd", "char b[64]; getcwd(b, 64)"),
    "open for reading": ("openat", 'openat(AT_FDCWD, "/etc/hostname", O_RDONLY|O_CLOEXEC)'),
    "create": ("openat", 'openat(AT_FDCWD, "/new", O_RDWR|O_CREAT|O_EXCL, 0640)'),
    "window size": ("ioctl", "ioctl(1, TIOCGWINSZ, 0)"),
    "terminal settings": ("ioctl", "ioctl(1, TCGETS, 0)"),
    "unknown ioctl": ("ioctl", "ioctl(1, 0x12345678, 0)"),
    "fcntl pipe size": ("fcntl", "fcntl(1, F_SETPIPE_SZ, 65536)"),
    "fcntl flags": ("fcntl", "fcntl(1, F_GETFL)"),
    "prctl name": ("prctl", 'prctl(PR_SET_NAME, "me", 0, 0, 0)'),
    "prctl dumpable": ("prctl", "prctl(PR_GET_DUMPABLE, 0, 0, 0, 0)"),
    "kill": ("kill", "kill(2, 0)"),
    "kill with a signal": ("kill", "kill(-9999, SIGTERM)"),
    "fork": ("clone", "if (raw(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0) == 0) _exit(0)"),
    "executable memory": ("mmap", "mmap(0, 4096, PROT_READ|PROT_EXEC, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0)"),
    "writable executable memory": (
        "mmap",
        "mmap(0, 4096, PROT_READ|PROT_WRITE|PROT_EXEC, MAP_SHARED|MAP_ANONYMOUS, -1, 0)",
    ),
    "executable protection": (
        "mprotect",
        "mprotect((void *)((long)main & -4096), 4096, PROT_READ|PROT_WRITE|PROT_EXEC)",
    ),
    "futex": ("futex", "int f = 0; raw(SYS_futex, (long)&f, 1 | 128, 1, 0, 0, 0)"),
    "futex priority": ("futex", "int f = 0; raw(SYS_futex, (long)&f, 8 | 128, 0, 0, 0, 0)"),
    "sysinfo": ("sysinfo", "char b[512]; raw(SYS_sysinfo, (long)b, 0, 0, 0, 0, 0)"),
    "getdents64": ("getdents64", "char b[512]; raw(SYS_getdents64, 99, (long)b, 512, 0, 0, 0)"),
    "madvise": ("madvise", "madvise((void *)4096, 4096, MADV_DONTNEED)"),
    "set a limit": ("prlimit64", "struct rlimit r = {64, 64}; setrlimit(RLIMIT_NOFILE, &r)"),
    "random": ("getrandom", "char b[4]; raw(SYS_getrandom, (long)b, 4, 2, 0, 0, 0)"),
    "memfd": ("memfd_create", 'memfd_create("m", MFD_CLOEXEC)'),
    "pipe": ("pipe2", "int p[2]; pipe2(p, O_CLOEXEC|O_NONBLOCK)"),
    "seek": ("lseek", "lseek(1, 0, SEEK_END)"),
    "signal handler": ("rt_sigaction", "signal(SIGUSR1, SIG_IGN)"),
    "clock": ("clock_gettime", "struct timespec t; raw(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&t, 0, 0, 0, 0)"),
    "wait": ("wait4", "raw(SYS_wait4, -1, 0, WNOHANG, 0, 0, 0)"),
    "attributes": (
        "newfstatat",
        'char b[256]; raw(SYS_newfstatat, AT_FDCWD, (long)"/", (long)b, AT_SYMLINK_NOFOLLOW, 0, 0)',
    ),
    "access": ("access", 'raw(SYS_access, (long)"/", R_OK, 0, 0, 0, 0)'),
    "epoll": ("epoll_create1", "raw(SYS_epoll_create1, 0, 0, 0, 0, 0, 0)"),
    "dup": ("dup3", "dup3(1, 50, O_CLOEXEC)"),
    "message": ("sendto", 'raw(SYS_sendto, 1, (long)"x", 1, MSG_DONTWAIT|MSG_NOSIGNAL, 0, 0)'),
    "socket option": ("setsockopt", "int one = 1; setsockopt(0, SOL_SOCKET, SO_REUSEADDR, &one, 4)"),
    "device node": ("mknodat", 'raw(SYS_mknodat, AT_FDCWD, (long)"/p", 0010600, 0, 0, 0)'),
    "number with garbage above": ("getpriority", "raw(SYS_getpriority, 0x7700000000L, 0, 0, 0, 0, 0)"),
}
# case → its neighbour: the same call asking for something else, which must stay refused
NEIGHBOURS = {
    "socket": "socket of another family",
    "open for reading": "create",
    "window size": "terminal settings",
    "fcntl flags": "fcntl pipe size",
    "prctl name": "prctl dumpable",
    "kill": "kill with a signal",
    "executable memory": "writable executable memory",
    "futex": "futex priority",
}
HEADERS = """
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
"""


@pytest.fixture(scope="module")
def program(compile_c: CCompiler) -> Path:
    branches = "".join(
        f'if (!strcmp(argv[1], "{name}")) {{ {statement}; }}\n' for name, (_, statement) in CASES.items()
    )
    return main_program(compile_c, f'{branches} say("done");', before=HEADERS)


def refused(result: Result, case: str) -> Violation:
    assert result.status is Status.VIOLATION, (case, result.status, result.returncode)
    assert result.stdout == b""
    (violation,) = result.violations
    assert violation.syscall == CASES[case][0], violation.summary
    return violation


def with_builder_call(builder: PolicyBuilder, call: str) -> Policy:
    """Apply a suggestion as a user would paste it into a chain of builder calls."""
    changed = eval(f"builder{call}", {"builder": builder, "arg": arg})
    assert isinstance(changed, PolicyBuilder)
    return changed.build()


def with_text_line(policy: Policy, line: str) -> Policy:
    """Apply a suggestion as a user would paste it into the syscalls block of a text policy."""
    before, opening, after = policy.to_text().partition("syscalls {\n")
    assert opening
    assert "\n" not in line
    return Policy.from_text(f"{before}{opening}  {line}\n{after}")


@pytest.mark.parametrize("case", CASES)
def test_each_suggestion_works_as_it_stands(program: Path, case: str) -> None:
    policy = static_builder(program).build()
    violation = refused(Executor(policy).run([program, case]), case)
    assert violation.patch.risk in ("low", "medium", "high")
    assert not violation.patch.refused_because
    for changed in (
        with_builder_call(static_builder(program), violation.patch.builder_call),
        with_text_line(policy, violation.patch.text_line),
    ):
        result = Executor(changed).run([program, case])
        assert (result.status, result.stdout) == (Status.OK, b"done"), violation.patch
        assert not result.violations
        if case in NEIGHBOURS:
            refused(Executor(changed).run([program, NEIGHBOURS[case]]), NEIGHBOURS[case])


def test_both_forms_of_a_suggestion_mean_the_same(program: Path) -> None:
    policy = static_builder(program).build()
    for case in CASES:
        patch = refused(Executor(policy).run([program, case]), case).patch
        by_call = with_builder_call(static_builder(program), patch.builder_call)
        assert by_call.compile() == with_text_line(policy, patch.text_line).compile(), patch
