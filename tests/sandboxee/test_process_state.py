"""What a program finds itself to be: nothing of its caller's state is inherited by accident."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stockade import Executor, Limits, PolicyBuilder
from support.attacks import open_wide, run_script

SOURCE = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <unistd.h>
extern char **environ;

int main(int argc, char **argv) {
    unsigned long mask = 0;
    struct itimerval timer;
    struct rlimit limit;
    struct utsname names;
    gid_t groups[64];
    char directory[256] = "", link[256] = "";
    int count;
    for (int number = 1; number < 65; number++) {
        struct { void *handler; unsigned long flags, restorer, mask; } action = {0};
        if (syscall(SYS_rt_sigaction, number, NULL, &action, 8) == 0 && action.handler) printf("handled %d\n", number);
    }
    syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, 8);
    printf("mask %lx\n", mask);
    for (int kind = 0; kind < 3; kind++) {
        getitimer(kind, &timer);
        if (timer.it_value.tv_sec || timer.it_value.tv_usec) printf("timer %d\n", kind);
    }
    printf("umask %o\n", umask(0));
    printf("ids %d %d %d %d\n", getuid(), geteuid(), getgid(), getegid());
    count = getgroups(64, groups);
    printf("leader %d\n", getsid(0) == getpid() && getpgrp() == getpid());
    printf("parent %d\n", getppid());
    getrlimit(RLIMIT_CORE, &limit);
    printf("core %lu %lu\n", (unsigned long)limit.rlim_cur, (unsigned long)limit.rlim_max);
    getrlimit(RLIMIT_NOFILE, &limit);
    printf("files %lu\n", (unsigned long)limit.rlim_max);
    printf("personality %d\n", personality(0xffffffff));
    printf("no_new_privs %d\n", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    printf("death signal %d\n", prctl(PR_GET_PDEATHSIG, &count) == 0 ? count : -1);
    printf("subreaper %d\n", prctl(PR_GET_CHILD_SUBREAPER, &count) == 0 ? count : -1);
    printf("directory %s\n", getcwd(directory, sizeof directory));
    for (char **each = environ; *each; each++) printf("variable %s\n", *each);
    for (int descriptor = 0; descriptor < 4096; descriptor++)
        if (fcntl(descriptor, F_GETFD) >= 0) printf("descriptor %d\n", descriptor);
    uname(&names);
    printf("host %s\n", names.nodename);
    FILE *score = fopen("/proc/self/oom_score_adj", "r");
    if (score && fgets(link, sizeof link, score)) printf("oom %s", link);
    if (argc > 1) {
        long key = syscall(SYS_keyctl, 10 /* KEYCTL_SEARCH */, -3 /* session */, "user", argv[1], 0);
        printf("key %s\n", key >= 0 ? "found" : strerror(errno));
    }
    return 0;
}
"""


@pytest.fixture
def program(compile_c: Callable[..., Path]) -> Path:
    found: Path = compile_c(SOURCE, name="state", options=("-Wno-unused-but-set-variable",))
    return found


@pytest.fixture
def untidy() -> Iterator[None]:
    """A caller whose own state is unusual in every way that could be inherited."""
    umask = os.umask(0)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM, signal.SIGRTMIN})
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGUSR2, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    os.umask(umask)


def state(said: str) -> list[str]:
    return said.splitlines()


# A core limit of 1 and not 0: a core_pattern that begins with a pipe ignores 0, and runs a helper as root of the host.
EXPECTED = [
    "mask 0",
    "umask 22",
    "ids 1000 1000 1000 1000",
    "leader 1",
    "parent 1",
    "core 1 1",
    "files 1024",
    "personality 0",
    "no_new_privs 1",
    "death signal 0",
    "subreaper 0",
    "directory /",
    "descriptor 0",
    "descriptor 1",
    "descriptor 2",
    "host stockade",
    "oom 0",
]


@pytest.mark.usefixtures("untidy")
def test_the_state_of_a_program_is_set_not_inherited(program: Path) -> None:
    # The control: an ordinary child inherits much of it.
    plain = subprocess.run([program], capture_output=True, text=True, check=True, restore_signals=False).stdout
    assert "mask 0" not in plain.splitlines()
    assert {"umask 0", f"handled {signal.SIGUSR2}", f"handled {signal.SIGPIPE}"} <= set(plain.splitlines())
    executor = Executor(open_wide(program).add_proc().build())
    for _ in range(3):  # the first box is made for it, the others may have been made ahead
        assert state(executor.run([program], text=True).stdout) == EXPECTED


@pytest.mark.usefixtures("untidy")
def test_what_is_asked_for_is_set(program: Path) -> None:
    policy = open_wide(program).add_proc().set_hostname("box").add_tmpfs("/tmp").build()
    executor = Executor(policy, limits=Limits(open_files=99))
    with open(os.devnull) as null:
        number = null.fileno()
        result = executor.run([program], env={"A": "1"}, cwd="/tmp", pass_fds=[number], text=True)
    changed = {
        "files 1024": ["files 99"],
        "directory /": ["directory /tmp", "variable A=1"],
        "descriptor 2": ["descriptor 2", f"descriptor {number}"],
        "host stockade": ["host box"],
    }
    assert state(result.stdout) == [new for line in EXPECTED for new in changed.get(line, [line])]


@pytest.mark.needs_root
def test_root_keeps_neither_its_uid_nor_its_groups(program: Path) -> None:
    executor = Executor(open_wide(program).add_proc().build())
    with executor.start([program, "x"]) as process:
        uid = os.stat(f"/proc/{process.pid}").st_uid
    assert uid != 0
    cat = PolicyBuilder().danger_default_allow_all().add_libraries_for_binary("/bin/cat").add_proc().build()
    said = Executor(cat).run(["/bin/cat", "/proc/self/status", "/proc/self/uid_map", "/proc/self/gid_map"], text=True)
    lines = said.stdout.splitlines()
    assert "Groups:\t " in lines
    assert [line.split() for line in lines[-2:]] == [["1000", "1000", "1"]] * 2


ROOT_WITH_GROUPS = """
import os, sys
os.setgroups([0, 4, 27])
from stockade import Executor, PolicyBuilder
policy = PolicyBuilder().danger_default_allow_all().add_libraries_for_binary("/bin/cat").add_proc().build()
executor = Executor(policy)
for _ in range(3):
    said = executor.run(["/bin/cat", "/proc/self/status"], text=True).stdout
    print([line for line in said.splitlines() if line.startswith("Groups:")])
"""


@pytest.mark.needs_root
def test_groups_of_root_are_dropped() -> None:
    assert run_script(ROOT_WITH_GROUPS).stdout.splitlines() == ["['Groups:\\t ']"] * 3


@pytest.mark.needs_unprivileged
def test_supplementary_groups_that_cannot_be_dropped_are_listed(program: Path) -> None:
    result = Executor(open_wide(program).build()).run([program])
    (layer,) = [layer for layer in result.layers if layer.name == "supplementary groups"]
    if os.getgroups():
        assert all(str(group) in layer.detail for group in os.getgroups() if group != os.getgid())


KEYS = """
import ctypes, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
KEYCTL, ADD_KEY = 250, 248
libc.syscall(KEYCTL, 1, 0, 0, 0, 0)  # a session keyring of this process's own
key = libc.syscall(ADD_KEY, b"user", b"stockade-test", b"secret", 6, -3)
print("added" if key > 0 else "no keys")
plain = subprocess.run([sys.argv[1], "stockade-test"], capture_output=True, text=True).stdout
print(plain.splitlines()[-1])
from stockade import Executor
from support.attacks import open_wide, without_rules
result = without_rules(open_wide(sys.argv[1]).build()).run([sys.argv[1], "stockade-test"], text=True)
print(result.stdout.splitlines()[-1])
"""


def test_the_caller_s_keys_are_out_of_reach(program: Path) -> None:
    assert run_script(KEYS, program).stdout.splitlines() == ["added", "key found", "key Required key not available"]
